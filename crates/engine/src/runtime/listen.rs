//! Follows the events channel, and starts over from a snapshot whenever the connection broke.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tracing::info;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::lease::{DEFAULT_IDLE, relied_until};

use super::Update;
use super::shared::Shared;
use crate::clock;
use crate::docker::DockerError;
use crate::pauses::Pauses;
use crate::rebuild::{RebuildError, rebuild};
use crate::start::random_id;
use crate::store::StoreError;

/// How long Docker may take to say what is deployed, when Redis can't.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs for as long as the thread does.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut pauses = Pauses::of_service();
    let mut filled = false;
    loop {
        match follow(&shared, &mut filled).await {
            Ok(()) => pauses.reset(),
            Err(RebuildError::Store(error)) => {
                let failure = shared.redis_failed(&error);
                if !filled {
                    match from_docker(&shared).await {
                        Ok(()) => filled = true,
                        Err(_) => shared.outbox.send(Update::Unavailable(failure)),
                    }
                }
            }
            // That Docker is out of reach is told where its events are listened for.
            Err(RebuildError::Docker(error)) => {
                let failure = Failure::new(ErrorCode::DockerUnavailable, error.to_string());
                shared.outbox.send(Update::Unavailable(failure));
            }
        }
        tokio::time::sleep(pauses.grow()).await;
    }
}

/// Subscribes, takes a snapshot, and follows the events until the connection ends. Subscribing
/// comes first, so that nothing falls between the two.
async fn follow(shared: &Shared, filled: &mut bool) -> Result<(), RebuildError> {
    let mut events = std::pin::pin!(shared.store.events().await?);
    let token = random_id().map_or_else(|_| "router".to_owned(), |id| id.to_string());
    if rebuild(&shared.store, &shared.docker, &token, DEFAULT_IDLE).await? {
        info!("Redis was empty; filled it from Docker's labels");
    }
    shared.tell_redis().await?;
    snapshot(shared).await?;
    *filled = true;
    while let Some(event) = events.next().await {
        shared.event(event);
    }
    Ok(())
}

/// Takes a snapshot of what Docker's labels say is deployed. What runs is found when it is asked
/// for.
async fn from_docker(shared: &Shared) -> Result<(), DockerError> {
    let images = shared.docker.within(PATIENCE, shared.docker.images());
    let current = images.await?.into_iter().filter(|image| image.current);
    let deployments = current.map(|image| image.deployment).collect();
    shared.snapshot(deployments, Vec::new(), Vec::new());
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
