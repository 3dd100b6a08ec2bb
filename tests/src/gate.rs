//! The installation's gate before Docker.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use corefn_core::names;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::folder::Folder;
use crate::process::Process;
use crate::programs::program;
use crate::wait::wait_until;

const NAME: &str = "corefn-gate";

/// The folder of its socket, in the home.
const FOLDER: &str = "gate";

const PATIENCE: Duration = Duration::from_secs(20);

/// A `corefn-gate` that runs.
#[derive(Debug)]
pub struct Gate {
    process: Process,
    socket: PathBuf,
}

impl Gate {
    /// Starts it, before the Docker that the settings name, and waits until it listens.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(folder: &Arc<Folder>) -> Self {
        let mut command = Command::new(program(NAME));
        command.arg("--home").arg(folder.path());
        let gate = Self {
            process: Process::spawn(folder, FOLDER, &mut command),
            socket: folder.file(FOLDER).join(names::ROUTER_SOCKET),
        };
        wait_until("the gate listens", PATIENCE, async || {
            UnixStream::connect(&gate.socket).await.is_ok()
        })
        .await;
        gate
    }

    /// What to connect to in place of Docker.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends bytes and returns all that comes back until the connection ends.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket)
            .await
            .expect("the gate listens");
        // (It may end the connection before it has all of it.)
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer));
        // (What comes before a reset counts.)
        let _ = read.await.expect("the gate ends the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ends it and waits for its end.
    pub async fn stop(mut self) -> bool {
        self.process.signal(Signal::TERM);
        self.process.ended(PATIENCE).await.success()
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.process.kill().await;
    }
}
