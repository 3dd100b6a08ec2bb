//! Sandboxes: containers that wait to become instances, and have their name and address already.

use std::collections::HashMap;

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

use bollard::models::{ContainerCreateBody, ContainerUpdateBody};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    RenameContainerOptions,
};

use futures_util::StreamExt as _;

use corefn_core::config::Limits;
use corefn_core::instance::{Address, Instance, InstanceId};
use corefn_core::names::{self, label};

use super::create::{at, locked_down};
use super::{ContainerNetwork, Docker, DockerError, Placement};

/// The folder of a sandbox, in which the socket is that it connects to. It can't write there.
pub const FOLDER: &str = "/run/corefn";

/// Where a sandbox with a runtime in it has a function's files, in memory: as much as [`corefn_sandbox::archive::MAX`] and
/// what each file takes beside its bytes. They may be executed, for some are libraries.
const FILES_OPTIONS: &str = "rw,exec,nosuid,nodev,size=48m,mode=0755,uid=65534,gid=65534";

/// Docker's name of what is no network (Engine API, `NetworkMode`).
const NO_NETWORK: &str = "none";

/// What has a runtime wait in its sandbox, before the path of the socket.
const WAIT: &str = "wait";

/// What a sandbox is made of.
#[derive(Debug, Clone, Copy)]
pub struct SandboxParts<'a> {
    /// The image, whose program waits. It is given the path of the socket.
    pub image: &'a str,
    /// How the image's program is started if it is a runtime's, which takes files, and not `corefn-init`.
    pub runtime: Option<Runtime<'a>>,
    /// A digest of all that sandboxes of this kind are made of, for [`label::SANDBOX`].
    pub version: &'a str,
    /// The folder with the socket, as the host of Docker knows it.
    pub folder: &'a str,
    /// The socket's name in it.
    pub socket: &'a str,
    /// The path of the socket on which what it becomes may serve.
    pub serving: &'a Path,
}

/// How a runtime is started in its sandbox: by `corefn-init`, which gets the socket for it on which it may serve.
#[derive(Debug, Clone, Copy)]
pub struct Runtime<'a> {
    /// The image's own program and its arguments.
    pub entrypoint: &'a [String],
    /// The name of `corefn-init` in the folder.
    pub init: &'a str,
    /// The name of the socket that it connects to.
    pub socket: &'a str,
}

impl Docker {
    /// Creates a sandbox, without starting it, and returns its identifier. It is on a network, where it has an address, or on
    /// none. It has the limits of functions that set none.
    ///
    /// # Errors
    /// [`DockerError`]; an address that another container has shows only when it is started.
    pub async fn create_sandbox(
        &self,
        parts: SandboxParts<'_>,
        id: InstanceId,
        network: Option<(&ContainerNetwork, Ipv4Addr)>,
    ) -> Result<String, DockerError> {
        let options = CreateContainerOptions {
            name: Some(names::sandbox(self.namespace(), id)),
            ..CreateContainerOptions::default()
        };
        let body = sandbox_body(self.namespace(), parts, id, network);
        let client = self.client().await?;
        let created = client.create_container(Some(options), body).await;
        let created = created.map_err(|cause| self.failed("create a sandbox", cause))?;
        Ok(created.id)
    }

