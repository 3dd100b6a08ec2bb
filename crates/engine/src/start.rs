//! Starting a container and seeing it get ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::names;
use tracing::warn;

use crate::docker::{Docker, DockerError, Placement, Purpose};
use crate::pauses::Pauses;
use crate::ready::ready;
use crate::sandboxes::{Begun, Sandboxes};

/// How often it is tried. An address in turn is taken only if somebody else uses our subnet, or the
/// count of addresses was lost; a network is gone only if somebody has removed it.
const ATTEMPTS: u64 = 5;

/// How long it may take to fetch a failed function's output, and to remove its container, before
/// the failure is reported without it.
const TIDYING: Duration = Duration::from_millis(800);

/// The exit code of a process that got SIGKILL, as Docker gives it: 128 and the signal's number.
const KILLED: i64 = 128 + 9;

/// How long Docker may be out of reach while a start waits until its container is ready.
const UNREACHABLE: Duration = Duration::from_secs(2);

/// How many lines of a failed function's output are reported.
const OUTPUT_LINES: usize = 20;

/// Starts an instance of a deployment and waits until it is ready.
///
/// `number` chooses the container's address ([`corefn_core::address`]). When `needless` is known, it
/// is given up. On failure no container is left.
///
/// # Errors
/// [`Failure`] with the cause, the function's last output and the remedy.
pub async fn start(
    docker: &Docker,
    deployment: &Deployment,
    number: u64,
    timeout: Duration,
    needless: impl Future<Output = ()>,
) -> Result<Instance, Failure> {
    start_as(docker, deployment, random_id()?, number, timeout, needless).await
}

