//! `corefn-gate`: holds Docker's socket, and offers nginx a narrower one.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use corefn_core::names;
use corefn_engine::socket::listen;
use corefn_engine::{home, log};
use corefn_gate::serve::Gate;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// How many connections there are at a time, at most; others wait. (A start has some for as long as it lasts.)
const MOST_CONNECTIONS: usize = 4096;

/// How many files are needed beside those of connections.
const OTHER_FILES: u64 = 64;

/// Offers nginx as much of Docker as it needs, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "corefn-gate", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, or ./var]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::service("corefn-gate", run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // First of all, so that a signal that comes early ends it well, too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = home::find(arguments.home)?;
    let host = home::read(&home)?;
    let socket = home.join(&host.gate).join(names::ROUTER_SOCKET);
    let wrong = |cause| format!("{} can't be listened on: {cause}", socket.display());
    let Some((listener, _lock)) = listen(&socket).map_err(wrong)? else {
        return Err(format!("another corefn-gate listens on {}", socket.display()).into());
    };
    let gate = Arc::new(Gate::new(&host.docker, &host.namespace, connections()));
    tokio::select! {
        () = gate.serve(listener) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// How many connections there may be: each needs a file for nginx and one for Docker, and there are some others. Has as many files
/// as the system allows.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let raised = setrlimit(Resource::Nofile, all).map(|()| limit.maximum);
    let files = raised.unwrap_or(limit.current).unwrap_or(u64::MAX);
    let connections = files.saturating_sub(OTHER_FILES) / 2;
    usize::try_from(connections).map_or(MOST_CONNECTIONS, |it| it.clamp(1, MOST_CONNECTIONS))
}
