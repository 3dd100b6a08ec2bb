//! Renews the leases of instances that have work.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::relied_until;

use super::Gauges;
use super::health::Health;
use super::instances::{Instances, unleased_until};
use super::redis::Redis;
use crate::clock;
use crate::docker::{Condition, Docker};
use crate::store::Renewed;

/// How often the counts are looked at: a quarter of the shortest interval between renewals.
const TICK: Duration = Duration::from_millis(250);

/// How long Redis may take to answer a renewal: less than other answers, so that it is soon known
/// that Redis hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// What it takes.
pub(super) struct Renewals {
    pub redis: Arc<Redis>,
    pub docker: Arc<Docker>,
    pub gauges: Arc<dyn Gauges>,
    pub instances: Arc<Instances>,
    pub health: Arc<Health>,
}

/// Runs for as long as the thread does.
pub(super) async fn renew(parts: Renewals) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due: Vec<(Instance, Duration)> = parts
            .gauges
            .due(clock::now())
            .into_iter()
            .filter_map(|(id, ttl)| {
                Some((parts.instances.known.find(id)?, Duration::from_millis(ttl)))
            })
            .collect();
        if !due.is_empty() {
            parts.round(&due).await;
        }
    }
}

impl Renewals {
    async fn round(&self, due: &[(Instance, Duration)]) {
        let sent = clock::now();
        let renewals: Vec<(InstanceId, FunctionName, Duration)> = due
            .iter()
            .map(|(instance, ttl)| (instance.id, instance.function.clone(), *ttl))
            .collect();
        let renewal = self
            .redis
            .store
            .within(PATIENCE, self.redis.store.renew(&renewals));
        match self.redis.ask(renewal).await {
            Ok(answers) => {
                for ((instance, ttl), answer) in due.iter().zip(answers) {
                    match answer {
                        Renewed::Yes => {
                            let until = relied_until(sent, ttl.as_millis() as u64);
                            self.gauges.renewed(instance.id, until);
                        }
                        Renewed::Draining => self.instances.on_withheld(instance.id),
                        Renewed::Unknown => self.register_again(instance, *ttl).await,
                    }
                }
            }
            Err(_) => {
                for (instance, _) in due {
                    self.gauges.renewed(instance.id, unleased_until());
                }
            }
        }
    }

    /// Redis has lost an instance that has work: it is registered again if it still runs.
    async fn register_again(&self, instance: &Instance, ttl: Duration) {
        match self.docker.condition(&instance.container).await {
            Ok(Condition::Ended) => self.instances.on_gone(instance.id),
            Ok(condition) => {
                let register = self.redis.store.register(instance, None, ttl);
                let _ = self.redis.ask(register).await;
                if condition == Condition::Paused {
                    self.health.withhold(instance.id, &instance.function).await;
                }
            }
            Err(error) => warn!("{error}"),
        }
    }
}
