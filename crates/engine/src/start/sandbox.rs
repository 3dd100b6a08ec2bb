//! Starts from sandboxes, and beside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::error::Failure;
use corefn_core::instance::Instance;
use corefn_core::start::Phase;
use tracing::warn;

use super::Steps;
use super::settle::{Begun, TIDYING, Unready, hangs, settle};
use crate::docker::{Docker, DockerError, Joined, Purpose};
use crate::pauses::Pauses;
use crate::ready::ready_after;
use crate::sandboxes::{Held, Sandboxes, name_holder};

/// Starts an instance in a sandbox of the host's, if one can become it at once. Nothing if none can, or if somebody kills it
/// before it is ready: then it need not be the function's fault.
///
/// # Errors
/// [`Failure`], as of [`super::start`].
pub async fn start_in_sandbox(
    docker: &Arc<Docker>,
    sandboxes: &Sandboxes,
    deployment: &Deployment,
    timeout: Duration,
    needless: impl Future<Output = ()>,
    steps: &mut Steps,
) -> Result<Option<Instance>, Failure> {
    let begin = Instant::now();
    let Some(taken) = sandboxes.start(docker, deployment).await else {
        return Ok(None);
    };
    steps.done(Phase::HandedOver);
    let begun = Begun {
        container: taken.container,
        id: taken.id,
        address: taken.address,
        holder: None,
    };
    let settled = settle(docker, deployment, begun, begin, timeout, needless).await;
    unless_killed(deployment, settled)
}

/// The same in a container of its image, on the network of a sandbox of the host's: a network is what Docker takes the
/// longest to make. Nothing if no sandbox can hold it, or if Docker can't start the container there.
///
/// # Errors
/// [`Failure`], as of [`super::start`].
pub async fn start_in_held_network(
    docker: &Arc<Docker>,
    sandboxes: &Sandboxes,
    deployment: &Deployment,
    timeout: Duration,
    needless: impl Future<Output = ()>,
    steps: &mut Steps,
) -> Result<Option<Instance>, Failure> {
    let begin = Instant::now();
    let Some(holder) = sandboxes.hold(docker, deployment).await else {
        return Ok(None);
    };
    steps.done(Phase::Held);
    let run = run_beside(docker, deployment, &holder, steps);
    let begun = tokio::time::timeout(timeout, run).await;
    let why = match begun {
        Ok(Ok((begun, true))) => return Ok(Some(begun.instance(deployment))),
        Ok(Ok((begun, false))) => {
            let settled = settle(docker, deployment, begun, begin, timeout, needless).await;
            return unless_killed(deployment, settled);
        }
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    // (What Docker was about to make is the cleaner's, and so is what holds its network.)
    let _ = tokio::time::timeout(TIDYING, docker.remove(&holder.container)).await;
    match why {
        Some(error) => {
            warn!(
                "{} is not started on the network of a sandbox: {error}",
                deployment.function
            );
            Ok(None)
        }
        None => Err(hangs(deployment, timeout)),
    }
}

/// What has become of a start from a sandbox, or beside one: if somebody killed it, that need not be the function's fault,
/// and there is none.
fn unless_killed(
    deployment: &Deployment,
    settled: Result<Instance, Unready>,
) -> Result<Option<Instance>, Failure> {
    match settled {
        Ok(instance) => Ok(Some(instance)),
        Err(Unready {
            was_killed: true, ..
        }) => {
            let function = &deployment.function;
            warn!("a sandbox that {function} was started from was killed: it is started anew");
            Ok(None)
        }
        Err(unready) => Err(unready.failure),
    }
}

/// Creates and starts the container on the network of a sandbox. Returns whether it got ready before Docker has told that it
/// is started, which it goes on to tell nobody. If it can't be started nothing is left of it.
async fn run_beside(
    docker: &Arc<Docker>,
    deployment: &Deployment,
    holder: &Held,
    steps: &mut Steps,
) -> Result<(Begun, bool), DockerError> {
    let Held {
        container: of,
        placement,
    } = holder;
    let joined = Joined::Holder(of);
    let created = docker.create(deployment, *placement, joined, Purpose::Serve);
    let container = created.await?;
    steps.done(Phase::Created);
    let begun = Begun {
        holder: Some(of.clone()),
        ..Begun::alone(container.clone(), *placement)
    };
    let health = deployment.config.health.as_deref();
    let start = {
        let (docker, container) = (docker.clone(), container.clone());
        // (A call that nobody waits for any more may be broken off.)
        tokio::spawn(async move { docker.start(&container).await })
    };
    name_holder(docker, of.clone(), begun.clone().instance(deployment));
    let error = tokio::select! {
        biased;
        () = ready_after(Pauses::of_start(), &begun.address, health) => return Ok((begun, true)),
        started = start => match started {
            Ok(Ok(())) => return Ok((begun, false)),
            Ok(Err(error)) => error,
            // (It panicked, or the runtime ends.)
            Err(_) => return Ok((begun, false)),
        },
    };
    let _ = docker.remove(&container).await;
    Err(error)
}
