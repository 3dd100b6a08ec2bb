//! The installation that is measured: one worker of nginx that serves the same function through
//! CoreFn and through a plain `proxy_pass`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::deployment::Deployment;
use corefn_core::instance::Instance;
use corefn_core::names::label;
use corefn_engine::sandboxes::EXECUTABLES;
use corefn_sandbox::executables::Digest;
use corefn_tests::home::Builder;
use corefn_tests::keeper::{Keeper, waiting};
use corefn_tests::nginx::{PLAIN_VARIABLES, plain_proxy};
use corefn_tests::{Home, probe, wait_until};

use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::wrk;

/// The function that gets the warm requests.
pub const WARM: &str = "bench/hello";

/// The one that gets them on a unix socket. (Its name is as long, so that requests are too.)
pub const WARM_SOCKET: &str = "bench/socks";

/// The function that is started over and over, which is one executable.
pub const COLD: &str = "bench/chill";

/// The same as any image.
pub const COLD_IMAGE: &str = "bench/image";

/// How many functions are asked for at once.
pub const BURST: usize = 20;

/// How many sandboxes wait, of both kinds together.
const SANDBOXES: usize = 2 * BURST;

/// What the router says that a start was from, where it was one of those that wait.
pub const SANDBOX: &str = "a sandbox";

/// The path below both prefixes that loads request.
const PATH: &str = "status/200";

/// Where the plain `proxy_pass` is: as long as the function's prefix, so that requests are too.
const PLAIN: &str = "/bench/plain/";

/// How long what was asked for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel takes a removed container's network apart after Docker has said that it is gone.
pub const SETTLE: Duration = Duration::from_millis(300);

/// The installation, and what is in it.
pub struct Site {
    /// Its keeper of sandboxes, which goes first, since it makes more.
    pub keeper: Keeper,
    /// Its parts.
    pub home: Home,
}

impl Site {
    /// Starts one, with a function for cold starts that does not run.
    pub async fn start() -> Self {
        Self::set_up(Home::builder("bench").without_gate()).await
    }

    /// The same where nginx has no more of Docker than the gate lets through.
    pub async fn start_gated() -> Self {
        Self::set_up(Home::builder("bench-gate").gated()).await
    }

    async fn set_up(builder: Builder) -> Self {
        let mut home = builder
            .workers(1)
            .connections(16_384)
            .server("access_log off;")
            .without_nginx()
            .start()
            .await;
        let size = format!("floor = {BURST}\nceiling = {BURST}");
        let keeper = Keeper::start_with_nginx(&mut home, &size).await;
        home.deploy(COLD, executable()).await;
        home.deploy(COLD_IMAGE, of_any_image()).await;
        for number in 0..BURST {
            home.deploy(&burst(number), executable()).await;
        }
        home.folder.write("report.lua", wrk::SCRIPT);
        home.folder.write("paced.lua", wrk::PACED_SCRIPT);
        let site = Self { home, keeper };
        site.until_full().await;
        site
    }

    /// Waits until as many sandboxes wait as should.
    pub async fn until_full(&self) {
        wait_until("sandboxes wait", PATIENCE, async || {
            waiting(&self.home).await.len() == SANDBOXES
        })
        .await;
    }

    /// The same, and until nothing is left of those that have ended: Docker works for as long to remove one as to make one.
    pub async fn until_quiet(&self) {
        self.until_full().await;
        wait_until("those that have ended are removed", PATIENCE, async || {
            let containers = self.home.docker.containers().await.unwrap_or_default();
            containers.iter().all(|container| container.running)
        })
        .await;
        self.until_full().await;
    }

    /// Waits until the host has the executable of a deployment.
    pub async fn until_executable(&self, deployment: &Deployment) {
        let name = deployment.config.executable.as_deref().unwrap_or_default();
        let folder = self.home.folder.file("sandboxes").join(EXECUTABLES);
        wait_until("its executable is there", PATIENCE, async || {
            folder.join(name).exists()
        })
        .await;
    }

