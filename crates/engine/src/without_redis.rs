//! Getting an instance while Redis is out of reach: with Docker alone.
//!
//! Docker's labels say what runs, and a name that Docker gives out once makes one starter of many:
//! whoever finds it taken follows the container that has it. One that was stopped meanwhile, as
//! idle or by hand, is no failure of the function's: another is found, or started.

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

/// How long an instance that Redis was told of may take to show that it is ready. It has been
/// before; if it isn't now, it is about to end, or its starter will remove it.
const READY_STILL: Duration = Duration::from_millis(500);

/// How long a container that has ended is left to whoever started it, to fetch its output from.
const REPORT: Duration = Duration::from_secs(2);

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
    let mut passed_over = withheld.clone();
    let mut unstarted_since = None;
    let mut ended: Option<(String, Instant)> = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let what = format!("did not get ready within {timeout:?}");
            return Err(refused(deployment, ErrorCode::StartTimeout, &what));
        }
        let containers = docker.within(left, docker.containers()).await;
        let containers = containers.map_err(unavailable)?;
        if let Some((container, found)) = running(&containers, deployment, &passed_over) {
            let is_shared = container.name == name;
            let patience = if is_shared { left } else { READY_STILL };
            match look(docker, deployment, &found, patience).await {
                State::Ready => return Ok((found, Start::Warm)),
                State::Unready if is_shared => {
                    let what = "did not get ready in time";
                    return Err(refused(deployment, ErrorCode::FunctionNotListening, what));
                }
                // (Docker may list it as running for a moment after it has told of its end.)
                State::Ended if ended.as_ref().is_some_and(|(id, _)| *id == found.container) => {
                    sleep(LOOK_AGAIN).await;
                }
                // Somebody may have stopped it. Only the second that ends is the function's
                // failure: so of all who wait for one that fails, one more starts it.
                State::Ended if is_shared && ended.is_some() => {
                    let what = "exited before it got ready";
                    return Err(refused(deployment, ErrorCode::FunctionExited, what));
                }
                State::Ended if is_shared => ended = Some((found.container, Instant::now())),
                State::Ended | State::Unready => {
                    passed_over.insert(found.id);
                }
            }
            continue;
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
            let was_followed =
                |(id, at): &(String, Instant)| *id == former.id && at.elapsed() < REPORT;
            if ended.as_ref().is_some_and(was_followed) {
                sleep(LOOK_AGAIN).await;
                continue;
            }
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

/// Whoever started what was followed has told of it.
fn refused(deployment: &Deployment, code: ErrorCode, what: &str) -> Refusal {
    Refusal {
        failure: Failure::new(code, format!("{} {what}", deployment.function)),
        is_reported: code != ErrorCode::StartTimeout,
    }
}

/// An instance of the deployment whose container runs.
fn running<'a>(
    containers: &'a [Container],
    deployment: &Deployment,
    passed_over: &HashSet<InstanceId>,
) -> Option<(&'a Container, Instance)> {
    containers
        .iter()
        .filter(|container| container.running && !container.paused)
        .filter_map(|container| Some((container, instance(container)?)))
        .find(|(_, found)| {
            found.function == deployment.function
                && found.revision == deployment.revision
                && !passed_over.contains(&found.id)
        })
}

/// What an instance has come to.
enum State {
    Ready,
    Ended,
    Unready,
}

/// Waits until an instance that somebody has started is ready, or has ended.
async fn look(
    docker: &Docker,
    deployment: &Deployment,
    found: &Instance,
    patience: Duration,
) -> State {
    tokio::select! {
        biased;
        () = ready(&found.address, deployment.config.health.as_deref()) => State::Ready,
        _ = docker.exit_code(&found.container) => State::Ended,
        () = sleep(patience) => State::Unready,
    }
}