/// The same in a sandbox of the host's, if one can become it at once; nothing if none can, or if somebody kills it before
/// it is ready: then it need not be the function's fault.
///
/// # Errors
/// [`Failure`], as of [`start`].
pub async fn start_in_sandbox(
    docker: &Arc<Docker>,
    sandboxes: &Sandboxes,
    deployment: &Deployment,
    timeout: Duration,
    needless: impl Future<Output = ()>,
) -> Result<Option<Instance>, Failure> {
    let begin = Instant::now();
    let Some(begun) = sandboxes.start(docker, deployment).await else {
        return Ok(None);
    };
    let Begun {
        container,
        placement,
    } = begun;
    let settled = settle(
        docker, deployment, container, placement, begin, timeout, needless,
    );
    match settled.await {
        Ok(instance) => Ok(Some(instance)),
        Err(Unready {
            was_killed: true, ..
        }) => {
            let function = &deployment.function;
            warn!("a sandbox that became {function} was killed: it is started from its image");
            Ok(None)
        }
        Err(unready) => Err(unready.failure),
    }
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
    let work = run(docker, deployment, id, number, Purpose::ServeWithoutRedis);
    match docker.within(timeout, work).await {
        Ok((container, placement)) => {
            let needless = std::future::pending();
            let placed = settle(
                docker, deployment, container, placement, begin, timeout, needless,
            );
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
) -> Result<Instance, Failure> {
    let begin = Instant::now();
    let run = run(docker, deployment, id, number, Purpose::Serve);
    let (container, placement) = tokio::time::timeout(timeout, run)
        .await
        .map_err(|_| hangs(deployment, timeout))?
        .map_err(|error| docker_failure(deployment, &error))?;
    settle(
        docker, deployment, container, placement, begin, timeout, needless,
    )
    .await
    .map_err(|unready| unready.failure)
}

/// Why a container that was started did not get ready.
struct Unready {
    failure: Failure,
    /// Whether its process got SIGKILL: from the kernel, for want of memory, or from somebody.
    was_killed: bool,
}

/// Waits until a container that was started is ready, until `timeout` after `begin`, or until it is
/// needless; removes it if it isn't ready then.
async fn settle(
    docker: &Docker,
    deployment: &Deployment,
    container: String,
    placement: Placement,
    begin: Instant,
    timeout: Duration,
    needless: impl Future<Output = ()>,
) -> Result<Instance, Unready> {
    let address = placement.address();
    let patience = timeout.saturating_sub(begin.elapsed());
    let mut was_killed = false;
    let failure = tokio::select! {
        biased;
        () = ready(address, deployment.config.health.as_deref()) => {
            return Ok(Instance {
                id: placement.id,
                function: deployment.function.clone(),
                revision: deployment.revision.clone(),
                container,
                address,
            });
        }
        () = needless => Failure::new(ErrorCode::Internal, "the start was given up"),
        code = ended(docker, &container) => {
            was_killed = matches!(code, Ok(KILLED));
            exited(docker, deployment, &container, code).await
        }
        () = tokio::time::sleep(patience) => not_listening(docker, deployment, &container, timeout).await,
    };
    // The failure is what matters; a container that can't be removed now is the cleaner's.
    let _ = tokio::time::timeout(TIDYING, docker.remove(&container)).await;
    Err(Unready {
        failure,
        was_killed,
    })
}

/// Waits until a container has ended and returns its exit code. A Docker that can't be reached is asked again for a while:
/// what runs may get ready all the same.
async fn ended(docker: &Docker, container: &str) -> Result<i64, DockerError> {
    let mut since = None;
    let mut pauses = Pauses::of_service();
    loop {
        match docker.exit_code(container).await {
            Err(error) if !error.is_absent() => {
                if since.get_or_insert_with(Instant::now).elapsed() > UNREACHABLE {
                    return Err(error);
                }
                tokio::time::sleep(pauses.grow()).await;
            }
            ended => return ended,
        }
    }
}

/// Creates and starts the container; with the next address if one is taken, and on a new network if the one
/// that was known is gone.
async fn run(
    docker: &Docker,
    deployment: &Deployment,
    id: InstanceId,
    number: u64,
    purpose: Purpose,
) -> Result<(String, Placement), DockerError> {
    let kind = deployment.config.network;
    let mut attempt = 0;
    loop {
        let network = docker.network(kind).await?;
        let ip = network.subnet.address(number + attempt);
        let placement = Placement { id, ip };
        let created = docker.create(deployment, placement, &network, purpose);
        let container = created.await?;
        let error = match docker.start(&container).await {
            Ok(()) => return Ok((container, placement)),
            Err(error) => error,
        };
        let _ = docker.remove(&container).await;
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

fn docker_failure(deployment: &Deployment, error: &DockerError) -> Failure {
    let code = if error.is_absent() {
        ErrorCode::ImageMissing
    } else {
        ErrorCode::DockerUnavailable
    };
    let detail = match code {
        ErrorCode::ImageMissing => format!(
            "the image {} is not there ({error}): push the repository again",
            deployment.image
        ),
        _ => error.to_string(),
    };
    Failure::new(code, detail)
}

/// What Docker was about to make is left to the cleaner.
fn hangs(deployment: &Deployment, timeout: Duration) -> Failure {
    Failure::new(
        ErrorCode::StartTimeout,
        format!(
            "Docker did not create and start a container of {} within {timeout:?}: see whether it \
             hangs, or what loads this host",
            deployment.function
        ),
    )
}

async fn exited(
    docker: &Docker,
    deployment: &Deployment,
    container: &str,
    code: Result<i64, DockerError>,
) -> Failure {
    match code {
        Ok(code) => Failure::new(
            ErrorCode::FunctionExited,
            format!(
                "{} exited with code {code} before it listened on port {}{}",
                deployment.function,
                names::PORT,
                output(docker, container).await
            ),
        ),
        Err(error) => docker_failure(deployment, &error),
    }
}

async fn not_listening(
    docker: &Docker,
    deployment: &Deployment,
    container: &str,
    timeout: Duration,
) -> Failure {
    let missing = match &deployment.config.health {
        Some(path) => format!(
            "its health path {path} did not succeed on port {}",
            names::PORT
        ),
        None => format!("nothing accepted a connection on port {}", names::PORT),
    };
    Failure::new(
        ErrorCode::FunctionNotListening,
        format!(
            "{} runs, but {missing} within {timeout:?}: listen on 0.0.0.0 and the port in $PORT{}",
            deployment.function,
            output(docker, container).await
        ),
    )
}

/// What the function said last, as the end of a sentence.
async fn output(docker: &Docker, container: &str) -> String {
    let output = docker.last_output(container, OUTPUT_LINES);
    let text = tokio::time::timeout(TIDYING, output)
        .await
        .unwrap_or_default();
    if text.is_empty() {
        "; it wrote nothing".to_owned()
    } else {
        format!("; its last output:\n{text}")
    }
}
