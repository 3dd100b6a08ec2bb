//! The function that the tests deploy: one that shows what it gets, and misbehaves when asked to.
//!
//! Its source is `tests/probe/main.rs`, which says what it answers. It is compiled when it is first
//! needed, into `target/probe`.

use std::fs::{self, File};
use std::process::Command;

use corefn_core::config::{FunctionConfig, Limits};
use rustix::fs::{FlockOperation, flock};

use crate::pattern::sum;
use crate::programs;

/// The variable of its environment that makes it misbehave.
pub const MODE: &str = "MODE";

/// A configuration with an idle time that suits tests, and room for the probe's thread a
/// connection.
pub fn config() -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(3000),
        limits: Limits {
            pids: 1024,
            ..Limits::default()
        },
        ..FunctionConfig::default()
    }
}

/// The same with an idle time.
pub fn idle(seconds: u64) -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(seconds * 1000),
        ..config()
    }
}

/// The same for a probe that misbehaves: `never-listen`, `exit`, `wrong-port`, `loopback`,
/// `slow-start:<milliseconds>`.
pub fn misbehaving(mode: &str) -> FunctionConfig {
    FunctionConfig {
        env: [(MODE.to_owned(), mode.to_owned())].into(),
        ..config()
    }
}

/// The executable, statically linked.
///
/// # Panics
/// When it can't be compiled.
pub fn executable() -> Vec<u8> {
    let source = programs::workspace().join("tests/probe/main.rs");
    let text = fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let folder = programs::target().join("probe");
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    let path = folder.join(sum(&text));
    // Tests run side by side, each in a process of its own: one compiles, the others wait.
    let lock = File::create(folder.join(".lock")).expect("the folder can be written to");
    flock(&lock, FlockOperation::LockExclusive).expect("files can be locked");
    if !path.exists() {
        compile(&source, &folder.join("new"));
        fs::rename(folder.join("new"), &path).expect("the folder can be written to");
    }
    fs::read(&path).expect("it was just made")
}

fn compile(source: &std::path::Path, to: &std::path::Path) {
    let version = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc is installed");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ])
        .args(["-C", "panic=abort", "--crate-name", "probe"])
        // With a target named, the feature isn't asked of what runs in the compiler.
        .args(["--target", host.expect("rustc names its host")])
        .arg("-o")
        .arg(to)
        .arg(source)
        .output()
        .expect("rustc is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
