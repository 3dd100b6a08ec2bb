//! A client that does not wait: what it is told is kept must be called, once at least.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corefn_tests::access::parse;
use corefn_tests::{Client, Home, pattern};
use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::traffic::INVOKED;

/// How long the longest pause is between two invocations, in milliseconds.
const LONGEST_PAUSE: u64 = 50;

/// How long an invocation may take to be accepted: while Redis hangs, each question to it does so.
const ACCEPTED: Duration = Duration::from_secs(30);

/// How long the last of them may take to be called: some wait for minutes of the dispatchers' clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether they have been.
const PAUSE: Duration = Duration::from_millis(200);

/// The client.
pub struct Invocations {
    is_ending: Arc<AtomicBool>,
    client: JoinHandle<Asked>,
}

/// What it has asked for.
#[derive(Default)]
struct Asked {
    /// The numbers of those that were accepted.
    accepted: Vec<u64>,
    /// How many were refused, or got no answer: a worker was killed, or the dispatcher.
    others: u64,
    /// What should not have been.
    wrong: Vec<String>,
}

impl Invocations {
    /// Starts it.
    pub fn start(client: Client, seed: u64) -> Self {
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = is_ending.clone();
        let client = tokio::spawn(async move {
            let mut asked = Asked::default();
            let mut random = Rng::with_seed(seed);
            let mut number = 0;
            while !ending.load(Ordering::Relaxed) {
                number += 1;
                asked.ask(client, number, &mut random).await;
                sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE))).await;
            }
            asked
        });
        Self { is_ending, client }
    }

    /// Ends it, and waits until all that was accepted has been called. Says what is wrong.
    pub async fn finish(self, home: &Home) -> Vec<String> {
        self.is_ending.store(true, Ordering::Relaxed);
        let Ok(asked) = self.client.await else {
            return vec!["the client that does not wait has failed".to_owned()];
        };
        let Asked {
            accepted,
            others,
            mut wrong,
        } = asked;
        let begin = Instant::now();
        let missing = loop {
            let missing = missing(home, &accepted);
            let kept = kept(home);
            if missing.is_empty() && kept.is_empty() {
                break missing;
            }
            if begin.elapsed() > PATIENCE {
                wrong.extend(kept.iter().map(|file| format!("{file} is kept")));
                break missing;
            }
            sleep(PAUSE).await;
        };
        let accepted = accepted.len();
        println!("{accepted} invocations were accepted, {others} were not");
        let lost = |number| format!("invocation {number} was accepted and never called");
        wrong.extend(missing.into_iter().map(lost));
        wrong
    }
}

impl Asked {
    async fn ask(&mut self, client: Client, number: u64, random: &mut Rng) {
        let body = pattern::bytes(random.usize(..50_000));
        let request = client.post(&format!("/{INVOKED}/{number}"), body);
        let request = request.header("Prefer", "respond-async");
        match request.patience(ACCEPTED).send().await {
            Ok(answer) if answer.status == 202 => self.accepted.push(number),
            // (Whoever is told so tries again.)
            Ok(answer) if answer.status == 503 && answer.error().is_some() => self.others += 1,
            Ok(answer) => {
                let (status, error) = answer.said();
                let text = format!("invocation {number} was answered with {status} {error:?}");
                self.wrong.push(text);
            }
            Err(_) => self.others += 1,
        }
    }
}

/// Those that no instance has answered well.
fn missing(home: &Home, accepted: &[u64]) -> Vec<u64> {
    let accesses = parse(&home.folder.read("log/access.log"));
    let called: HashSet<_> = accesses
        .iter()
        .filter(|access| access.status == "200" && !access.instance.is_empty())
        .filter_map(|access| {
            let path = access.uri.strip_prefix('/')?.strip_prefix(INVOKED)?;
            path.strip_prefix('/')?.parse::<u64>().ok()
        })
        .collect();
    let missing = accepted.iter().filter(|number| !called.contains(number));
    missing.copied().collect()
}

/// The files of invocations that are still kept.
fn kept(home: &Home) -> Vec<String> {
    let folder = home.folder.file("invocations/requests").join(INVOKED);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.collect()
}
