//! Getting an instance while Redis is out of reach: with Docker alone.
//!
//! Docker's labels say what runs, and a name that Docker gives out once makes one starter of many:
//! whoever finds it taken follows the container that has it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::keys::START_LOCK_TTL;
use corefn_core::names;

use crate::acquire::{Refusal, Start};
use crate::docker::{Container, Docker, DockerError};
use crate::ready::ready;
use crate::rebuild::instance;
use crate::start::{random_id, start_without_redis};

/// The pause between two looks at a container that another is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Gets an instance of `deployment` within `timeout`: one that runs, else one that is started by
/// this call or by another. None of `withheld` is taken.
///
/// # Errors
/// [`Refusal`] with the failure of the start, whoever made it.
pub async fn acquire(
    docker: &Docker,
    deployment: &Deployment,
    withheld: &HashSet<InstanceId>,
    timeout: Duration,
) -> Result<(Instance, Start), Refusal> {
    let deadline = Instant::now() + timeout;
    let name = names::container_without_redis(
        docker.namespace(),
        &deployment.function,
        &deployment.revision,
    );
    let unavailable =
        |error: DockerError| Failure::new(ErrorCode::DockerUnavailable, error.to_string());
    let mut unstarted_since = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(
                ErrorCode::StartTimeout,
                format!(
                    "no instance of {} got ready within {timeout:?}",
                    deployment.function
                ),
            )
            .into());
        }
        let containers = docker.within(left, docker.containers()).await;
        let containers = containers.map_err(unavailable)?;
        if let Some(found) = running(&containers, deployment, withheld) {
            return follow(docker, deployment, found, left)
                .await
                .map(|found| (found, Start::Warm));
        }
        if let Some(former) = containers.iter().find(|container| container.name == name) {
            // One whose starter has not got to starting it never will if that was killed.
            if former.unstarted {
                let since = *unstarted_since.get_or_insert_with(Instant::now);
                if since.elapsed() < START_LOCK_TTL {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
            }
            unstarted_since = None;
            let removal = docker.remove(&former.id);
            docker.within(left, removal).await.map_err(unavailable)?;
        }
        // Redis counts the addresses that were given out. Without it chance decides.
        let number = random_id()?.get() >> 1;
        if let Some(started) = start_without_redis(docker, deployment, number, left).await? {
            return Ok((started, Start::Cold));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// An instance of the deployment whose container runs.
fn running(
    containers: &[Container],
    deployment: &Deployment,
    withheld: &HashSet<InstanceId>,
) -> Option<Instance> {
    containers
        .iter()
        .filter(|container| container.running && !container.paused)
        .filter_map(instance)
        .find(|found| {
            found.function == deployment.function
                && found.revision == deployment.revision
                && !withheld.contains(&found.id)
        })
}

/// Waits until an instance that somebody has started is ready.
async fn follow(
    docker: &Docker,
    deployment: &Deployment,
    found: Instance,
    patience: Duration,
) -> Result<Instance, Refusal> {
    let refused = |code, what: &str| Refusal {
        failure: Failure::new(code, format!("{} {what}", deployment.function)),
        is_reported: true,
    };
    tokio::select! {
        biased;
        () = ready(found.address, deployment.config.health.as_deref()) => Ok(found),
        _ = docker.exit_code(&found.container) => {
            Err(refused(ErrorCode::FunctionExited, "exited before it got ready"))
        }
        () = sleep(patience) => {
            Err(refused(ErrorCode::FunctionNotListening, "did not get ready in time"))
        }
    }
}
