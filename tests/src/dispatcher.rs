//! The installation's dispatchers.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use crate::clock::Clock;
use crate::home::Home;
use crate::process::Process;
use crate::programs::program;

const NAME: &str = "corefn-dispatch";

/// A `corefn-dispatch` that runs.
#[derive(Debug)]
pub struct Dispatcher(Process);

impl Dispatcher {
    /// Starts it, to call functions by the installation's nginx. What it prints goes to the log of this name. It goes by
    /// `clock`, or by the machine's.
    pub fn start(home: &Home, log: &str, clock: Option<&Clock>) -> Self {
        let mut command = Command::new(program(NAME));
        command.arg("--home").arg(home.folder.path());
        if let Some(clock) = clock {
            clock.give(&mut command);
        }
        Self(Process::spawn(&home.folder, log, &mut command))
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it and waits for its end; it finishes the calls that are under way.
    pub async fn stop(mut self) -> ExitStatus {
        self.0.signal(Signal::TERM);
        self.0.ended(Duration::from_secs(60)).await
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.0.kill().await;
    }
}