    /// The identifiers of the networks that a container is on.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn networks_of(&self, container: &str) -> Result<Vec<String>, DockerError> {
        let none = None::<InspectContainerOptions>;
        let found = self.client().await?.inspect_container(container, none);
        let found = found.await;
        let found = found.map_err(|cause| self.failed("look at a container", cause))?;
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let networks = networks.unwrap_or_default().into_values();
        Ok(networks.filter_map(|network| network.network_id).collect())
    }

    /// The program of an image and its arguments, to which those of a container are added.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn entrypoint(&self, image: &str) -> Result<Vec<String>, DockerError> {
        let found = self.client().await?.inspect_image(image).await;
        let found = found.map_err(|cause| self.failed("look at an image", cause))?;
        let entrypoint = found.config.and_then(|config| config.entrypoint);
        Ok(entrypoint.unwrap_or_default())
    }

    /// The stack that an image is of, as its label says; none if it has none, or can't be looked at.
    pub async fn stack_of(&self, image: &str) -> Option<String> {
        let found = self.client().await.ok()?.inspect_image(image).await.ok()?;
        found.config?.labels?.remove(label::STACK)
    }

    /// Gives a sandbox other limits than it was made with.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn limit_sandbox(&self, container: &str, limits: &Limits) -> Result<(), DockerError> {
        // (Its network is what it is.)
        let host = locked_down(limits, String::new());
        let body = ContainerUpdateBody {
            memory: host.memory,
            memory_swap: host.memory_swap,
            nano_cpus: host.nano_cpus,
            pids_limit: host.pids_limit,
            ..ContainerUpdateBody::default()
        };
        let updated = self.client().await?.update_container(container, body);
        let updated = updated.await;
        updated.map_err(|cause| self.failed("limit the sandbox", cause))
    }

    /// A file or a folder of an image, as a tar archive in a file without a name. An image that is not started needs a
    /// container to be read from, which is removed again; where that can't be, the cleaner does.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn part_of_image(
        &self,
        image: &str,
        path: &str,
    ) -> Result<io::Result<File>, DockerError> {
        let body = fetch_body(self.namespace(), image);
        let client = self.client().await?;
        let none = None::<CreateContainerOptions>;
        let created = client.create_container(none, body).await;
        let created = created.map_err(|cause| self.failed(format!("look into {image}"), cause))?;
        let copied = self.copy_out(&created.id, path).await;
        self.remove(&created.id).await?;
        copied
    }

    /// Downloads a file or a folder of a container.
    async fn copy_out(&self, container: &str, path: &str) -> Result<io::Result<File>, DockerError> {
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let client = self.client().await?;
        let mut pieces = std::pin::pin!(client.download_from_container(container, Some(options)));
        let mut file = match tempfile::tempfile() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|cause| self.failed(format!("read {path}"), cause))?;
            if let Err(error) = file.write_all(&piece) {
                return Ok(Err(error));
            }
        }
        Ok(file.rewind().map(|()| file))
    }

    /// Gives a sandbox the name of the instance that it has become, by which Docker alone can tell what it is.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn name_sandbox(&self, instance: &Instance) -> Result<(), DockerError> {
        let Instance {
            id,
            function,
            revision,
            container,
            address,
        } = instance;
        let name = names::sandbox_of(self.namespace(), function, revision, *id);
        let name = match address {
            Address::Socket(_) => names::with_socket(&name),
            Address::Port(_) => name,
        };
        self.rename(container, name).await
    }

    /// Gives a sandbox its name that holds the network of an instance, which is there already.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn name_holder(&self, holder: &str, instance: &Instance) -> Result<(), DockerError> {
        let Instance {
            id,
            function,
            revision,
            ..
        } = instance;
        let name = names::holder(self.namespace(), function, revision, *id);
        self.rename(holder, name).await
    }

    async fn rename(&self, container: &str, name: String) -> Result<(), DockerError> {
        let options = RenameContainerOptions { name };
        let renamed = self.client().await?.rename_container(container, options);
        let renamed = renamed.await;
        renamed.map_err(|cause| self.failed("rename the sandbox", cause))
    }
}

