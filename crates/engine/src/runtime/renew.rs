//! Renews the leases of instances that have work.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::relied_until;

use super::shared::Shared;
use crate::clock;
use crate::docker::Condition;
use crate::store::Renewed;

/// How often the counts are looked at: a quarter of the shortest interval between renewals.
const TICK: Duration = Duration::from_millis(250);

/// How long Redis may take to answer a renewal: less than other answers, so that it is soon known
/// that Redis hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs for as long as the thread does.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due: Vec<(Instance, Duration)> = shared
            .gauges
            .due(clock::now())
            .into_iter()
            .filter_map(|(id, ttl)| Some((shared.find(id)?, Duration::from_millis(ttl))))
            .collect();
        if !due.is_empty() {
            round(&shared, &due).await;
        }
    }
}

async fn round(shared: &Shared, due: &[(Instance, Duration)]) {
    let sent = clock::now();
    let renewals: Vec<(InstanceId, FunctionName, Duration)> = due
        .iter()
        .map(|(instance, ttl)| (instance.id, instance.function.clone(), *ttl))
        .collect();
    let renewal = shared.store.within(PATIENCE, shared.store.renew(&renewals));
    match shared.asked(renewal).await {
        Ok(answers) => {
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
        Err(_) => {
            for (instance, _) in due {
                shared.gauges.renewed(instance.id, shared.reliance());
            }
        }
    }
}

/// Redis has lost an instance that has work: it is registered again if it still runs.
async fn register_again(shared: &Shared, instance: &Instance, ttl: Duration) {
    match shared.docker.condition(&instance.container).await {
        Ok(Condition::Ended) => shared.gone(instance.id),
        Ok(condition) => {
            let register = shared.store.register(instance, None, ttl);
            let _ = shared.asked(register).await;
            if condition == Condition::Paused {
                shared.withhold(instance.id, &instance.function).await;
            }
        }
        Err(error) => warn!("{error}"),
    }
}
