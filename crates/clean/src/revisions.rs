//! Looking after revisions, beside the rounds.

use std::sync::Arc;
use std::time::Duration;

use corefn_core::host::Revisions;
use corefn_engine::docker::Docker;
use corefn_engine::revisions::{remove_not_kept, remove_unused_secrets};
use corefn_engine::secrets::SecretStore;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

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

/// The same again and again.
pub async fn look_after(docker: Arc<Docker>, settings: Revisions, secrets: SecretStore) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        remove(&docker, &settings).await;
        remove_secrets(&docker, &secrets).await;
    }
}
