//! Removing the images of revisions that are not kept, beside the rounds.

use std::sync::Arc;
use std::time::Duration;

use corefn_core::host::Revisions;
use corefn_engine::docker::Docker;
use corefn_engine::revisions::remove_not_kept;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

/// How often it is looked for them: there is one more with a push, and Docker is asked for all images.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// Removes them, and tells of each.
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

/// The same again and again.
pub async fn keep_removing(docker: Arc<Docker>, settings: Revisions) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        remove(&docker, &settings).await;
    }
}
