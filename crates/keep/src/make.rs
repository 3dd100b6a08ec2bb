//! Making a sandbox.

use std::io;
use std::time::Duration;

use corefn_core::config::Network;
use corefn_core::instance::InstanceId;
use corefn_engine::docker::{Docker, DockerError, Placement, SandboxParts};
use corefn_engine::store::Store;
use corefn_sandbox::claim::Sandbox;
use corefn_sandbox::message::{Connection, Listener};

use crate::folder::{Folder, SOCKET};

/// How long a sandbox may take to connect, once it is started.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many addresses are tried.
const ATTEMPTS: u64 = 3;

/// Why there is no new sandbox.
#[derive(Debug)]
pub enum MakeError {
    Docker(DockerError),
    Io(io::Error),
    Silent,
}

impl std::fmt::Display for MakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Docker(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the sandboxes' folder: {error}"),
            Self::Silent => write!(f, "a new sandbox does not connect"),
        }
    }
}

impl From<DockerError> for MakeError {
    fn from(error: DockerError) -> Self {
        Self::Docker(error)
    }
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What all sandboxes of a kind are made with.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    pub image: &'a str,
    pub is_runtime: bool,
    pub version: &'a str,
    pub network: Network,
}

/// Makes a sandbox, and waits until it waits. On failure nothing of it is left that Docker lets go.
///
/// # Errors
/// [`MakeError`].
pub async fn make(
    docker: &Docker,
    store: &Store,
    folder: &Folder,
    recipe: Recipe<'_>,
    id: InstanceId,
) -> Result<(Sandbox, Connection), MakeError> {
    let listener = folder.listen_for(id, recipe.is_runtime)?;
    // Redis counts the addresses that were given out. Without it chance decides.
    let number = match store.next_address().await {
        Ok(number) => number,
        Err(_) => id.get(),
    };
    let mut attempt = 0;
    loop {
        let network = docker.network(recipe.network).await?;
        let ip = network.subnet.address(number.wrapping_add(attempt));
        let parts = SandboxParts {
            image: recipe.image,
            is_runtime: recipe.is_runtime,
            version: recipe.version,
            folder: &folder.on_host(id),
            socket: SOCKET,
        };
        let placement = Placement { id, ip };
        let container = docker.create_sandbox(parts, placement, &network).await?;
        let error = match docker.start(&container).await {
            Ok(()) => {
                let sandbox = Sandbox {
                    instance: id,
                    container,
                    ip,
                };
                let connection = connected(&listener).await?;
                return Ok((sandbox, connection));
            }
            Err(error) => error,
        };
        docker.remove(&container).await?;
        attempt += 1;
        if error.is_network_absent(&network) {
            docker.forget_network(recipe.network, &network).await;
        } else if !error.is_address_in_use() || attempt == ATTEMPTS {
            return Err(error.into());
        }
    }
}

/// Waits until a sandbox has connected.
///
/// # Errors
/// [`MakeError::Silent`] when that takes too long.
pub async fn connected(listener: &Listener) -> Result<Connection, MakeError> {
    match tokio::time::timeout(PATIENCE, listener.accept()).await {
        Ok(accepted) => Ok(accepted?),
        Err(_) => Err(MakeError::Silent),
    }
}
