//! `corefn-keep`: keeps sandboxes waiting, and gives them to whoever starts a function.
#![forbid(unsafe_code)]

mod executables;
mod folder;
mod given;
mod keeper;
mod make;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use corefn_engine::{home, log};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use keeper::Keeper;

/// Keeps sandboxes waiting, and gives them to whoever starts a function.
#[derive(Debug, Parser)]
#[command(name = "corefn-keep", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, else /var/lib/corefn, else ./var]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The same folder as the host of Docker knows it, for a keeper in a container [default: the same]
    #[arg(long, value_name = "DIR", value_parser = home::absolute)]
    home_on_host: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::service("corefn-keep", run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // First of all, so that a signal that comes early ends it well, too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = home::find(arguments.home)?;
    let host = home::read(&home)?;
    let on_host = arguments.home_on_host.as_ref().unwrap_or(&home);
    let keeper = Keeper::open(&home, on_host, &host)?;
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                ended = keeper.keep() => Ok(ended?),
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            }
        })
        .await
}
