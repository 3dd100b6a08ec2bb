//! Has the event loop look whether those who wait for room can go on: when another worker says so, and after a while.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::{Outbox, Update};

/// How long those wait of whom nobody has told, since whoever should have has died.
const A_WHILE: Duration = Duration::from_secs(1);

/// Runs for as long as the thread does.
pub(super) async fn listen(ear: UnixDatagram, outbox: Arc<dyn Outbox>) {
    let ear = match tokio::net::UnixDatagram::from_std(ear) {
        Ok(ear) => ear,
        Err(failed) => {
            error!("other workers are not heard: {failed}");
            return std::future::pending().await;
        }
    };
    // What is said does not matter.
    let mut said = [0];
    loop {
        if ear.recv(&mut said).await.is_ok() {
            // (What else was said meanwhile is heard with it.)
            while ear.try_recv(&mut said).is_ok() {}
            outbox.send(Update::Look);
        }
    }
}

/// Has it look again in a while.
pub(super) fn again(outbox: Arc<dyn Outbox>) {
    tokio::spawn(async move {
        tokio::time::sleep(A_WHILE).await;
        outbox.send(Update::LookAgain);
    });
}
