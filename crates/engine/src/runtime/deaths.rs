//! Follows Docker's events, so that an instance that ends is not sent another request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;

use super::Level;
use super::listen::{FIRST_PAUSE, LONGEST_PAUSE};
use super::shared::Shared;
use crate::docker::DockerError;

/// Runs for as long as the thread does.
pub(super) async fn deaths(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    let mut failing = false;
    loop {
        match follow(&shared).await {
            Ok(()) => pause = FIRST_PAUSE,
            // Told once, not with each attempt.
            Err(error) if !failing => {
                shared.log(Level::Error, error.to_string());
                failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn follow(shared: &Shared) -> Result<(), DockerError> {
    let mut deaths = std::pin::pin!(shared.docker.deaths().await?);
    forget_missed(shared).await?;
    while let Some(died) = deaths.next().await {
        if shared.find(died.id).is_some() {
            shared.log(
                Level::Notice,
                format!("instance {} of {} has ended", died.id, died.function),
            );
        }
        shared.gone(died.id);
        if !died.ordered {
            // Before anybody hears that it is gone, and starts another.
            shared.died(died.id, &died.function).await;
        }
        shared.forget(died.id, &died.function).await;
    }
    Ok(())
}

/// Forgets what ended while nobody listened.
async fn forget_missed(shared: &Shared) -> Result<(), DockerError> {
    let Ok(instances) = shared.store.instances().await else {
        // Without Redis there is no list; the cleaner compares it with Docker later.
        return Ok(());
    };
    let running: HashSet<String> = shared
        .docker
        .containers()
        .await?
        .into_iter()
        .filter(|container| container.running)
        .map(|container| container.id)
        .collect();
    for leased in instances {
        let instance = leased.instance;
        if !running.contains(&instance.container) {
            shared.forget(instance.id, &instance.function).await;
        }
    }
    Ok(())
}
