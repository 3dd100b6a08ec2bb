//! The runtime thread of a router: everything that takes time happens here, beside the event loop.
//!
//! The event loop sends [`Command`]s and gets [`Update`]s through an [`Outbox`]; only owned data
//! crosses. What the event loop counts, this thread reads through [`Gauges`].

mod deaths;
mod failures;
mod listen;
mod news;
mod outage;
mod renew;
mod shared;
mod suspects;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use corefn_core::error::Failure;
use corefn_core::function::{Deployment, FunctionName, RevisionId};
use corefn_core::instance::{Instance, InstanceId};

use crate::acquire::Start;
use crate::docker::Docker;
use crate::store::{Store, StoreError};
use shared::Shared;

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
}

/// What the event loop asks for.
#[derive(Debug)]
pub enum Command {
    /// An instance for a deployment. It is answered with one [`Update::Outcome`], whatever happens.
    Acquire {
        /// Of what.
        deployment: Arc<Deployment>,
        /// Its idle time.
        idle: Duration,
        /// How long it may take.
        timeout: Duration,
    },
    /// An instance has failed a request: is it still there? An acquisition that is asked for later
    /// is not answered with it before that is known. It is answered with [`Update::Gone`] or
    /// [`Update::Trusted`], but not before Docker or the instance can be reached.
    Suspect {
        /// Which one.
        instance: InstanceId,
    },
}

/// What the event loop is told.
#[derive(Debug)]
pub enum Update {
    /// All there is; it replaces what was known.
    Snapshot {
        /// What is deployed.
        deployments: Vec<Deployment>,
        /// What runs, each with the time until which its lease may be relied on.
        instances: Vec<(Instance, u64)>,
    },
    /// There is no snapshot yet, since Redis or Docker can't be used.
    Unavailable(Failure),
    /// A function has a new deployment.
    Deployed(Deployment),
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
    /// An instance that was suspected runs and accepts connections.
    Trusted(InstanceId),
    /// The answer to [`Command::Acquire`]. A granted instance was told of by [`Update::Ready`]
    /// before.
    Outcome {
        /// Which function it was asked for.
        function: FunctionName,
        /// The instance and how it was come by, or why there is none.
        result: Result<(InstanceId, Start), Failure>,
    },
    /// A function isn't started again for as long as the failure says.
    BackedOff {
        /// Which function.
        function: FunctionName,
        /// Which revision of it; without one that which is deployed.
        revision: Option<RevisionId>,
        /// Why.
        failure: Failure,
    },
    /// A line for the operator's log.
    Log(Level, String),
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something works, but not as it should.
    Warn,
    /// The life of instances.
    Notice,
}

/// Takes updates to the event loop and wakes it. Must not block.
pub trait Outbox: Send + Sync + 'static {
    /// Queues an update.
    fn send(&self, update: Update);
}

/// The counts of work that the workers of a host share. Must not block.
pub trait Gauges: Send + Sync + 'static {
    /// The leases that this process should renew at `now`, each for how many milliseconds. An
    /// instance that is returned is claimed: no other worker gets it for the next interval.
    fn due(&self, now: u64) -> Vec<(InstanceId, u64)>;
    /// A lease may be relied on until then.
    fn renewed(&self, instance: InstanceId, until: u64);
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
    /// Starts the thread. It inherits the signal mask of the caller, which should have blocked
    /// the signals that the caller's own thread handles.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left running.
    pub fn spawn(
        settings: &Settings,
        outbox: Arc<dyn Outbox>,
        gauges: Arc<dyn Gauges>,
    ) -> Result<Self, SpawnError> {
        let store = Store::new(&settings.redis, &settings.namespace)?;
        let docker = Docker::new(&settings.docker, &settings.namespace);
        let (commands, inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared::new(store, docker, settings.starts, outbox, gauges));
        let thread = std::thread::Builder::new()
            .name("corefn".to_owned())
            .spawn(move || {
                runtime.block_on(run(shared, inbox, stopped));
                runtime.shutdown_background();
            })?;
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
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    mut commands: UnboundedReceiver<Command>,
    mut stopped: oneshot::Receiver<()>,
) {
    tokio::spawn(listen::listen(shared.clone()));
    tokio::spawn(deaths::deaths(shared.clone()));
    tokio::spawn(renew::renew(shared.clone()));
    tokio::spawn(outage::outages(shared.clone()));
    loop {
        let command = tokio::select! {
            _ = &mut stopped => return,
            command = commands.recv() => command,
        };
        match command {
            Some(Command::Acquire {
                deployment,
                idle,
                timeout,
            }) => shared.acquire(deployment, idle, timeout),
            Some(Command::Suspect { instance }) => shared.suspect(instance),
            None => return,
        }
    }
}
