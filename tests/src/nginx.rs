//! The installation's own nginx: Debian's, with a configuration that the test can add to.

use std::ffi::{CStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;

use corefn_core::names::{env, variable};

use crate::access;
use crate::folder::Folder;
use crate::port::Port;
use crate::process::{self, Process};
use crate::programs;
use crate::wait::wait_until;

/// The program, unless the environment names another. Debian keeps it where only root's `PATH` leads.
const PROGRAM: &str = "/usr/sbin/nginx";

/// The nginx that the module under test is for.
pub fn program() -> PathBuf {
    let named = std::env::var_os(format!("{}NGINX", env::RESERVED_PREFIX));
    named.map_or_else(|| PROGRAM.into(), PathBuf::from)
}

const PATIENCE: Duration = Duration::from_secs(20);

/// The file in the installation's folder that names the fault which is to happen.
pub const FAULT: &str = "fault";

/// The path at which every configuration tells how many requests nginx works on.
pub const STATUS: &str = "/-/status";

/// What a configuration says beside what all have. The texts are directives, put at the end of
/// their block.
#[derive(Debug, Clone)]
pub struct Conf {
    /// `worker_processes`.
    pub workers: u32,
    /// `worker_connections`.
    pub connections: u32,
    /// Whether the module is loaded.
    pub module: bool,
    /// Whether it is the one with faults to be injected, [`crate::Home::fault`].
    pub faults: bool,
    /// Whether functions are served: the module's directives, the upstream and `location /`.
    pub functions: bool,
    /// Whether their answers may be kept in a cache.
    pub cached: bool,
    /// Outside of all blocks.
    pub main: String,
    /// In `http`.
    pub http: String,
    /// In `server`.
    pub server: String,
    /// In `location /`, before the common lines.
    pub location: String,
    /// `corefn_redis`.
    pub redis: String,
    /// `corefn_docker`.
    pub docker: String,
    /// The size of `corefn_zone`.
    pub zone: String,
}

impl Conf {
    /// The text of the file.
    pub fn text(&self, folder: &Folder, address: SocketAddr) -> String {
        let Self {
            workers,
            connections,
            main,
            http,
            server,
            location,
            redis,
            docker,
            zone,
            ..
        } = self;
        let (path, namespace) = (folder.path().display(), folder.name());
        let load = match self.module {
            true if self.faults => format!(
                "load_module {};\nenv {};",
                programs::fault_module().display(),
                env::FAULT
            ),
            true => format!("load_module {};", programs::module().display()),
            false => String::new(),
        };
        // For the program that nginx starts beside itself when it is upgraded.
        let inherited = preload().map_or(String::new(), |_| format!("env {PRELOAD};"));
        let (mut directives, mut root) = ("access_log off;".to_owned(), String::new());
        if self.functions {
            let format = access::FORMAT;
            directives = format!(
                "corefn_redis {redis};\n    corefn_docker {docker};\n    corefn_namespace {namespace};\n    \
                 corefn_secrets {path}/secrets;\n    \
                 corefn_zone corefn {zone};\n    include corefn/upstream.conf;\n    {format}\n    \
                 access_log log/access.log probe;"
            );
            let include = if self.cached { "cached" } else { "functions" };
            root = format!(
                "location / {{\n            {location}\n            include corefn/{include}.conf;\n        }}"
            );
        }
        format!(
            "user root;
worker_processes {workers};
daemon off;
pid {path}/run/nginx-master.pid;
error_log {path}/log/error.log info;
{inherited}
{load}
{main}
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path temp-body;
    proxy_temp_path temp-proxy;
    fastcgi_temp_path temp-fastcgi;
    uwsgi_temp_path temp-uwsgi;
    scgi_temp_path temp-scgi;
    {directives}
    {http}
    server {{
        listen {address} backlog=4096;
        server_name localhost;
        client_max_body_size 64m;
        location = {STATUS} {{ access_log off; stub_status; }}
        {root}
        {server}
    }}
}}
"
        )
    }
}

/// An nginx, running or not.
#[derive(Debug)]
pub struct Nginx {
    folder: Arc<Folder>,
    port: Port,
    process: Option<Process>,
    daemon: Option<u32>,
}

/// What `nginx -t` says to a configuration.
#[derive(Debug)]
pub struct Checked {
    /// Whether nginx would take it.
    pub accepted: bool,
    /// What it prints.
    pub output: String,
}

