//! Follows the events channel, and starts over from a snapshot whenever the connection broke.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::lease::{DEFAULT_IDLE, relied_until};

use super::shared::{Shared, redis_failure};
use super::{Level, Update};
use crate::clock;
use crate::rebuild::{RebuildError, rebuild};
use crate::start::random_id;
use crate::store::StoreError;

/// The pauses between attempts to connect.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Runs for as long as the thread does.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    let mut failing = false;
    loop {
        match follow(&shared).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                shared.log(
                    Level::Warn,
                    "the connection to Redis has ended; connecting again",
                );
                failing = true;
            }
            Err(failure) => {
                // Told once, not with each attempt.
                if !failing {
                    shared.log(Level::Error, failure.detail.clone());
                    failing = true;
                }
                shared.outbox.send(Update::Unavailable(failure));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Subscribes, takes a snapshot, and follows the events until the connection ends. Subscribing
/// comes first, so that nothing falls between the two.
async fn follow(shared: &Shared) -> Result<(), Failure> {
    let mut events = std::pin::pin!(shared.store.events().await.map_err(|e| redis_failure(&e))?);
    let token = random_id()?.to_string();
    match rebuild(&shared.store, &shared.docker, &token, DEFAULT_IDLE).await {
        Ok(true) => shared.log(
            Level::Notice,
            "Redis was empty; filled it from Docker's labels",
        ),
        Ok(false) => {}
        Err(RebuildError::Store(error)) => return Err(redis_failure(&error)),
        Err(RebuildError::Docker(error)) => {
            return Err(Failure::new(
                ErrorCode::DockerUnavailable,
                error.to_string(),
            ));
        }
    }
    snapshot(shared).await.map_err(|e| redis_failure(&e))?;
    while let Some(event) = events.next().await {
        shared.event(event);
    }
    Ok(())
}

async fn snapshot(shared: &Shared) -> Result<(), StoreError> {
    let deployments = shared.store.deployments().await?;
    let now = clock::now();
    let (ready, withheld): (Vec<_>, Vec<_>) = shared
        .store
        .instances()
        .await?
        .into_iter()
        .partition(|leased| leased.ready);
    let instances = ready
        .into_iter()
        .map(|leased| {
            let left = leased.lease.map_or(0, |lease| lease.as_millis() as u64);
            (leased.instance, relied_until(now, left))
        })
        .collect();
    let withheld = withheld.into_iter().map(|leased| leased.instance);
    shared.snapshot(deployments, instances, withheld.collect());
    Ok(())
}
