//! Follows Docker's events, so that an instance that ends or is paused is not sent another request.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tracing::{error, info, warn};

use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
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
            if let Some((function, kind)) = self.of_instance(&event) {
                self.handle(event.id, &function, &event.container, kind)
                    .await;
            }
        }
        Ok(())
    }

    /// Of which function the instance is that an event is of, and what that is to the instance. Nothing of a sandbox that waits.
    fn of_instance(&self, event: &InstanceEvent) -> Option<(FunctionName, InstanceEventKind)> {
        if let Some(function) = &event.function {
            return Some((function.clone(), event.kind));
        }
        // Docker does not know yet what it has become; whoever had it become that does, even if others have found since that it
        // has ended.
        let (function, own) = self.instances.known.identify(event.id)?;
        let is_holder = own.is_some_and(|own| own != event.container);
        match event.kind {
            InstanceEventKind::Paused if is_holder => None,
            // (As of a holder that has its name.)
            InstanceEventKind::Died if is_holder => Some((function, InstanceEventKind::Stopped)),
            kind => Some((function, kind)),
        }
    }

    async fn handle(
        &self,
        id: InstanceId,
        function: &FunctionName,
        container: &str,
        kind: InstanceEventKind,
    ) {
        let is_known = self.instances.known.find(id).is_some();
        if let Some(fate) = fate(kind) {
            self.gauges.ended(id, fate);
        }
        match kind {
            InstanceEventKind::Stopped | InstanceEventKind::Died if is_known => {
                info!("instance {id} of {function} has ended");
            }
            InstanceEventKind::OutOfMemory if is_known => warn!(
                "instance {id} of {function} has run out of memory (limits.memory of its corefn.toml): the kernel has ended a process \
                 of it"
            ),
            _ => {}
        }
        match kind {
            InstanceEventKind::OutOfMemory => {}
            InstanceEventKind::Paused => self.health.on_paused(id, function, container).await,
            InstanceEventKind::Stopped => self.health.forget(id, function).await,
            InstanceEventKind::Died => {
                self.instances.on_gone(id);
                // Before anybody hears that it is gone, and starts another.
                self.failures.on_death(&self.redis, id, function).await;
                self.health.forget(id, function).await;
            }
        }
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
