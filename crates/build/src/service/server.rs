//! The service: takes what hooks send, one conversation a connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::{error, info, warn};

use corefn_core::function::{RepositoryName, check_segment};
use corefn_core::names::env as variables;
use corefn_core::throttle::may_log;
use corefn_engine::socket::listen;
use corefn_engine::{clock, home};

use super::{CHANGE, HOLD, LOOK, Request, SETTLE};
use crate::error::BuildError;
use crate::interrupt::{Stop, unless};
use crate::job::Job;
use crate::output::{Output, seconds, size};
use crate::tree::{MAX_TREE, Tree, too_large};
use crate::wire::{self, Far, Kind};
use crate::work::{Branch, host, work};

/// How long whoever connects may take to say what it wants, and between two pieces of a tree.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of a tree's archive: a small file takes up more there than it has.
const MAX_ARCHIVE: u64 = 2 * MAX_TREE;

/// The program that runs commands. It is installed beside this one.
const COMMAND_LINE: &str = "corefn";

/// What all conversations share.
struct Service {
    home: PathBuf,
    /// Whoever builds a repository holds its lock; one that nobody has any more is forgotten.
    locks: RefCell<HashMap<RepositoryName, Weak<Mutex<()>>>>,
    builds: Semaphore,
    pending: Pending,
    ending: watch::Receiver<bool>,
}

/// Serves until the process is told to end; then gives up what is under way.
///
/// # Errors
/// [`BuildError`] when the settings name no socket, or it can't be listened on.
pub async fn serve() -> Result<(), BuildError> {
    // First of all: a signal that comes as soon as it listens ends it well, too.
    let wrong = || BuildError::io("signals can't be received");
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong())?;
    let home = home::find(None)?;
    let host = home::read(&home)?;
    let socket = host.builder.as_ref().ok_or_else(|| {
        BuildError::rejected(format!(
            "{}/host.toml names no socket: add a line such as builder = \"run/builder.sock\"",
            home.display()
        ))
    })?;
    let socket = home.join(socket);
    let taken = listen(&socket).map_err(BuildError::io(format!(
        "{} can't be listened on",
        socket.display()
    )))?;
    let (listener, _lock) = taken.ok_or_else(|| {
        BuildError::rejected(format!(
            "another builder listens on {}: stop it first",
            socket.display()
        ))
    })?;
    let (end, ending) = watch::channel(false);
    let service = Rc::new(Service {
        home,
        locks: RefCell::default(),
        builds: Semaphore::new(host.max_builds as usize),
        pending: Pending {
            bytes: Cell::new(0),
            most: host.max_pending,
        },
        ending,
    });
    LocalSet::new()
        .run_until(async move {
            let mut conversations = JoinSet::new();
            let deaf = AtomicU64::new(0);
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    Some(ended) = conversations.join_next() => {
                        if let Err(error) = ended {
                            error!("a hook got no answer: {error}");
                        }
                    }
                    connected = listener.accept() => match connected {
                        Ok((stream, _)) => {
                            conversations.spawn_local(converse(service.clone(), stream));
                        }
                        // Such as too many open files: those that end make room.
                        Err(error) => {
                            if may_log(&deaf, clock::now()) {
                                warn!("no hook can connect: {error}");
                            }
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    },
                }
            }
            let _ = end.send(true);
            while conversations.join_next().await.is_some() {}
        })
        .await;
    Ok(())
}

async fn converse(service: Rc<Service>, stream: UnixStream) {
    let (mut from, to) = stream.into_split();
    let far = Far::of(to);
    let status = match first(&mut from).await {
        Ok(Some(Request::Build(job))) => {
            let mut output = Output::to(far.clone());
            let begin = Instant::now();
            let built = build(&service, &job, from, &far, &mut output).await;
            let (time, repository) = (seconds(begin.elapsed()), &job.repository);
            match built {
                Ok(()) => {
                    info!("push to {repository:?}: done in {time}");
                    0
                }
                Err(error) => {
                    info!("push to {repository:?}: rejected after {time}: {error}");
                    output.error(&error).await;
                    1
                }
            }
        }
        Ok(Some(Request::Run {
            account,
            words,
            input,
        })) => run(&service, &account, &words, input, from, &far).await,
        // The other side is gone, or does not speak this protocol.
        Ok(None) | Err(_) => return,
    };
    let _ = far.frame(Kind::Exit, &[status]).await;
}

