//! What is broken, in which order and for how long: all of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;

/// How long one fault takes on average, with the calm after it, in a run of several rounds.
const SLOT: Duration = Duration::from_millis(4500);

/// Something that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A worker of nginx gets SIGKILL.
    WorkerKilled,
    /// The worker that is starting a container gets SIGKILL.
    StarterKilled,
    /// nginx reloads.
    Reloaded,
    /// The cleaner gets SIGKILL, and is started again later.
    CleanerKilled,
    /// A dispatcher gets SIGKILL, and is started again later.
    DispatcherKilled,
    /// `docker kill` of an instance.
    InstanceKilled,
    /// `docker pause` of an instance, and later `docker unpause`.
    InstancePaused,
    /// `docker rm -f` of an instance.
    InstanceRemoved,
    /// `docker stop` of an instance.
    InstanceStopped,
    /// Redis gets SIGKILL, and is started again later, empty.
    RedisKilled,
    /// Redis ends in order, and is started again later, empty.
    RedisStopped,
    /// `FLUSHALL`.
    RedisEmptied,
    /// Redis gets SIGKILL, and comes back with what it held some time before.
    RedisSetBack,
    /// Redis keeps its connections and answers nothing.
    RedisHangs,
    /// Redis takes 200 ms for an answer.
    RedisSlow,
    /// Redis has no memory left.
    RedisFull,
    /// Redis takes no writes, as one that has lost its replicas.
    RedisReadOnly,
    /// The routers' connections to Docker are cut off.
    DockerCut,
    /// A push is killed, with its builder.
    PushKilled,
    /// The keeper of sandboxes gets SIGKILL, and is started again later.
    KeeperKilled,
    /// `docker kill` of a sandbox that waits, or that was just taken.
    SandboxKilled,
    /// `docker kill` of what a sandbox has become, before it is ready.
    NewbornKilled,
    /// `docker kill` of the sandbox that holds an instance's network.
    HolderKilled,
    /// The host's executables are deleted.
    ExecutablesDeleted,
    /// The host's executables are replaced by what can't be executed.
    ExecutablesGarbled,
    /// They are deleted, and there is no room for others, or for anything else of the keeper's, until later.
    DiskFull,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::WorkerKilled,
        Self::StarterKilled,
        Self::Reloaded,
        Self::CleanerKilled,
        Self::DispatcherKilled,
        Self::InstanceKilled,
        Self::InstancePaused,
        Self::InstanceRemoved,
        Self::InstanceStopped,
        Self::RedisKilled,
        Self::RedisStopped,
        Self::RedisEmptied,
        Self::RedisSetBack,
        Self::RedisHangs,
        Self::RedisSlow,
        Self::RedisFull,
        Self::RedisReadOnly,
        Self::DockerCut,
        Self::PushKilled,
        Self::KeeperKilled,
        Self::SandboxKilled,
        Self::NewbornKilled,
        Self::HolderKilled,
        Self::ExecutablesDeleted,
        Self::ExecutablesGarbled,
        Self::DiskFull,
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker killed",
            Self::StarterKilled => "starter killed",
            Self::Reloaded => "nginx reloaded",
            Self::CleanerKilled => "cleaner killed",
            Self::DispatcherKilled => "dispatcher killed",
            Self::InstanceKilled => "instance killed",
            Self::InstancePaused => "instance paused",
            Self::InstanceRemoved => "instance removed",
            Self::InstanceStopped => "instance stopped",
            Self::RedisKilled => "Redis killed",
            Self::RedisStopped => "Redis stopped",
            Self::RedisEmptied => "Redis emptied",
            Self::RedisSetBack => "Redis set back",
            Self::RedisHangs => "Redis hangs",
            Self::RedisSlow => "Redis slow",
            Self::RedisFull => "Redis out of memory",
            Self::RedisReadOnly => "Redis refuses writes",
            Self::DockerCut => "Docker cut off",
            Self::PushKilled => "push killed",
            Self::KeeperKilled => "keeper killed",
            Self::SandboxKilled => "sandbox killed",
            Self::NewbornKilled => "newborn killed",
            Self::HolderKilled => "holder killed",
            Self::ExecutablesDeleted => "executables deleted",
            Self::ExecutablesGarbled => "executables garbled",
            Self::DiskFull => "disk full",
        }
    }
}

/// One fault of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What breaks.
    pub fault: Fault,
    /// For how long, where it is a matter of time.
    pub lasts: Duration,
    /// How long everything is left alone afterwards.
    pub calm: Duration,
    /// Decides the rest: which worker, which instance, when exactly.
    pub seed: u64,
}

/// The faults of a run that takes about `total`: each kind at least once, in rounds.
pub fn plan(seed: u64, total: Duration) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let kinds = u32::try_from(Fault::ALL.len()).unwrap_or(u32::MAX);
    let rounds = (total.as_secs() / (SLOT * kinds).as_secs()).max(1);
    let slot = total / kinds / u32::try_from(rounds).unwrap_or(u32::MAX);
    let mut steps = Vec::new();
    for _ in 0..rounds {
        let mut round = Fault::ALL;
        random.shuffle(&mut round);
        for fault in round {
            let lasts = slot.mul_f64(0.2 + 0.6 * random.f64());
            steps.push(Step {
                fault,
                lasts,
                calm: slot - lasts,
                seed: random.u64(..),
            });
        }
    }
    steps
}
