//! `corefn`, what a person types.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::home::Home;
use crate::programs::program;

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// What it printed.
    pub output: String,
    /// What it complained of.
    pub errors: String,
}

/// Runs `corefn` with the installation's home.
///
/// # Panics
/// When it can't be run, or a signal ends it.
pub async fn corefn(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = command();
    command.arg("--home").arg(home.folder.path());
    ran(command.args(arguments)).await
}

/// Runs `corefn` with the installation's home, and `then` when it has printed its first line. It
/// must not be ended by a signal.
///
/// # Panics
/// When it can't be run, prints no line, or a signal ends it.
pub async fn corefn_and(home: &Home, arguments: &[&str], then: impl Future) -> Ran {
    let mut command = command();
    command.arg("--home").arg(home.folder.path());
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut first = String::new();
    let read = lines.read_line(&mut first).await;
    assert!(read.is_ok_and(|length| length > 0), "it prints nothing");
    then.await;
    let mut rest = String::new();
    let read = lines.read_to_string(&mut rest).await;
    read.expect("it prints text");
    let ended = child.wait_with_output().await.expect("it is waited for");
    Ran {
        code: ended.status.code().expect("no signal ends it"),
        output: first + &rest,
        errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// `corefn` without arguments, and without a home in its environment.
pub fn command() -> Command {
    let mut command = Command::new(program("corefn"));
    command.env_remove(corefn_core::names::env::HOME);
    command
}

/// Runs it.
///
/// # Panics
/// When it can't be run, or a signal ends it.
pub async fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.expect("the program can be run");
    Ran {
        code: output.status.code().expect("no signal ends it"),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Checks that it succeeded, and returns what it printed.
    ///
    /// # Panics
    /// With what it complained of.
    #[track_caller]
    pub fn succeeded(&self) -> &str {
        assert_eq!(self.code, 0, "{}{}", self.output, self.errors);
        &self.output
    }

    /// Checks that it failed with a status, and complained with these texts.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn failed(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for text in texts {
            assert!(self.errors.contains(text), "{text:?} is not in {self:?}");
        }
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it failed, or it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let output = self.succeeded();
        serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
    }
}
