//! Starting a function from a sandbox of the host's.
//!
//! It is the quick way, and not the only one: whatever goes wrong here, Docker starts a container in its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::deployment::Deployment;
use corefn_core::instance::{Address, Instance, InstanceId};
use corefn_core::names::{FUNCTION_PATH, env};
use corefn_core::network::Network;
use corefn_core::survey::SandboxCount;
use corefn_sandbox::archive;
use corefn_sandbox::claim::{self, Claimed, Fetch, Form, Kind};
use corefn_sandbox::executables::{Digest, Executables};
use corefn_sandbox::hand_over::{
    HandOverError, LISTENER, Program, hand_over, hand_over_files, stay,
};
use corefn_sandbox::order;
use tracing::{debug, warn};

use crate::docker::{Docker, DockerError, Placement, environment};
use crate::pauses::Pauses;
use crate::secrets::SecretError;

/// The socket of the keeper, in the folder that it shares.
pub const KEEPER: &str = "keeper";

/// The folder of the sockets on which functions serve, there.
pub const SERVING: &str = "serving";

/// The folder of what sandboxes see, there.
pub const WAITING: &str = "waiting";

/// The program that starts a runtime, in the folder of a sandbox.
pub const STARTER: &str = "init";

/// The socket that it connects to, there.
pub const STARTER_SOCKET: &str = "listener";

/// The folder of executables, there.
pub const EXECUTABLES: &str = "executables";

/// How long it may take until a sandbox has become a function: what takes longer is no quick way. (A sandbox that is given
/// up so is removed by its keeper, or as any instance that nobody knows.)
const PATIENCE: Duration = Duration::from_secs(2);

/// How long after its start a sandbox gets its name.
const NAMED_AFTER: Duration = Duration::from_millis(100);

/// How often it is tried to give a sandbox its name: for half a minute.
const NAMINGS: u32 = 20;

/// The path of a container whose image sets none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The home of an account that the image does not know.
const HOME: &str = "HOME=/";

/// Where a host's sandboxes are, and what they become.
#[derive(Debug)]
pub struct Sandboxes {
    keeper: PathBuf,
    executables: Executables,
    image: String,
}

/// A sandbox that has become an instance, which may not be ready yet.
pub struct Taken {
    /// Docker's identifier of its container.
    pub container: String,
    /// Which instance it is.
    pub id: InstanceId,
    /// Where it listens.
    pub address: Address,
}

