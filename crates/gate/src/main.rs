//! `corefn-gate`: holds Docker's socket, and offers narrower ones.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use corefn_core::gate::Caller;
use corefn_engine::socket::listen;
use corefn_engine::{home, log};
use corefn_gate::policy::Policy;
use corefn_gate::serve::Gate;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

/// How many connections there are at a time, at most, the same share of them for each caller; others wait. (A start has some
/// for as long as it lasts.)
const MOST_CONNECTIONS: usize = 4096;

/// How many files are needed beside those of connections.
const OTHER_FILES: u64 = 64;

/// Offers nginx and CoreFn's services as much of Docker as they need, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "corefn-gate", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, else /var/lib/corefn, else ./var]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The same folder as the host of Docker knows it, for a gate in a container [default: the same]
    #[arg(long, value_name = "DIR", value_parser = home::absolute)]
    home_on_host: Option<PathBuf>,
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
    let host = home::read_as_written(&home)?;
    let on_host = arguments.home_on_host.as_ref().unwrap_or(&home);
    let folder = home.join(&host.gate);
    let mut gates = JoinSet::new();
    let mut locks = Vec::new();
    let connections = connections() / Caller::ALL.len();
    for caller in Caller::ALL {
        let socket = caller.socket(&folder);
        // (Whose folder is not there has no socket: who may use one is its folder's affair.)
        if !socket.parent().is_some_and(Path::is_dir) {
            info!(
                "{} is not there: there is nothing of Docker for a {}",
                socket.display(),
                caller.word()
            );
            continue;
        }
        let wrong = |cause| format!("{} can't be listened on: {cause}", socket.display());
        let Some((listener, lock)) = listen(&socket).map_err(wrong)? else {
            return Err(format!("another corefn-gate listens on {}", socket.display()).into());
        };
        locks.push(lock);
        let policy = Policy::new(caller, &host, &home, on_host);
        let gate = Arc::new(Gate::new(policy, &host.docker, connections.max(1)));
        gates.spawn(gate.serve(listener));
    }
    if gates.is_empty() {
        let names = Caller::ALL.map(Caller::word).join(", ");
        return Err(format!(
            "{} has no folder for anybody who needs Docker: make one of {names}",
            folder.display()
        )
        .into());
    }
    tokio::select! {
        _ = gates.join_next() => {}
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
