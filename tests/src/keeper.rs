//! The installation's keeper of sandboxes.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use corefn_core::names::{HOST_FILE, label};
use rustix::process::Signal;

use crate::folder::Folder;
use crate::home::Home;
use crate::process::Process;
use crate::programs::program;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `corefn-keep` that runs.
#[derive(Debug)]
pub struct Keeper {
    folder: Arc<Folder>,
    process: Process,
}

impl Keeper {
    /// Adds the table to the settings that says how many sandboxes wait, and starts a keeper.
    pub fn start(home: &Home, settings: &str) -> Self {
        let host = home.folder.read(HOST_FILE);
        home.folder
            .write(HOST_FILE, format!("{host}\n[sandboxes]\n{settings}\n"));
        Self::start_again(home)
    }

    /// Starts a keeper by the settings that there are.
    pub fn start_again(home: &Home) -> Self {
        let mut command = Command::new(program("corefn-keep"));
        command.arg("--home").arg(home.folder.path());
        Self {
            process: Process::spawn(&home.folder, "keep", &mut command),
            folder: home.folder.clone(),
        }
    }

    /// The socket at which sandboxes are claimed.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("sandboxes/keeper")
    }

    /// Ends it as an operator does.
    pub async fn end(mut self) {
        self.process.signal(Signal::TERM);
        self.process.ended(PATIENCE).await;
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.folder.read("log/keep.log")
    }
}

/// The containers of sandboxes that wait, in an order of their own, if all of them run.
pub async fn waiting(home: &Home) -> Vec<String> {
    let containers = home.docker.containers().await.expect("Docker answers");
    let mut found: Vec<_> = containers
        .into_iter()
        .filter(|found| {
            let waits = !found.labels.contains_key(label::FUNCTION);
            found.running && waits && found.has(label::ROLE, label::ROLE_SANDBOX)
        })
        .map(|found| found.id)
        .collect();
    found.sort();
    found
}