impl Nginx {
    /// One that doesn't run yet, on a port of its own.
    pub fn new(folder: &Arc<Folder>) -> Self {
        include_files(folder);
        Self {
            folder: folder.clone(),
            port: Port::reserve(),
            process: None,
            daemon: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Waits until its workers have closed all connections of their clients, who have closed them already.
    ///
    /// # Panics
    /// When one stays open.
    pub async fn until_connections_are_closed(&self) {
        // (`/proc/net/tcp` as of proc_pid_net(5): the second column is the local address with the port in
        // hexadecimal digits, the fourth the state, of which these two mean that it is open at this end.)
        const OPEN: [&str; 2] = ["01", "08"];
        let port = format!(":{:04X}", self.address().port());
        wait_until("nginx closes its connections", PATIENCE, async || {
            let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
            !table.lines().any(|line| {
                let columns: Vec<_> = line.split_whitespace().take(4).collect();
                matches!(columns[..], [_, local, _, state] if local.ends_with(&port) && OPEN.contains(&state))
            })
        })
        .await;
    }

    /// Starts it and waits until all of its workers are there.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start(&mut self, conf: &Conf) {
        assert!(self.process.is_none(), "nginx runs already");
        let path = self.write(conf);
        let mut command = self.command(&path);
        let mut process = Process::spawn(&self.folder, "nginx", &mut command);
        wait_until("nginx listens", PATIENCE, async || {
            assert!(
                process.is_running(),
                "nginx ended:\n{}",
                self.folder.read("log/nginx.log")
            );
            TcpStream::connect(self.address()).await.is_ok()
        })
        .await;
        self.process = Some(process);
        let workers = conf.workers as usize;
        wait_until("nginx starts its workers", PATIENCE, async || {
            self.workers().len() == workers
        })
        .await;
    }

    /// Gives it a configuration and reloads; returns when the new workers are there, with the
    /// numbers of the old ones, which may still be finishing their work.
    pub async fn reload(&mut self, conf: &Conf) -> Vec<u32> {
        self.write(conf);
        let old = self.workers();
        self.signal(Signal::HUP);
        let workers = conf.workers as usize;
        wait_until("nginx starts new workers", PATIENCE, async || {
            let new = self.workers().into_iter().filter(|id| !old.contains(id));
            new.count() == workers
        })
        .await;
        old
    }

    /// Starts it as the system does, without a parent: nginx doesn't let itself be upgraded as long
    /// as who started it is there.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start_daemon(&mut self, conf: &Conf) {
        let text = conf.text(&self.folder, self.address());
        let text = text.replace("daemon off;", "daemon on;");
        let path = self.folder.write("nginx.conf", text);
        let started = self.command(&path).status();
        assert!(started.expect("nginx is installed").success());
        self.next_daemon(conf.workers).await;
    }

    /// Has a daemon start the program anew beside itself, as for an upgrade: the first step of
    /// nginx's procedure. Returns the number of the old master process, which the test has to end;
    /// [`Nginx::workers`] are the new one's.
    ///
    /// # Panics
    /// When it is no daemon, or no second one starts.
    pub async fn upgrade(&mut self, conf: &Conf) -> u32 {
        let old = self.daemon.expect("it is a daemon");
        process::signal(old, Signal::USR2);
        self.next_daemon(conf.workers).await;
        old
    }

    /// Waits until the file says that another master process runs, and it has its workers.
    async fn next_daemon(&mut self, workers: u32) {
        let former = self.daemon;
        wait_until("nginx starts its workers", PATIENCE, async || {
            let text = self.folder.read("run/nginx-master.pid");
            self.daemon = text.trim().parse().ok().or(former);
            self.daemon != former && self.workers().len() == workers as usize
        })
        .await;
    }

    /// Has it finish its requests and end, and waits for that.
    pub async fn quit(&mut self) {
        self.signal(Signal::QUIT);
        self.ended(PATIENCE).await;
    }

    /// Has it end at once, and waits for that.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.ended(PATIENCE).await;
    }

    /// Sends a signal to the master process.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it doesn't end within `patience`.
    pub async fn ended(&mut self, patience: Duration) {
        if let Some(mut process) = self.process.take() {
            process.ended(patience).await;
        }
    }

    /// The numbers of its workers, those that are shutting down included.
    pub fn workers(&self) -> Vec<u32> {
        let first = self.process.as_ref().map(Process::id);
        let master = self.daemon.or(first);
        let mut workers = master.map(process::children).unwrap_or_default();
        workers.retain(|id| title(*id).starts_with("nginx: worker process"));
        workers.sort_unstable();
        workers
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.process = None;
        if let Some(id) = self.daemon.take() {
            process::end(id);
        }
    }

    /// What starts it under a tool, such as a debugger: the tool's words, nginx and its arguments.
    ///
    /// # Panics
    /// When there is no tool.
    pub fn command_under(&self, conf: &Conf, tool: &[String]) -> Command {
        let path = self.write(conf);
        let nginx = self.command(&path);
        let (program, words) = tool.split_first().expect("a tool is a program");
        let mut command = Command::new(program);
        command
            .args(words)
            .arg(nginx.get_program())
            .args(nginx.get_args());
        command
    }

    fn write(&self, conf: &Conf) -> std::path::PathBuf {
        self.folder
            .write("nginx.conf", conf.text(&self.folder, self.address()))
    }

    fn command(&self, conf: &Path) -> Command {
        command(&self.folder, conf)
    }
}

