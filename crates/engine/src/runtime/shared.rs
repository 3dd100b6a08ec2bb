//! What the tasks of the runtime thread share, and the two ports of [`crate::acquire`] on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::{self, Sender};

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::function::{Deployment, FunctionName};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::relied_until;

use super::answer::Answer;
use super::{Gauges, Level, Outbox, Update};
use crate::acquire::{Launcher, Ledger, Refusal, Start, acquire};
use crate::clock;
use crate::docker::Docker;
use crate::start::{random_id, start};
use crate::store::{Store, StoreError};

/// How many events a waiting start may fall behind before it looks for itself.
const NEWS_BACKLOG: usize = 256;

/// How long an instance may be relied on that could not be leased because Redis is out of reach:
/// without Redis, nobody can fence it.
pub(super) const RELIANCE_WITHOUT_REDIS: u64 = 5_000;

pub(super) struct Shared {
    pub store: Store,
    pub docker: Docker,
    pub outbox: Arc<dyn Outbox>,
    pub gauges: Arc<dyn Gauges>,
    pub news: Sender<Event>,
    known: Mutex<HashMap<InstanceId, Instance>>,
}

impl Shared {
    pub fn new(
        store: Store,
        docker: Docker,
        outbox: Arc<dyn Outbox>,
        gauges: Arc<dyn Gauges>,
    ) -> Self {
        Self {
            store,
            docker,
            outbox,
            gauges,
            news: broadcast::channel(NEWS_BACKLOG).0,
            known: Mutex::default(),
        }
    }

    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.outbox.send(Update::Log(level, text.into()));
    }

    /// Passes an event on: to the event loop, and to starts that wait.
    pub fn event(&self, event: Event) {
        match &event {
            Event::Deployed { deployment } => {
                self.outbox.send(Update::Deployed(deployment.clone()))
            }
            Event::Removed { function } => self.outbox.send(Update::Removed(function.clone())),
            Event::Ready { instance, lease_ms } => self.ready(instance, *lease_ms, clock::now()),
            Event::Gone { id, .. } => self.gone(*id),
            Event::Failed { .. } => {}
        }
        // No receiver means that nobody waits.
        let _ = self.news.send(event);
    }

    /// An instance may get work under a lease of `ttl` milliseconds that was asked for at `sent`.
    pub fn ready(&self, instance: &Instance, ttl: u64, sent: u64) {
        self.known().insert(instance.id, instance.clone());
        self.outbox.send(Update::Ready {
            instance: instance.clone(),
            until: relied_until(sent, ttl),
        });
    }

    /// An instance may not get work any more.
    pub fn gone(&self, id: InstanceId) {
        self.known().remove(&id);
        self.outbox.send(Update::Gone(id));
    }

    /// Replaces what is known.
    pub fn snapshot(&self, deployments: Vec<Deployment>, instances: Vec<(Instance, u64)>) {
        *self.known() = instances
            .iter()
            .map(|(instance, _)| (instance.id, instance.clone()))
            .collect();
        self.outbox.send(Update::Snapshot {
            deployments,
            instances,
        });
    }

    /// An instance that is known.
    pub fn find(&self, id: InstanceId) -> Option<Instance> {
        self.known().get(&id).cloned()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<InstanceId, Instance>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets an instance for a deployment, in a task of its own.
    pub fn acquire(
        self: &Arc<Self>,
        deployment: Arc<Deployment>,
        idle: Duration,
        timeout: Duration,
    ) {
        let shared = self.clone();
        let answer = Answer::owed(self.outbox.clone(), deployment.function.clone());
        tokio::spawn(async move {
            answer.give(shared.get(deployment, idle, timeout).await);
        });
    }

    async fn get(
        &self,
        deployment: Arc<Deployment>,
        idle: Duration,
        timeout: Duration,
    ) -> Result<(InstanceId, Start), Failure> {
        let token = random_id()?.to_string();
        let mut news = self.news.subscribe();
        let sent = clock::now();
        let got = acquire(self, self, &mut news, &deployment, &token, idle, timeout).await;
        match got {
            Ok((instance, start)) => {
                let ttl = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
                let sent = if start == Start::Cold {
                    clock::now()
                } else {
                    sent
                };
                self.ready(&instance, ttl, sent);
                Ok((instance.id, start))
            }
            Err(refusal) => self.refused(&deployment, refusal).await,
        }
    }

    /// Logs a failure, once on the host for all who wait: only by whoever met it. That Redis is
    /// out of reach is logged where its events are listened for.
    async fn refused(
        &self,
        deployment: &Deployment,
        refusal: Refusal,
    ) -> Result<(InstanceId, Start), Failure> {
        let Refusal { failure, told } = refusal;
        if failure.code == ErrorCode::RedisUnavailable {
            return self.acquire_without_redis(deployment).await.ok_or(failure);
        }
        if !told {
            let function = &deployment.function;
            self.log(Level::Error, format!("function {function}: {failure}"));
        }
        Err(failure)
    }

    /// While Redis is out of reach nothing can be fenced: an instance that was known and still
    /// runs may serve on.
    async fn acquire_without_redis(&self, deployment: &Deployment) -> Option<(InstanceId, Start)> {
        let candidates: Vec<Instance> = self
            .known()
            .values()
            .filter(|i| i.function == deployment.function && i.revision == deployment.revision)
            .cloned()
            .collect();
        for instance in candidates {
            if self
                .docker
                .is_running(&instance.container)
                .await
                .unwrap_or(false)
            {
                self.outbox.send(Update::Ready {
                    until: clock::now() + RELIANCE_WITHOUT_REDIS,
                    instance: instance.clone(),
                });
                return Some((instance.id, Start::Warm));
            }
        }
        None
    }

    /// Looks whether an instance that could not be connected to still runs, and forgets it if not.
    pub fn suspect(self: &Arc<Self>, id: InstanceId) {
        let Some(instance) = self.find(id) else {
            return;
        };
        let shared = self.clone();
        tokio::spawn(async move {
            match shared.docker.is_running(&instance.container).await {
                Ok(false) => shared.forget(id, &instance.function).await,
                Ok(true) => {}
                Err(error) => shared.log(Level::Warn, error.to_string()),
            }
        });
    }

    /// An instance is no more: here at once, everywhere else by way of Redis.
    pub async fn forget(&self, id: InstanceId, function: &FunctionName) {
        self.gone(id);
        if let Err(error) = self.store.forget(id, function).await {
            self.log(
                Level::Warn,
                format!("instance {id} of {function} has ended, but {error}"),
            );
        }
    }
}

