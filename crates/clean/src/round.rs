//! One round of cleaning.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corefn_core::host::Host;
use corefn_core::instance::Instance;
use corefn_core::keys::WATCH_RENEWAL;
use corefn_core::lease::{DEFAULT_IDLE, UNLEASED_RELIANCE};
use corefn_core::names::label;
use corefn_engine::docker::{Condition, Container, Docker, DockerError};
use corefn_engine::rebuild::{RebuildError, instance, rebuild};
use corefn_engine::start::random_id;
use corefn_engine::store::{Fenced, Leased, Store, StoreError};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

/// How long a function may take to end after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How old a container must be to count as left over: its maker may not have got to registering
/// it.
const ORPHAN_AGE: Duration = Duration::from_secs(10);

/// For how much longer than the longest build a build's container is left alone: builders have no lock.
const BUILD_GRACE: Duration = Duration::from_secs(15 * 60);

/// After a start of Redis, an outage or a jump of the clock, leases are missing that their holders
/// have not renewed yet. It is longer than a router relies on an instance without a lease.
const SETTLES: Duration = UNLEASED_RELIANCE.saturating_add(Duration::from_secs(1));

/// Redis ends leases by the wall clock. It has jumped if it went on by so much more, or less, than
/// the clock that doesn't jump.
const JUMP: Duration = Duration::from_millis(500);

/// Does rounds, and remembers what it is at.
pub struct Cleaner {
    store: Arc<Store>,
    docker: Arc<Docker>,
    /// The containers that are being stopped or paused.
    at_hand: Mutex<HashSet<String>>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    /// The clocks, as of the last look.
    clocks: Mutex<Clocks>,
    /// Since when all has been in order; none before the first round, and after an outage.
    settling: Mutex<Option<Instant>>,
    /// When a container was first seen. Docker goes by the wall clock too.
    seen: Mutex<HashMap<String, Instant>>,
    /// Which run of Redis was met last.
    run: Mutex<Option<String>>,
    once: bool,
    /// Under which it watches Redis.
    token: String,
    /// How old a container of a builder must be to count as left over.
    build_age: Duration,
    /// Whether a keeper looks after the sandboxes that wait.
    sandboxes_are_kept: bool,
}

/// A moment, by both clocks.
struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    /// Looks at both at once: if this process was held up between the two, once more.
    fn now() -> Self {
        loop {
            let begin = Instant::now();
            let (wall, steady) = (SystemTime::now(), Instant::now());
            if steady - begin < JUMP / 10 {
                return Self { wall, steady };
            }
        }
    }

    /// Whether the wall clock has jumped from the other moment to this one.
    fn jumped_since(&self, other: &Self) -> bool {
        let steady = self.steady - other.steady;
        match self.wall.duration_since(other.wall) {
            Ok(wall) => wall.abs_diff(steady) > JUMP,
            Err(_) => true,
        }
    }
}

impl Cleaner {
    /// One for an installation with these settings. With `once` it does a single round, and does not wait for anything to
    /// settle.
    pub fn new(store: Arc<Store>, docker: Arc<Docker>, once: bool, host: &Host) -> Self {
        Self {
            store,
            docker,
            at_hand: Mutex::default(),
            tasks: tokio::sync::Mutex::default(),
            clocks: Mutex::new(Clocks::now()),
            settling: Mutex::default(),
            seen: Mutex::default(),
            run: Mutex::default(),
            once,
            token: random_id().map_or_else(|_| "cleaner".to_owned(), |id| id.to_string()),
            build_age: host.build.timeout.saturating_add(BUILD_GRACE),
            sandboxes_are_kept: host.sandboxes.is_some(),
        }
    }

