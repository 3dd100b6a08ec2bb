//! The git host: an sshd of the installation's own, and the builder as a service.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use corefn_core::gate::Caller;
use corefn_core::names::{GIT_FILE, HOST_FILE, env};
use rustix::process::Signal;

use crate::cli::{Ran, corefn, ran};
use crate::folder::Folder;
use crate::gate;
use crate::git::as_nobody_special;
use crate::home::Home;
use crate::port::Port;
use crate::process::Process;
use crate::programs::{program, workspace};
use crate::wait::wait_until;

/// The account of the machine that git runs as; `scripts/setup` makes it.
pub const ACCOUNT: &str = "git";

/// The socket of the builder, from the home. The account may use its folder.
const SOCKET: &str = "git/builder.sock";

const PATIENCE: Duration = Duration::from_secs(30);

/// A git host that runs.
#[derive(Debug)]
pub struct GitHost {
    folder: Arc<Folder>,
    port: Port,
    builder: Option<Process>,
    sshd: Process,
}

/// Somebody with a key.
#[derive(Debug, Clone)]
pub struct Person {
    key: PathBuf,
    known_hosts: PathBuf,
    port: u16,
}

impl GitHost {
    /// Starts the builder and an sshd for a home. From then on its repositories are the account's,
    /// which can read neither the settings nor what only the builder needs.
    ///
    /// # Panics
    /// When something can't be had, such as the account, or root's rights.
    pub async fn start(home: &Home) -> Self {
        home.trust_as_this_machine();
        let folder = home.folder.clone();
        let (user, group) = account();
        let settings = folder.read(HOST_FILE);
        let builder = format!("builder = '{SOCKET}'\n");
        let host = folder.write(HOST_FILE, format!("{settings}{builder}max_builds = 1\n"));
        fs::set_permissions(host, fs::Permissions::from_mode(0o600)).expect("it is ours");
        folder.write(
            GIT_FILE,
            format!("projects = 'projects'\n{builder}max_push = '4M'\n"),
        );
        let git = folder.file("git");
        fs::create_dir(&git).expect("the folder can be written to");
        chown(&git, None, Some(group)).expect("the tests run as root");
        fs::set_permissions(&git, fs::Permissions::from_mode(0o750)).expect("it is ours");
        chown(folder.file("projects"), Some(user), Some(group)).expect("the tests run as root");
        let bin = folder.file("bin");
        fs::create_dir(&bin).expect("the folder can be written to");
        // The account may not be able to go where they were built.
        for name in ["corefn", "corefn-build"] {
            let (from, to) = (program(name), bin.join(name));
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        }
        let port = Port::reserve();
        let sshd = start_sshd(&folder, &port);
        let mut git_host = Self {
            folder,
            port,
            builder: None,
            sshd,
        };
        git_host.start_builder().await;
        let address = git_host.address();
        wait_until("sshd listens", PATIENCE, async || {
            std::net::TcpStream::connect(address).is_ok()
        })
        .await;
        git_host
    }

    /// Starts the builder again.
    ///
    /// # Panics
    /// When it doesn't listen.
    pub async fn start_builder(&mut self) {
        let mut command = Command::new(self.folder.file("bin/corefn-build"));
        command.arg("serve").env(env::HOME, self.folder.path());
        command.envs(gate::variable(&self.folder, Caller::Builder));
        self.builder = Some(Process::spawn(&self.folder, "corefn-build", &mut command));
        let socket = self.folder.file(SOCKET);
        wait_until("the builder listens", PATIENCE, async || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
    }

    /// Ends the builder as an operator does, and waits for its end.
    ///
    /// # Panics
    /// When none runs, or it doesn't end.
    pub async fn stop_builder(&mut self) {
        let mut builder = self.builder.take().expect("a builder runs");
        builder.signal(Signal::TERM);
        assert!(builder.ended(PATIENCE).await.success());
    }

    /// Kills the builder with SIGKILL.
    ///
    /// # Panics
    /// When none runs.
    pub async fn kill_builder(&mut self) {
        let builder = self.builder.take().expect("a builder runs");
        builder.kill().await;
    }

    /// Somebody with a new key, which is an account's from now on under its own name.
    ///
    /// # Panics
    /// When `corefn key add` fails.
    pub async fn person(&self, home: &Home, account: &str) -> Person {
        let person = self.stranger(account);
        let public = person.key.with_extension("pub").display().to_string();
        corefn(home, &["key", "add", account, &public, "--name", "test"])
            .await
            .succeeded();
        person
    }

    /// Somebody with a new key that nobody knows.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    pub fn stranger(&self, name: &str) -> Person {
        let key = self.folder.file(&format!("key-{name}"));
        make_key(&key);
        Person {
            key,
            known_hosts: self.folder.file("git/known_hosts"),
            port: self.port.address().port(),
        }
    }

