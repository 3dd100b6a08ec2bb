//! Notices that work should end before it is done.

use std::fs;
use std::future::pending;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::parent_id;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::BuildError;

/// How long a request to Docker that was broken off may still take effect there.
pub(crate) const SETTLES: Duration = Duration::from_secs(1);

/// What ends the work before it is done, and why.
pub(crate) type Stop<'a> = Pin<&'a mut (dyn Future<Output = &'static str> + Send + 'a)>;

/// Does the work unless something ends it.
pub(crate) async fn unless<T>(
    stop: &mut Stop<'_>,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    tokio::select! {
        biased;
        why = stop.as_mut() => Err(BuildError::Interrupted(why)),
        result = work => result,
    }
}

/// Returns when the builder is told to end, or when the pusher is gone, and says which.
///
/// git passes on what the hook writes through a pipe, and sends a sign of life to the pusher every
/// five seconds (`receive.keepAlive`). When nobody is there any more, whoever does that ends.
pub async fn interrupted() -> &'static str {
    tokio::select! {
        why = told() => why,
        () = pipe_closed() => "the pusher is gone",
        () = relay_ended() => "the pusher is gone",
    }
}

/// Returns when this process is told to end, and says by what.
pub(crate) async fn told() -> &'static str {
    tokio::select! {
        () = signalled(SignalKind::terminate()) => "it was told to (SIGTERM)",
        () = signalled(SignalKind::interrupt()) => "it was told to (SIGINT)",
        () = signalled(SignalKind::hangup()) => "whoever wanted it is gone (SIGHUP)",
    }
}

async fn signalled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => pending().await,
    }
}

/// Returns when nobody reads standard error any more. A file, which can't be watched, is always
/// read.
async fn pipe_closed() {
    let pipe = io::stderr().as_fd().try_clone_to_owned();
    if let Ok(pipe) = pipe.and_then(Sender::from_owned_fd_unchecked)
        && pipe.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    pending().await
}

/// Returns when the thread of `git receive-pack` has ended that passes on what the hook writes.
///
/// It ends alone when it can't write to the pusher, and leaves its end of the pipe open: what the
/// hook writes then is read by nobody, and git waits for the hook for ever. It is the only thread
/// beside the first one; a parent without it is another program, of which this says nothing.
async fn relay_ended() {
    const INTERVAL: Duration = Duration::from_secs(1);
    let threads = format!("/proc/{}/task", parent_id());
    let relays = || fs::read_dir(&threads).is_ok_and(|threads| threads.count() > 1);
    if !relays() {
        return pending().await;
    }
    while relays() {
        tokio::time::sleep(INTERVAL).await;
    }
}
