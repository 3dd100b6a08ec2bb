//! `corefn-build`: the `proc-receive` hook of a function's repository; with the argument `serve`, the
//! service that builds for hooks which may not do so themselves.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds what is pushed: as the proc-receive hook of a repository, which git runs without a word, or as a service.
#[derive(Debug, Parser)]
#[command(name = "corefn-build", version)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Build for hooks that may not do so themselves; $COREFN_HOME says for which installation
    Serve,
}

fn main() -> ExitCode {
    let serves = matches!(Arguments::parse().what, Some(What::Serve));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("error: no event loop: {error}"), 1),
    };
    let code = if serves {
        corefn_engine::log::to_stderr("corefn-build");
        match runtime.block_on(corefn_build::service::serve()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("error: {error}"), 1),
        }
    } else {
        ExitCode::from(runtime.block_on(corefn_build::hook::run()))
    };
    // A thread may still wait for a lock or for a pusher who reads nothing any more.
    runtime.shutdown_background();
    code
}

fn failed(text: &str, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(status)
}
