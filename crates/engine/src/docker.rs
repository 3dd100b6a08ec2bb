//! Docker, as far as CoreFn needs it.

mod builds;
mod containers;
mod create;
mod events;
mod images;
mod network;
mod sandboxes;
mod version;

use std::time::Duration;

use bollard::Docker as Client;
use bollard::errors::Error as Cause;
use corefn_core::deployment::Deployment;
use corefn_core::secrets::SecretId;
use tokio::sync::OnceCell;

use crate::secrets::{SecretError, SecretStore};

pub use builds::{BUILD_CACHE, BuildPurpose, build_body, cache_request};
pub use containers::{Condition, Container, Usage};
pub use create::{Joined, OPEN_FILES, Placement, Priority, Purpose, environment, instance_body};
pub use events::{InstanceEvent, InstanceEventKind};
pub use images::{Image, deployment};
pub use network::{ContainerNetwork, network_request};
pub use sandboxes::{
    FOLDER as SANDBOX_FOLDER, Runtime as SandboxRuntime, SandboxParts, fetch_body, sandbox_body,
};

/// How long one call to Docker may take before it counts as failed. Starting a container on a
/// loaded disk takes seconds; a minute without an answer means that Docker hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A Docker engine and the namespace that is ours on it.
///
/// Nothing is connected before the first call, and each call opens a connection of its own, so an
/// engine that is restarted needs no care.
#[derive(Debug)]
pub struct Docker {
    url: String,
    namespace: String,
    client: OnceCell<Client>,
    networks: network::Networks,
    secrets: Option<SecretStore>,
}

/// What Docker could not do.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The engine doesn't answer.
    #[error("Docker at {url} can't be reached ({cause}): start it, or correct the docker setting")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the connection met.
        cause: Cause,
    },
    /// The engine hangs.
    #[error("Docker at {url} has not answered within {patience:?}: see what it waits for")]
    Hangs {
        /// Where it is.
        url: String,
        /// What it was given.
        patience: Duration,
    },
    /// The engine answered with an error.
    #[error("Docker could not {what}: {cause}")]
    Refused {
        /// What was asked, as an infinitive.
        what: String,
        /// Its answer.
        cause: Cause,
    },
    /// No subnet is free.
    #[error(
        "no subnet is free for the network {0}: remove networks that are not needed, or create it by hand"
    )]
    NoSubnet(String),
    /// The container's secrets can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Docker {
    /// Names an engine; `url` is `unix:///path`, `tcp://host:port` or `http://host:port`. Does no IO.
    pub fn new(url: &str, namespace: &str) -> Self {
        Self {
            url: url.to_owned(),
            namespace: namespace.to_owned(),
            client: OnceCell::new(),
            networks: network::Networks::default(),
            secrets: None,
        }
    }

    /// The same, whose containers get their secrets from that store.
    pub fn with_secrets(self, secrets: Option<SecretStore>) -> Self {
        Self { secrets, ..self }
    }

    /// The secrets of a deployment, `NAME=value` each.
    ///
    /// # Errors
    /// [`SecretError`] when one can't be had.
    pub fn secrets(&self, deployment: &Deployment) -> Result<Vec<String>, SecretError> {
        let (function, secrets) = (&deployment.function, &deployment.config.secrets);
        let store = || {
            let store = self.secrets.as_ref();
            store.ok_or_else(|| SecretError::NoFolder(function.clone()))
        };
        let open = |(name, id): (&String, &SecretId)| {
            let value = store()?.get(function, name, *id)?;
            Ok(format!("{name}={value}"))
        };
        secrets.iter().map(open).collect()
    }

    /// Checks that a URL names an engine. Does no IO.
    ///
    /// # Errors
    /// A text that says what to write.
    pub fn check_url(url: &str) -> Result<(), String> {
        let named = ["unix:///", "tcp://", "http://"].iter().any(|scheme| {
            url.strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty())
        });
        if named {
            Ok(())
        } else {
            Err(format!(
                "{url:?} names no Docker: write unix:///path or tcp://host:port"
            ))
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The client, connected once to settle the version of the protocol: the engine's own where it
    /// is older than the client's.
    ///
    /// # Errors
    /// [`DockerError::Unreachable`] until the engine has answered once.
    pub async fn client(&self) -> Result<&Client, DockerError> {
        self.client
            .get_or_try_init(|| async {
                let version = version::settle(&self.url, CALL_TIMEOUT).await;
                let version = version.map_err(|cause| self.unreachable(cause))?;
                let seconds = CALL_TIMEOUT.as_secs();
                let client = match self.url.strip_prefix("unix://") {
                    Some(path) => Client::connect_with_unix(path, seconds, &version),
                    None => Client::connect_with_http(&self.url, seconds, &version),
                };
                client.map_err(|cause| self.unreachable(cause))
            })
            .await
    }

    /// The engine's version, and the folder of its machine in which it keeps everything.
    ///
    /// # Errors
    /// [`DockerError`] when it can't say.
    pub async fn facts(&self) -> Result<(String, Option<String>), DockerError> {
        let client = self.client().await?;
        let info = client.info().await;
        let info = info.map_err(|cause| self.failed("say what it is", cause))?;
        Ok((
            info.server_version.unwrap_or_default(),
            info.docker_root_dir,
        ))
    }

    /// Does it, or gives up after `patience`.
    ///
    /// # Errors
    /// [`DockerError::Hangs`], and those of `work`.
    pub async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, DockerError> {
        let hangs = |_| DockerError::Hangs {
            url: self.url.clone(),
            patience,
        };
        tokio::time::timeout(patience, work).await.map_err(hangs)?
    }

    fn unreachable(&self, cause: Cause) -> DockerError {
        DockerError::Unreachable {
            url: self.url.clone(),
            cause,
        }
    }

    /// Sorts an error of the client: no answer, or an answer that says no.
    pub fn failed(&self, what: impl Into<String>, cause: Cause) -> DockerError {
        match cause {
            Cause::HyperResponseError { .. }
            | Cause::HyperLegacyError { .. }
            | Cause::IOError { .. }
            | Cause::SocketNotFoundError(_)
            | Cause::RequestTimeoutError => self.unreachable(cause),
            cause => DockerError::Refused {
                what: what.into(),
                cause,
            },
        }
    }
}

impl DockerError {
    /// The HTTP status of the engine's answer, if it gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused {
                cause: Cause::DockerResponseServerError { status_code, .. },
                ..
            } => Some(*status_code),
            _ => None,
        }
    }

    /// Whether what was asked for isn't there. Of an image that somebody else removes at the same moment,
    /// Docker says so in an error of its own.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Refused {
                cause: Cause::DockerResponseServerError { message, .. },
                ..
            } if message.contains("unrecognized image ID") => true,
            _ => self.status() == Some(404),
        }
    }

    /// Whether a container could not be started because its network is gone.
    pub fn is_network_absent(&self, network: &ContainerNetwork) -> bool {
        self.is_absent() && self.to_string().contains(&network.id)
    }

    /// Whether there is something of that name already.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether a container could not be started because another has its address.
    pub fn is_address_in_use(&self) -> bool {
        match self {
            Self::Refused {
                cause: Cause::DockerResponseServerError { message, .. },
                ..
            } => message.contains("Address already in use"),
            _ => false,
        }
    }
}
