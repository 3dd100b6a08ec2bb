//! Requests one after the other, from several clients at once, until the test has seen enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use crate::client::Client;

/// Clients that keep sending.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Report>,
}

/// How the requests went.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were answered with 200.
    pub answered: usize,
    /// What became of the others.
    pub failed: Vec<String>,
}

impl Report {
    /// Fails the test unless every request was answered with 200.
    ///
    /// # Panics
    /// With the first failure.
    #[track_caller]
    pub fn assert_all_answered(&self) {
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
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(send(client, target.to_owned(), stop.clone()));
        }
        Self {
            stop,
            clients: tasks,
        }
    }

    /// Lets the clients finish and adds up their reports.
    pub async fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let reports = self.clients.join_all().await;
        reports.into_iter().fold(Report::default(), |mut all, one| {
            all.answered += one.answered;
            all.failed.extend(one.failed);
            all
        })
    }
}

async fn send(client: Client, target: String, stop: Arc<AtomicBool>) -> Report {
    let mut report = Report::default();
    while !stop.load(Ordering::Relaxed) {
        match client.get(&target).send().await {
            Ok(answer) if answer.status == 200 => report.answered += 1,
            Ok(answer) => report
                .failed
                .push(format!("{} {}", answer.status, answer.text())),
            Err(error) => report.failed.push(error.to_string()),
        }
    }
    report
}
