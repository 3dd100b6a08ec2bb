//! Instances at which requests have failed: each is looked at before it is relied on again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};

use super::instances::Instances;
use super::redis::Redis;
use super::{Outbox, Update};
use crate::docker::{Condition, Docker};
use crate::ready::accepts;

/// How long an instance may run without accepting a connection: it may be about to end, or have
/// more connections to accept than its system keeps for it.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The instances that are suspected.
#[derive(Default)]
struct Suspects(Mutex<HashMap<InstanceId, Suspicion>>);

#[derive(Default)]
struct Suspicion {
    /// How often it was suspected.
    times: u64,
    /// One looks at a time.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Suspects {
    /// One more suspicion; returns whether it is the first.
    fn add(&self, id: InstanceId) -> bool {
        let mut all = self.all();
        let suspicion = all.entry(id).or_default();
        suspicion.times += 1;
        suspicion.times == 1
    }

    fn gate(&self, id: InstanceId) -> Option<Arc<tokio::sync::Mutex<()>>> {
        Some(self.all().get(&id)?.gate.clone())
    }

    fn times(&self, id: InstanceId) -> Option<u64> {
        Some(self.all().get(&id)?.times)
    }

    /// Lifts the suspicion, unless there is a newer one than the `times` that were looked into.
    fn lift(&self, id: InstanceId, times: u64) -> bool {
        let mut all = self.all();
        let lifted = all.get(&id).is_none_or(|found| found.times == times);
        if lifted {
            all.remove(&id);
        }
        lifted
    }

    /// An instance has ended.
    fn remove(&self, id: InstanceId) {
        self.all().remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceId, Suspicion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How instances are, and what follows of it.
pub(super) struct Health {
    redis: Arc<Redis>,
    docker: Arc<Docker>,
    outbox: Arc<dyn Outbox>,
    instances: Arc<Instances>,
    suspects: Suspects,
}

impl Health {
    /// Nothing is suspected.
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
            suspects: Suspects::default(),
        }
    }

    /// An instance is paused: it may not get work any more, and may hold some. Here at once,
    /// everywhere else by way of Redis.
    pub async fn withhold(&self, id: InstanceId, function: &FunctionName) {
        self.outbox.send(Update::Ended(id));
        self.instances.withheld(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self
            .redis
            .ask(self.redis.store.withhold(id, function))
            .await;
    }

    /// An instance is no more: here at once, everywhere else by way of Redis.
    pub async fn forget(&self, id: InstanceId, function: &FunctionName) {
        self.suspects.remove(id);
        self.instances.known.end(id);
        self.outbox.send(Update::Ended(id));
        self.instances.gone(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self.redis.ask(self.redis.store.forget(id, function)).await;
    }

    /// A request has failed at an instance: looks at it, in a task of its own, unless somebody does
    /// already.
    pub fn suspect(self: &Arc<Self>, id: InstanceId) {
        let Some(instance) = self.instances.known.find(id) else {
            self.outbox.send(Update::Gone(id));
            return;
        };
        if self.suspects.add(id) {
            let health = self.clone();
            tokio::spawn(async move {
                // What could not be found out is asked again by who wants to have the instance.
                let _ = health.cleared(&instance).await;
            });
        }
    }

    /// Whether an instance may be relied on as far as suspicions go. One that has ended is
    /// forgotten, one that is paused withheld.
    ///
    /// # Errors
    /// [`ErrorCode::DockerUnavailable`] and [`ErrorCode::FunctionUnreachable`] when it can't be
    /// connected to, and Docker does not say that it has ended.
    pub async fn cleared(&self, instance: &Instance) -> Result<bool, Failure> {
        let id = instance.id;
        if self.instances.known.has_ended(id) {
            self.forget(id, &instance.function).await;
            return Ok(false);
        }
        let Some(mut gate) = self.suspects.gate(id) else {
            return Ok(true);
        };
        loop {
            let held = gate.lock().await;
            if let Some(times) = self.suspects.times(id) {
                match self.look(instance).await? {
                    Condition::Ended => self.forget(id, &instance.function).await,
                    Condition::Paused => {
                        self.withhold(id, &instance.function).await;
                        self.suspects.lift(id, times);
                        return Ok(false);
                    }
                    Condition::Runs if self.suspects.lift(id, times) => {
                        self.outbox.send(Update::Trusted(id));
                    }
                    Condition::Runs => {}
                }
            }
            drop(held);
            match self.suspects.gate(id) {
                Some(next) => gate = next,
                None => return Ok(!self.instances.known.has_ended(id)),
            }
        }
    }

    /// What an instance does; if it runs, it accepts connections.
    async fn look(&self, instance: &Instance) -> Result<Condition, Failure> {
        let begin = Instant::now();
        loop {
            let condition = self.docker.condition(&instance.container).await;
            if let Ok(condition @ (Condition::Ended | Condition::Paused)) = condition {
                return Ok(condition);
            }
            if accepts(instance.address).await {
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
            if begin.elapsed() > LONGEST_LOOK {
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
