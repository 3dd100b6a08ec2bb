//! Answers those who ask for an instance; the two ports of [`crate::acquire`] on Redis and Docker.

use std::sync::Arc;
use std::time::Duration;

use corefn_core::backoff::is_own_fault;
use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::trace::Parent;

use super::answer::Answer;
use super::failures::{Failures, some_millis};
use super::fallback::Fallback;
use super::health::Health;
use super::instances::Instances;
use super::launch::Launches;
use super::redis::Redis;
use super::subscribers::Subscribers;
use super::{Outbox, Update};
use crate::acquire::{Ledger, Need, Order, Refusal, Start, acquire, one_more};
use crate::clock;
use crate::start::random_id;
use crate::store::{Claim, Way, millis};

/// What it takes to start instances.
pub(super) struct Starts {
    pub redis: Arc<Redis>,
    pub launches: Launches,
    pub outbox: Arc<dyn Outbox>,
    pub instances: Arc<Instances>,
    pub health: Arc<Health>,
    pub failures: Arc<Failures>,
    pub fallback: Fallback,
    /// What happens to the functions for which somebody waits.
    pub subscribers: Subscribers,
    /// How many containers of the installation may be started at once.
    pub most: u32,
}

impl Starts {
    /// Gets an instance for a deployment, in a task of its own.
    pub fn acquire(
        self: &Arc<Self>,
        number: u64,
        deployment: Arc<Deployment>,
        idle: Duration,
        timeout: Duration,
        parent: Option<Parent>,
    ) {
        let starts = self.clone();
        let answer = Answer::owed(self.outbox.clone(), number, deployment.function.clone());
        tokio::spawn(async move {
            answer.give(starts.get(deployment, idle, timeout, parent).await);
        });
    }

    /// Gets one more instance of a deployment, in a task of its own.
    pub fn scale(self: &Arc<Self>, deployment: Arc<Deployment>, idle: Duration, timeout: Duration) {
        let starts = self.clone();
        tokio::spawn(async move {
            let function = deployment.function.clone();
            let need = Need::Requests;
            let started = starts.one_more(&deployment, need, idle, timeout).await;
            starts.outbox.send(Update::Scaled { function, started });
        });
    }

    /// Gets one more instance of a deployment, if that is needed. A failure is reported: except that Redis is out of reach, as
    /// that is where it is noted.
    pub async fn one_more(
        &self,
        deployment: &Deployment,
        need: Need,
        idle: Duration,
        timeout: Duration,
    ) -> bool {
        let got = self.get_one_more(deployment, need, idle, timeout).await;
        if let Err(failure) = &got {
            let (function, revision) = (&deployment.function, &deployment.revision);
            self.report_failure(function, revision, failure);
            if failure.code != ErrorCode::RedisUnavailable {
                self.failures.report(function, failure);
            }
        }
        got.unwrap_or(false)
    }