/// Adds what a sandbox has become to its labels, as if it had been made so.
pub(super) fn describe(namespace: &str, name: &str, labels: &mut HashMap<String, String>) {
    if labels.get(label::ROLE).map(String::as_str) != Some(label::ROLE_SANDBOX) {
        return;
    }
    let instance = labels.get(label::INSTANCE).and_then(|id| id.parse().ok());
    if instance.is_some_and(|id| names::in_holder(namespace, name, id).is_some()) {
        labels.remove(label::INSTANCE);
        labels.insert(label::ROLE.to_owned(), label::ROLE_HOLDER.to_owned());
        return;
    }
    let with_socket = names::without_socket(name);
    let name = with_socket.unwrap_or(name);
    let Some((function, revision)) =
        instance.and_then(|instance| names::in_sandbox(namespace, name, instance))
    else {
        // One that waits is no instance, though it has an instance's identifier.
        labels.remove(label::INSTANCE);
        return;
    };
    if with_socket.is_some()
        && let Some(path) = labels.get(label::SOCKET)
    {
        let address = Address::Socket(path.into());
        labels.insert(label::ADDRESS.to_owned(), address.to_string());
    }
    labels.remove(label::ROLE);
    labels.insert(label::FUNCTION.to_owned(), function.to_string());
    labels.insert(label::REVISION.to_owned(), revision.to_string());
}

/// The body of Docker's `POST /containers/create` for a container out of which files of an image are taken. It is never
/// started.
pub fn fetch_body(namespace: &str, image: &str) -> ContainerCreateBody {
    let labels = [
        (label::NAMESPACE, namespace),
        (label::ROLE, label::ROLE_FETCH),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(labels.into()),
        ..ContainerCreateBody::default()
    }
}

