//! `corefn-dispatch`: calls functions when their schedules say so, and for clients that do not wait, through nginx as any client
//! does.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod call;
mod dispatcher;
mod known;
mod queues;
mod replay;
mod router;
mod spool;

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use corefn_core::names;
use corefn_engine::socket::listen;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;
use corefn_engine::{home, log};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::info;

use dispatcher::Dispatcher;
use queues::Queues;
use router::Router;
use spool::Spool;

/// How often it is looked whether another dispatcher has ended.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls functions when their schedules say so, and for clients that do not wait.
#[derive(Debug, Parser)]
#[command(name = "corefn-dispatch", version)]
struct Arguments {
    /// The installation's folder, with host.toml in it [default: $COREFN_HOME, else /var/lib/corefn, else ./var]
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
    let store = Arc::new(Store::new(&host.redis, &host.namespace)?);
    let router = Arc::new(Router::new(host.router())?);
    let token = random_id()?.to_string();
    let dispatcher = Arc::new(Dispatcher::new(store.clone(), router.clone(), token));
    let follower = dispatcher.clone();
    let follower = tokio::spawn(async move { follower.follow().await });
    let folder = host.invocations.map(|folder| home.join(folder));
    let make = |spool| Queues::new(store, router, spool, host.max_invocations);
    let taken = OnceCell::new();
    let ended = tokio::select! {
        () = dispatcher.work() => Ok(()),
        failed = invocations(folder, make, &taken) => failed,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let queues = async {
        if let Some((queues, _lock)) = taken.get() {
            queues.end().await;
        }
    };
    tokio::join!(dispatcher.end(follower), queues);
    ended
}

/// Takes invocations and has them called, for as long as it is polled: once no other dispatcher does.
async fn invocations(
    folder: Option<PathBuf>,
    make: impl FnOnce(Spool) -> Queues,
    taken: &OnceCell<(Arc<Queues>, File)>,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(folder) = folder else {
        return std::future::pending().await;
    };
    let wrong = |cause| {
        format!(
            "{} can't be used for invocations: {cause}",
            folder.display()
        )
    };
    let (listener, lock) = take(&folder).await.map_err(wrong)?;
    let spool = Spool::open(&folder, &random_id()?.to_string()).map_err(wrong)?;
    let queues = Arc::new(make(spool));
    let _ = taken.set((queues.clone(), lock));
    tokio::join!(accept::serve(queues.clone(), listener), queues.work());
    Ok(())
}

/// Takes the folder's socket, once nobody else has it. Whoever has its lock has the invocations called.
async fn take(folder: &Path) -> io::Result<(UnixListener, File)> {
    let socket = folder.join(names::DISPATCHER_SOCKET);
    let mut is_told = false;
    loop {
        if let Some(taken) = listen(&socket)? {
            return Ok(taken);
        }
        if !is_told {
            let socket = socket.display();
            info!("another dispatcher listens on {socket}: this one does when that has ended");
            is_told = true;
        }
        sleep(PAUSE).await;
    }
}
