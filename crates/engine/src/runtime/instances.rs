//! The instances that a router knows, and what its event loop is told of them.

use std::sync::Arc;

use corefn_core::compact::Packed;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::{DEFAULT_IDLE, UNLEASED_RELIANCE, relied_until};

use super::failures::Failures;
use super::known::Known;
use super::redis::Redis;
use super::{Outbox, Update};
use crate::clock;
use crate::store::{StoreError, millis};

/// The instances.
pub(super) struct Instances {
    pub known: Known,
    outbox: Arc<dyn Outbox>,
    failures: Arc<Failures>,
}

impl Instances {
    /// None is known.
    pub fn new(outbox: Arc<dyn Outbox>, failures: Arc<Failures>) -> Self {
        Self {
            known: Known::default(),
            outbox,
            failures,
        }
    }

    /// An instance may get work under a lease of `ttl` milliseconds that was asked for at `sent`.
    pub fn on_ready(&self, instance: &Instance, ttl: u64, sent: u64) {
        if self.known.has_ended(instance.id) {
            return;
        }
        self.known.add(instance.clone(), true);
        self.failures.on_success(&instance.function);
        self.rely(instance, relied_until(sent, ttl));
    }

    /// An instance was got; one that could not be registered may be relied on without a lease.
    pub fn on_granted(&self, instance: &Instance, ttl: u64, sent: u64) {
        if self.known.is_unregistered(instance.id) {
            self.on_unleased(instance);
        } else {
            self.on_ready(instance, ttl, sent);
        }
    }

    /// An instance may get work though it has no lease.
    pub fn on_unleased(&self, instance: &Instance) {
        self.rely(instance, unleased_until());
    }

    fn rely(&self, instance: &Instance, until: u64) {
        self.outbox.send(Update::Ready {
            instance: instance.clone(),
            until,
        });
    }

    /// An instance is no more.
    pub fn on_gone(&self, id: InstanceId) {
        self.known.remove(id);
        self.outbox.send(Update::Gone(id));
    }

    /// An instance may not get work any more, and may hold some.
    pub fn on_withheld(&self, id: InstanceId) {
        self.known.withhold(id);
        self.outbox.send(Update::Gone(id));
    }

    /// Replaces what is known: instances with the time until which they may be relied on, and
    /// those that may not get work any more.
    pub fn snapshot(
        &self,
        deployments: Vec<Packed>,
        mut instances: Vec<(Instance, u64)>,
        withheld: Vec<Instance>,
    ) {
        let ready = instances.iter().map(|(instance, _)| instance.clone());
        let unregistered = self.known.replace(ready, withheld);
        let until = unleased_until();
        instances.extend(unregistered.into_iter().map(|instance| (instance, until)));
        self.outbox.send(Update::Snapshot {
            deployments,
            instances,
        });
    }

    /// Registers what was started without Redis.
    ///
    /// # Errors
    /// [`StoreError`]; some are not registered then.
    pub async fn register_all(&self, redis: &Redis) -> Result<(), StoreError> {
        redis.store.pulse().await?;
        for instance in self.known.unregistered() {
            if !redis.store.knows(instance.id).await? {
                redis.store.register(&instance, None, DEFAULT_IDLE).await?;
            }
            self.known.mark_registered(instance.id);
        }
        Ok(())
    }
}

/// Until when an instance may be relied on that can't be leased.
pub(super) fn unleased_until() -> u64 {
    clock::now() + millis(UNLEASED_RELIANCE)
}
