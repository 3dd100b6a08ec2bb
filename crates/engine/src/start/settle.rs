//! Waiting until a container that was started is ready, and telling why it isn't.

use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Address, Instance, InstanceId};
use corefn_core::names;

use crate::docker::{Docker, DockerError, Placement};
use crate::pauses::Pauses;
use crate::ready::ready;

/// How long it may take to fetch a failed function's output, and to remove its container, before
/// the failure is reported without it.
pub(super) const TIDYING: Duration = Duration::from_millis(800);

/// The exit code of a process that got SIGKILL, as Docker gives it: 128 and the signal's number.
const KILLED: i64 = 128 + 9;

/// How long Docker may be out of reach while a start waits until its container is ready.
const UNREACHABLE: Duration = Duration::from_secs(2);

/// How soon most get ready that are started from a sandbox, and a bit.
const SOON: Duration = Duration::from_millis(20);

/// How many lines of a failed function's output are reported.
const OUTPUT_LINES: usize = 20;

/// A container that was started for an instance.
#[derive(Clone)]
pub(super) struct Begun {
    pub container: String,
    /// Which instance it becomes, and where it listens.
    pub id: InstanceId,
    pub address: Address,
    /// Which other holds its network.
    pub holder: Option<String>,
}

impl Begun {
    /// One with a network of its own.
    pub fn alone(container: String, placement: Placement) -> Self {
        Self {
            container,
            id: placement.id,
            address: placement.address().into(),
            holder: None,
        }
    }

    /// The instance that it is.
    pub fn instance(self, deployment: &Deployment) -> Instance {
        Instance {
            id: self.id,
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            container: self.container,
            address: self.address,
        }
    }
}

/// Why a container that was started did not get ready.
pub(super) struct Unready {
    pub failure: Failure,
    /// Whether its process got SIGKILL: from the kernel, for want of memory, or from somebody; or what held its network has
    /// ended.
    pub was_killed: bool,
}

/// Waits until a container that was started is ready, until `timeout` after `begin`, or until it is
/// needless; removes it if it isn't ready then.
pub(super) async fn settle(
    docker: &Docker,
    deployment: &Deployment,
    begun: Begun,
    begin: Instant,
    timeout: Duration,
    needless: impl Future<Output = ()>,
) -> Result<Instance, Unready> {
    let container = &begun.container;
    let patience = timeout.saturating_sub(begin.elapsed());
    let mut was_killed = false;
    let failure = tokio::select! {
        biased;
        () = ready(&begun.address, deployment.config.health.as_deref()) => {
            return Ok(begun.instance(deployment));
        }
        () = needless => Failure::new(ErrorCode::Internal, "the start was given up"),
        code = ended(docker, container) => {
            was_killed = matches!(code, Ok(KILLED));
            exited(docker, deployment, container, code).await
        }
        () = holder_ended(docker, begun.holder.as_deref()) => {
            was_killed = true;
            Failure::new(ErrorCode::Internal, "what held its network has ended")
        }
        () = tokio::time::sleep(patience) => not_listening(docker, deployment, container, timeout).await,
    };
    // The failure is what matters; a container that can't be removed now is the cleaner's.
    let tidying = async {
        let _ = docker.remove(container).await;
        if let Some(holder) = &begun.holder {
            let _ = docker.remove(holder).await;
        }
    };
    let _ = tokio::time::timeout(TIDYING, tidying).await;
    Err(Unready {
        failure,
        was_killed,
    })
}

/// Waits until a container has ended and returns its exit code; one that gets ready soon need not be asked for. A Docker that can't be reached is asked again for a while:
/// what runs may get ready all the same.
async fn ended(docker: &Docker, container: &str) -> Result<i64, DockerError> {
    tokio::time::sleep(SOON).await;
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

/// Waits until what holds a container's network has ended; for ever if that is its own.
async fn holder_ended(docker: &Docker, holder: Option<&str>) {
    match holder {
        // (Docker may be out of reach: then nothing is known of it.)
        Some(holder) if ended(docker, holder).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

pub(super) fn docker_failure(deployment: &Deployment, error: &DockerError) -> Failure {
    let code = match error {
        DockerError::Secret(_) => ErrorCode::SecretMissing,
        error if error.is_absent() => ErrorCode::ImageMissing,
        _ => ErrorCode::DockerUnavailable,
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
pub(super) fn hangs(deployment: &Deployment, timeout: Duration) -> Failure {
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
