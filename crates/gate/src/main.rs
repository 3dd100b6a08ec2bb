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
use tokio::signal::unix::{SignalKind, signal};

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
    let folder = host.gate.as_ref().map(|folder| home.join(folder));
    let folder =
        folder.ok_or("host.toml has no gate: write gate = \"gate\", the folder of its socket")?;
    let socket = folder.join(names::ROUTER_SOCKET);
    let wrong = |cause| format!("{} can't be listened on: {cause}", socket.display());
    let Some((listener, _lock)) = listen(&socket).map_err(wrong)? else {
        return Err(format!("another corefn-gate listens on {}", socket.display()).into());
    };
    let gate = Arc::new(Gate::new(&host.docker, &host.namespace));
    tokio::select! {
        () = gate.serve(listener) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
