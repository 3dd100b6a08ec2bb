//! Pushing to an installation: a repository of it, and a working copy that git pushes from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use corefn_build::output::Output;
use corefn_build::stack::{self, Images};
use corefn_core::gate::Caller;
use corefn_core::host::Host;
use corefn_core::names::{HOST_FILE, label};
use corefn_engine::docker::{Container, Docker};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::cli::corefn;
use crate::docker;
use crate::folder::PREFIX;
use crate::gate;
use crate::git::as_nobody_special;
use crate::git_host::{GitHost, Person};
use crate::home::Home;
use crate::probe;
use crate::programs::workspace;

/// How long a push may take: a stack's image and a first compilation are within it.
const PATIENCE: Duration = Duration::from_secs(240);

/// A folder's name for a repository: that of `a` must not be around that of `a/b`.
fn flat(repository: &str) -> String {
    repository.replace('/', ".")
}

/// A repository and a working copy of it.
#[derive(Debug)]
pub struct Repository {
    work: PathBuf,
    bare: PathBuf,
    /// What its pushes have in their environment.
    environment: Option<(&'static str, &'static str)>,
}

/// A push that is under way. Dropping it kills git and the hook.
#[derive(Debug)]
pub struct Pushing {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
}

/// What a push came to.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Whether git push succeeded.
    pub accepted: bool,
    /// What it printed. Lines of the hook have no `remote:` before them.
    pub output: String,
}

impl Repository {
    /// Creates a repository with `corefn repo create`, and an empty working copy.
    ///
    /// # Panics
    /// As all of this does, when a program that must succeed doesn't.
    pub async fn create(home: &Home, name: &str) -> Self {
        home.trust_as_this_machine();
        let created = corefn(home, &["repo", "create", name]).await;
        let bare = PathBuf::from(created.succeeded().trim_end());
        let work = home.folder.file("work").join(flat(name));
        let url = bare.display().to_string();
        let repository = Self::working_copy(work, bare, &url).await;
        Self {
            // (What the hook does here is the builder's part.)
            environment: gate::variable(&home.folder, Caller::Builder),
            ..repository
        }
    }

    /// An empty working copy of somebody's, who pushes to a git host. Nothing is created there.
    ///
    /// # Panics
    /// As of [`Repository::create`].
    pub async fn of(home: &Home, git_host: &GitHost, person: &Person, name: &str) -> Self {
        let work = home
            .folder
            .file("work")
            .join(person.name())
            .join(flat(name));
        let repository = Self::working_copy(work, git_host.bare(name), &person.url(name)).await;
        let command = person.ssh_command().replace('\'', "'\\''");
        repository
            .git(&format!("config core.sshCommand '{command}'"))
            .await;
        repository
    }

    async fn working_copy(work: PathBuf, bare: PathBuf, url: &str) -> Self {
        fs::create_dir_all(&work).expect("the folder can be written to");
        let repository = Self {
            work,
            bare,
            environment: None,
        };
        repository.git("init -q -b main .").await;
        repository.git(&format!("remote add origin '{url}'")).await;
        repository
    }

    /// The bare repository.
    pub fn bare(&self) -> &Path {
        &self.bare
    }

    /// Puts one of the workspace's examples into the working copy, and commits it.
    pub async fn example(&self, name: &str) {
        let from = workspace().join("examples").join(name);
        self.run(&format!("cp -r '{}/.' . && rm -rf target", from.display()))
            .await;
        self.commit(name).await;
    }

    /// Writes the probe into the working copy, with a `Dockerfile` that makes a function of it, and a manifest.
    ///
    /// # Panics
    /// When they can't be written.
    pub fn probe(&self, manifest: &str) {
        let program = self.work.join("function");
        fs::write(&program, probe::executable()).expect("the folder is ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        self.write(
            "Dockerfile",
            "FROM scratch\nCOPY function /\nENTRYPOINT [\"/function\"]\n",
        );
        self.write("corefn.toml", manifest);
    }

