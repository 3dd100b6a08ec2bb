//! Instances at which requests have failed: each is looked at before it is relied on again. And
//! those that have ended, which Redis may name for a while yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Instance, InstanceId};

use super::Update;
use super::shared::Shared;
use crate::docker::Condition;
use crate::ready::accepts;

/// How long an instance may run without accepting a connection: it may be about to end, or have
/// more connections to accept than its system keeps for it.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How many of those that have ended are remembered: more than may end while Redis is told of it.
const ENDED: usize = 256;

/// The instances that are suspected, and the last that have ended.
#[derive(Default)]
pub(super) struct Suspects {
    suspected: Mutex<HashMap<InstanceId, Suspicion>>,
    ended: Mutex<VecDeque<InstanceId>>,
}

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

    /// An instance is no more.
    pub fn end(&self, id: InstanceId) {
        self.all().remove(&id);
        let mut ended = self.ended();
        if !ended.contains(&id) {
            ended.truncate(ENDED - 1);
            ended.push_front(id);
        }
    }

    /// Whether an instance is known to be no more.
    pub fn has_ended(&self, id: InstanceId) -> bool {
        self.ended().contains(&id)
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<InstanceId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceId, Suspicion>> {
        self.suspected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// A request has failed at an instance: looks at it, in a task of its own, unless somebody does
    /// already.
    pub fn suspect(self: &Arc<Self>, id: InstanceId) {
        let Some(instance) = self.find(id) else {
            self.outbox.send(Update::Gone(id));
            return;
        };
        if self.suspects.add(id) {
            let shared = self.clone();
            tokio::spawn(async move {
                // What could not be found out is asked again by who wants to have the instance.
                let _ = shared.cleared(&instance).await;
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
        if self.suspects.has_ended(id) {
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
                None => return Ok(!self.suspects.has_ended(id)),
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
