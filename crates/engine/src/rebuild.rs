//! Filling an emptied Redis from Docker: functions and routes from image labels, instances from
//! container labels.

use std::collections::HashMap;
use std::time::Duration;

use corefn_core::function::FunctionName;
use corefn_core::instance::Instance;
use corefn_core::names::label;

use crate::docker::{Container, Docker, DockerError};
use crate::releases;
use crate::store::{Store, StoreError};

/// Why the index could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Docker could not say what there is.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Redis could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long one who waits for another's rebuilding waits between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Fills Redis if it has no index. Returns whether it did; there is one in any case.
///
/// Of several who find it empty, one rebuilds and the others wait for it. Running instances
/// are leased as their function wants it, else for `idle`, so that what is busy has the time to
/// renew. Those that are paused get no work before they are thawed.
///
/// # Errors
/// [`RebuildError`]; the next call tries again.
pub async fn rebuild(
    store: &Store,
    docker: &Docker,
    token: &str,
    idle: Duration,
) -> Result<bool, RebuildError> {
    loop {
        if store.has_index().await? {
            return Ok(false);
        }
        if store.lock_rebuild(token).await? {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let filled = fill(store, docker, token, idle).await;
    // Whoever tries next, after a failure, need not wait until the lock has expired.
    store.release_rebuild(token).await?;
    filled.map(|()| true)
}

async fn fill(
    store: &Store,
    docker: &Docker,
    token: &str,
    idle: Duration,
) -> Result<(), RebuildError> {
    let images = docker.images().await?;
    let deployments = releases::deployed(&images);
    let named = deployments.iter().map(|it| (&it.function, it));
    let deployed: HashMap<_, _> = named.collect();
    // Instances come first: whoever hears of a deployment starts none that is there.
    for container in docker.containers().await? {
        let Some(instance) = instance(&container).filter(|_| container.running) else {
            continue;
        };
        let deployment = deployed.get(&instance.function).copied();
        if container.paused {
            let current = deployment.filter(|it| it.revision == instance.revision);
            let kept = current.and_then(|current| current.config.kept(idle));
            store.register_paused(&instance, kept).await?;
        } else {
            let lease = deployment.map_or(idle, |it| it.config.lease(idle));
            store.register(&instance, None, lease).await?;
        }
    }
    for deployment in &deployments {
        match store.deploy(&[(deployment, None)]).await {
            // Of two that claim one route, the first stays.
            Ok(()) | Err(StoreError::Claimed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(store.set_index(token).await?)
}

/// The instance that a container's labels describe.
pub fn instance(container: &Container) -> Option<Instance> {
    instance_of(&container.id, &container.labels)
}

/// The instance that the labels of a container describe; nothing if they describe none.
pub fn instance_of(container: &str, labels: &HashMap<String, String>) -> Option<Instance> {
    let label = |name| labels.get(name);
    Some(Instance {
        id: label(label::INSTANCE)?.parse().ok()?,
        function: FunctionName::read(label(label::FUNCTION)?).ok()?,
        revision: label(label::REVISION)?.parse().ok()?,
        container: container.to_owned(),
        address: label(label::ADDRESS)?.parse().ok()?,
    })
}
