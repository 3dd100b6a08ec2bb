//! Follows the events channel, and starts over from a snapshot whenever the connection broke.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tracing::info;

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::lease::{DEFAULT_IDLE, relied_until};

use super::instances::Instances;
use super::redis::Redis;
use super::standby::{Standby, is_wanted};
use super::starts::Starts;
use super::{Outbox, Update};
use crate::clock;
use crate::docker::{Docker, DockerError};
use crate::pauses::Pauses;
use crate::rebuild::{RebuildError, rebuild};
use crate::releases;
use crate::start::random_id;
use crate::store::StoreError;

/// How long Docker may take to say what is deployed, when Redis can't.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it takes.
pub(super) struct Listener {
    pub redis: Arc<Redis>,
    pub docker: Arc<Docker>,
    pub outbox: Arc<dyn Outbox>,
    pub instances: Arc<Instances>,
    pub starts: Arc<Starts>,
    pub standby: Option<Arc<Standby>>,
}

/// Runs for as long as the thread does.
pub(super) async fn listen(parts: Listener) {
    let mut pauses = Pauses::of_service();
    let mut filled = false;
    loop {
        match parts.follow(&mut filled).await {
            Ok(()) => pauses.reset(),
            Err(RebuildError::Store(error)) => {
                let failure = parts.redis.on_failure(&error);
                if !filled {
                    match parts.fill_from_docker().await {
                        Ok(()) => filled = true,
                        Err(_) => parts.outbox.send(Update::Unavailable(failure)),
                    }
                }
            }
            // That Docker is out of reach is logged where its events are followed.
            Err(RebuildError::Docker(error)) => {
                let failure = Failure::new(ErrorCode::DockerUnavailable, error.to_string());
                parts.outbox.send(Update::Unavailable(failure));
            }
        }
        tokio::time::sleep(pauses.grow()).await;
    }
}

impl Listener {
    /// Subscribes, takes a snapshot, and follows the events until the connection ends. Subscribing
    /// comes first, so that nothing falls between the two.
    async fn follow(&self, filled: &mut bool) -> Result<(), RebuildError> {
        let mut events = std::pin::pin!(self.redis.store.events().await?);
        let token = random_id().map_or_else(|_| "router".to_owned(), |id| id.to_string());
        if rebuild(&self.redis.store, &self.docker, &token, DEFAULT_IDLE).await? {
            info!("Redis was empty; filled it from Docker's labels");
        }
        self.instances.register_all(&self.redis).await?;
        self.snapshot().await?;
        *filled = true;
        while let Some(event) = events.next().await {
            self.on_event(event);
        }
        Ok(())
    }

    /// Takes a snapshot of what Docker's labels say is deployed. What runs is found when it is asked
    /// for.
    async fn fill_from_docker(&self) -> Result<(), DockerError> {
        let images = self.docker.within(PATIENCE, self.docker.images());
        let deployments = releases::deployed(&images.await?);
        let deployments = deployments.into_iter().map(Into::into).collect();
        self.instances.snapshot(deployments, Vec::new(), Vec::new());
        Ok(())
    }

    async fn snapshot(&self) -> Result<(), StoreError> {
        let mut deployments = Vec::new();
        // (Each is packed before there are many: a worker keeps the memory that it has once needed.)
        let mut wanted = Vec::new();
        let pack = |deployment: Deployment| {
            if self.standby.is_some() && is_wanted(&deployment) {
                wanted.push(deployment.clone());
            }
            deployments.push(deployment.into());
        };
        self.redis.store.each_deployment(pack).await?;
        let now = clock::now();
        let (ready, withheld): (Vec<_>, Vec<_>) = self
            .redis
            .store
            .instances()
            .await?
            .into_iter()
            .partition(|leased| leased.ready);
        let instances = ready
            .into_iter()
            .map(|leased| {
                let left = leased.lease.map_or(0, |lease| lease.as_millis() as u64);
                (leased.instance, relied_until(now, left))
            })
            .collect();
        let withheld = withheld.into_iter().map(|leased| leased.instance);
        self.instances
            .snapshot(deployments, instances, withheld.collect());
        if let Some(standby) = &self.standby {
            standby.on_snapshot(wanted);
        }
        Ok(())
    }

    /// Passes an event on: to the event loop, and to starts that wait.
    fn on_event(&self, event: Event) {
        match &event {
            Event::Deployed { deployment } => {
                self.outbox.send(Update::Deployed(deployment.clone()))
            }
            Event::Removed { function } => self.outbox.send(Update::Removed(function.clone())),
            Event::Ready {
                instance, lease_ms, ..
            } => {
                self.instances.on_ready(instance, *lease_ms, clock::now());
            }
            Event::Gone { id, .. } => self.instances.on_withheld(*id),
            Event::Failed {
                function,
                revision,
                failure,
            } => self.starts.report_failure(function, revision, failure),
            Event::Turn { .. } => {}
        }
        if let Some(standby) = &self.standby {
            standby.on_event(&event);
        }
        self.starts.subscribers.publish(event);
    }
}
