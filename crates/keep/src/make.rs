//! Making a sandbox.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use corefn_core::instance::InstanceId;
use corefn_core::network::Network;
use corefn_engine::docker::{Docker, DockerError, SandboxParts, SandboxRuntime};
use corefn_engine::sandboxes::{STARTER, STARTER_SOCKET};
use corefn_engine::store::Store;
use corefn_sandbox::claim::Sandbox;
use corefn_sandbox::hand_over::{HandOverError, send_listener, start_with_listener};
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
    Runtime(HandOverError),
    Silent,
}

impl std::fmt::Display for MakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Docker(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the sandboxes' folder: {error}"),
            Self::Runtime(error) => write!(f, "a runtime does not start: {error}"),
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
    /// Nothing if they have none at all.
    pub network: Option<Network>,
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
    let starter = match recipe.is_runtime {
        true => Some((
            docker.entrypoint(recipe.image).await?,
            folder.listen_for_starter(id)?,
        )),
        false => None,
    };
    let runtime = starter.as_ref().map(|(entrypoint, _)| SandboxRuntime {
        entrypoint,
        init: STARTER,
        socket: STARTER_SOCKET,
    });
    let serving = folder.serving(id);
    // Redis counts the addresses that were given out. Without it chance decides.
    let number = match recipe.network {
        Some(_) => store.next_address().await.unwrap_or(id.get()),
        None => 0,
    };
    let mut attempt = 0;
    loop {
        let network = match recipe.network {
            Some(network) => Some(docker.network(network).await?),
            None => None,
        };
        let at = network.as_ref().map(|network| {
            let ip = network.subnet.another_address(number, attempt);
            (network, ip)
        });
        let parts = SandboxParts {
            image: recipe.image,
            runtime,
            version: recipe.version,
            folder: &folder.on_host(id),
            socket: SOCKET,
            serving: &serving,
        };
        let container = docker.create_sandbox(parts, id, at).await?;
        let error = match docker.start(&container).await {
            Ok(()) => {
                let sandbox = Sandbox {
                    instance: id,
                    container,
                    ip: at.map(|(_, ip)| ip),
                    socket: Some(serving),
                };
                let connection = match starter {
                    None => connected_with_listener(folder, id, &listener).await?,
                    Some((_, starter)) => {
                        let starter = connected(&starter).await?;
                        let serving = folder.serve(id)?;
                        let started = start_with_listener(&starter, serving.as_fd());
                        in_time(started).await?.map_err(MakeError::Runtime)?;
                        connected(&listener).await?
                    }
                };
                return Ok((sandbox, connection));
            }
            Err(error) => error,
        };
        docker.remove(&container).await?;
        attempt += 1;
        let absent = network.filter(|network| error.is_network_absent(network));
        if let (Some(kind), Some(network)) = (recipe.network, absent) {
            docker.forget_network(kind, &network).await;
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
    Ok(in_time(listener.accept()).await??)
}

/// The same for one that is no runtime's, which is sent the socket on which what it becomes may serve.
///
/// # Errors
/// [`MakeError`].
pub async fn connected_with_listener(
    folder: &Folder,
    id: InstanceId,
    listener: &Listener,
) -> Result<Connection, MakeError> {
    let connection = connected(listener).await?;
    let serving = folder.serve(id)?;
    send_listener(&connection, serving.as_fd()).await?;
    Ok(connection)
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, MakeError> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.map_err(|_| MakeError::Silent)
}
