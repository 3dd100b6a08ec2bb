//! `corefn-dispatch`: calls functions when their schedules say so, through nginx as any client does.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
mod dispatcher;
mod known;
mod router;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;
use corefn_engine::{home, log};
use tokio::signal::unix::{SignalKind, signal};

use dispatcher::Dispatcher;
use router::Router;

/// Calls functions when their schedules say so.
#[derive(Debug, Parser)]
#[command(name = "corefn-dispatch", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, or ./var]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::service("corefn-dispatch", run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // First of all, so that a signal that comes early ends it well, too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = home::find(arguments.home)?;
    let host = home::read(&home)?;
    let store = Store::new(&host.redis, &host.namespace)?;
    let router = Router::new(host.router())?;
    let token = random_id()?.to_string();
    let dispatcher = Arc::new(Dispatcher::new(store, router, token));
    let follower = dispatcher.clone();
    let follower = tokio::spawn(async move { follower.follow().await });
    tokio::select! {
        () = dispatcher.work() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    dispatcher.end(follower).await;
    Ok(())
}
