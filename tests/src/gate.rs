//! The installation's gate before Docker.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use corefn_core::gate::Caller;
use corefn_core::names::env;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::folder::Folder;
use crate::process::Process;
use crate::programs::program;
use crate::wait::wait_until;

const NAME: &str = "corefn-gate";

/// The folder of its sockets, in the home.
const FOLDER: &str = "gate";

const PATIENCE: Duration = Duration::from_secs(20);

/// A `corefn-gate` that runs.
#[derive(Debug)]
pub struct Gate {
    process: Process,
    folder: PathBuf,
}

/// The variable by which a service of an installation has Docker as that caller, if there is a gate.
pub fn variable(folder: &Folder, caller: Caller) -> Option<(&'static str, &'static str)> {
    let socket = caller.socket(&folder.file(FOLDER));
    socket.exists().then_some((env::GATE, caller.word()))
}

impl Gate {
    /// Starts it, before the Docker that the settings name, and waits until it listens.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(folder: &Arc<Folder>) -> Self {
        let mut command = Command::new(program(NAME));
        command.arg("--home").arg(folder.path());
        let place = folder.file(FOLDER);
        for caller in Caller::ALL {
            let socket = caller.socket(&place);
            let folder = socket.parent().expect("it is in a folder");
            std::fs::create_dir_all(folder).expect("the home can be written to");
        }
        let gate = Self {
            process: Process::spawn(folder, FOLDER, &mut command),
            folder: place,
        };
        wait_until("the gate listens", PATIENCE, async || {
            for caller in Caller::ALL {
                if UnixStream::connect(gate.socket(caller)).await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
        gate
    }

    fn socket(&self, caller: Caller) -> PathBuf {
        caller.socket(&self.folder)
    }

    /// What a caller connects to in place of Docker.
    pub fn url(&self, caller: Caller) -> String {
        format!("unix://{}", self.socket(caller).display())
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends bytes as a caller and returns all that comes back until the connection ends.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn raw(&self, caller: Caller, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket(caller))
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

    /// Sends bytes as a caller, and ends the connection.
    ///
    /// # Panics
    /// When the gate does not listen.
    pub async fn break_off(&self, caller: Caller, bytes: &[u8]) {
        let stream = UnixStream::connect(self.socket(caller)).await;
        let mut stream = stream.expect("the gate listens");
        let _ = stream.write_all(bytes).await;
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
