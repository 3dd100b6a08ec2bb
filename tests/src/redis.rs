//! The installation's own Redis.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use corefn_engine::acl::Rules;
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::clock::Clock;
use crate::folder::Folder;
use crate::process::Process;
use crate::wait::{wait_for, wait_until};

/// The user that the programs are, with its password.
const USER: &str = "corefn";
const PASSWORD: &str = "secret-of-tests";

const PATIENCE: Duration = Duration::from_secs(10);

/// A `redis-server` on a socket in the folder; it keeps nothing on disk but for what it is told to.
#[derive(Debug)]
pub struct Redis {
    folder: Arc<Folder>,
    name: String,
    socket: PathBuf,
    process: Option<Process>,
    /// Its clock, if it isn't the machine's; it goes by it from its next start on.
    pub clock: Option<Clock>,
}

impl Redis {
    /// One that doesn't run yet.
    pub fn new(folder: &Arc<Folder>) -> Self {
        Self::named(folder, "redis")
    }

    /// The same as another of the folder, with a name of its own.
    pub fn named(folder: &Arc<Folder>, name: &str) -> Self {
        Self {
            folder: folder.clone(),
            name: name.to_owned(),
            socket: folder.file(&format!("{name}.sock")),
            process: None,
            clock: None,
        }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the programs connect to: they may use what an installation needs of Redis, and nothing else.
    pub fn url(&self) -> String {
        format!("{}?user={USER}&pass={PASSWORD}", self.all())
    }

    /// The same as programs show it.
    pub fn shown(&self) -> String {
        format!("{}?user={USER}&pass=***", self.all())
    }

    /// What may use all of it.
    fn all(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Starts it and waits until it answers. It holds what it was told to save since its last start, or nothing.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "Redis runs already");
        let user = Rules::of(self.folder.name()).line(USER);
        let settings = format!("{user} >{PASSWORD}\n");
        let settings = self.folder.write(&format!("{}.conf", self.name), settings);
        let mut command = Command::new("redis-server");
        command
            .arg(settings)
            .args(["--port", "0", "--save", "", "--daemonize", "no"])
            .args(["--unixsocketperm", "700", "--unixsocket"])
            .arg(&self.socket)
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--dbfilename", &self.snapshot()]);
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        let name = format!("{}-server", self.name);
        self.process = Some(Process::spawn(&self.folder, &name, &mut command));
        wait_until("Redis answers", PATIENCE, async || {
            let Ok(mut connection) = self.try_connect().await else {
                return false;
            };
            redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        })
        .await;
        let _ = std::fs::remove_file(self.folder.file(&self.snapshot()));
    }

    /// What it holds now it holds when it is started the next time, whatever comes in between.
    pub async fn save(&self) {
        self.command::<()>(&["SAVE"]).await;
    }

    fn snapshot(&self) -> String {
        format!("{}.rdb", self.name)
    }

    /// Stops it; what it holds and was not told to save is lost.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.ended(PATIENCE).await;
        }
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Makes it hang: it keeps its connections and answers nothing until [`Redis::resume`].
    pub fn hang(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::STOP);
        }
    }

    /// Ends what [`Redis::hang`] began.
    pub fn resume(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::CONT);
        }
    }

    /// A connection.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn connect(&self) -> MultiplexedConnection {
        self.try_connect().await.expect("Redis runs")
    }

    /// Runs a command and returns its answer.
    ///
    /// # Panics
    /// When Redis fails.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let answer = command.query_async(&mut self.connect().await).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// How many clients are connected, this question's own not counted.
    pub async fn clients(&self) -> usize {
        let list: String = self.command(&["CLIENT", "LIST"]).await;
        list.lines().count() - 1
    }

    /// Begins to record the commands that Redis gets.
    pub async fn monitor(&self) -> Monitor {
        let stream = UnixStream::connect(&self.socket).await.expect("Redis runs");
        let mut lines = BufReader::new(stream);
        lines
            .write_all(b"MONITOR\r\n")
            .await
            .expect("Redis takes commands");
        let mut answer = String::new();
        lines.read_line(&mut answer).await.expect("Redis answers");
        assert_eq!(answer, "+OK\r\n");
        Monitor { lines }
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.all())?
            .get_multiplexed_async_connection()
            .await
    }
}

/// A record of the commands that Redis gets.
#[derive(Debug)]
pub struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    /// The commands from the clients so far, one line each. What scripts do within Redis, and what
    /// a client says when it connects, is left out.
    ///
    /// # Panics
    /// When Redis fails.
    pub async fn commands(&mut self, redis: &Redis) -> Vec<String> {
        let mark = format!("mark {:016x}", getrandom::u64().expect("random bits"));
        redis.command::<String>(&["ECHO", &mark]).await;
        let mut commands = Vec::new();
        loop {
            let line = wait_for("Redis shows its commands", PATIENCE, async || {
                let mut line = String::new();
                let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await;
                read.ok()?.ok().map(|_| line)
            })
            .await;
            if line.contains(&mark) {
                return commands;
            }
            // +1700000000.000000 [0 unix:/path] "GET" "key"
            let Some((from, command)) = line.split_once("] ") else {
                continue;
            };
            let greets = ["\"AUTH\"", "\"CLIENT\"", "\"HELLO\"", "\"SELECT\""];
            if !from.ends_with(" lua") && !greets.iter().any(|word| command.starts_with(word)) {
                commands.push(command.trim().to_owned());
            }
        }
    }
}
