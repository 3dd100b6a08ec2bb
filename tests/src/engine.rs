//! A Docker engine of the installation's own, which may be stopped and killed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use corefn_core::names::{self, label};
use corefn_core::network::{Network, NetworkKind};
use corefn_engine::docker::Docker;
use rustix::process::Signal;

use crate::folder::Folder;
use crate::process::Process;
use crate::room::Room;
use crate::wait::wait_until;

/// What the names of the bridges of all such engines begin with; `scripts/sweep` looks for it.
const BRIDGE: &str = "cft";

/// Docker's option for it.
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// How many bytes there are for all that one keeps. They are in memory.
const ROOM: u64 = 256 << 20;

/// What stopping takes with containers that ignore SIGTERM for ten seconds, and a bit.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `dockerd` on a socket in the folder, with all that it keeps there. It leaves the machine's
/// packet filter alone, so its containers don't reach further than the machine.
#[derive(Debug)]
pub struct Engine {
    folder: Arc<Folder>,
    /// Where it keeps everything.
    pub room: Room,
    process: Option<Process>,
    bridges: Bridges,
    /// Whether containers go on while it doesn't run; it goes by it from its next start on.
    pub live_restore: bool,
}

impl Engine {
    /// One that doesn't run yet.
    ///
    /// # Panics
    /// When its folders or its bridge can't be made.
    pub fn new(folder: &Arc<Folder>) -> Self {
        let room = Room::make(folder, "docker", ROOM);
        fs::create_dir(folder.file("docker-run")).expect("the folder can be written to");
        Self {
            folder: folder.clone(),
            room,
            process: None,
            bridges: Bridges::new(),
            live_restore: false,
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("dockerd.sock")
    }

    /// What to connect to.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) {
        self.spawn();
        wait_until("Docker answers", PATIENCE, async || self.answers()).await;
    }

    /// Stops it with SIGTERM. Without live-restore its containers end as well.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.ended(PATIENCE).await;
        }
    }

    /// Kills it with SIGKILL, and containerd with it. Its containers go on.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Makes it hang until [`Engine::resume`].
    pub fn hang(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::STOP);
        }
    }

    /// Ends what [`Engine::hang`] began.
    pub fn resume(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::CONT);
        }
    }

    /// Has it run, whatever the test has done to it: only so can it be cleaned.
    pub(crate) fn revive(&mut self) {
        self.resume();
        let runs = |process: &mut Process| process.is_running();
        if !self.process.as_mut().is_some_and(runs) {
            self.process = None;
            self.spawn();
        }
        let begin = Instant::now();
        while !self.answers() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "Docker runs already");
        // Whoever was killed leaves this, and a number that nobody has waited for is taken for one
        // that runs.
        for file in ["docker.pid", "docker-run/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.folder.file(file));
        }
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(self.folder.file("docker"))
            .arg("--exec-root")
            .arg(self.folder.file("docker-run"))
            .arg("--pidfile")
            .arg(self.folder.file("docker.pid"))
            .args(["--host", &self.url()])
            .args(["--bridge", &self.bridges.name(Bridge::Default)])
            .args(["--iptables=false", "--ip6tables=false"])
            .arg(format!("--live-restore={}", self.live_restore));
        self.process = Some(Process::spawn(&self.folder, "dockerd", &mut command));
    }

    /// Whether it answers a ping.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    /// Makes the installation's networks, with subnets that no other engine gives out: two engines
    /// of one machine don't know of each other.
    ///
    /// # Panics
    /// When that fails.
    pub async fn make_networks(&self, docker: &Docker) {
        let client = docker.client().await.expect("Docker answers");
        for kind in NetworkKind::ALWAYS {
            let bridge = Bridge::Of(kind);
            let request = NetworkCreateRequest {
                name: names::network(docker.namespace(), kind),
                driver: Some("bridge".to_owned()),
                ipam: Some(Ipam {
                    config: Some(vec![IpamConfig {
                        subnet: Some(self.bridges.subnet(bridge, 0)),
                        ..IpamConfig::default()
                    }]),
                    ..Ipam::default()
                }),
                options: Some([(BRIDGE_OPTION.to_owned(), self.bridges.name(bridge))].into()),
                labels: Some([(label::NAMESPACE.to_owned(), docker.namespace().to_owned())].into()),
                ..NetworkCreateRequest::default()
            };
            let made = client.create_network(request).await;
            made.unwrap_or_else(|error| panic!("no network: {error}"));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.resume();
        self.process = None;
    }
}

/// What a bridge is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bridge {
    /// For containers that no network is named for.
    Default,
    /// For a network of the installation's.
    Of(NetworkKind),
}

impl Bridge {
    /// Less than four.
    fn number(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Of(NetworkKind::Of(Network::Outbound)) => 1,
            Self::Of(NetworkKind::Of(_)) => 2,
            Self::Of(NetworkKind::Build) => 3,
        }
    }
}

/// The names and subnets of an engine's bridges.
#[derive(Debug)]
struct Bridges {
    random: u32,
}

impl Bridges {
    /// Makes the default one. An engine that is told to have none removes the one of the machine's
    /// own engine.
    fn new() -> Self {
        let random = getrandom::u32().expect("the system has random bits");
        let bridges = Self { random };
        let name = bridges.name(Bridge::Default);
        let address = bridges.subnet(Bridge::Default, 1);
        ip(&["link", "add", &name, "type", "bridge"]);
        ip(&["address", "add", &address, "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        bridges
    }

    fn name(&self, bridge: Bridge) -> String {
        format!("{BRIDGE}{:08x}{}", self.random, bridge.number())
    }

    /// An address of a bridge's subnet, or with 0 the subnet.
    fn subnet(&self, bridge: Bridge, host: u8) -> String {
        let [_, _, low, high] = self.random.to_be_bytes();
        let second = 64 + 32 * bridge.number() + low % 32;
        format!("10.{second}.{high}.{host}/24")
    }
}

impl Drop for Bridges {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.name(Bridge::Default)]);
    }
}

/// Has `ip` do something. What fails is written down, and met again by whoever needs it.
fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    if !status.as_ref().is_ok_and(ExitStatus::success) {
        eprintln!("ip {}: {status:?}", arguments.join(" "));
    }
}