async fn first(from: &mut OwnedReadHalf) -> io::Result<Option<Request>> {
    match tokio::time::timeout(PATIENCE, wire::read(from)).await {
        Ok(Ok(Some((Kind::Request, bytes)))) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Ok(Ok(_)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(error),
    }
}

async fn build(
    service: &Service,
    job: &Job,
    mut from: OwnedReadHalf,
    far: &Far,
    output: &mut Output,
) -> Result<(), BuildError> {
    let repository = job.check()?;
    let mut held = Held {
        all: &service.pending,
        bytes: 0,
    };
    let tree = Tree::open(receive(&mut from, &mut held).await?).await?;
    let (answer, answers) = mpsc::channel(1);
    let (gone, is_gone) = oneshot::channel::<()>();
    let mut listening = JoinSet::new();
    listening.spawn_local(async move {
        while let Ok(Some((Kind::Answer, bytes))) = wire::read(&mut from).await {
            let _ = answer.send(bytes == [1]).await;
        }
        drop(gone);
    });
    let mut ending = service.ending.clone();
    let mut ends = pin!(async move {
        tokio::select! {
            _ = is_gone => "the pusher is gone",
            _ = ending.wait_for(|ending| *ending) => "the builder was told to (SIGTERM)",
        }
    });
    let mut stop: Stop<'_> = ends.as_mut();
    let lock = service.lock(&repository);
    let _locked = unless(&mut stop, async { Ok(lock.lock_owned().await) }).await?;
    let _permit = match service.builds.try_acquire() {
        Ok(permit) => permit,
        Err(_) => {
            output
                .line("as many other pushes are being built as may be: waiting for a turn")
                .await;
            let permit = async { Ok(service.builds.acquire().await) };
            unless(&mut stop, permit)
                .await?
                .map_err(|_| BuildError::Interrupted("the builder ends"))?
        }
    };
    let mut branch = Asked {
        far: far.clone(),
        answers,
    };
    let host = host(&service.home)?;
    work(&host, job, tree, &mut branch, &mut stop, output).await
}

/// Receives a tree's archive into a temporary file that has no name.
async fn receive(from: &mut OwnedReadHalf, held: &mut Held<'_>) -> Result<File, BuildError> {
    let broken = || BuildError::io("the pushed files did not arrive");
    let mut file = tempfile::tempfile().map_err(broken())?;
    loop {
        let frame = tokio::time::timeout(PATIENCE, wire::read(from)).await;
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        match frame
            .map_err(late)
            .and_then(|frame| frame)
            .map_err(broken())?
        {
            Some((Kind::Data, bytes)) => {
                held.take(bytes.len() as u64)?;
                file.write_all(&bytes).map_err(broken())?;
            }
            Some((Kind::End, _)) => break,
            _ => return Err(BuildError::Interrupted("the pusher is gone")),
        }
    }
    file.rewind().map_err(broken())?;
    Ok(file)
}

/// Runs a command for an account, by the command line's program. Returns the exit status.
async fn run(
    service: &Service,
    account: &str,
    words: &[String],
    input: Option<String>,
    mut from: OwnedReadHalf,
    far: &Far,
) -> u8 {
    if let Err(error) = check_segment(account) {
        let text = format!("error: {error}\n");
        let _ = far.frame(Kind::Error, text.as_bytes()).await;
        return 1;
    }
    let child = env::current_exe().and_then(|this| {
        Command::new(this.with_file_name(COMMAND_LINE))
            .env(variables::HOME, &service.home)
            .args(["git-host", "run", account, "--"])
            .args(words)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let text = format!("error: {COMMAND_LINE} can't be run: {error}\n");
            let _ = far.frame(Kind::Error, text.as_bytes()).await;
            return 1;
        }
    };
    let passed = async {
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let fed = async {
            if let (Some(input), Some(mut stdin)) = (input, stdin) {
                // A command need not read its input.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            Ok(())
        };
        tokio::try_join!(
            fed,
            pass(stdout, far, Kind::Output),
            pass(stderr, far, Kind::Error)
        )
    };
    let mut ending = service.ending.clone();
    tokio::select! {
        passed = passed => if passed.is_err() { return 1 },
        // Dropping the child ends it.
        _ = wire::read(&mut from) => return 1,
        _ = ending.wait_for(|ending| *ending) => return 1,
    }
    let status = child.wait().await.ok().and_then(|status| status.code());
    status
        .and_then(|status| u8::try_from(status).ok())
        .unwrap_or(1)
}

async fn pass(from: Option<impl AsyncRead + Unpin>, far: &Far, kind: Kind) -> io::Result<()> {
    let Some(mut from) = from else {
        return Ok(());
    };
    let mut bytes = vec![0; 16 << 10];
    loop {
        match from.read(&mut bytes).await? {
            0 => return Ok(()),
            length => far.frame(kind, &bytes[..length]).await?,
        }
    }
}

/// What the builder keeps of pushed files.
struct Pending {
    bytes: Cell<u64>,
    most: u64,
}

/// What one push has of it; it is given back when this is dropped.
struct Held<'a> {
    all: &'a Pending,
    bytes: u64,
}

impl Held<'_> {
    /// Takes more.
    fn take(&mut self, bytes: u64) -> Result<(), BuildError> {
        let all = self.all.bytes.get() + bytes;
        if self.bytes + bytes > MAX_ARCHIVE {
            return Err(too_large());
        }
        if all > self.all.most {
            return Err(BuildError::rejected(format!(
                "the pushes that are being built or wait have more than {} of files, this one's included \
                 (max_pending of the host's settings): push again when others are done",
                size(self.all.most)
            )));
        }
        self.all.bytes.set(all);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.bytes.set(self.all.bytes.get() - self.bytes);
    }
}

impl Service {
    fn lock(&self, repository: &RepositoryName) -> Arc<Mutex<()>> {
        let mut locks = self.locks.borrow_mut();
        locks.retain(|_, lock| lock.strong_count() > 0);
        let known = locks.get(repository).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::default();
            locks.insert(repository.clone(), Arc::downgrade(&lock));
            lock
        })
    }
}

/// The branch of a repository that only the hook may look into.
struct Asked {
    far: Far,
    answers: mpsc::Receiver<bool>,
}

impl Asked {
    async fn ask(&mut self, what: u8) -> Result<bool, BuildError> {
        let gone = BuildError::Interrupted("the pusher is gone");
        if self.far.frame(Kind::Ask, &[what]).await.is_err() {
            return Err(gone);
        }
        self.answers.recv().await.ok_or(gone)
    }
}

impl Branch for Asked {
    async fn is_as_pushed(&mut self) -> Result<bool, BuildError> {
        self.ask(LOOK).await
    }

    async fn settle(&mut self) -> Result<bool, BuildError> {
        self.ask(SETTLE).await
    }

    async fn hold(&mut self) -> Result<bool, BuildError> {
        self.ask(HOLD).await
    }

    async fn change(&mut self) -> Result<bool, BuildError> {
        self.ask(CHANGE).await
    }
}