    /// Removes all instances, and returns when nothing of them is left: not in Docker, not in Redis, and so not in the
    /// router, which tells Redis after itself; and when as many sandboxes wait as should.
    ///
    /// # Errors
    /// [`BenchError`] when Docker can't do it.
    pub async fn clear(&self) -> Result<(), BenchError> {
        let home = &self.home;
        // (What sandboxes have become, Docker is told a moment later.)
        wait_until("Docker knows all", PATIENCE, async || {
            let known = home.store.instances().await.unwrap_or_default();
            let containers = home.docker.containers().await.unwrap_or_default();
            let has_name = |id: &String| {
                let found = containers.iter().find(|container| container.id == *id);
                found.is_some_and(|container| container.labels.contains_key(label::INSTANCE))
            };
            let mut known = known.iter();
            known.all(|leased| has_name(&leased.instance.container))
        })
        .await;
        for container in home.docker.containers().await? {
            let is_holder = container.has(label::ROLE, label::ROLE_HOLDER);
            if is_holder || container.labels.contains_key(label::INSTANCE) {
                home.docker.remove(&container.id).await?;
            }
        }
        wait_until("all is as before", PATIENCE, async || {
            let known = home.store.instances().await;
            known.is_ok_and(|known| known.is_empty()) && waiting(home).await.len() == SANDBOXES
        })
        .await;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// How many instances were started from `a sandbox`, or from what else the router says.
    pub fn started_from(&self, what: &str) -> usize {
        let text = format!(" ms from {what}");
        self.home.error_log().matches(&text).count()
    }

    /// Milliseconds that the last start from `a sandbox`, or from what else the router says, has taken, and its steps with
    /// those from its begin until each was done.
    pub fn last_start(&self, what: &str) -> Option<(f64, Vec<(String, f64)>)> {
        let log = self.home.error_log();
        let text = format!(" ms from {what} (");
        let mut lines = log.lines().rev();
        let (line, steps) = lines.find_map(|line| line.split_once(&text))?;
        let (_, took) = line.rsplit_once(" in ")?;
        Some((took.parse().ok()?, read_steps(steps)))
    }

    /// Starts the functions for warm requests, and nginx's second way to one.
    ///
    /// # Errors
    /// [`BenchError`] when something fails, or the two ways are not the same to the function.
    pub async fn warm_up(&mut self, pinning: &Pinning) -> Result<(), BenchError> {
        let instance = self.start_from_sandbox(WARM, config()).await?;
        self.pin(&instance, pinning).await?;
        let address = port(&instance)?;
        let config = FunctionConfig {
            socket: true,
            ..config()
        };
        let on_socket = self.start_from_sandbox(WARM_SOCKET, config).await?;
        if on_socket.address.port().is_some() {
            return Err(BenchError::NoSocket);
        }
        self.pin(&on_socket, pinning).await?;
        self.home
            .folder
            .write("plain.conf", plain_proxy(&format!("/{WARM}")));
        let (main, http, server) = directives(address, pinning);
        self.home.conf.main.push_str(&main);
        self.home.conf.http.push_str(&http);
        self.home.conf.server.push_str(&server);
        self.home.reload().await;
        let nginx = &self.home.nginx;
        wait_until("the old worker ends", PATIENCE, async || {
            nginx.workers().len() == 1
        })
        .await;
        self.compare().await
    }

    /// Starts a function from a sandbox.
    async fn start_from_sandbox(
        &self,
        function: &str,
        config: FunctionConfig,
    ) -> Result<Instance, BenchError> {
        let path = corefn_path(function, PATH);
        let deployment = self.home.deploy(function, config).await;
        // (A first start may miss what the next has.)
        for _ in 0..2 {
            let before = self.started_from(SANDBOX);
            self.check(&path).await?;
            let instance = self.instance(function).await?;
            if self.started_from(SANDBOX) > before {
                return Ok(instance);
            }
            self.until_executable(&deployment).await;
            self.home.docker.remove(&instance.container).await?;
            wait_until("it is no more", PATIENCE, async || {
                self.instance(function).await.is_err()
            })
            .await;
            self.until_full().await;
        }
        Err(BenchError::NoSandbox)
    }

    /// Keeps an instance to the processors that are for what is not nginx.
    async fn pin(&self, instance: &Instance, pinning: &Pinning) -> Result<(), BenchError> {
        let Some(cpus) = &pinning.others else {
            return Ok(());
        };
        let update = ContainerUpdateBody {
            cpuset_cpus: Some(cpus.clone()),
            ..ContainerUpdateBody::default()
        };
        let docker = &self.home.docker;
        let client = docker.client().await?;
        let updated = client.update_container(&instance.container, update).await;
        updated.map_err(|cause| docker.failed("pin the container", cause).into())
    }

    /// The URL of a function.
    pub fn corefn_url(&self, function: &str) -> String {
        let path = corefn_path(function, PATH);
        format!("http://{}{path}", self.home.nginx.address())
    }

    /// The URL through the plain `proxy_pass`.
    pub fn plain_url(&self) -> String {
        format!("http://{}{PLAIN}{PATH}", self.home.nginx.address())
    }

    /// The file with wrk's script.
    pub fn script(&self) -> PathBuf {
        self.home.folder.file("report.lua")
    }

    /// The file with the one that pauses.
    pub fn paced_script(&self) -> PathBuf {
        self.home.folder.file("paced.lua")
    }

    /// The file with the one for so many connections that send no more together than a few do.
    pub fn steady_script(&self, connections: u32) -> PathBuf {
        let script = wrk::steady_script(connections);
        self.home.folder.write("steady.lua", script)
    }

    /// The only instance of a function.
    async fn instance(&self, function: &str) -> Result<Instance, BenchError> {
        let mut instances = self.home.store.instances().await?;
        instances.retain(|leased| leased.instance.function.as_str() == function);
        match &instances[..] {
            [one] => Ok(one.instance.clone()),
            others => Err(BenchError::Instances {
                function: function.to_owned(),
                want: 1,
                have: others.len(),
            }),
        }
    }

    /// Sees that the function gets the same request either way, but for its random identifier.
    async fn compare(&self) -> Result<(), BenchError> {
        let mut seen = Vec::new();
        for path in [corefn_path(WARM, "seen?x=1"), format!("{PLAIN}seen?x=1")] {
            let body = self.check(&path).await?;
            let mut request: serde_json::Value =
                serde_json::from_str(&body).unwrap_or_else(|_| body.clone().into());
            if let Some(headers) = request["headers"].as_object_mut() {
                headers.remove("x-request-id");
            }
            seen.push(request);
        }
        match &seen[..] {
            [corefn, plain] if corefn != plain => Err(BenchError::Unequal {
                corefn: corefn.to_string(),
                plain: plain.to_string(),
            }),
            _ => Ok(()),
        }
    }

    async fn check(&self, path: &str) -> Result<String, BenchError> {
        get(&self.home.client(), path).await
    }
}

/// A path of a function's.
fn corefn_path(function: &str, rest: &str) -> String {
    format!("/{function}/{rest}")
}

/// GETs a path, which must succeed, and returns the body.
///
/// # Errors
/// [`BenchError`] when it doesn't.
pub async fn get(client: &corefn_tests::Client, path: &str) -> Result<String, BenchError> {
    let answer = client.get(path).send().await?;
    match answer.status {
        200 => Ok(answer.text()),
        status => Err(BenchError::Answer {
            target: path.to_owned(),
            status,
            body: answer.text(),
        }),
    }
}

/// Reads `created after 80.1 ms, started after 140.0 ms)`.
fn read_steps(text: &str) -> Vec<(String, f64)> {
    let text = text.split(')').next().unwrap_or_default();
    let each = text.split(", ").filter_map(|step| {
        let (name, after) = step.split_once(" after ")?;
        let after = after.strip_suffix(" ms")?.parse().ok()?;
        Some((name.to_owned(), after))
    });
    each.collect()
}

/// The functions that are asked for at once.
pub fn burst(number: usize) -> String {
    format!("bench/burst-{number}")
}

/// The configuration of those that are started over and over: as a push of any image has it that sets nothing.
fn of_any_image() -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(3_600_000),
        ..FunctionConfig::default()
    }
}

