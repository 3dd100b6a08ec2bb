//! Health checks: an instance at which a request has failed is checked before it gets another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::MIN_IDLE;

use super::instances::Instances;
use super::redis::Redis;
use super::{Outbox, Update};
use crate::docker::{Condition, Docker};
use crate::ready::accepts;
use crate::store::Standing;

/// How long an instance may run without accepting a connection: it may be about to end, or have
/// more connections to accept than its system keeps for it.
const LONGEST_PROBE: Duration = Duration::from_secs(5);

/// The pause between two probes.
const PAUSE: Duration = Duration::from_millis(50);

/// The checks that are due or under way.
#[derive(Default)]
struct Checks(Mutex<HashMap<InstanceId, Check>>);

#[derive(Default)]
struct Check {
    /// How often it was asked for.
    times: u64,
    /// One probes at a time.
    gate: Gate,
}

/// Held by whoever probes: whether the last one has found the instance paused, which those who waited meanwhile go by.
type Gate = Arc<tokio::sync::Mutex<bool>>;

impl Checks {
    /// A check is asked for; returns whether it is the first.
    fn add(&self, id: InstanceId) -> bool {
        let mut all = self.all();
        let check = all.entry(id).or_default();
        check.times += 1;
        check.times == 1
    }

    fn gate(&self, id: InstanceId) -> Option<Gate> {
        Some(self.all().get(&id)?.gate.clone())
    }

    fn times(&self, id: InstanceId) -> Option<u64> {
        Some(self.all().get(&id)?.times)
    }

    /// The instance passed the check, unless it was asked for again since it had been `times`.
    fn finish(&self, id: InstanceId, times: u64) -> bool {
        let mut all = self.all();
        let passed = all.get(&id).is_none_or(|found| found.times == times);
        if passed {
            all.remove(&id);
        }
        passed
    }

    /// An instance has ended.
    fn remove(&self, id: InstanceId) {
        self.all().remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceId, Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The checks, and what follows from them.
pub(super) struct Health {
    redis: Arc<Redis>,
    docker: Arc<Docker>,
    outbox: Arc<dyn Outbox>,
    instances: Arc<Instances>,
    checks: Checks,
}

impl Health {
    /// No check is due.
    pub fn new(
        redis: Arc<Redis>,
        docker: Arc<Docker>,
        outbox: Arc<dyn Outbox>,
        instances: Arc<Instances>,
    ) -> Self {
        Self {
            redis,
            docker,
            outbox,
            instances,
            checks: Checks::default(),
        }
    }

    /// An instance is paused: it may not get work any more, and may hold some. Here at once,
    /// everywhere else by way of Redis.
    pub async fn withhold(&self, id: InstanceId, function: &FunctionName) {
        self.outbox.send(Update::Ended(id));
        self.instances.on_withheld(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self
            .redis
            .ask(self.redis.store.withhold(id, function))
            .await;
    }

    /// The container of an instance was paused, and may not be any more. If it was frozen, nobody holds work there, and who
    /// needs it thaws it; if somebody else has paused it, it may not get work any more.
    pub async fn on_paused(&self, id: InstanceId, function: &FunctionName, container: &str) {
        loop {
            let begin = Instant::now();
            if !self.is_paused(container).await {
                return;
            }
            let standing = self.redis.store.standing(id, function);
            match self.redis.ask(standing).await {
                Ok(Standing::Ready) => {}
                Ok(Standing::Frozen) => return,
                Ok(Standing::Unknown) if !self.instances.known.is_unregistered(id) => return,
                Ok(Standing::Unknown | Standing::Draining) | Err(_) => break,
            }
            // It was thawed in between, or somebody else has paused it: for it would not have been frozen again within the
            // shortest lease.
            if !self.is_paused(container).await {
                return;
            }
            if begin.elapsed() < MIN_IDLE {
                break;
            }
        }
        if self.instances.known.find(id).is_some() {
            info!("instance {id} of {function} was paused");
        }
        self.withhold(id, function).await;
    }

    /// Whether a container is paused, as far as Docker can say: what can't be seen now is when Docker is back.
    async fn is_paused(&self, container: &str) -> bool {
        matches!(
            self.docker.condition(container).await,
            Ok(Condition::Paused)
        )
    }

    /// An instance is no more: here at once, everywhere else by way of Redis.
    pub async fn forget(&self, id: InstanceId, function: &FunctionName) {
        self.checks.remove(id);
        self.instances.known.end(id, function);
        self.outbox.send(Update::Ended(id));
        self.instances.on_gone(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self.redis.ask(self.redis.store.forget(id, function)).await;
    }

    /// A request has failed at an instance: looks at it, in a task of its own, unless somebody does
    /// already.
    pub fn check(self: &Arc<Self>, id: InstanceId) {
        let Some(instance) = self.instances.known.find(id) else {
            self.outbox.send(Update::Gone(id));
            return;
        };
        if self.checks.add(id) {
            let health = self.clone();
            tokio::spawn(async move {
                // What could not be found out is asked again by who wants to have the instance.
                let _ = health.is_healthy(&instance).await;
            });
        }
    }

    /// Waits for the checks of an instance; whether it may get work. One that has ended is
    /// forgotten, one that is paused withheld.
    ///
    /// # Errors
    /// [`ErrorCode::DockerUnavailable`] and [`ErrorCode::FunctionUnreachable`] when it can't be
    /// connected to, and Docker does not say that it has ended.
    pub async fn is_healthy(&self, instance: &Instance) -> Result<bool, Failure> {
        let id = instance.id;
        if self.instances.known.has_ended(id) {
            self.forget(id, &instance.function).await;
            return Ok(false);
        }
        let Some(mut gate) = self.checks.gate(id) else {
            return Ok(true);
        };
        loop {
            let mut is_paused = gate.lock().await;
            if let Some(times) = self.checks.times(id) {
                match self.probe(instance).await? {
                    Condition::Ended => self.forget(id, &instance.function).await,
                    Condition::Paused => {
                        let Instance {
                            function,
                            container,
                            ..
                        } = instance;
                        self.on_paused(id, function, container).await;
                        self.checks.finish(id, times);
                        *is_paused = true;
                        return Ok(false);
                    }
                    Condition::Runs => {
                        *is_paused = false;
                        if self.checks.finish(id, times) {
                            self.outbox.send(Update::Healthy(id));
                        }
                    }
                }
            } else if *is_paused {
                return Ok(false);
            }
            drop(is_paused);
            match self.checks.gate(id) {
                Some(next) => gate = next,
                None => return Ok(!self.instances.known.has_ended(id)),
            }
        }
    }

    /// What an instance does; if it runs, it accepts connections.
    async fn probe(&self, instance: &Instance) -> Result<Condition, Failure> {
        let begin = Instant::now();
        loop {
            let condition = self.docker.condition(&instance.container).await;
            if let Ok(condition @ (Condition::Ended | Condition::Paused)) = condition {
                return Ok(condition);
            }
            if accepts(&instance.address).await {
                return Ok(Condition::Runs);
            }
            let Instance {
                id,
                function,
                address,
                ..
            } = instance;
            let what = format!("instance {id} of {function} does not accept at {address}");
            if let Err(error) = condition {
                let text = format!("{what}, and {error}");
                return Err(Failure::new(ErrorCode::DockerUnavailable, text));
            }
            if begin.elapsed() > LONGEST_PROBE {
                let text = format!(
                    "{what}, though it runs: look at what it does with `corefn logs {function}`, \
                     or remove its container"
                );
                return Err(Failure::new(ErrorCode::FunctionUnreachable, text));
            }
            sleep(PAUSE).await;
        }
    }
}
