//! Starting a container and seeing it get ready.

mod sandbox;
mod settle;
mod steps;
mod thaw;

use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::start::Phase;

use crate::docker::{Docker, DockerError, Joined, Placement, Purpose};

pub use sandbox::{start_in_held_network, start_in_sandbox};
use settle::{Begun, docker_failure, hangs, settle};
pub use steps::Steps;
pub use thaw::thaw;

/// How often it is tried. An address in turn is taken only if somebody else uses our subnet, or the
/// count of addresses was lost; a network is gone only if somebody has removed it.
const ATTEMPTS: u64 = 5;

/// Starts an instance of a deployment and waits until it is ready.
///
/// `number` chooses the container's address ([`corefn_core::address`]). When `needless` is known, it
/// is given up. On failure no container is left. What is done is added to `steps`.
///
/// # Errors
/// [`Failure`] with the cause, the function's last output and the remedy.
pub async fn start(
    docker: &Docker,
    deployment: &Deployment,
    number: u64,
    timeout: Duration,
    needless: impl Future<Output = ()>,
    steps: &mut Steps,
) -> Result<Instance, Failure> {
    let id = random_id()?;
    start_as(docker, deployment, id, number, timeout, needless, steps).await
}

/// The same without Redis: the container is the only one of its revision that is started so.
/// Returns nothing if there is one already.
///
/// # Errors
/// [`Failure`], as of [`start`].
pub async fn start_without_redis(
    docker: &Docker,
    deployment: &Deployment,
    number: u64,
    timeout: Duration,
) -> Result<Option<Instance>, Failure> {
    let begin = Instant::now();
    let id = random_id()?;
    let mut steps = Steps::begin();
    let purpose = Purpose::ServeWithoutRedis;
    let work = run(docker, deployment, id, number, purpose, &mut steps);
    match docker.within(timeout, work).await {
        Ok((container, placement)) => {
            let begun = Begun::alone(container, placement);
            let needless = std::future::pending();
            let placed = settle(docker, deployment, begun, begin, timeout, needless);
            placed.await.map(Some).map_err(|unready| unready.failure)
        }
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(docker_failure(deployment, &error)),
    }
}

/// A random identifier.
///
/// # Errors
/// [`ErrorCode::Internal`] when the system has no random bits.
pub fn random_id() -> Result<InstanceId, Failure> {
    getrandom::u64()
        .map(InstanceId::from_random)
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("no random bits: {error}")))
}

/// The same, with an identifier that was chosen before.
///
/// # Errors
/// [`Failure`], as of [`start`].
pub async fn start_as(
    docker: &Docker,
    deployment: &Deployment,
    id: InstanceId,
    number: u64,
    timeout: Duration,
    needless: impl Future<Output = ()>,
    steps: &mut Steps,
) -> Result<Instance, Failure> {
    let begin = Instant::now();
    let run = run(docker, deployment, id, number, Purpose::Serve, steps);
    let (container, placement) = tokio::time::timeout(timeout, run)
        .await
        .map_err(|_| hangs(deployment, timeout))?
        .map_err(|error| docker_failure(deployment, &error))?;
    let begun = Begun::alone(container, placement);
    settle(docker, deployment, begun, begin, timeout, needless)
        .await
        .map_err(|unready| unready.failure)
}

/// Creates and starts the container; with the next address if one is taken, and on a new network if the one
/// that was known is gone.
async fn run(
    docker: &Docker,
    deployment: &Deployment,
    id: InstanceId,
    number: u64,
    purpose: Purpose,
    steps: &mut Steps,
) -> Result<(String, Placement), DockerError> {
    let kind = deployment.config.network;
    let mut attempt = 0;
    loop {
        let network = docker.network(kind).await?;
        let ip = network.subnet.another_address(number, attempt);
        let placement = Placement { id, ip };
        let created = docker.create(deployment, placement, Joined::Network(&network), purpose);
        let error = match created.await {
            Ok(container) => {
                steps.done(Phase::Created);
                match docker.start(&container).await {
                    Ok(()) => {
                        steps.done(Phase::Started);
                        return Ok((container, placement));
                    }
                    Err(error) => {
                        let _ = docker.remove(&container).await;
                        error
                    }
                }
            }
            // (Docker finds out when it starts, and the gate before.)
            Err(error) if error.is_network_absent(&network) => error,
            Err(error) => return Err(error),
        };
        attempt += 1;
        if error.is_network_absent(&network) {
            docker.forget_network(kind, &network).await;
        } else if !error.is_address_in_use() {
            return Err(error);
        }
        if attempt == ATTEMPTS {
            return Err(error);
        }
    }
}
