//! Holds mixed traffic while it breaks everything in turn, and proves that no request failed that a
//! healthy function could have answered.
//!
//! `CHAOS_SECONDS` says for how long about, 300 without a value. `CHAOS_SEED` chooses what breaks
//! when, and what the clients ask for; without a value it is random, and printed. What must hold is
//! in `checker.rs`. It ends with 1 if something did not.
#![forbid(unsafe_code)]

mod ask;
mod checker;
mod deploys;
mod faults;
mod history;
mod invocations;
mod pages;
mod plan;
mod report;
mod run;
mod schedules;
mod socket;
mod sockets;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

/// How long a run takes that isn't told.
const SECONDS: u64 = 300;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let (seed, seconds) = match (number("CHAOS_SEED"), number("CHAOS_SECONDS")) {
        (Ok(seed), Ok(seconds)) => {
            // Short enough to be typed again.
            let random = || getrandom::u32().map_or(1, u64::from);
            (seed.unwrap_or_else(random), seconds.unwrap_or(SECONDS))
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("The same again: CHAOS_SEED={seed} CHAOS_SECONDS={seconds} make chaos");
    let report = tokio::select! {
        report = run::run(seed, Duration::from_secs(seconds)) => report,
        _ = tokio::signal::ctrl_c() => return ExitCode::FAILURE,
    };
    println!("\n{}", report.table);
    if report.wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("What should not have been:\n{}", report.failures());
    ExitCode::FAILURE
}

/// A variable of the environment that is a number, if it is set.
fn number(name: &str) -> Result<Option<u64>, String> {
    match std::env::var(name) {
        Err(_) => Ok(None),
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} is {text:?}: write a whole number")),
        },
    }
}