/// The body of Docker's `POST /containers/create` for a sandbox.
pub fn sandbox_body(
    namespace: &str,
    parts: SandboxParts<'_>,
    id: InstanceId,
    network: Option<(&ContainerNetwork, Ipv4Addr)>,
) -> ContainerCreateBody {
    let mode = network.map_or(NO_NETWORK, |(network, _)| &network.id);
    let mut host = locked_down(&Limits::default(), mode.to_owned());
    host.binds = Some(vec![format!("{}:{FOLDER}:ro", parts.folder)]);
    let mut labels = vec![
        (label::NAMESPACE, namespace.to_owned()),
        (label::ROLE, label::ROLE_SANDBOX.to_owned()),
        (label::SANDBOX, parts.version.to_owned()),
        (label::INSTANCE, id.to_string()),
        (label::SOCKET, parts.serving.display().to_string()),
    ];
    if let Some((_, ip)) = network {
        let address = Placement { id, ip }.address();
        labels.push((label::ADDRESS, address.to_string()));
    }
    let within = |name: &str| format!("{FOLDER}/{name}");
    let mut command = vec![within(parts.socket)];
    let mut entrypoint = None;
    // (A container's folder is made where it is missing, by root and on top of the files.)
    let mut working_dir = None;
    if let Some(runtime) = parts.runtime {
        labels.push((label::RUNTIME, parts.image.to_owned()));
        entrypoint = Some(vec![within(runtime.init), within(runtime.socket)]);
        let program = runtime.entrypoint.iter().cloned();
        command = program.chain([WAIT.to_owned()]).chain(command).collect();
        let folders = host.tmpfs.get_or_insert_default();
        folders.insert(names::FUNCTION_PATH.to_owned(), FILES_OPTIONS.to_owned());
        working_dir = Some("/".to_owned());
    }
    let labels = labels.into_iter();
    ContainerCreateBody {
        image: Some(parts.image.to_owned()),
        user: Some(names::USER.to_owned()),
        entrypoint,
        cmd: Some(command),
        working_dir,
        labels: Some(
            labels
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ),
        host_config: Some(host),
        networking_config: network.map(|(network, ip)| at(ip, network)),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::address::Subnet;

    fn made() -> ContainerCreateBody {
        made_of("corefn/sandbox:1", false)
    }

    fn made_of(image: &str, is_runtime: bool) -> ContainerCreateBody {
        made_on(image, is_runtime, true)
    }

    fn made_on(image: &str, is_runtime: bool, has_network: bool) -> ContainerCreateBody {
        let network = ContainerNetwork {
            id: "n1".to_owned(),
            subnet: Subnet::candidates(&[]).usable[0],
        };
        let entrypoint = ["python3".to_owned(), "-m".to_owned()];
        let runtime = Runtime {
            entrypoint: &entrypoint,
            init: "init",
            socket: "listener",
        };
        let parts = SandboxParts {
            image,
            runtime: is_runtime.then_some(runtime),
            version: "v1",
            folder: "/var/lib/corefn/sandboxes/7",
            socket: "keeper",
            serving: Path::new("/var/lib/corefn/serving/7"),
        };
        let at = (&network, Ipv4Addr::new(10, 200, 0, 9));
        let at = has_network.then_some(at);
        sandbox_body("ns", parts, InstanceId::from_random(7), at)
    }

    #[test]
    fn as_locked_down_as_an_instance() {
        let made = made();
        assert_eq!(made.user.as_deref(), Some(names::USER));
        let host = made.host_config.unwrap();
        assert_eq!(
            host.binds.unwrap(),
            ["/var/lib/corefn/sandboxes/7:/run/corefn:ro"]
        );
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!(made.cmd.unwrap(), ["/run/corefn/keeper"]);
        assert_eq!(made.entrypoint, None);
    }

    #[test]
    fn runtimes_wait_for_files() {
        let made = made_of("sha256:01", true);
        let entrypoint = ["/run/corefn/init", "/run/corefn/listener"];
        assert_eq!(made.entrypoint.unwrap(), entrypoint);
        let command = ["python3", "-m", "wait", "/run/corefn/keeper"];
        assert_eq!(made.cmd.unwrap(), command);
        assert_eq!(made.labels.unwrap()[label::RUNTIME], "sha256:01");
        let host = made.host_config.unwrap();
        assert_eq!(host.readonly_rootfs, Some(true));
        let mut folders: Vec<_> = host.tmpfs.unwrap().into_keys().collect();
        folders.sort();
        assert_eq!(folders, ["/function", "/tmp"]);
    }

    #[test]
    fn without_a_network() {
        let made = made_on("corefn/sandbox:1", false, false);
        assert_eq!(made.host_config.unwrap().network_mode.unwrap(), "none");
        assert!(made.networking_config.is_none());
        let mut labels = made.labels.unwrap();
        assert!(!labels.contains_key(label::ADDRESS));
        let name = "ns--demo--hello--r1--0000000000000007--socket";
        describe("ns", name, &mut labels);
        assert_eq!(labels[label::ADDRESS], "unix:/var/lib/corefn/serving/7");
    }

    #[test]
    fn known_by_its_name() {
        let labels = made().labels.unwrap();
        let mut waits = labels.clone();
        describe("ns", "ns-sandbox-0000000000000007", &mut waits);
        assert!(!waits.contains_key(label::INSTANCE) && !waits.contains_key(label::FUNCTION));
        let mut became = labels.clone();
        describe("ns", "ns--demo--hello--r1--0000000000000007", &mut became);
        assert_eq!(became[label::FUNCTION], "demo/hello");
        assert_eq!(became[label::REVISION], "r1");
        assert!(
            !became.contains_key(label::ROLE),
            "it is an instance as any other"
        );
        assert_eq!(became[label::INSTANCE], "0000000000000007");
        assert_eq!(became[label::ADDRESS], "10.200.0.9:8080");
        let mut serves = labels.clone();
        let name = "ns--demo--hello--r1--0000000000000007--socket";
        describe("ns", name, &mut serves);
        assert_eq!(serves[label::FUNCTION], "demo/hello");
        assert_eq!(serves[label::ADDRESS], "unix:/var/lib/corefn/serving/7");
        let mut holds = labels.clone();
        let name = "ns--demo--hello--r1--0000000000000007--network";
        describe("ns", name, &mut holds);
        assert_eq!(holds[label::ROLE], label::ROLE_HOLDER);
        assert!(!holds.contains_key(label::INSTANCE) && !holds.contains_key(label::FUNCTION));
        // A name says nothing of what isn't one.
        let mut other = labels;
        other.insert(label::ROLE.to_owned(), label::ROLE_BUILD.to_owned());
        let before = other.clone();
        describe("ns", "ns--demo--hello--r1--0000000000000007", &mut other);
        assert_eq!(other, before);
    }
}
