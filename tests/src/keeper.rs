//! The installation's keeper of sandboxes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use corefn_core::gate::Caller;
use corefn_core::names::{HOST_FILE, label};
use rustix::process::Signal;

use crate::folder::Folder;
use crate::gate;
use crate::home::Home;
use crate::process::Process;
use crate::programs::program;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `corefn-keep` that runs.
#[derive(Debug)]
pub struct Keeper {
    folder: Arc<Folder>,
    process: Process,
}

impl Keeper {
    /// Adds the table to the settings that says how many sandboxes wait, and starts a keeper.
    pub fn start(home: &Home, settings: &str) -> Self {
        let host = home.folder.read(HOST_FILE);
        home.folder
            .write(HOST_FILE, format!("{host}\n[sandboxes]\n{settings}\n"));
        Self::start_again(home)
    }

    /// The same for an installation whose nginx does not run yet: starts that too, as one whose functions start from
    /// the keeper's sandboxes.
    pub async fn start_with_nginx(home: &mut Home, settings: &str) -> Self {
        let keeper = Self::start(home, settings);
        let folder = home.folder.file("sandboxes");
        let directive = format!("corefn_sandboxes {};\n", folder.display());
        home.conf.http.push_str(&directive);
        home.start_nginx().await;
        keeper
    }

    /// Starts a keeper by the settings that there are.
    pub fn start_again(home: &Home) -> Self {
        let mut command = Command::new(program("corefn-keep"));
        command.arg("--home").arg(home.folder.path());
        command.envs(gate::variable(&home.folder, Caller::Keeper));
        Self {
            process: Process::spawn(&home.folder, "keep", &mut command),
            folder: home.folder.clone(),
        }
    }

    /// The socket at which sandboxes are claimed.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("sandboxes/keeper")
    }

    /// Ends it as an operator does.
    pub async fn end(mut self) {
        self.process.signal(Signal::TERM);
        self.process.ended(PATIENCE).await;
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.folder.read("log/keep.log")
    }
}

/// The containers of sandboxes that can be claimed, in an order of their own.
pub async fn waiting(home: &Home) -> Vec<String> {
    let containers = home.docker.containers().await.expect("Docker answers");
    let mut waiting = Vec::new();
    for found in containers {
        let id = found.name.rsplit('-').next().unwrap_or_default();
        let folder = home.folder.file("sandboxes/waiting").join(id);
        if found.has(label::ROLE, label::ROLE_SANDBOX)
            && folder.exists()
            && is_connected(home, &found.id, &folder.join("keeper")).await
        {
            waiting.push(found.id);
        }
    }
    waiting.sort();
    waiting
}

/// Whether the keeper has accepted a sandbox's connection to a socket, as proc(5) says. Connections are of the network
/// of whoever connects.
async fn is_connected(home: &Home, container: &str, socket: &Path) -> bool {
    /// What the kernel calls it: a connection that nobody has accepted is in another state.
    const CONNECTED: &str = "03";
    let client = home.docker.client().await.expect("Docker answers");
    let none = None::<InspectContainerOptions>;
    let found = client.inspect_container(container, none).await;
    let state = found.ok().and_then(|found| found.state);
    let Some(pid) = state.and_then(|state| state.pid) else {
        return false;
    };
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let socket = socket.display().to_string();
    sockets.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(5) == Some(&CONNECTED) && fields.get(7) == Some(&socket.as_str())
    })
}
