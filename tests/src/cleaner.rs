//! The installation's cleaner.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use corefn_core::gate::Caller;
use rustix::process::Signal;

use crate::clock::Clock;
use crate::folder::Folder;
use crate::gate;
use crate::process::Process;
use crate::programs::program;

const NAME: &str = "corefn-clean";

/// A `corefn-clean` that runs.
#[derive(Debug)]
pub struct Cleaner(Process);

impl Cleaner {
    /// Starts it; `every` is the seconds between two rounds, its own default without a value.
    /// It goes by `clock`, or by the machine's.
    pub fn start(folder: &Folder, every: Option<u64>, clock: Option<&Clock>) -> Self {
        let mut command = Command::new(program(NAME));
        command.arg("--home").arg(folder.path());
        command.envs(gate::variable(folder, Caller::Cleaner));
        if let Some(every) = every {
            command.arg("--every").arg(every.to_string());
        }
        if let Some(clock) = clock {
            clock.give(&mut command);
        }
        Self(Process::spawn(folder, NAME, &mut command))
    }

    /// Ends it and waits for its end; it finishes the stops that are under way.
    pub async fn stop(mut self) -> ExitStatus {
        self.0.signal(Signal::TERM);
        self.0.ended(Duration::from_secs(20)).await
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.0.kill().await;
    }
}
