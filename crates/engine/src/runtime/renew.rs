//! Renews the leases of instances that have work.

use std::sync::Arc;
use std::time::Duration;

use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::relied_until;

use super::Level;
use super::shared::{RELIANCE_WITHOUT_REDIS, Shared};
use crate::clock;
use crate::docker::Condition;
use crate::store::Renewed;

/// How often the counts are looked at: a quarter of the shortest interval between renewals.
const TICK: Duration = Duration::from_millis(250);

/// Runs for as long as the thread does.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let due: Vec<(Instance, Duration)> = shared
            .gauges
            .due(clock::now())
            .into_iter()
            .filter_map(|(id, ttl)| Some((shared.find(id)?, Duration::from_millis(ttl))))
            .collect();
        if !due.is_empty() {
            round(&shared, &due, &mut failing).await;
        }
    }
}

async fn round(shared: &Shared, due: &[(Instance, Duration)], failing: &mut bool) {
    let sent = clock::now();
    let renewals: Vec<(InstanceId, FunctionName, Duration)> = due
        .iter()
        .map(|(instance, ttl)| (instance.id, instance.function.clone(), *ttl))
        .collect();
    match shared.store.renew(&renewals).await {
        Ok(answers) => {
            *failing = false;
            for ((instance, ttl), answer) in due.iter().zip(answers) {
                match answer {
                    Renewed::Yes => {
                        let until = relied_until(sent, ttl.as_millis() as u64);
                        shared.gauges.renewed(instance.id, until);
                    }
                    Renewed::Draining => shared.withheld(instance.id),
                    Renewed::Unknown => register_again(shared, instance, *ttl).await,
                }
            }
        }
        Err(error) => {
            if !*failing {
                shared.log(Level::Error, format!("leases can't be renewed: {error}"));
                *failing = true;
            }
            for (instance, _) in due {
                let until = clock::now() + RELIANCE_WITHOUT_REDIS;
                shared.gauges.renewed(instance.id, until);
            }
        }
    }
}

/// Redis has lost an instance that has work: it is registered again if it still runs.
async fn register_again(shared: &Shared, instance: &Instance, ttl: Duration) {
    match shared.docker.condition(&instance.container).await {
        Ok(Condition::Ended) => shared.gone(instance.id),
        Ok(condition) => {
            if let Err(error) = shared.store.register(instance, None, ttl).await {
                shared.log(Level::Warn, error.to_string());
            }
            if condition == Condition::Paused {
                shared.withhold(instance.id, &instance.function).await;
            }
        }
        Err(error) => shared.log(Level::Warn, error.to_string()),
    }
}
