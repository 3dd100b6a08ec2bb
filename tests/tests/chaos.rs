//! The short form of `make chaos`.
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn nothing_fails_that_should_not() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .env("CHAOS_SECONDS", "30")
        .output()
        .unwrap();
    // Shown if it fails.
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}