    /// Where sshd listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.port.address()
    }

    /// How many processes sshd has for connections.
    pub fn sessions(&self) -> usize {
        let id = self.sshd.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        children.split_ascii_whitespace().count()
    }

    /// Where a repository is, once it is there.
    pub fn bare(&self, name: &str) -> PathBuf {
        self.folder.file("projects").join(format!("{name}.git"))
    }

    /// Runs a script of the shell as the account that git runs as.
    pub async fn as_account(&self, script: &str) -> Ran {
        let mut command = tokio::process::Command::new("setpriv");
        command
            .args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups"])
            .args(["sh", "-c", script])
            .current_dir(self.folder.path());
        ran(&mut command).await
    }
}

impl Person {
    /// What the key's file is called by.
    pub fn name(&self) -> String {
        let name = self.key.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The file with the private key; the public one is beside it.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// Runs a script of the shell in a folder, with this key for git.
    pub async fn shell(&self, folder: &Path, script: &str) -> Ran {
        let mut shell = tokio::process::Command::new("sh");
        as_nobody_special(&mut shell)
            .args(["-euc", script])
            .current_dir(folder)
            .env("GIT_SSH_COMMAND", self.ssh_command());
        ran(&mut shell).await
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("ssh://{ACCOUNT}@127.0.0.1:{}/{name}", self.port)
    }

    /// The ssh command, for git: with this key and no other, and without asking anything.
    pub fn ssh_command(&self) -> String {
        ssh_command(&self.key, &self.known_hosts)
    }

    /// Runs `ssh` with more options, for a command.
    pub async fn ssh_with(&self, options: &str, command: &str) -> Ran {
        shell(&format!("exec {}", self.script(options, command))).await
    }

    /// Runs a command over ssh that reads `input`, a text without quotes.
    pub async fn ssh_typing(&self, input: &str, command: &str) -> Ran {
        shell(&format!(
            "printf %s '{input}' | {}",
            self.script("", command)
        ))
        .await
    }

    /// `ssh` with more options, for a command, as a shell reads it.
    fn script(&self, options: &str, command: &str) -> String {
        let quoted = command.replace('\'', "'\\''");
        format!(
            "{} {options} -p {} {ACCOUNT}@127.0.0.1 '{quoted}'",
            self.ssh_command(),
            self.port
        )
    }

    /// Runs a command over ssh.
    pub async fn ssh(&self, command: &str) -> Ran {
        self.ssh_with("", command).await
    }
}

/// Runs a script.
async fn shell(script: &str) -> Ran {
    let mut shell = tokio::process::Command::new("sh");
    ran(shell.args(["-c", script])).await
}

/// User and group of the account.
fn account() -> (u32, u32) {
    let number = |option: &str| {
        let output = Command::new("id").args([option, ACCOUNT]).output();
        let text = output
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok());
        let number = text.and_then(|text| text.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no account {ACCOUNT}: run scripts/setup --test"))
    };
    (number("-u"), number("-g"))
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
}

fn start_sshd(folder: &Folder, port: &Port) -> Process {
    let address = port.address();
    let state = folder.file("git");
    make_key(&state.join("host_key"));
    // sshd wants that nobody else can have written the program, not even in a folder above it; all may
    // write to /tmp, where the home is.
    let program = format!("/usr/bin/env {}", folder.file("bin/corefn").display());
    let template = workspace().join("git-host/sshd_config.in");
    let template = fs::read_to_string(template).expect("it is in the workspace");
    let config = [
        ("@PORT@", address.port().to_string()),
        ("@ADDRESS@", address.ip().to_string()),
        ("@STATE@", state.display().to_string()),
        ("@ACCOUNT@", ACCOUNT.to_owned()),
        ("@COREFN@", program),
        ("@HOME@", folder.path().display().to_string()),
    ]
    .into_iter()
    .fold(template, |text, (name, value)| text.replace(name, &value));
    let config = folder.write("sshd_config", config);
    // (Debian's service makes it, which does not run.)
    fs::create_dir_all("/run/sshd").expect("the tests run as root");
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(config);
    Process::spawn(folder, "sshd", &mut command)
}

/// The ssh command with a key and no other, and a file of hosts that are known, without asking anything.
pub fn ssh_command(key: &Path, known_hosts: &Path) -> String {
    format!(
        "ssh -F none -i '{}' -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
         -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='{}' -o LogLevel=ERROR",
        key.display(),
        known_hosts.display()
    )
}
