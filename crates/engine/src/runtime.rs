//! The runtime thread of a router: everything that takes time happens here, beside the event loop.
//!
//! The event loop sends [`Command`]s and gets [`Update`]s through an [`Outbox`]; only owned data
//! crosses. What the event loop counts, this thread reads through [`Gauges`].

mod answer;
mod containers;
mod failures;
mod fallback;
mod health;
mod instances;
mod known;
mod launch;
mod listen;
mod look;
mod outage;
mod parts;
mod redis;
mod renew;
mod standby;
mod starts;
mod subscribers;
mod survey;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::error;

use corefn_core::compact::Packed;
use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::metrics::{Fate, Snapshot};
use corefn_core::start::{Phase, StartWay};
use corefn_core::survey::Survey;
use corefn_core::trace::Parent;

use crate::acquire::Start;
use crate::docker::Docker;
use crate::pauses::Pauses;
use crate::sandboxes::Sandboxes;
use crate::secrets::SecretStore;
use crate::store::{Store, StoreError};
use parts::Parts;

/// Where a router finds its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Redis, as [`Store::new`] takes it.
    pub redis: String,
    /// Docker, as [`Docker::new`] takes it.
    pub docker: String,
    /// The installation's namespace.
    pub namespace: String,
    /// How many containers of the installation may be started at once.
    pub starts: u32,
    /// The folder of the host's keeper of sandboxes, if there is one.
    pub sandboxes: Option<PathBuf>,
    /// The folder of the host's secrets, if functions may have any.
    pub secrets: Option<PathBuf>,
    /// The collector of OpenTelemetry that takes spans, as [`Spans::new`](crate::spans::Spans::new) takes it, if one does.
    pub traces: Option<String>,
    /// Whether this router has the instances started that are to be there whether anybody asks for them or not. One on each
    /// host does.
    pub standby: bool,
}

/// What the event loop asks for.
#[derive(Debug)]
pub enum Command {
    /// An instance for a deployment. It is answered with one [`Update::Outcome`], whatever happens.
    Acquire {
        /// What the answer is to be known by.
        number: u64,
        /// Of what.
        deployment: Arc<Deployment>,
        /// Its idle time.
        idle: Duration,
        /// How long it may take.
        timeout: Duration,
        /// What the request belongs to for which it is asked for, if that is known.
        parent: Option<Parent>,
    },
    /// An instance has failed a request: is it still there? An acquisition that is asked for later
    /// is not answered with it before that is known. It is answered with [`Update::Gone`] or
    /// [`Update::Healthy`], but not before Docker or the instance can be reached.
    Check {
        /// Which one.
        instance: InstanceId,
    },
    /// One more instance of a deployment than there are. It is answered with [`Update::Scaled`], whatever happens, and with
    /// [`Update::Ready`] before that if there is one.
    Scale {
        /// Of what.
        deployment: Arc<Deployment>,
        /// Its idle time.
        idle: Duration,
        /// How long it may take.
        timeout: Duration,
    },
    /// [`Update::LookAgain`], in a while.
    LookAgain,
    /// [`Update::Surveyed`], within some seconds.
    Survey,
    /// What is measured, with what is found besides, as text or JSON. It is answered with [`Update::Answer`], within some seconds.
    Measure {
        /// What the answer is to be known by.
        number: u64,
        /// What is measured.
        snapshot: Box<Snapshot>,
        /// Whether it is to be JSON.
        json: bool,
    },
    /// The log of a build. It is answered with [`Update::Answer`], within some seconds.
    ReadLog {
        /// What the answer is to be known by.
        number: u64,
        /// Which build ([`Build::id`](corefn_core::survey::Build::id)).
        build: String,
    },
    /// The event loop has lost an update: everything must be sent anew.
    StartOver,
}

