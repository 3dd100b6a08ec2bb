//! A function that is called by its schedule, each minute of a clock that goes from minute to minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::config::FunctionConfig;
use corefn_core::schedule::Calls;
use corefn_tests::access::{Access, parse};
use corefn_tests::clock::Clock;
use corefn_tests::dispatcher::Dispatcher;
use corefn_tests::{Home, probe};
use tokio::task::JoinHandle;

/// Which function.
const FUNCTION: &str = "chaos/scheduled";

/// The lines of its schedule, but for their number, by which each has a path of its own.
const LINES: usize = 3;

/// The time at which the clock begins: 1 January 2030, UTC.
const BEGIN: i64 = 1_893_456_000;

/// How long a minute takes.
const MINUTE: Duration = Duration::from_secs(2);

/// How long the last calls may take: where Redis has just been emptied, they are those of a minute later.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether they have ended.
const PAUSE: Duration = Duration::from_millis(100);

/// The clock, and the dispatchers that go by it.
pub struct Schedules {
    clock: Clock,
    /// Some of them may have been killed.
    pub dispatchers: Vec<Dispatcher>,
    is_ending: Arc<AtomicBool>,
    ticking: JoinHandle<i64>,
}

impl Schedules {
    /// Deploys the function, and starts two dispatchers.
    pub async fn start(home: &Home) -> Self {
        let lines = (0..LINES).map(|line| format!("* * * * * UTC /line/{line}"));
        let config = FunctionConfig {
            idle_ms: Some(2000),
            schedule: lines.filter_map(|line| line.parse().ok()).collect(),
            ..probe::config()
        };
        home.deploy(FUNCTION, config).await;
        let clock = Clock::new(&home.folder);
        put(&clock, BEGIN);
        let is_ending = Arc::new(AtomicBool::new(false));
        let (ticks, ending) = (clock.clone(), is_ending.clone());
        let ticking = tokio::spawn(async move {
            let mut time = BEGIN;
            while !ending.load(Ordering::Relaxed) {
                tokio::time::sleep(MINUTE).await;
                time += 60;
                put(&ticks, time);
            }
            time
        });
        let mut schedules = Self {
            clock,
            dispatchers: Vec::new(),
            is_ending,
            ticking,
        };
        schedules.start_one(home);
        schedules.start_one(home);
        schedules
    }

    /// Starts one dispatcher more.
    pub fn start_one(&mut self, home: &Home) {
        let dispatcher = Dispatcher::start(home, "dispatch", Some(&self.clock));
        self.dispatchers.push(dispatcher);
    }

    /// Lets one minute more come, in which nothing breaks and everything must be called; then ends it all, and says what is
    /// wrong.
    pub async fn finish(self, home: &Home) -> Vec<String> {
        self.is_ending.store(true, Ordering::Relaxed);
        let Ok(time) = self.ticking.await else {
            return vec!["the clock has stopped".to_owned()];
        };
        let last = time + 120;
        put(&self.clock, last);
        let mut wrong = called(home, last).await;
        for dispatcher in self.dispatchers {
            if !dispatcher.stop().await.success() {
                wrong.push("a dispatcher has failed".to_owned());
            }
        }
        let accesses = parse(&home.folder.read("log/access.log"));
        wrong.extend(twice(&accesses));
        let scheduled = accesses.iter().filter(|access| !access.due.is_empty());
        println!(
            "{} calls of schedules, in {} minutes",
            scheduled.count(),
            (last - BEGIN) / 60
        );
        wrong
    }
}

/// Waits until each line's function has been called for the last minute, or one after it, and has answered.
async fn called(home: &Home, last: i64) -> Vec<String> {
    let is_called = |calls: &Calls| {
        let call = calls.last.as_ref();
        call.is_some_and(|call| {
            call.due >= last && call.end.as_ref().is_some_and(|end| end.outcome.is_good())
        })
    };
    let begin = tokio::time::Instant::now();
    loop {
        let calls = home.store.all_calls().await.unwrap_or_default();
        if calls.len() == LINES && calls.values().all(is_called) {
            return Vec::new();
        }
        if begin.elapsed() > PATIENCE {
            return vec![format!(
                "not all of {FUNCTION} was called at last: {calls:?}"
            )];
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The calls that have got to the function more than once.
fn twice(accesses: &[Access]) -> Vec<String> {
    let mut made = BTreeMap::<_, u32>::new();
    for access in accesses.iter().filter(|access| !access.due.is_empty()) {
        // (Nobody was asked where there is nobody to log.)
        if !access.instance.is_empty() {
            *made.entry((&access.due, &access.uri)).or_default() += 1;
        }
    }
    let twice = made.into_iter().filter(|(_, count)| *count > 1);
    twice
        .map(|((due, path), count)| format!("{path} was called {count} times for {due}"))
        .collect()
}

/// Puts a clock to a time.
fn put(clock: &Clock, time: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    clock.set(time - now);
}
