//! A machine of its own, for what is installed on one.

use std::path::Path;
use std::time::Duration;

use corefn_core::names::label;
use tokio::process::Command;

use crate::cli::{Ran, ran};
use crate::client::Client;
use crate::folder::Folder;
use crate::git_host::ssh_command;
use crate::wait::wait_until;

/// What Docker and a builder's image begin with; a machine with the internet would pull it.
const BASE: &str = "debian:bookworm-slim";

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine: a container that runs systemd, an engine of its own, and nothing of the host's.
pub struct Machine {
    /// What is beside it.
    pub folder: Folder,
    /// Where it is.
    pub address: String,
}

impl Machine {
    /// One of a name.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(name: &str) -> Self {
        let folder = Folder::create(name);
        let mut machine = Self {
            folder,
            address: String::new(),
        };
        let bare = "FROM debian:bookworm-slim\n\
                    RUN apt-get update -q && apt-get install -q -y --no-install-recommends systemd systemd-sysv nginx\n";
        std::fs::create_dir(machine.folder.file("bare")).expect("the folder is ours");
        machine.folder.write("bare/Dockerfile", bare);
        // (A machine may itself have no such capability to give.)
        let start = format!(
            "DOCKER_BUILDKIT=0 docker build -q --label {label}=$NAME -t $NAME/bare bare && \
             bounding=$(sed -n 's/^CapBnd:\\s*//p' /proc/self/status) && \
             drop= && if [ $((0x$bounding >> 24 & 1)) = 0 ]; then drop='--cap-drop SYS_RESOURCE'; fi && \
             docker run -d --name $NAME --label {label}=$NAME --cap-add ALL $drop --cgroupns private \
                 --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
                 --tmpfs /run --tmpfs /run/lock -v /var/lib/docker -e container=docker $NAME/bare \
                 sh -c 'for folder in /sys/fs/cgroup/*/ /sys/fs/cgroup; do mount -o remount,rw,bind $folder; done; exec /sbin/init'",
            label = label::NAMESPACE,
        );
        machine.here(&start).await.succeeded();
        let address = "docker inspect --format '{{.NetworkSettings.IPAddress}}' $NAME";
        machine.address = machine.here(address).await.succeeded().trim().to_owned();
        wait_until("systemd has started", PATIENCE, async || {
            let state = machine.there("systemctl is-system-running").await;
            state.output.trim() == "running"
        })
        .await;
        machine
    }

    /// Runs a script beside the machine, as a developer would.
    pub async fn here(&self, script: &str) -> Ran {
        ran(Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env("NAME", self.folder.name())
            .env("GIT_SSH_COMMAND", self.ssh()))
        .await
    }

    /// Runs a script on the machine, as its operator would.
    pub async fn there(&self, script: &str) -> Ran {
        ran(Command::new("docker")
            .args(["exec", "-w", "/root", self.folder.name()])
            .args(["bash", "-euo", "pipefail", "-c", script]))
        .await
    }

    /// Brings what a registry would give, for an engine that is there by now.
    ///
    /// # Panics
    /// When the engine does not take it.
    pub async fn bring_base_image(&self) {
        let bring = format!("docker save {BASE} | docker exec -i $NAME docker load");
        self.here(&bring).await.succeeded();
    }

    /// Has the services, which are there by now, trust the certificates that this machine was told to trust.
    ///
    /// # Panics
    /// When they don't start again.
    pub async fn trust_as_this_machine(&self) {
        if let Ok(bundle) = std::env::var("SSL_CERT_FILE") {
            self.put(Path::new(&bundle), "/etc/corefn/ca.pem").await;
            let settings = "sed -i 's|^#ca_bundle.*|ca_bundle = \"/etc/corefn/ca.pem\"|' /etc/corefn/host.toml && \
                            systemctl restart 'corefn-*'";
            self.there(settings).await.succeeded();
        }
    }

    /// Puts a file or a folder onto the machine.
    pub async fn put(&self, from: &Path, to: &str) {
        let script = format!("docker cp -L '{}' $NAME:{to}", from.display());
        self.here(&script).await.succeeded();
    }

    fn ssh(&self) -> String {
        ssh_command(&self.folder.file("key"), &self.folder.file("known_hosts"))
    }

    /// What a function that is there says.
    pub async fn call(&self, path: &str, body: &str) -> String {
        let script = format!(
            "curl -sS --fail-with-body -d {body} http://{}{path}",
            self.address
        );
        self.here(&script).await.output
    }

    /// What asks for functions.
    pub fn client(&self) -> Client {
        Client::new(
            format!("{}:80", self.address)
                .parse()
                .expect("it is an address"),
        )
    }

    /// The containers of functions.
    pub async fn instances(&self) -> String {
        let script = format!("docker ps -q --no-trunc --filter label={}", label::FUNCTION);
        self.there(&script).await.succeeded().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let script = "docker rm -f -v $NAME; docker rmi -f $NAME/bare";
        let mut command = std::process::Command::new("sh");
        let command = command.args(["-c", script]);
        self.folder.tidy(command.env("NAME", self.folder.name()));
    }
}