/// The same of one that is one executable.
pub fn executable() -> FunctionConfig {
    FunctionConfig {
        executable: Some(Digest::of(&probe::executable()).as_str().to_owned()),
        ..of_any_image()
    }
}

/// That of the one for warm requests: its limits are out of the way, and it stays for as long as it may take.
fn config() -> FunctionConfig {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    FunctionConfig {
        limits: Limits {
            nano_cpus: cpus * 1_000_000_000,
            pids: 4096,
            ..Limits::default()
        },
        ..executable()
    }
}

/// The port at which an instance listens.
///
/// # Errors
/// [`BenchError::NoPort`] when it serves on a socket.
pub fn port(instance: &Instance) -> Result<SocketAddr, BenchError> {
    instance.address.port().ok_or(BenchError::NoPort)
}

/// What nginx needs for the plain way: lines for the main level, for `http` and for `server`.
fn directives(address: SocketAddr, pinning: &Pinning) -> (String, String, String) {
    let http = format!(
        "{PLAIN_VARIABLES}\nupstream plain {{ server {address}; keepalive 64; keepalive_requests 100000; }}\n"
    );
    let server = format!("location {PLAIN} {{ proxy_pass http://plain/; include plain.conf; }}\n");
    (pinning.directive(), http, server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_one_length() {
        for function in [WARM, WARM_SOCKET] {
            assert_eq!(PLAIN.len(), corefn_path(function, "").len());
        }
    }

    #[test]
    fn steps_of_a_line() {
        let text = "held after 0.4 ms, created after 80.1 ms)";
        let want = [("held".to_owned(), 0.4), ("created".to_owned(), 80.1)];
        assert_eq!(read_steps(text), want);
        assert_eq!(read_steps(")"), []);
    }
}