    async fn get_one_more(
        &self,
        deployment: &Deployment,
        need: Need,
        idle: Duration,
        timeout: Duration,
    ) -> Result<bool, Failure> {
        let token = random_id()?.to_string();
        let mut events = self.subscribers.subscribe(&deployment.function);
        let order = Order {
            deployment,
            token: &token,
            idle,
            timeout,
        };
        let launch = self.launches.begin(None);
        let got = one_more(self, &launch, &mut events, order, need).await;
        let failed = got.as_ref().err().filter(|refusal| !refusal.is_reported);
        launch.end(deployment, failed.map(|refusal| &refusal.failure));
        drop(events);
        self.subscribers.tidy(&deployment.function);
        match got {
            Ok(Some(instance)) => {
                let now = clock::now();
                self.instances.on_granted(&instance, millis(idle), now);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(refusal) if refusal.is_reported => Ok(false),
            Err(refusal) => Err(refusal.failure),
        }
    }

    async fn get(
        &self,
        deployment: Arc<Deployment>,
        idle: Duration,
        timeout: Duration,
        parent: Option<Parent>,
    ) -> Result<(InstanceId, Start), Failure> {
        let token = random_id()?.to_string();
        let mut events = self.subscribers.subscribe(&deployment.function);
        let sent = clock::now();
        let order = Order {
            deployment: &deployment,
            token: &token,
            idle,
            timeout,
        };
        let launch = self.launches.begin(parent);
        let got = acquire(self, &launch, &mut events, order).await;
        let failed = got.as_ref().err().filter(|refusal| !refusal.is_reported);
        launch.end(&deployment, failed.map(|refusal| &refusal.failure));
        drop(events);
        self.subscribers.tidy(&deployment.function);
        match got {
            Ok((instance, start)) => {
                let sent = if start == Start::Warm {
                    sent
                } else {
                    clock::now()
                };
                self.instances.on_granted(&instance, millis(idle), sent);
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
        let Refusal {
            failure,
            is_reported,
        } = match refusal.failure.code {
            ErrorCode::RedisUnavailable => match self.fallback.acquire(deployment, timeout).await {
                Ok((instance, start)) => return Ok((instance.id, start)),
                Err(mut refusal) => {
                    let pause = self.failures.count(deployment, refusal.failure.code);
                    refusal.failure.retry_ms = some_millis(pause);
                    refusal
                }
            },
            _ => refusal,
        };
        self.report_failure(&deployment.function, &deployment.revision, &failure);
        if !is_reported {
            self.failures.report(&deployment.function, &failure);
        }
        Err(failure)
    }

    /// Gives a lock back while Redis is taken to be out of reach: it may do as much as that, and
    /// other routers may still go by it. If it can't, the lock ends by itself.
    fn unlock_later(&self, deployment: &Deployment, token: &str, failure: &Failure) {
        let redis = self.redis.clone();
        let (deployment, token, failure) = (deployment.clone(), token.to_owned(), failure.clone());
        tokio::spawn(async move {
            let _ = redis.store.unlock(&deployment, &token, &failure).await;
        });
    }

    /// Has the event loop know that a revision could not be started, if that is the function's own fault or it isn't started
    /// for a while.
    pub fn report_failure(
        &self,
        function: &FunctionName,
        revision: &RevisionId,
        failure: &Failure,
    ) {
        if failure.retry_ms.is_some() || is_own_fault(failure.code) {
            self.outbox.send(Update::Failed {
                function: function.clone(),
                revision: revision.clone(),
                failure: failure.clone(),
            });
        }
    }
}

impl Ledger for Starts {
    async fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> Result<Option<Instance>, Failure> {
        loop {
            let lease = self.redis.store.lease_any(deployment, idle);
            let leased = self.redis.ask(lease).await?;
            match &leased {
                Some(instance) if !self.health.is_healthy(instance).await? => {}
                _ => return Ok(leased),
            }
        }
    }

    async fn count(&self, deployment: &Deployment, need: Need) -> Result<u32, Failure> {
        let store = &self.redis.store;
        match need {
            Need::Requests => self.redis.ask(store.count(deployment)).await,
            Need::Standby => {
                let count = self.redis.ask(store.count_standing(deployment)).await?;
                // (What isn't known yet is looked at again.)
                Ok(count.unwrap_or(u32::MAX))
            }
        }
    }

    async fn claim(
        &self,
        deployment: &Deployment,
        token: &str,
        way: Way,
    ) -> Result<Claim, Failure> {
        let claim = self.redis.store.claim(deployment, token, self.most, way);
        self.redis.ask(claim).await
    }

    async fn renew(&self, deployment: &Deployment, token: &str) {
        // A renewal that fails shows when the instance is registered.
        let Deployment {
            function, revision, ..
        } = deployment;
        let _ = self.redis.store.lock(function, revision, token).await;
    }

    async fn take_frozen(
        &self,
        deployment: &Deployment,
        token: &str,
    ) -> Result<Option<Instance>, Failure> {
        let take = self.redis.store.take_frozen(deployment, token);
        self.redis.ask(take).await
    }

    async fn register(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
        way: Way,
    ) -> Result<bool, Failure> {
        let store = &self.redis.store;
        let registered = match way {
            Way::Frozen => {
                let register = store.register_thawed(instance, token, idle);
                self.redis.ask(register).await
            }
            _ => {
                let register = store.register(instance, Some(token), idle);
                self.redis.ask(register).await
            }
        };
        match registered {
            Err(failure) if failure.code == ErrorCode::RedisUnavailable => {
                // Nobody else can have taken over meanwhile: it serves on.
                self.instances.known.add_unregistered(instance.clone());
                Ok(true)
            }
            registered => registered,
        }
    }

    async fn give_up(&self, deployment: &Deployment, token: &str, mut failure: Failure) -> Failure {
        let unlock = self.redis.store.unlock(deployment, token, &failure);
        let pause = match self.redis.ask(unlock).await {
            Ok(pause) => pause,
            Err(_) => {
                self.unlock_later(deployment, token, &failure);
                self.failures.count(deployment, failure.code)
            }
        };
        failure.retry_ms = some_millis(pause);
        failure
    }
}
