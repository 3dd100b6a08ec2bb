//! Having an instance go on that was frozen.

use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::Instance;
use tracing::warn;

use super::settle::{Begun, TIDYING, settle};
use crate::docker::{Docker, DockerError};

/// How long a frozen instance may take to be ready again. It has been before, so one that takes longer is replaced.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a frozen instance go on, and waits until it is ready, or `needless`. Nothing if it can't, and then its container is
/// removed.
pub async fn thaw(
    docker: &Docker,
    deployment: &Deployment,
    frozen: Instance,
    timeout: Duration,
    needless: impl Future<Output = ()>,
) -> Option<Instance> {
    let begin = Instant::now();
    let patience = timeout.min(PATIENCE);
    let Instance { id, function, .. } = &frozen;
    let why = match unpause(docker, &frozen, patience).await {
        Ok(begun) => match settle(docker, deployment, begun, begin, patience, needless).await {
            Ok(instance) => return Some(instance),
            Err(unready) => unready.failure,
        },
        Err(failure) => {
            let _ = tokio::time::timeout(TIDYING, docker.remove(&frozen.container)).await;
            failure
        }
    };
    warn!("instance {id} of {function} could not be thawed, and is replaced: {why}");
    None
}

async fn unpause(docker: &Docker, frozen: &Instance, patience: Duration) -> Result<Begun, Failure> {
    let unpaused = docker.within(patience, docker.unpause(&frozen.container));
    let failed = |error: DockerError| Failure::new(ErrorCode::DockerUnavailable, error.to_string());
    unpaused.await.map_err(failed)?;
    Ok(Begun {
        container: frozen.container.clone(),
        id: frozen.id,
        address: frozen.address.clone(),
        holder: None,
    })
}
