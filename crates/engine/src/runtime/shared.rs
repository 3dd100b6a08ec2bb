//! What the tasks of the runtime thread share, and the two ports of [`crate::acquire`] on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::relied_until;

use super::answer::Answer;
use super::failures::{Failures, some_millis};
use super::news::News;
use super::suspects::Suspects;
use super::{Gauges, Outbox, Update};
use crate::acquire::{Launcher, Ledger, Refusal, Start, acquire};
use crate::clock;
use crate::docker::Docker;
use crate::start::{random_id, start};
use crate::store::{Claim, Store, millis};

pub(super) struct Shared {
    pub store: Store,
    pub docker: Docker,
    pub outbox: Arc<dyn Outbox>,
    pub gauges: Arc<dyn Gauges>,
    news: News,
    starts: u32,
    pub failures: Failures,
    pub suspects: Suspects,
    /// Whether Redis is out of reach.
    pub outage: watch::Sender<bool>,
    known: Mutex<HashMap<InstanceId, Known>>,
}

/// An instance that is known.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub instance: Instance,
    /// Whether it may get work. One that may not is known as long as it may hold some.
    pub ready: bool,
    /// Whether Redis has to be told of it, which was out of reach.
    pub untold: bool,
}

impl Shared {
    pub fn new(
        store: Store,
        docker: Docker,
        starts: u32,
        outbox: Arc<dyn Outbox>,
        gauges: Arc<dyn Gauges>,
    ) -> Self {
        Self {
            store,
            docker,
            outbox,
            gauges,
            news: News::default(),
            starts,
            failures: Failures::default(),
            outage: watch::Sender::new(false),
            suspects: Suspects::default(),
            known: Mutex::default(),
        }
    }

    /// Passes an event on: to the event loop, and to starts that wait.
    pub fn event(&self, event: Event) {
        match &event {
            Event::Deployed { deployment } => {
                self.outbox.send(Update::Deployed(deployment.clone()))
            }
            Event::Removed { function } => self.outbox.send(Update::Removed(function.clone())),
            Event::Ready { instance, lease_ms } => self.ready(instance, *lease_ms, clock::now()),
            Event::Gone { id, .. } => self.withheld(*id),
            Event::Failed {
                function,
                revision,
                failure,
            } => self.backed_off(function, revision, failure),
            Event::Turn { .. } => {}
        }
        self.news.publish(event);
    }

    /// An instance may get work under a lease of `ttl` milliseconds that was asked for at `sent`.
    pub fn ready(&self, instance: &Instance, ttl: u64, sent: u64) {
        if self.suspects.has_ended(instance.id) {
            return;
        }
        self.know(instance.clone(), true);
        self.failures.succeeded(&instance.function);
        self.outbox.send(Update::Ready {
            instance: instance.clone(),
            until: relied_until(sent, ttl),
        });
    }

    /// An instance is no more.
    pub fn gone(&self, id: InstanceId) {
        self.known().remove(&id);
        self.outbox.send(Update::Gone(id));
    }

    /// An instance may not get work any more, and may hold some.
    pub fn withheld(&self, id: InstanceId) {
        if let Some(known) = self.known().get_mut(&id) {
            known.ready = false;
        }
        self.outbox.send(Update::Gone(id));
    }

    /// Replaces what is known: instances with the time until which they may be relied on, and
    /// those that may not get work any more.
    pub fn snapshot(
        &self,
        deployments: Vec<Deployment>,
        mut instances: Vec<(Instance, u64)>,
        withheld: Vec<Instance>,
    ) {
        let reliance = self.reliance();
        self.known().retain(|_, known| known.ready && known.untold);
        for (instance, _) in &instances {
            self.know(instance.clone(), true);
        }
        for instance in withheld {
            self.know(instance, false);
        }
        let untold = |known: &Known| known.untold.then(|| (known.instance.clone(), reliance));
        instances.extend(self.known().values().filter_map(untold));
        self.outbox.send(Update::Snapshot {
            deployments,
            instances,
        });
    }

    /// An instance that is known.
    pub fn find(&self, id: InstanceId) -> Option<Instance> {
        self.known().get(&id).map(|known| known.instance.clone())
    }

    /// All that are known.
    pub fn all(&self) -> Vec<Instance> {
        self.known()
            .values()
            .map(|known| known.instance.clone())
            .collect()
    }

    pub fn know(&self, instance: Instance, ready: bool) {
        let known = Known {
            instance,
            ready,
            untold: false,
        };
        self.known().insert(known.instance.id, known);
    }