/// A sandbox that holds the network of an instance.
pub struct Held {
    /// Docker's identifier of its container.
    pub container: String,
    /// Which instance that is to be, and where.
    pub placement: Placement,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum Miss {
    #[error("no sandbox waits")]
    None,
    #[error("what it is to be handed is not on the host yet")]
    Absent,
    #[error("it took longer than {PATIENCE:?}")]
    Late,
    #[error(
        "it has neither a network nor a socket that can be seen here: see the keeper's folder by the same path as the keeper"
    )]
    Unreachable,
    #[error("the keeper of sandboxes: {0}")]
    Keeper(io::Error),
    #[error("the host's executables: {0}")]
    Executables(io::Error),
    #[error(transparent)]
    HandOver(HandOverError),
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Sandboxes {
    /// Those in the folder that a keeper shares, of an installation.
    pub fn new(folder: &Path, namespace: &str) -> Self {
        Self {
            keeper: folder.join(KEEPER),
            executables: Executables::new(&folder.join(EXECUTABLES)),
            image: corefn_sandbox::image(namespace),
        }
    }

    /// Whether their keeper is there. It must be within a runtime.
    ///
    /// # Errors
    /// Why it is not, and where it should be.
    pub fn are_kept(&self) -> Result<(), String> {
        claim::is_there(&self.keeper).map_err(|error| format!("{}: {error}", self.keeper.display()))
    }

    /// How many of each kind wait, and should.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn count(&self) -> io::Result<Vec<SandboxCount>> {
        claim::count(&self.keeper).await
    }

    /// Whether one could become an instance of a deployment.
    pub fn fit(deployment: &Deployment) -> bool {
        Parcel::of(deployment).is_some()
    }

    /// Whether one should hold the network of an instance that none could become: those that hold networks are the same as
    /// those that become executables.
    pub fn should_hold(deployment: &Deployment) -> bool {
        Parcel::of(deployment).is_none_or(|parcel| parcel.runtime.is_some())
    }

    /// Has a sandbox become an instance of a deployment. Nothing if none can, and then nothing is left of any.
    ///
    /// Docker takes longer to give it its name than it takes until the first answer, so that goes on by itself. Until
    /// then only Redis knows what it is; where this process can't finish it, the keeper does, by what Redis knows.
    pub async fn start(&self, docker: &Arc<Docker>, deployment: &Deployment) -> Option<Taken> {
        let parcel = Parcel::of(deployment)?;
        let become_it = self.begin(docker, deployment, &parcel);
        match in_time(become_it).await {
            Ok(taken) => return Some(taken),
            Err(why) => self.missed(deployment, why).await,
        }
        None
    }

    /// Has a sandbox hold its network for an instance of a deployment in another container. Nothing if none can, and then
    /// nothing is left of any. It gets its name by [`name_holder`].
    pub async fn hold(&self, docker: &Docker, deployment: &Deployment) -> Option<Held> {
        match in_time(self.begin_to_hold(docker, deployment.config.network)).await {
            Ok(held) => return Some(held),
            Err(why) => self.missed(deployment, why).await,
        }
        None
    }

    /// Does what is to be done when no sandbox was to be had.
    async fn missed(&self, deployment: &Deployment, why: Miss) {
        match why {
            Miss::None => debug!("{}: {why}", deployment.function),
            Miss::Absent => {
                if let Err(error) = self.fetch(deployment).await {
                    warn!("{}: {}", deployment.function, Miss::Keeper(error));
                }
            }
            why => warn!(
                "{} is not started from a sandbox: {why}",
                deployment.function
            ),
        }
    }

    /// Has the keeper fetch what a sandbox is handed for a deployment, for its next start, if it can be started from one.
    ///
    /// # Errors
    /// When the keeper can't be reached, or does not answer.
    pub async fn fetch(&self, deployment: &Deployment) -> io::Result<()> {
        let Some(parcel) = Parcel::of(deployment) else {
            return Ok(());
        };
        let fetch = Fetch {
            function: deployment.function.clone(),
            image: deployment.image.clone(),
            digest: parcel.digest.as_str().to_owned(),
            form: match parcel.runtime {
                Some(_) => Form::Archive,
                None => Form::Executable,
            },
        };
        let asked = tokio::time::timeout(PATIENCE, claim::fetch(&self.keeper, fetch));
        asked.await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    async fn begin(
        &self,
        docker: &Arc<Docker>,
        deployment: &Deployment,
        parcel: &Parcel,
    ) -> Result<Taken, Miss> {
        let config = &deployment.config;
        let file = self.executables.open(&parcel.digest);
        let file = file.map_err(Miss::Executables)?.ok_or(Miss::Absent)?;
        let secrets = docker.secrets(deployment)?;
        let kind = match &parcel.runtime {
            Some(kind) => kind.clone(),
            None => self.kind(network(config)),
        };
        let Claimed {
            sandbox,
            connection,
        } = self.claim(&kind).await?;
        let (container, id) = (&sandbox.container, sandbox.instance);
        // (It may have another path for whoever sees the folder elsewhere.)
        let socket = sandbox.socket.as_ref();
        let socket = socket.filter(|path| config.socket && path.exists());
        let listens = socket.is_some();
        let port = sandbox.ip.map(|ip| Placement { id, ip }.address().into());
        let address = socket.cloned().map(Address::Socket).or(port);
        let became = async {
            let address = address.ok_or(Miss::Unreachable)?;
            if !is_default(&config.limits) {
                docker.limit_sandbox(container, &config.limits).await?;
            }
            let mut variables = environment(deployment, id);
            variables.extend(secrets);
            if listens {
                variables.push(format!("{}={LISTENER}", env::SOCKET));
            }
            // (A runtime has Docker's own already.)
            if parcel.runtime.is_none() {
                add_docker_variables(&mut variables, container);
            }
            let order = order::write([FUNCTION_PATH], variables.iter().map(String::as_str));
            let order = order.ok_or(Miss::HandOver(HandOverError::Order))?;
            let handed_over = if parcel.runtime.is_some() {
                let archive = read(file).map_err(Miss::Executables)?;
                hand_over_files(connection, &archive, &order).await
            } else {
                let program = Program {
                    executable: file.as_fd(),
                    order: &order,
                    listens,
                };
                hand_over(connection, program).await
            };
            handed_over.map_err(Miss::HandOver)?;
            Ok::<_, Miss>(address)
        };
        match became.await {
            Ok(address) => {
                let instance = Instance {
                    id,
                    function: deployment.function.clone(),
                    revision: deployment.revision.clone(),
                    container: container.clone(),
                    address: address.clone(),
                };
                tokio::spawn(name(docker.clone(), instance, None));
                Ok(Taken {
                    container: sandbox.container,
                    id,
                    address,
                })
            }
            Err(why) => {
                if let Miss::HandOver(HandOverError::Program(_)) = &why {
                    // What can't be executed, or unpacked, is not what it should be: the image has it.
                    let _ = self.executables.remove(&parcel.digest);
                }
                if let Err(error) = docker.remove(container).await {
                    warn!("{error}");
                }
                Err(why)
            }
        }
    }

    async fn begin_to_hold(&self, docker: &Docker, network: Network) -> Result<Held, Miss> {
        let Claimed {
            sandbox,
            connection,
        } = self.claim(&self.kind(Some(network))).await?;
        let (container, id) = (sandbox.container, sandbox.instance);
        let stays = async {
            let ip = sandbox.ip.ok_or(Miss::Unreachable)?;
            stay(connection).await.map_err(Miss::HandOver)?;
            Ok::<_, Miss>(Placement { id, ip })
        };
        match stays.await {
            Ok(placement) => Ok(Held {
                container,
                placement,
            }),
            Err(why) => {
                if let Err(error) = docker.remove(&container).await {
                    warn!("{error}");
                }
                Err(why)
            }
        }
    }

    /// The kind of sandboxes that have nothing in them yet.
    fn kind(&self, network: Option<Network>) -> Kind {
        Kind {
            image: self.image.clone(),
            network,
        }
    }

    /// Takes a sandbox that waits.
    async fn claim(&self, kind: &Kind) -> Result<Claimed, Miss> {
        let claimed = claim::claim(&self.keeper, kind).await;
        claimed.map_err(Miss::Keeper)?.ok_or(Miss::None)
    }
}