/// What a client is told when Redis fails.
pub(super) fn redis_failure(error: &StoreError) -> Failure {
    Failure::new(ErrorCode::RedisUnavailable, error.to_string())
}

impl Ledger for Shared {
    async fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> Result<Option<Instance>, Failure> {
        self.store
            .lease_any(deployment, idle)
            .await
            .map_err(|e| redis_failure(&e))
    }

    async fn lock(&self, deployment: &Deployment, token: &str) -> Result<bool, Failure> {
        self.store
            .lock(&deployment.function, token)
            .await
            .map_err(|e| redis_failure(&e))
    }

    async fn register(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
    ) -> Result<bool, Failure> {
        self.store
            .register(instance, Some(token), idle)
            .await
            .map_err(|e| redis_failure(&e))
    }

    async fn give_up(&self, deployment: &Deployment, token: &str, failure: &Failure) {
        if let Err(error) = self
            .store
            .unlock(&deployment.function, token, failure)
            .await
        {
            self.log(Level::Warn, error.to_string());
        }
    }
}

impl Launcher for Shared {
    async fn launch(
        &self,
        deployment: &Deployment,
        timeout: Duration,
    ) -> Result<Instance, Failure> {
        let turn = self
            .store
            .next_turn()
            .await
            .map_err(|e| redis_failure(&e))?;
        let begin = clock::now();
        let instance = start(&self.docker, deployment, turn, timeout).await?;
        self.log(
            Level::Notice,
            format!(
                "started instance {} of {} revision {} at {} in {} ms",
                instance.id,
                instance.function,
                instance.revision,
                instance.address,
                clock::now() - begin
            ),
        );
        Ok(instance)
    }

    async fn discard(&self, instance: &Instance) {
        if let Err(error) = self.docker.remove(&instance.container).await {
            self.log(Level::Warn, error.to_string());
        }
    }
}