    /// Forgets what has ended, freezes or stops what is idle, removes what is left over. Nothing is stopped
    /// or removed while it may be that leases have not been renewed yet.
    ///
    /// The order of the three looks matters: whatever got registered after the containers were
    /// listed is found in Redis.
    pub async fn round(self: &Arc<Self>) -> Result<(), RebuildError> {
        // What refuses this refuses renewals too.
        self.store.pulse().await?;
        if self.once {
            self.store.begin_watch(&self.token).await?;
        }
        if rebuild(&self.store, &self.docker, &self.token, DEFAULT_IDLE).await? {
            info!("Redis was empty; filled it from Docker's labels");
        }
        let containers: HashMap<String, Container> = self
            .docker
            .containers()
            .await?
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect();
        let (run, uptime) = self.store.run().await?;
        let former = lock(&self.run).replace(run.clone());
        if former.is_some_and(|former| former != run) {
            self.unsettle();
        }
        let settled = self.is_settled() && (!self.once || uptime >= SETTLES);
        // What Redis knows is no leftover: so a round asks it the same few things however much runs.
        let known = self.store.instances().await?;
        let containers_of = known.iter().map(|leased| leased.instance.container.clone());
        let mut in_use: HashSet<_> = containers_of.collect();
        for leased in self.without_ended(known, &containers).await? {
            let instance = leased.instance;
            let container = containers.get(&instance.container);
            if !leased.ready {
                // (One that is kept is frozen, or is being paused; or a cleaner was killed at that.)
                if leased.lease.is_none() && !leased.kept && settled {
                    if leased.frozen {
                        let why = "it was frozen, and is idle";
                        self.end_if_needless(&instance, why).await?;
                    } else {
                        self.end_if_idle(&instance, "it is draining").await?;
                    }
                }
            } else if container.is_some_and(|c| c.paused) && self.is_paused(&instance).await? {
                let Instance { id, function, .. } = &instance;
                self.store.withhold(*id, function).await?;
            } else if (leased.overlong || leased.lease.is_none()) && settled {
                self.end_if_needless(&instance, "it is idle").await?;
            }
        }
        let seen = |id: &String, _: &mut Instant| containers.contains_key(id);
        self.seen().retain(seen);
        let holders = containers.values();
        let holders = holders.filter_map(|container| container.labels.get(label::HOLDER));
        in_use.extend(holders.cloned());
        for container in containers.values() {
            let age = self.age(container);
            if settled
                && self.is_settled()
                && !in_use.contains(&container.id)
                && self.is_left_over(container, age).await?
            {
                info!("removing {}: its maker is gone", container.name);
                self.docker.remove(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Forgets those that have ended, before any other is looked at: they don't stand by.
    async fn without_ended(
        self: &Arc<Self>,
        known: Vec<Leased>,
        containers: &HashMap<String, Container>,
    ) -> Result<Vec<Leased>, RebuildError> {
        let mut others = Vec::new();
        for leased in known {
            let instance = &leased.instance;
            let container = containers.get(&instance.container);
            let running = container.is_some_and(|c| c.running);
            if running || self.docker.is_running(&instance.container).await? {
                others.push(leased);
            } else {
                self.store.forget(instance.id, &instance.function).await?;
                self.end(instance, "it has ended").await;
            }
        }
        Ok(others)
    }

    /// Whether an instance that is ready is paused still. (When Docker was asked it may have been frozen, and thawed before
    /// Redis was; and what is thawed is not frozen again within a round.)
    async fn is_paused(&self, instance: &Instance) -> Result<bool, DockerError> {
        let condition = self.docker.condition(&instance.container).await?;
        Ok(condition == Condition::Paused)
    }

    /// Ends an instance if nobody works with it, and has it so that nobody will.
    async fn end_if_idle(
        self: &Arc<Self>,
        instance: &Instance,
        why: &str,
    ) -> Result<(), StoreError> {
        if self.is_settled() {
            let fenced = self.store.fence(instance, &self.token).await?;
            self.on_fenced(instance, fenced, why).await;
        }
        Ok(())
    }

    /// The same, but not if its function wants it to stand by; and has it frozen first if its function wants that.
    async fn end_if_needless(
        self: &Arc<Self>,
        instance: &Instance,
        why: &str,
    ) -> Result<(), StoreError> {
        if self.is_settled() {
            let fence = self
                .store
                .fence_needless(instance, &self.token, DEFAULT_IDLE);
            let fenced = fence.await?;
            self.on_fenced(instance, fenced, why).await;
        }
        Ok(())
    }

    async fn on_fenced(self: &Arc<Self>, instance: &Instance, fenced: Fenced, why: &str) {
        match fenced {
            Fenced::Yes => self.end(instance, why).await,
            Fenced::ForFreezing => self.freeze(instance).await,
            Fenced::Unwatched => self.lapsed(),
            Fenced::Leased => {}
        }
    }

    /// Watches Redis for as long as this is awaited, from one time to the next.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(WATCH_RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.store.watch(&self.token).await {
                Ok(true) => {}
                Ok(false) => {
                    self.lapsed();
                    // (If this fails, so does the next.)
                    let _ = self.store.begin_watch(&self.token).await;
                }
                // The rounds tell of it.
                Err(_) => self.unsettle(),
            }
        }
    }

    /// Redis has hung, or this process has.
    fn lapsed(&self) {
        if lock(&self.settling).is_some() {
            info!(
                "Redis, or this process, has hung for a moment; nothing is stopped for {SETTLES:?}"
            );
        }
        self.unsettle();
    }

    /// Waits for what is under way.
    pub async fn settle(&self) {
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }

    /// Stops a container, so that one that is slow to end holds up no other.
    async fn end(self: &Arc<Self>, instance: &Instance, why: &str) {
        let what = format!(
            "stopping instance {} of {}: {why}",
            instance.id, instance.function
        );
        self.spawn(instance, &what, |cleaner, instance| async move {
            let ended = cleaner.docker.stop(&instance.container, STOP_GRACE).await;
            ended.map_err(|error| error.to_string())?;
            let forgotten = cleaner.store.forget(instance.id, &instance.function).await;
            forgotten.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Pauses a container that nobody can be given work at. Only then may it be thawed, so it is never paused after that.
    /// What can't be frozen is drained, and so is stopped by the next round.
    async fn freeze(self: &Arc<Self>, instance: &Instance) {
        let what = format!(
            "freezing instance {} of {}: it is idle",
            instance.id, instance.function
        );
        self.spawn(instance, &what, |cleaner, instance| async move {
            let paused = cleaner.docker.pause(&instance.container).await;
            let kept = match &paused {
                Ok(()) => cleaner.store.keep(&instance).await.map(|_| ()),
                Err(_) => cleaner.store.drain(&instance).await,
            };
            paused.map_err(|error| error.to_string())?;
            kept.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Does something with the container of an instance in a task of its own, unless one is at it already.
    async fn spawn<F: Future<Output = Result<(), String>> + Send + 'static>(
        self: &Arc<Self>,
        instance: &Instance,
        what: &str,
        work: impl FnOnce(Arc<Self>, Instance) -> F + Send + 'static,
    ) {
        if !self.at_hand().insert(instance.container.clone()) {
            return;
        }
        info!("{what}");
        let (cleaner, instance) = (self.clone(), instance.clone());
        let mut tasks = self.tasks.lock().await;
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let Instance { id, container, .. } = instance.clone();
            if let Err(error) = work(cleaner.clone(), instance).await {
                error!("instance {id}: {error}");
            }
            cleaner.at_hand().remove(&container);
        });
    }

    /// Whether a container of ours, which Redis did not list and which holds nobody's network, belongs to nobody any more.
    ///
    /// Registering an instance and giving the starter's lock or the builder's claim back is one
    /// step, so an instance that is neither being started nor, asked in this order, registered
    /// never will be.
    async fn is_left_over(
        &self,
        container: &Container,
        age: Duration,
    ) -> Result<bool, RebuildError> {
        if let Some(role) = container.labels.get(label::ROLE) {
            return Ok(match role.as_str() {
                // (Docker may have made one when its keeper was no more.)
                label::ROLE_SANDBOX => {
                    age > ORPHAN_AGE && (container.unstarted || !self.sandboxes_are_kept)
                }
                // It got its name when there was a container on its network, and now there is none.
                label::ROLE_HOLDER => true,
                _ => age > self.build_age,
            });
        }
        let Some(instance) = instance(container) else {
            return Ok(false);
        };
        if age < ORPHAN_AGE || self.at_hand().contains(&container.id) {
            return Ok(false);
        }
        let Instance {
            function, revision, ..
        } = &instance;
        Ok(!self.store.is_starting(function, revision).await?
            && !self.store.is_claimed(instance.id).await?
            && !self.store.knows(instance.id).await?)
    }

    /// How long a container has been there, as far as this cleaner has seen: not by the wall clock,
    /// unless there is but one round.
    fn age(&self, container: &Container) -> Duration {
        if self.once {
            return age(container);
        }
        let mut seen = self.seen();
        let first = seen.entry(container.id.clone());
        first.or_insert_with(Instant::now).elapsed()
    }

    /// Leases may be missing: from the next round on, they get the time to be renewed.
    pub fn unsettle(&self) {
        *lock(&self.settling) = None;
    }

    /// Whether what has no lease is idle. If the wall clock has jumped since the last look, all
    /// leases may have ended at once.
    fn is_settled(&self) -> bool {
        let now = Clocks::now();
        let former = std::mem::replace(&mut *lock(&self.clocks), now);
        if lock(&self.clocks).jumped_since(&former) {
            warn!("the clock has jumped; nothing is stopped for {SETTLES:?}");
            self.unsettle();
        }
        let since = *lock(&self.settling).get_or_insert_with(Instant::now);
        self.once || since.elapsed() >= SETTLES
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        lock(&self.seen)
    }

    fn at_hand(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        lock(&self.at_hand)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn age(container: &Container) -> Duration {
    let created = UNIX_EPOCH + Duration::from_secs(container.created.max(0).unsigned_abs());
    SystemTime::now()
        .duration_since(created)
        .unwrap_or_default()
}
