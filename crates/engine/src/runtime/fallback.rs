//! Getting an instance while Redis is out of reach.
//!
//! Without Redis nothing can be fenced: so an instance that runs may be relied on, and what must
//! be found or started is so by Docker alone.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use corefn_core::deployment::Deployment;
use corefn_core::instance::Instance;

use super::health::Health;
use super::instances::Instances;
use crate::acquire::{Refusal, Start};
use crate::clock;
use crate::docker::{Condition, Docker};
use crate::without_redis;

/// How long Docker may take to say whether a known instance still runs. If it can't, the instance
/// is taken as it was.
const DOCKER_PATIENCE: Duration = Duration::from_secs(1);

/// What it takes.
pub(super) struct Fallback {
    pub docker: Arc<Docker>,
    pub instances: Arc<Instances>,
    pub health: Arc<Health>,
}

impl Fallback {
    /// Gets an instance without Redis: one that is known, one that runs, or one that is started.
    ///
    /// # Errors
    /// As of [`without_redis::acquire`].
    pub async fn acquire(
        &self,
        deployment: &Deployment,
        timeout: Duration,
    ) -> Result<(Instance, Start), Refusal> {
        let got = match self.still_there(deployment).await {
            Some(instance) => (instance, Start::Warm),
            None => {
                let withheld = self.instances.known.withheld();
                let begin = clock::now();
                let got =
                    without_redis::acquire(&self.docker, deployment, &withheld, timeout).await?;
                let (id, function) = (got.0.id, &deployment.function);
                let what = match got.1 {
                    Start::Warm => "found",
                    // (Nothing is thawed without Redis.)
                    Start::Thawed | Start::Cold => "started",
                };
                info!(
                    "{what} instance {id} of {function} revision {} at {} in {} ms, without Redis",
                    got.0.revision,
                    got.0.address,
                    clock::now() - begin
                );
                self.instances.known.add_unregistered(got.0.clone());
                got
            }
        };
        self.instances.on_unleased(&got.0);
        Ok(got)
    }

    /// An instance that is known and, as far as Docker can say, still there.
    async fn still_there(&self, deployment: &Deployment) -> Option<Instance> {
        for instance in self.instances.known.of(deployment) {
            let look = self.docker.condition(&instance.container);
            match self.docker.within(DOCKER_PATIENCE, look).await {
                Ok(Condition::Runs) | Err(_) => {
                    if self.health.is_healthy(&instance).await.unwrap_or(false) {
                        return Some(instance);
                    }
                }
                Ok(Condition::Paused) => self.instances.on_withheld(instance.id),
                Ok(Condition::Ended) => self.instances.on_gone(instance.id),
            }
        }
        None
    }
}