/// What the event loop gets.
#[derive(Debug)]
pub enum Update {
    /// All there is; it replaces what was known.
    Snapshot {
        /// What is deployed.
        deployments: Vec<Packed>,
        /// What runs, each with the time until which its lease may be relied on.
        instances: Vec<(Instance, u64)>,
    },
    /// There is no snapshot yet, since Redis or Docker can't be used.
    Unavailable(Failure),
    /// A function has a new deployment.
    Deployed(Box<Deployment>),
    /// A function was removed.
    Removed(FunctionName),
    /// An instance may get work.
    Ready {
        /// Which one.
        instance: Instance,
        /// The time until which its lease may be relied on, of [`crate::clock::now`].
        until: u64,
    },
    /// An instance may not get work any more.
    Gone(InstanceId),
    /// An instance is no more, or does nothing more: what it has not answered it never will.
    /// [`Update::Gone`] follows.
    Ended(InstanceId),
    /// An instance that was checked runs and accepts connections.
    Healthy(InstanceId),
    /// The answer to [`Command::Acquire`]. [`Update::Ready`] comes before, if an instance is granted.
    Outcome {
        /// The command's.
        number: u64,
        /// Which function it was asked for.
        function: FunctionName,
        /// The instance and how it was come by, or why there is none.
        result: Result<(InstanceId, Start), Failure>,
    },
    /// Another worker says that somebody who waits may have room now.
    Look,
    /// The answer to [`Command::LookAgain`].
    LookAgain,
    /// The answer to [`Command::Survey`].
    Surveyed(Box<Survey>),
    /// The answer to [`Command::Measure`] or [`Command::ReadLog`].
    Answer {
        /// The command's.
        number: u64,
        /// The text, if there is one; or why it can't be had.
        answer: Result<Option<String>, ErrorCode>,
    },
    /// The answer to [`Command::Scale`].
    Scaled {
        /// Of which function.
        function: FunctionName,
        /// Whether there is one more. If not there are enough, somebody else is at it, or it has failed.
        started: bool,
    },
    /// A revision could not be started, and isn't again for as long as the failure says, if it does.
    Failed {
        /// Of which function.
        function: FunctionName,
        /// Which one.
        revision: RevisionId,
        /// Why.
        failure: Failure,
    },
}

/// Takes updates to the event loop and wakes it. Must not block.
pub trait Outbox: Send + Sync + 'static {
    /// Queues an update.
    fn send(&self, update: Update);
}

/// What the thread needs, and a worker is told of whether it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Redis.
    Redis,
    /// Docker's events.
    Docker,
}

/// What the workers of a host count together. Must not block.
pub trait Gauges: Send + Sync + 'static {
    /// The leases that this process should renew at `now`, each for how many milliseconds. An
    /// instance that is returned is claimed: no other worker gets it for the next interval.
    fn due(&self, now: u64) -> Vec<(InstanceId, u64)>;
    /// A lease may be relied on until then.
    fn renewed(&self, instance: InstanceId, until: u64);
    /// An instance was started, in these steps.
    fn started(&self, way: StartWay, steps: &[(Phase, Duration)]);
    /// Something has become of an instance. All workers of a host hear of it, and it is counted once.
    fn ended(&self, instance: InstanceId, fate: Fate);
    /// A service can be used now, or not any more.
    fn reached(&self, service: Service, is_up: bool);
}

/// The thread.
#[derive(Debug)]
pub struct Runtime {
    commands: UnboundedSender<Command>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The Redis setting can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no thread or no descriptor left.
    #[error("the runtime thread can't be started: {0}")]
    Thread(#[from] io::Error),
}

impl Runtime {
    /// Starts the thread, whose lines go to `log` ([`crate::log::lines`]). It inherits the signal mask of the caller, which should have blocked
    /// the signals that the caller's own thread handles.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left running.
    pub fn spawn(
        settings: &Settings,
        outbox: Arc<dyn Outbox>,
        gauges: Arc<dyn Gauges>,
        ear: UnixDatagram,
        log: Dispatch,
    ) -> Result<Self, SpawnError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let thread = Thread {
            settings: settings.clone(),
            outbox,
            gauges,
            ear,
            inbox,
            stopped,
        };
        let made = thread.make()?;
        let thread = std::thread::Builder::new()
            .name("corefn".to_owned())
            .spawn(move || with_default(&log, || thread.keep(made)))?;
        Ok(Self {
            commands,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Sends a command; false if the thread has ended.
    pub fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }
}

impl Drop for Runtime {
    /// Ends the thread and waits for it. What it was doing is dropped: locks expire, and a
    /// container that was being started is the cleaner's.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Why the thread's work has ended.
enum End {
    /// It was asked to end.
    Stopped,
    /// It is to start over.
    Over,
}

/// What the thread keeps when it starts over.
struct Thread {
    settings: Settings,
    outbox: Arc<dyn Outbox>,
    gauges: Arc<dyn Gauges>,
    /// Where other workers say that somebody may go on.
    ear: UnixDatagram,
    inbox: UnboundedReceiver<Command>,
    stopped: oneshot::Receiver<()>,
}

impl Thread {
    fn make(&self) -> Result<(tokio::runtime::Runtime, Parts), SpawnError> {
        let store = Store::new(&self.settings.redis, &self.settings.namespace)?;
        let secrets = self.settings.secrets.as_deref().map(SecretStore::new);
        let docker = Docker::new(&self.settings.docker, &self.settings.namespace);
        let docker = docker.with_secrets(secrets);
        let folder = self.settings.sandboxes.as_deref();
        let sandboxes = folder.map(|folder| Sandboxes::new(folder, &self.settings.namespace));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let parts = Parts::new(
            store,
            docker,
            &self.settings,
            sandboxes,
            self.outbox.clone(),
            self.gauges.clone(),
            self.ear.try_clone()?,
        );
        drop(within);
        Ok((runtime, parts))
    }

