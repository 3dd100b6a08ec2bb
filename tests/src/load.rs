//! Requests one after the other, from several clients at once, until the test has seen enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::wait::wait_until;

/// A client's pause between two requests: the machine is to have time for what is tested.
const PAUSE: Duration = Duration::from_millis(5);

/// What no answer may take, on a busy machine and through a start: nginx's own time for a connection
/// that hangs is twice as long.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Clients that keep sending.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Report>,
    /// How many requests of each client have ended.
    ended: Vec<Arc<AtomicUsize>>,
}

/// How the requests went.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were answered with 200.
    pub answered: usize,
    /// How long the slowest of them took.
    pub longest: Duration,
    /// What became of the others.
    pub failed: Vec<String>,
}

impl Report {
    /// Fails the test unless there were requests, and every one was answered with 200 and without
    /// a wait that somebody would notice as a failure.
    ///
    /// # Panics
    /// With the first failure.
    #[track_caller]
    pub fn assert_all_answered(&self) {
        assert!(self.answered > 0, "nothing was sent");
        assert!(
            self.longest < TOO_LONG,
            "one was answered after {:?}",
            self.longest
        );
        assert!(
            self.failed.is_empty(),
            "{} of {}: {:?}",
            self.failed.len(),
            self.answered,
            self.failed.first()
        );
    }
}

impl Load {
    /// Starts `clients` clients, which GET the target, each request on a connection of its own.
    pub fn start(client: Client, target: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended: Vec<Arc<AtomicUsize>> = (0..clients).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for ended in &ended {
            tasks.spawn(send(client, target.to_owned(), stop.clone(), ended.clone()));
        }
        Self {
            stop,
            clients: tasks,
            ended,
        }
    }

    /// Waits until a request of each client has ended: those that are under way then have begun
    /// since.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn turn_over(&self) {
        let count = |ended: &Arc<AtomicUsize>| ended.load(Ordering::SeqCst);
        let before: Vec<_> = self.ended.iter().map(count).collect();
        wait_until("a request of each client has ended", TOO_LONG, async || {
            let mut both = self.ended.iter().map(count).zip(&before);
            both.all(|(now, before)| now > *before)
        })
        .await;
    }

    /// Lets the clients finish and adds up their reports.
    pub async fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let reports = self.clients.join_all().await;
        reports.into_iter().fold(Report::default(), |mut all, one| {
            all.answered += one.answered;
            all.longest = all.longest.max(one.longest);
            all.failed.extend(one.failed);
            all
        })
    }
}

async fn send(
    client: Client,
    target: String,
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
) -> Report {
    let mut report = Report::default();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        match client.get(&target).send().await {
            Ok(answer) if answer.status == 200 => {
                report.answered += 1;
                report.longest = report.longest.max(begin.elapsed());
            }
            Ok(answer) => report
                .failed
                .push(format!("{} {}", answer.status, answer.text())),
            Err(error) => report.failed.push(error.to_string()),
        }
        ended.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
    report
}