    pub fn known(&self) -> MutexGuard<'_, HashMap<InstanceId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets an instance for a deployment, in a task of its own.
    pub fn acquire(
        self: &Arc<Self>,
        number: u64,
        deployment: Arc<Deployment>,
        idle: Duration,
        timeout: Duration,
    ) {
        let shared = self.clone();
        let answer = Answer::owed(self.outbox.clone(), number, deployment.function.clone());
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
        let mut news = self.news.subscribe(&deployment.function);
        let sent = clock::now();
        let got = acquire(self, self, &mut news, &deployment, &token, idle, timeout).await;
        drop(news);
        self.news.tidy(&deployment.function);
        match got {
            Ok((instance, start)) => {
                let ttl = millis(idle);
                let sent = if start == Start::Cold {
                    clock::now()
                } else {
                    sent
                };
                self.granted(&instance, ttl, sent);
                Ok((instance.id, start))
            }
            Err(refusal) => self.refused(&deployment, refusal, timeout).await,
        }
    }

    /// Logs a failure, once on the host for all who wait: only by whoever met it. That Redis is
    /// out of reach is logged where that is noted.
    async fn refused(
        &self,
        deployment: &Deployment,
        refusal: Refusal,
        timeout: Duration,
    ) -> Result<(InstanceId, Start), Failure> {
        let Refusal { failure, told } = match refusal.failure.code {
            ErrorCode::RedisUnavailable => match self.alone(deployment, timeout).await {
                Ok(found) => return Ok(found),
                Err(mut refusal) => {
                    let pause = self.failures.count(deployment, refusal.failure.code);
                    refusal.failure.retry_ms = some_millis(pause);
                    refusal
                }
            },
            _ => refusal,
        };
        self.backed_off(&deployment.function, &deployment.revision, &failure);
        if !told {
            self.tell(&deployment.function, &failure);
        }
        Err(failure)
    }

    /// An instance is paused: it may not get work any more, and may hold some. Here at once,
    /// everywhere else by way of Redis.
    pub async fn withhold(&self, id: InstanceId, function: &FunctionName) {
        self.outbox.send(Update::Ended(id));
        self.withheld(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self.asked(self.store.withhold(id, function)).await;
    }

    /// An instance is no more: here at once, everywhere else by way of Redis.
    pub async fn forget(&self, id: InstanceId, function: &FunctionName) {
        self.suspects.end(id);
        self.outbox.send(Update::Ended(id));
        self.gone(id);
        // Without Redis the cleaner finds out for itself, later.
        let _ = self.asked(self.store.forget(id, function)).await;
    }
}

impl Ledger for Shared {
    async fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> Result<Option<Instance>, Failure> {
        loop {
            let leased = self.asked(self.store.lease_any(deployment, idle)).await?;
            match &leased {
                Some(instance) if !self.cleared(instance).await? => {}
                _ => return Ok(leased),
            }
        }
    }

    async fn claim(&self, deployment: &Deployment, token: &str) -> Result<Claim, Failure> {
        let claim = self.store.claim(deployment, token, self.starts);
        self.asked(claim).await
    }

    async fn renew(&self, deployment: &Deployment, token: &str) {
        // A renewal that fails shows when the instance is registered.
        let Deployment {
            function, revision, ..
        } = deployment;
        let _ = self.store.lock(function, revision, token).await;
    }

    async fn register(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
    ) -> Result<bool, Failure> {
        let register = self.store.register(instance, Some(token), idle);
        match self.asked(register).await {
            Err(failure) if failure.code == ErrorCode::RedisUnavailable => {
                // Nobody else can have taken over meanwhile: it serves on.
                self.know_untold(instance);
                Ok(true)
            }
            registered => registered,
        }
    }

    async fn give_up(&self, deployment: &Deployment, token: &str, mut failure: Failure) -> Failure {
        let pause = match self
            .asked(self.store.unlock(deployment, token, &failure))
            .await
        {
            Ok(pause) => pause,
            // Without Redis the lock expires, and nobody waits for the news.
            Err(_) => self.failures.count(deployment, failure.code),
        };
        failure.retry_ms = some_millis(pause);
        failure
    }
}

impl Launcher for Shared {
    async fn launch(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Instance, Failure> {
        let turn = self.asked(self.store.next_turn()).await?;
        let begin = clock::now();
        let instance = start(&self.docker, deployment, turn, timeout, needless).await?;
        info!(
            "started instance {} of {} revision {} at {} in {} ms",
            instance.id,
            instance.function,
            instance.revision,
            instance.address,
            clock::now() - begin
        );
        Ok(instance)
    }

    async fn discard(&self, instance: &Instance) {
        if let Err(error) = self.docker.remove(&instance.container).await {
            warn!("{error}");
        }
    }
}
