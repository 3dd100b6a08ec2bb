//! The history: every request and how it went, everything that was broken and when.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::plan::Fault;

/// A request, written down when it is over.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its line of the table.
    pub kind: &'static str,
    /// Method and target.
    pub what: String,
    /// Which function it was for.
    pub function: String,
    /// Whether it may be sent twice without harm.
    pub repeatable: bool,
    /// The client's port.
    pub port: u16,
    /// When the client connected.
    pub begin: Instant,
    /// When the answer's header was there.
    pub header: Option<Instant>,
    /// When it was over.
    pub end: Instant,
    /// Which instance had it, as far as the client was told.
    pub instance: Option<String>,
    /// How long the function itself was to take for it.
    pub work: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should: every byte.
    Answered,
    /// With a status that the function did not send, and the platform's code if there was one.
    Refused(u16, Option<String>),
    /// Without an answer, or not with a whole one.
    Broken(String),
    /// With other bytes than the function's.
    Wrong(String),
}

/// What was done to an instance by us.
#[derive(Debug, Clone)]
pub struct Harm {
    /// Which function's instance.
    pub function: String,
    /// Which one.
    pub instance: String,
    /// When it began.
    pub at: Instant,
    /// When it was done; none while Docker is at it. Whatever comes to the instance in between may yet be answered, or not.
    pub done: Option<Instant>,
    /// Whether it ended the instance.
    pub deadly: bool,
}

/// The connections that a worker held when it was killed.
#[derive(Debug, Clone)]
pub struct Lost {
    /// When.
    pub at: Instant,
    /// The clients' ports.
    pub ports: HashSet<u16>,
}

/// All that the run has seen.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// Requests that are over.
    pub records: Vec<Record>,
    /// What was done to instances.
    pub harms: Vec<Harm>,
    /// The connections of killed workers.
    pub lost: Vec<Lost>,
    /// When Docker was out of the routers' reach.
    pub cuts: Vec<(Instant, Instant)>,
    /// When which fault was brought about.
    pub times: Vec<(Fault, Instant, Instant)>,
    /// How often each fault was brought about.
    pub faults: BTreeMap<Fault, u32>,
    /// Faults for which there was no victim.
    pub skipped: BTreeMap<Fault, u32>,
    /// When a function began to be switched to another revision.
    pub switches: Vec<(String, Instant)>,
    /// From when on a revision of a function was released beside the current one, or may have been, and until when.
    pub releases: Vec<(String, Instant, Option<Instant>)>,
    /// Deployments that were made, and those that failed because something was broken.
    pub deployed: (u32, u32),
    /// What was wrong beside requests.
    pub complaints: Vec<String>,
}

impl History {
    /// What was broken while a request was under way, or last before it.
    pub fn meanwhile(&self, record: &Record) -> String {
        let begun = |(_, from, _): &&(Fault, Instant, Instant)| *from <= record.end;
        match self.times.iter().rev().find(begun) {
            Some((fault, _, to)) if record.begin <= *to => format!("while {}", fault.name()),
            Some((fault, ..)) => format!("after {}", fault.name()),
            None => "before all".to_owned(),
        }
    }
}

/// Keeps the history, which all clients write to.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    clock: Duration,
    history: Mutex<History>,
}

impl Recorder {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            clock: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            history: Mutex::default(),
        }
    }

    /// What it has so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the system's clock showed so many nanoseconds since 1970.
    pub fn instant(&self, nanos: i64) -> Instant {
        let clock = Duration::from_nanos(nanos.max(0).unsigned_abs());
        self.began + clock.saturating_sub(self.clock)
    }

    /// Seconds since the beginning.
    pub fn second(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64()
    }

    /// Notes something that is wrong.
    pub fn complain(&self, text: impl Into<String>) {
        self.history().complaints.push(text.into());
    }

    /// The instances that have answered and to which nothing was done.
    pub fn unharmed(&self) -> HashSet<String> {
        let history = self.history();
        let mut served: HashSet<String> = history
            .records
            .iter()
            .filter(|record| record.outcome == Outcome::Answered)
            .filter_map(|record| record.instance.clone())
            .collect();
        for harm in &history.harms {
            served.remove(&harm.instance);
        }
        served
    }
}
