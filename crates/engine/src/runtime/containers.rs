//! Follows Docker's events, so that an instance that ends or is paused is not sent another request.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tracing::{error, info, warn};

use corefn_core::instance::Instance;
use corefn_core::metrics::Fate;

use super::failures::Failures;
use super::health::Health;
use super::instances::Instances;
use super::redis::Redis;
use super::{Gauges, Service};
use crate::docker::{Container, Docker, DockerError, InstanceEvent, InstanceEventKind};
use crate::pauses::Pauses;

/// What it takes.
pub(super) struct ContainerEvents {
    pub redis: Arc<Redis>,
    pub docker: Arc<Docker>,
    pub gauges: Arc<dyn Gauges>,
    pub instances: Arc<Instances>,
    pub health: Arc<Health>,
    pub failures: Arc<Failures>,
}

/// What is counted of it.
fn fate(kind: InstanceEventKind) -> Option<Fate> {
    match kind {
        InstanceEventKind::Stopped => Some(Fate::Stopped),
        InstanceEventKind::Died => Some(Fate::Died),
        InstanceEventKind::OutOfMemory => Some(Fate::OutOfMemory),
        InstanceEventKind::Paused => None,
    }
}

/// Runs for as long as the thread does.
pub(super) async fn follow_containers(parts: ContainerEvents) {
    let mut pauses = Pauses::of_service();
    let mut failing = false;
    loop {
        match parts.follow(&mut failing).await {
            Ok(()) => pauses.reset(),
            // Logged once, not with each attempt.
            Err(error) if !failing => {
                error!("{error}");
                parts.gauges.reached(Service::Docker, false);
                failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pauses.grow()).await;
    }
}

impl ContainerEvents {
    async fn follow(&self, failing: &mut bool) -> Result<(), DockerError> {
        let mut events = std::pin::pin!(self.docker.instance_events().await?);
        self.catch_up().await?;
        if std::mem::take(failing) {
            self.gauges.reached(Service::Docker, true);
            info!("Docker can be used again");
        }
        while let Some(event) = events.next().await {
            let is_known = self.instances.known.find(event.id).is_some();
            if let Some(fate) = fate(event.kind) {
                self.gauges.ended(event.id, fate);
            }
            match event.kind {
                InstanceEventKind::Stopped | InstanceEventKind::Died if is_known => {
                    info!("instance {} of {} has ended", event.id, event.function);
                }
                InstanceEventKind::OutOfMemory if is_known => warn!(
                    "instance {} of {} has run out of memory (limits.memory of its corefn.toml): the kernel has ended a process of it",
                    event.id, event.function
                ),
                _ => {}
            }
            match event.kind {
                InstanceEventKind::OutOfMemory => {}
                InstanceEventKind::Paused => {
                    let InstanceEvent {
                        id,
                        function,
                        container,
                        ..
                    } = &event;
                    self.health.on_paused(*id, function, container).await;
                }
                InstanceEventKind::Stopped => self.health.forget(event.id, &event.function).await,
                InstanceEventKind::Died => {
                    self.instances.on_gone(event.id);
                    // Before anybody hears that it is gone, and starts another.
                    self.failures
                        .on_death(&self.redis, event.id, &event.function)
                        .await;
                    self.health.forget(event.id, &event.function).await;
                }
            }
        }
        Ok(())
    }

    /// Does what it takes for what happened while nobody listened.
    async fn catch_up(&self) -> Result<(), DockerError> {
        let known = self.instances.known.list();
        // Without Redis there is no list; the cleaner compares it with Docker later.
        let listed = self.redis.ask(self.redis.store.instances()).await;
        let listed = listed.unwrap_or_default();
        let containers: HashMap<String, Container> = self
            .docker
            .containers()
            .await?
            .into_iter()
            .filter(|container| container.running)
            .map(|container| (container.id.clone(), container))
            .collect();
        let listed = listed.into_iter().map(|leased| leased.instance);
        for instance in known.into_iter().chain(listed) {
            match containers.get(&instance.container) {
                // (One may be ready before Docker shows that it runs.)
                None if !self.docker.is_running(&instance.container).await? => {
                    self.health.forget(instance.id, &instance.function).await;
                }
                Some(container) if container.paused => {
                    let Instance { id, function, .. } = &instance;
                    self.health.on_paused(*id, function, &container.id).await;
                }
                None | Some(_) => {}
            }
        }
        Ok(())
    }
}
