//! A process of the installation, and what the system knows of processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::folder::Folder;
use crate::wait::{wait_for, wait_until};

/// How long a process may take to end after SIGTERM before it gets SIGKILL, when a test is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the threads of one may take to begin, on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid_file: PathBuf,
}

impl Process {
    /// Starts it. What it prints goes to `log/<name>.log`, its number to `run/<name>.pid`.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(folder: &Folder, name: &str, command: &mut Command) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.file(&format!("log/{name}.log")))
            .expect("the folder can be written to");
        let errors = log.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let pid_file = folder.write(&format!("run/{name}.pid"), child.id().to_string());
        Self {
            name: name.to_owned(),
            child,
            pid_file,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            send(self.id(), signal);
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_for(&what, patience, async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }

    /// Kills it and its children with SIGKILL.
    pub async fn kill(mut self) {
        let children = children(self.id());
        self.signal(Signal::KILL);
        for child in children {
            send(child, Signal::KILL);
        }
        self.ended(PATIENCE).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = children(self.id());
        self.signal(Signal::TERM);
        let begin = Instant::now();
        while self.is_running() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.is_running() {
            eprintln!("{} did not end within {PATIENCE:?} of SIGTERM", self.name);
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        for child in children {
            if is_alive(child) && name(child) == self.name {
                send(child, Signal::KILL);
            }
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// The processes that a process has started.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&id| parent_of(id) == Some(parent))
        .collect()
}

/// Whether a process runs. One that has ended and was not waited for doesn't.
pub fn is_alive(id: u32) -> bool {
    stat(id).is_some_and(|fields| !fields.starts_with('Z'))
}

/// Sends a signal to a process, if it is there.
pub fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

/// Ends a process that isn't a child, with SIGTERM, and waits for that.
///
/// # Panics
/// When it doesn't end.
pub fn end(id: u32) {
    signal(id, Signal::TERM);
    let begin = Instant::now();
    while is_alive(id) {
        assert!(begin.elapsed() < PATIENCE, "process {id} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory that a process has ever used at once, in bytes.
///
/// # Panics
/// When it is not there.
pub fn peak_memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes
        .and_then(|text| text.parse().ok())
        .expect("Linux says it");
    kilobytes << 10
}

/// How much memory a process has of its own and in use, in KiB.
pub fn memory(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The names of a process's threads, in order.
pub fn threads(id: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Waits until a process has threads of these names, in order. Each gives itself its name, so that it has its parent's
/// for a moment.
///
/// # Panics
/// When it doesn't come to that.
pub async fn until_threads(id: u32, names: &[&str]) {
    let what = format!("the threads of {id} are {names:?}");
    wait_until(&what, LONG, async || threads(id) == names).await;
}

/// The kinds of a process's open files, in order: `socket`, `anon_inode:[eventfd]`, a path.
pub fn open_files(id: u32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{id}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut kinds: Vec<String> = files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .map(|target| match target.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => target,
        })
        .collect();
    kinds.sort();
    kinds
}

fn name(id: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

fn parent_of(id: u32) -> Option<u32> {
    stat(id)?.split(' ').nth(1)?.parse().ok()
}

/// What `/proc/<id>/stat` has behind the name, from the state on.
fn stat(id: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.to_owned())
}

/// Sends a signal. Who has ended meanwhile needs none.
pub fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// How many bytes of memory a process has in use: its resident set.
pub fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.map_or(0, |text| text.parse::<usize>().unwrap_or(0)) << 10
}
