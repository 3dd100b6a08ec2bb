//! What is done while Redis is out of reach, and when it is back.
//!
//! Without Redis nothing can be fenced: so an instance that runs may be relied on, and what must
//! be found or started is so by Docker alone. Redis is not asked again by requests, but by one
//! task, with growing pauses; it is told of what was started before anyone else goes by it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::{DEFAULT_IDLE, UNLEASED_RELIANCE};

use super::Update;
use super::shared::Shared;
use crate::acquire::{Refusal, Start};
use crate::alone;
use crate::clock;
use crate::docker::Condition;
use crate::pauses::Pauses;
use crate::store::{StoreError, millis};

/// How long Docker may take to say whether a known instance still runs. If it can't, the instance
/// is taken as it was.
const DOCKER_PATIENCE: Duration = Duration::from_secs(1);

/// Waits for outages, and for each until it is over. Runs for as long as the thread does.
pub(super) async fn outages(shared: Arc<Shared>) {
    let mut outage = shared.outage.subscribe();
    // The sender is in what this task holds itself.
    while outage.wait_for(|down| *down).await.is_ok() {
        let mut pauses = Pauses::of_service();
        while shared.tell_redis().await.is_err() {
            tokio::time::sleep(pauses.grow()).await;
        }
        shared.outage.send_replace(false);
        info!("Redis can be used again");
    }
}

impl Shared {
    /// Does something with Redis, unless it is known to be out of reach or turns out to be.
    pub async fn asked<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failure> {
        let mut outage = self.outage.subscribe();
        tokio::select! {
            biased;
            _ = outage.wait_for(|down| *down) => Err(Failure::new(
                ErrorCode::RedisUnavailable,
                "Redis is out of reach",
            )),
            done = work => done.map_err(|error| self.redis_failed(&error)),
        }
    }

    /// Notes that Redis is out of reach: told once for each outage, however many ask.
    pub fn redis_failed(&self, error: &StoreError) -> Failure {
        let failure = Failure::new(ErrorCode::RedisUnavailable, error.to_string());
        if !matches!(error, StoreError::Failed { .. }) {
            error!("{}", failure.detail);
        } else if !self.outage.send_replace(true) {
            error!("{}; going by Docker alone", failure.detail);
        }
        failure
    }

    /// Until when an instance may be relied on now that it can't be leased.
    pub fn reliance(&self) -> u64 {
        clock::now() + millis(UNLEASED_RELIANCE)
    }

    /// An instance was got; one that Redis could not be told of may be relied on without a lease.
    pub fn granted(&self, instance: &Instance, ttl: u64, sent: u64) {
        let known = self.known().get(&instance.id).map(|known| known.untold);
        if known != Some(true) {
            return self.ready(instance, ttl, sent);
        }
        self.outbox.send(Update::Ready {
            instance: instance.clone(),
            until: self.reliance(),
        });
    }

    /// An instance is there that Redis must be told of when it is back.
    pub fn know_untold(&self, instance: &Instance) {
        self.know(instance.clone(), true);
        if let Some(known) = self.known().get_mut(&instance.id) {
            known.untold = true;
        }
    }

    /// Gets an instance without Redis: one that is known, one that runs, or one that is started.
    pub async fn alone(
        &self,
        deployment: &Deployment,
        timeout: Duration,
    ) -> Result<(InstanceId, Start), Refusal> {
        let (instance, start) = match self.still_there(deployment).await {
            Some(instance) => (instance, Start::Warm),
            None => {
                let withheld = self.withheld_ids();
                let begin = clock::now();
                let got = alone::acquire(&self.docker, deployment, &withheld, timeout).await?;
                let (id, function) = (got.0.id, &deployment.function);
                let what = match got.1 {
                    Start::Warm => "found",
                    Start::Cold => "started",
                };
                info!(
                    "{what} instance {id} of {function} revision {} at {} in {} ms, without Redis",
                    got.0.revision,
                    got.0.address,
                    clock::now() - begin
                );
                self.know_untold(&got.0);
                got
            }
        };
        let id = instance.id;
        let until = self.reliance();
        self.outbox.send(Update::Ready { instance, until });
        Ok((id, start))
    }

    /// An instance that is known and, as far as Docker can say, still there.
    async fn still_there(&self, deployment: &Deployment) -> Option<Instance> {
        let candidates: Vec<Instance> = self
            .known()
            .values()
            .filter(|known| known.ready)
            .map(|known| known.instance.clone())
            .filter(|i| i.function == deployment.function && i.revision == deployment.revision)
            .collect();
        for instance in candidates {
            let look = self.docker.condition(&instance.container);
            match self.docker.within(DOCKER_PATIENCE, look).await {
                Ok(Condition::Runs) | Err(_) => {
                    if self.cleared(&instance).await.unwrap_or(false) {
                        return Some(instance);
                    }
                }
                Ok(Condition::Paused) => self.withheld(instance.id),
                Ok(Condition::Ended) => self.gone(instance.id),
            }
        }
        None
    }

    fn withheld_ids(&self) -> HashSet<InstanceId> {
        let known = self.known();
        let withheld = known.values().filter(|known| !known.ready);
        withheld.map(|known| known.instance.id).collect()
    }

    /// Tells Redis of what was started without it.
    pub async fn tell_redis(&self) -> Result<(), StoreError> {
        self.store.pulse().await?;
        let untold: Vec<Instance> = self
            .known()
            .values()
            .filter(|known| known.ready && known.untold)
            .map(|known| known.instance.clone())
            .collect();
        for instance in untold {
            if !self.store.knows(instance.id).await? {
                self.store.register(&instance, None, DEFAULT_IDLE).await?;
            }
            if let Some(known) = self.known().get_mut(&instance.id) {
                known.untold = false;
            }
        }
        Ok(())
    }
}