/// Waits for a sandbox as long as it may take.
async fn in_time<T>(taken: impl Future<Output = Result<T, Miss>>) -> Result<T, Miss> {
    let taken = tokio::time::timeout(PATIENCE, taken).await;
    taken.unwrap_or(Err(Miss::Late))
}

/// Gives a sandbox the name of one that holds the network of an instance, whose container there is, in a task of its own.
pub fn name_holder(docker: &Arc<Docker>, holder: String, instance: Instance) {
    tokio::spawn(name(docker.clone(), instance, Some(holder)));
}

/// Gives a sandbox the name of the instance that it has become, or the holder that of whose network it holds, unless that
/// has ended meanwhile.
async fn name(docker: Arc<Docker>, instance: Instance, holder: Option<String>) {
    // (Starts that are under way have the processors first.)
    tokio::time::sleep(NAMED_AFTER).await;
    let mut pauses = Pauses::of_service();
    for _ in 0..NAMINGS {
        let named = match &holder {
            None => docker.name_sandbox(&instance).await,
            Some(holder) => docker.name_holder(holder, &instance).await,
        };
        match named {
            Err(error) if !error.is_absent() && !error.is_conflict() => {
                tokio::time::sleep(pauses.grow()).await;
            }
            _ => return,
        }
    }
    let Instance { id, function, .. } = instance;
    warn!(
        "the sandbox of instance {id} of {function} has no name in Docker yet: the keeper is to give it one"
    );
}

/// Adds the variables that Docker gives to a container, unless the function has its own: what it finds must not depend on
/// how it was started.
fn add_docker_variables(variables: &mut Vec<String>, container: &str) {
    /// How many digits of its identifier a container has as its host's name.
    const SHORT: usize = 12;
    let host = format!("HOSTNAME={}", container.get(..SHORT).unwrap_or(container));
    for added in [PATH, HOME, &host] {
        let (name, _) = added.split_once('=').unwrap_or((added, ""));
        let is_set = |variable: &String| {
            let value = variable.strip_prefix(name);
            value.is_some_and(|value| value.starts_with('='))
        };
        if !variables.iter().any(is_set) {
            variables.push(added.to_owned());
        }
    }
}

/// What a sandbox is handed to become an instance of a deployment.
#[derive(Debug)]
struct Parcel {
    /// Under which digest the host has it.
    digest: Digest,
    /// The kind of sandboxes that take files, if that is what it is; none takes an executable.
    runtime: Option<Kind>,
}

impl Parcel {
    /// That of a deployment which can be started from a sandbox. Those are made for an account, and can't change it.
    fn of(deployment: &Deployment) -> Option<Self> {
        let config = &deployment.config;
        if config.user.is_some() {
            return None;
        }
        if let Some(executable) = &config.executable {
            return Some(Self {
                digest: Digest::parse(executable)?,
                runtime: None,
            });
        }
        let archive = config.archive.as_ref()?;
        Some(Self {
            digest: Digest::parse(&archive.digest)?,
            runtime: runtime_kind(config),
        })
    }
}

/// The kind of sandboxes that become functions of a configuration, if any do. `image` is that of those which have nothing in
/// them yet.
pub fn kind_of(config: &FunctionConfig, image: &str) -> Option<Kind> {
    if config.executable.is_some() {
        return Some(Kind {
            image: image.to_owned(),
            network: network(config),
        });
    }
    runtime_kind(config)
}

/// The same of those that do by their files.
fn runtime_kind(config: &FunctionConfig) -> Option<Kind> {
    Some(Kind {
        image: config.archive.as_ref()?.runtime.clone(),
        network: network(config),
    })
}

/// The network that a function's sandbox is on. One that is to reach nothing, and serves on its socket, needs none.
fn network(config: &FunctionConfig) -> Option<Network> {
    match config.network {
        Network::None if config.socket => None,
        network => Some(network),
    }
}

/// Reads an archive, which is no larger than [`archive::MAX`] if it is one.
fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(archive::MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether sandboxes are made with these limits.
fn is_default(limits: &Limits) -> bool {
    let default = Limits::default();
    (limits.memory, limits.nano_cpus, limits.pids)
        == (default.memory, default.nano_cpus, default.pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_docker() {
        let mut variables = vec!["HOME=/srv".to_owned(), "PATHS=x".to_owned()];
        add_docker_variables(&mut variables, "0123456789abcdef");
        let added = [PATH, "HOSTNAME=0123456789ab"];
        assert_eq!(variables[..2], ["HOME=/srv", "PATHS=x"]);
        assert_eq!(variables[2..], added);
    }
}
