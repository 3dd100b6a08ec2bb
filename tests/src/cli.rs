//! `corefn`, what a person types.

use std::io::{Seek as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::home::Home;
use crate::programs::{program, workspace};

const PATIENCE: Duration = Duration::from_secs(30);

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
    let ran = ran(command.args(arguments)).await;
    if arguments.contains(&"--json") && ran.code == 0 {
        check_keys(arguments, &ran.output);
    }
    ran
}

/// The same with a standard input.
///
/// # Panics
/// As of [`corefn`].
pub async fn corefn_with(home: &Home, arguments: &[&str], input: &[u8]) -> Ran {
    let mut file = tempfile::tempfile().expect("there is room for a file");
    file.write_all(input)
        .and_then(|()| file.rewind())
        .expect("there is room for a file");
    let mut command = command();
    command.arg("--home").arg(home.folder.path());
    ran_with(command.args(arguments), file.into()).await
}

/// What state `corefn doctor` finds something in; empty if it says nothing of it.
///
/// # Panics
/// When it prints no JSON.
pub async fn state(home: &Home, check: &str) -> String {
    let ran = corefn(home, &["doctor", "--json"]).await;
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&ran.output).unwrap_or_else(|_| panic!("{ran:?}"));
    let found = findings.iter().find(|finding| finding["check"] == check);
    let state = found.and_then(|finding| finding["state"].as_str());
    state.unwrap_or_default().to_owned()
}

/// Checks that the keys of what a command has printed are those that the documentation has.
fn check_keys(arguments: &[&str], output: &str) {
    let word = arguments.iter().find(|word| !word.starts_with('-'));
    let word = word.expect("a command has a name");
    let values: serde_json::Value = match serde_json::from_str(output) {
        Ok(value) => value,
        // (A value a line, or none.)
        Err(_) => output
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .collect(),
    };
    let objects = match &values {
        serde_json::Value::Array(all) => all.iter().filter_map(|value| value.as_object()).collect(),
        one => one.as_object().into_iter().collect::<Vec<_>>(),
    };
    let page = workspace().join("docs/command-line.md");
    let page = std::fs::read_to_string(page).expect("the workspace has it");
    let mut rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let documented = rows.find(|(words, _)| words.split('`').any(|found| found == *word));
    let (_, keys) = documented.unwrap_or_else(|| panic!("the JSON of {word} is not documented"));
    let keys: Vec<_> = keys
        .split('|')
        .next()
        .unwrap_or_default()
        .split('`')
        .collect();
    for key in objects.iter().flat_map(|object| object.keys()) {
        assert!(
            keys.contains(&key.as_str()),
            "{word}: the key {key} is not documented"
        );
    }
}

/// A command that goes on printing. It ends with its owner.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

/// Begins to run `corefn` with the installation's home.
///
/// # Panics
/// When it can't be run.
pub fn follow(home: &Home, arguments: &[&str]) -> Following {
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
    let lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    let errors = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
    Following {
        child,
        lines,
        errors,
    }
}

impl Following {
    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its next line.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn line(&mut self) -> String {
        next(&mut self.lines).await
    }

    /// The next line of what it complains of.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn error_line(&mut self) -> String {
        next(&mut self.errors).await
    }
}

async fn next(lines: &mut Lines<impl AsyncBufRead + Unpin>) -> String {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line
        .expect("it prints another line")
        .expect("it prints text");
    line.expect("it goes on")
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
    ran_with(command, Stdio::null()).await
}

async fn ran_with(command: &mut Command, input: Stdio) -> Ran {
    let output = command.stdin(input).kill_on_drop(true).output();
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
