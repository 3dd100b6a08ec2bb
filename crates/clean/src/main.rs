//! `corefn-clean`: stops instances that have been idle for long enough, has those yield that compute for long, tidies up after
//! starters and builders that died, and removes the images of revisions that are not kept.
#![forbid(unsafe_code)]

mod agreement;
mod revisions;
mod round;
mod yielding;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use corefn_engine::docker::Docker;
use corefn_engine::secrets::SecretStore;
use corefn_engine::store::Store;
use corefn_engine::{home, log};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use agreement::Agreement;
use round::Cleaner;
use yielding::Yielding;

/// Stops functions' instances that have been idle for long enough.
#[derive(Debug, Parser)]
#[command(name = "corefn-clean", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, else /var/lib/corefn, else ./var]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Seconds between two rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Do one round and end
    #[arg(long)]
    once: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::service("corefn-clean", run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // First of all, so that a signal that comes early ends it well, too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = home::find(arguments.home)?;
    let host = home::read(&home)?;
    let secrets = SecretStore::new(&home.join(&host.secrets));
    let store = Store::new(&host.redis, &host.namespace)?;
    let docker = Arc::new(Docker::new(&host.docker, &host.namespace));
    let store = Arc::new(store);
    let cleaner = Cleaner::new(store.clone(), docker.clone(), arguments.once, &host);
    let cleaner = Arc::new(cleaner);
    if arguments.once {
        cleaner.round().await?;
        cleaner.settle().await;
        revisions::remove(&docker, &host.revisions).await;
        revisions::remove_secrets(&docker, &secrets).await;
        return Ok(());
    }
    let every = Duration::from_secs(arguments.every);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    let watcher = cleaner.clone();
    tokio::spawn(async move { watcher.watch().await });
    tokio::spawn(Agreement::new(docker.clone(), store.clone(), every).keep());
    if host.yielding {
        tokio::spawn(Yielding::new(docker.clone(), store).keep());
    }
    tokio::spawn(revisions::look_after(docker, host.revisions, secrets));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        match cleaner.round().await {
            Ok(()) => {
                if failing {
                    info!("back to work");
                }
                failing = false;
            }
            Err(error) => {
                // Logged once, not with each round. Whoever is busy gets the time to renew its
                // leases before anything is stopped again.
                if !failing {
                    error!("{error}; nothing is stopped until it is back");
                }
                failing = true;
                cleaner.unsettle();
            }
        }
    }
    cleaner.settle().await;
    Ok(())
}