/// What `proxy.conf` in a folder comes to, with what it includes.
///
/// # Panics
/// When it can't be read.
pub fn proxy_conf(folder: &Path) -> String {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let own = read("proxy.conf");
    let include = "include corefn/common.conf;";
    assert!(own.contains(include), "{own}");
    own.replace(include, &read("common.conf"))
}

/// The directives that a location of functions includes, for one that proxies without the module, below a prefix: in place of
/// the module's variables those of [`PLAIN_VARIABLES`].
///
/// # Panics
/// When they can't be read.
pub fn plain_proxy(prefix: &str) -> String {
    let text = proxy_conf(&programs::workspace().join("nginx-conf/corefn"));
    let name = |name: &CStr| name.to_str().expect("they are ASCII").to_owned();
    let plain = [
        (variable::CONNECTION, "plain_connection"),
        (variable::HOST, "plain_host"),
        (variable::REQUEST_ID, "plain_request_id"),
        (variable::LOCATION_OUTSIDE, "plain_location"),
        (variable::LOCATION, "plain_location"),
        (variable::PATH_OUTSIDE, "plain_path"),
        (variable::PATH, "plain_path"),
    ];
    let text = text.replace(&format!("${}", name(variable::PREFIX)), prefix);
    let text = text.replace(&format!("${}", name(variable::FUNCTION)), "plain");
    let text = plain
        .iter()
        .fold(text, |text, (ours, plain)| text.replace(&name(ours), plain));
    assert!(
        !text.contains("corefn_"),
        "the plain way shall not pay for the module: {text}"
    );
    text
}

/// What [`plain_proxy`] needs at the `http` level: what the module's variables are, by nginx's own means.
pub const PLAIN_VARIABLES: &str = r#"
    map $http_upgrade $plain_connection { "" ""; default upgrade; }
    map $http_host $plain_host { "" $plain_server; default $http_host; }
    map $host $plain_server { "" localhost; default $host; }
    map $http_x_request_id $plain_request_id {
        "~^[A-Za-z0-9._:/+=-]{1,128}$" $http_x_request_id;
        default $request_id;
    }
"#;

/// Puts the files that a configuration includes, `corefn/upstream.conf` and `corefn/proxy.conf`,
/// into a folder.
pub fn include_files(folder: &Folder) {
    let source = programs::workspace().join("nginx-conf/corefn");
    fs::create_dir(folder.file("corefn")).expect("the folder can be written to");
    for file in fs::read_dir(&source)
        .expect("the workspace has it")
        .flatten()
    {
        let text = fs::read(file.path()).expect("a file of the workspace");
        let name = file.file_name();
        folder.write(&format!("corefn/{}", name.to_string_lossy()), text);
    }
}

/// Has nginx check a configuration, which is the whole text of its file.
pub fn check(folder: &Folder, text: &str) -> Checked {
    let path = folder.write("checked.conf", text);
    let output = command(folder, &path)
        .arg("-t")
        .output()
        .expect("nginx is installed");
    Checked {
        accepted: output.status.success(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(folder: &Folder, conf: &Path) -> Command {
    let mut command = Command::new(program());
    let prefix = format!("{}/", folder.path().display());
    command.arg("-p").arg(prefix).arg("-c").arg(conf);
    command.arg("-e").arg(folder.file("log/error.log"));
    command.env(env::FAULT, folder.file(FAULT));
    if let Some(library) = preload() {
        command.env(PRELOAD, library);
    }
    command
}

/// The dynamic linker's variable for it (ld.so(8)).
const PRELOAD: &str = "LD_PRELOAD";

/// What nginx is to load before all else: a sanitizer's runtime, which must be there before a module
/// that needs it is.
fn preload() -> Option<OsString> {
    std::env::var_os(format!("{}NGINX_PRELOAD", env::RESERVED_PREFIX))
}

/// What nginx has made of its command line.
fn title(id: u32) -> String {
    let text = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}
