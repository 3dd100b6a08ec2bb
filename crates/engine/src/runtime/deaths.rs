//! Follows Docker's events, so that an instance that ends or is paused is not sent another request.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tracing::{error, info};

use super::shared::Shared;
use crate::docker::{Container, DockerError, Loss};
use crate::pauses::Pauses;

/// Runs for as long as the thread does.
pub(super) async fn deaths(shared: Arc<Shared>) {
    let mut pauses = Pauses::of_service();
    let mut failing = false;
    loop {
        match follow(&shared, &mut failing).await {
            Ok(()) => pauses.reset(),
            // Told once, not with each attempt.
            Err(error) if !failing => {
                error!("{error}");
                failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pauses.grow()).await;
    }
}

async fn follow(shared: &Shared, failing: &mut bool) -> Result<(), DockerError> {
    let mut losses = std::pin::pin!(shared.docker.losses().await?);
    catch_up(shared).await?;
    if std::mem::take(failing) {
        info!("Docker can be used again");
    }
    while let Some(lost) = losses.next().await {
        if shared.find(lost.id).is_some() {
            let what = match lost.how {
                Loss::Paused => "was paused",
                Loss::Ordered | Loss::Died => "has ended",
            };
            info!("instance {} of {} {what}", lost.id, lost.function);
        }
        match lost.how {
            Loss::Paused => shared.withhold(lost.id, &lost.function).await,
            Loss::Ordered => shared.forget(lost.id, &lost.function).await,
            Loss::Died => {
                shared.gone(lost.id);
                // Before anybody hears that it is gone, and starts another.
                shared.died(lost.id, &lost.function).await;
                shared.forget(lost.id, &lost.function).await;
            }
        }
    }
    Ok(())
}

/// Does what it takes for what happened while nobody listened.
async fn catch_up(shared: &Shared) -> Result<(), DockerError> {
    let known = shared.all();
    // Without Redis there is no list; the cleaner compares it with Docker later.
    let listed = shared
        .asked(shared.store.instances())
        .await
        .unwrap_or_default();
    let containers: HashMap<String, Container> = shared
        .docker
        .containers()
        .await?
        .into_iter()
        .filter(|container| container.running)
        .map(|container| (container.id.clone(), container))
        .collect();
    let listed = listed.into_iter().map(|leased| leased.instance);
    for instance in known.into_iter().chain(listed) {
        match containers.get(&instance.container) {
            None => shared.forget(instance.id, &instance.function).await,
            Some(container) if container.paused => {
                shared.withhold(instance.id, &instance.function).await;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
