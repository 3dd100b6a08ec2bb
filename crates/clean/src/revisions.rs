//! Looking after revisions, beside the rounds.

use std::sync::Arc;
use std::time::Duration;

use corefn_core::host::Revisions;
use corefn_engine::agree;
use corefn_engine::docker::Docker;
use corefn_engine::revisions::{Disagreements, remove_not_kept, remove_unused_secrets};
use corefn_engine::secrets::SecretStore;
use corefn_engine::store::Store;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

/// How often they are looked after: there is one more with a push, and Docker is asked for all images.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// Removes the images of those that are not kept, and tells of each.
pub async fn remove(docker: &Docker, settings: &Revisions) {
    match remove_not_kept(docker, settings).await {
        Ok(removed) => {
            for image in removed {
                let deployment = image.deployment;
                info!(
                    "removed revision {} of {}, which is not kept",
                    deployment.revision, deployment.function
                );
            }
        }
        Err(error) => error!("revisions that are not kept stay for now: {error}"),
    }
}

/// Removes the values of secrets that no image that is kept refers to.
pub async fn remove_secrets(docker: &Docker, secrets: &SecretStore) {
    match remove_unused_secrets(docker, secrets).await {
        Ok(0) => {}
        Ok(removed) => info!("removed {removed} values of secrets that nothing refers to"),
        Err(error) => error!("values of secrets that nothing refers to stay for now: {error}"),
    }
}

/// The same again and again, and has Docker and Redis agree on what is deployed.
pub async fn look_after(
    docker: Arc<Docker>,
    store: Arc<Store>,
    settings: Revisions,
    secrets: SecretStore,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut disagreements = Disagreements::default();
    let mut former = Vec::new();
    loop {
        ticks.tick().await;
        remove(&docker, &settings).await;
        remove_secrets(&docker, &secrets).await;
        // (What goes wrong here goes wrong for the rounds, too, which tell of it.)
        let settled = disagreements.settle(&store, &docker).await;
        for (function, settled) in settled.unwrap_or_default() {
            warn!(
                "{function} was at {} in Docker and at {} in Redis, and is at {} now: whoever deployed it was killed, or Redis \
                 came back as it was before",
                settled.docker, settled.redis, settled.right
            );
        }
        let settled = agree::settle(&mut former, &store, &docker).await;
        for function in settled.unwrap_or_default() {
            warn!(
                "Docker and Redis agree again on what is released of {function}: whoever released it was killed, or Redis came back \
                 as it was before"
            );
        }
    }
}