    /// Works until it is stopped. After a panic it starts over with new connections and a new
    /// snapshot; those whose instance was being asked for get an error.
    fn keep(mut self, made: (tokio::runtime::Runtime, Parts)) {
        let mut made = Ok(made);
        let mut pauses = Pauses::of_service();
        loop {
            let begin = Instant::now();
            let cause = match made {
                Ok((runtime, parts)) => {
                    let work = run(parts, &mut self.inbox, &mut self.stopped);
                    let end = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
                    runtime.shutdown_background();
                    match end {
                        Ok(End::Stopped) => return,
                        Ok(End::Over) => "the event loop has lost track".to_owned(),
                        Err(_) => "it has panicked".to_owned(),
                    }
                }
                Err(error) => SpawnError::to_string(&error),
            };
            error!("the runtime thread starts over: {cause}");
            if begin.elapsed() >= Pauses::SERVICE_LONGEST * 2 {
                pauses.reset();
            }
            if !pause(&mut self.stopped, pauses.grow()) {
                return;
            }
            made = self.make();
        }
    }
}

/// Waits for a time; false if the thread is to end, for which it is unparked.
fn pause(stopped: &mut oneshot::Receiver<()>, time: Duration) -> bool {
    let end = Instant::now() + time;
    while matches!(stopped.try_recv(), Err(TryRecvError::Empty)) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::park_timeout(left);
    }
    false
}

async fn run(
    mut parts: Parts,
    commands: &mut UnboundedReceiver<Command>,
    stopped: &mut oneshot::Receiver<()>,
) -> End {
    let mut tasks = parts.spawn();
    loop {
        let command = tokio::select! {
            _ = &mut *stopped => return End::Stopped,
            command = commands.recv() => command,
            Some(Err(ended)) = tasks.join_next() => match ended.try_into_panic() {
                // None of them may be missing: all start over.
                Ok(panic) => resume_unwind(panic),
                Err(_) => return End::Over,
            },
        };
        match command {
            Some(Command::Acquire {
                number,
                deployment,
                idle,
                timeout,
                parent,
            }) => parts
                .starts
                .acquire(number, deployment, idle, timeout, parent),
            Some(Command::Scale {
                deployment,
                idle,
                timeout,
            }) => parts.starts.scale(deployment, idle, timeout),
            Some(Command::LookAgain) => parts.look_again(),
            Some(Command::Survey) => parts.surveyor.survey(),
            Some(Command::Measure {
                number,
                snapshot,
                json,
            }) => parts.surveyor.measure(number, snapshot, json),
            Some(Command::ReadLog { number, build }) => parts.surveyor.read_log(number, build),
            Some(Command::Check { instance }) => parts.health.check(instance),
            Some(Command::StartOver) => return End::Over,
            None => return End::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_ends_with_the_thread() {
        let (stop, mut stopped) = oneshot::channel();
        let hour = Duration::from_secs(3600);
        let thread = std::thread::spawn(move || pause(&mut stopped, hour));
        drop(stop);
        thread.thread().unpark();
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn pause_takes_its_time() {
        let (_stop, mut stopped) = oneshot::channel();
        let begin = Instant::now();
        assert!(pause(&mut stopped, Duration::from_millis(20)));
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