    /// Writes a file of the working copy.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.work.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.work)).expect("the folder is ours");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The text of a file of the working copy.
    pub fn read(&self, name: &str) -> String {
        let path = self.work.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Replaces a text in a file of the working copy.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Commits all that has changed, and returns the commit.
    pub async fn commit(&self, message: &str) -> String {
        let quoted = message.replace('\'', "'\\''");
        let script = format!("git add -A && git commit -q --allow-empty -m '{quoted}'");
        self.run(&script).await;
        self.git("rev-parse HEAD").await
    }

    /// Runs a git command in the working copy; its arguments are words of the shell.
    pub async fn git(&self, arguments: &str) -> String {
        self.run(&format!("git {arguments}")).await
    }

    /// Runs a script of the shell in the working copy, and returns what it prints.
    pub async fn run(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(&self.work);
        let output = as_nobody_special(&mut command).output().await;
        let output = output.expect("there is a shell");
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Where a branch of the bare repository is, if it is there.
    pub async fn head(&self, branch: &str) -> Option<String> {
        let mut command = Command::new("git");
        // (It may be another account's.)
        command
            .args(["-c", "safe.directory=*", "--git-dir"])
            .arg(&self.bare)
            .args(["rev-parse", "-q", "--verify"])
            .arg(format!("refs/heads/{branch}"));
        let output = as_nobody_special(&mut command).output().await;
        let output = output.expect("git is installed");
        let head = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        output.status.success().then_some(head)
    }

    /// Pushes the branch main, and waits for the end.
    pub async fn push(&self) -> Pushed {
        self.begin_push("main").end().await
    }

    /// Begins to push what refspecs name, which spaces separate. git and all it starts are a process group of their
    /// own, as they are when a person types the command.
    pub fn begin_push(&self, refspec: &str) -> Pushing {
        let mut command = Command::new("git");
        command
            .args(["push", "--no-progress", "origin"])
            .args(refspec.split(' '))
            .current_dir(&self.work)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = as_nobody_special(&mut command)
            .spawn()
            .expect("git is installed");
        let errors = child.stderr.take().expect("it is a pipe");
        Pushing {
            child,
            lines: BufReader::new(errors).lines(),
            seen: Vec::new(),
        }
    }
}

impl Pushing {
    /// Waits for a line that contains a text, and returns it.
    ///
    /// # Panics
    /// When the push ends without one.
    pub async fn until(&mut self, text: &str) -> String {
        while let Some(line) = self.next().await {
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with {text:?}:\n{}", self.seen.join("\n"));
    }

    /// Whether git has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Interrupts git and all it has started, as Ctrl-C in a terminal does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Kills git push alone with SIGKILL: what is at the other end has to notice.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Pushed {
        while self.next().await.is_some() {}
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("git push ends").expect("it is waited for");
        Pushed {
            accepted: status.success(),
            output: self.seen.join("\n"),
        }
    }

    async fn next(&mut self) -> Option<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| {
            panic!("nothing for {PATIENCE:?} after:\n{}", self.seen.join("\n"))
        });
        let line = line.expect("git prints text")?;
        // git pads what comes from the hook, to cover what a progress bar may have left.
        let line = line.strip_prefix("remote: ").unwrap_or(&line).trim_end();
        self.seen.push(line.to_owned());
        Some(line.to_owned())
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        // Who has ended meanwhile needs no signal.
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Pushed {
    /// Checks that the push was accepted.
    ///
    /// # Panics
    /// With what git printed when it was not.
    #[track_caller]
    pub fn accepted(self) -> Self {
        assert!(self.accepted, "rejected:\n{}", self.output);
        self
    }

    /// Checks that the push was rejected, for reasons that contain these texts.
    ///
    /// # Panics
    /// With what git printed when it was not.
    #[track_caller]
    pub fn rejected(self, texts: &[&str]) -> Self {
        assert!(!self.accepted, "accepted:\n{}", self.output);
        self.says(texts)
    }

    /// The revision that the push has deployed.
    ///
    /// # Panics
    /// When it has deployed none.
    #[track_caller]
    pub fn revision(&self) -> String {
        let deployed = |line: &&str| line.contains("==> deployed");
        let line = self.output.lines().find(deployed);
        let word = line.and_then(|line| line.rsplit(' ').next());
        word.unwrap_or_else(|| panic!("nothing was deployed:\n{}", self.output))
            .to_owned()
    }

    /// Checks that it printed these texts.
    ///
    /// # Panics
    /// With what git printed when it did not.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.output.contains(text),
                "{text:?} is not in:\n{}",
                self.output
            );
        }
        self
    }
}

/// The containers in which pushes are compiled or tried now.
pub async fn builds(docker: &Docker) -> Vec<Container> {
    let mut containers = docker.containers().await.expect("Docker answers");
    containers.retain(|container| container.has(label::ROLE, label::ROLE_BUILD));
    containers
}

/// Makes the image of a stack under a name that outlives the installations, so that Docker has its
/// layers when they make theirs: else each would install the compiler anew. `scripts/sweep`
/// removes it.
///
/// # Panics
/// When that fails.
pub async fn keep_stack(home: &Home, name: &str) -> Images {
    home.trust_as_this_machine();
    let text = home.folder.read(HOST_FILE);
    let host = Host {
        namespace: format!("{PREFIX}-stacks"),
        ..Host::parse(HOST_FILE, &text).expect("the harness's own file")
    };
    let stacks = stack::all(Path::new(&host.stacks)).expect("the workspace's stacks");
    let docker = Docker::new(docker::URL, &host.namespace);
    let made = stack::ensure(&docker, &host, &stacks[name], &mut Output::default()).await;
    made.unwrap_or_else(|error| panic!("the stack {name}: {error}"))
}
