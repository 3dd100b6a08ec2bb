//! One round of cleaning.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::function::FunctionName;
use corefn_core::instance::Instance;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_core::names::label;
use corefn_engine::docker::{Container, Docker};
use corefn_engine::rebuild::{RebuildError, instance, rebuild};
use corefn_engine::start::random_id;
use corefn_engine::store::{Fenced, Store};
use tokio::task::JoinSet;

/// How long a function may take to end after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How old a container must be to count as left over: its maker may not have got to registering
/// it.
const ORPHAN_AGE: Duration = Duration::from_secs(10);

/// The same for containers of builders, which have no lock: no build takes that long.
const BUILD_AGE: Duration = Duration::from_secs(30 * 60);

/// After a start of Redis, leases are missing that their holders have not renewed yet.
const REDIS_SETTLES: Duration = Duration::from_secs(5);

/// Does rounds, and remembers what it is just stopping.
pub struct Cleaner {
    store: Arc<Store>,
    docker: Arc<Docker>,
    stopping: Mutex<HashSet<String>>,
    stops: tokio::sync::Mutex<JoinSet<()>>,
}

impl Cleaner {
    pub fn new(store: Store, docker: Docker) -> Self {
        Self {
            store: Arc::new(store),
            docker: Arc::new(docker),
            stopping: Mutex::default(),
            stops: tokio::sync::Mutex::default(),
        }
    }

    /// Forgets what has ended, stops what is idle, removes what is left over. With a `grace`
    /// nothing idle is stopped yet.
    ///
    /// The order of the three looks matters: whatever got registered after the containers were
    /// listed is found in Redis.
    pub async fn round(self: &Arc<Self>, grace: Duration) -> Result<(), RebuildError> {
        let token = random_id().map_or_else(|_| "cleaner".to_owned(), |id| id.to_string());
        if rebuild(&self.store, &self.docker, &token, DEFAULT_IDLE).await? {
            eprintln!("corefn-clean: Redis was empty; filled it from Docker's labels");
        }
        let containers: HashMap<String, Container> = self
            .docker
            .containers()
            .await?
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect();
        let settled = grace.is_zero() && self.store.uptime().await? >= REDIS_SETTLES;
        for leased in self.store.instances().await? {
            let instance = leased.instance;
            let container = containers.get(&instance.container);
            let running = container.is_some_and(|c| c.running);
            if !running && !self.docker.is_running(&instance.container).await? {
                self.store.forget(instance.id, &instance.function).await?;
                self.end(&instance, "it has ended").await;
            } else if !leased.ready {
                if leased.lease.is_none() {
                    self.end(&instance, "it is draining").await;
                }
            } else if container.is_some_and(|c| c.paused) {
                let Instance { id, function, .. } = &instance;
                self.store.withhold(*id, function).await?;
            } else if leased.lease.is_none()
                && settled
                && self.store.fence(&instance).await? == Fenced::Yes
            {
                self.end(&instance, "it is idle").await;
            }
        }
        for container in containers.values() {
            if self.is_left_over(container).await? {
                eprintln!(
                    "corefn-clean: removing {}: its maker is gone",
                    container.name
                );
                self.docker.remove(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Waits for the stops that are under way.
    pub async fn settle(&self) {
        let mut stops = self.stops.lock().await;
        while stops.join_next().await.is_some() {}
    }

    /// Stops a container in a task of its own, so that one that is slow to end holds up no other.
    async fn end(self: &Arc<Self>, instance: &Instance, why: &str) {
        if !self.stopping().insert(instance.container.clone()) {
            return;
        }
        eprintln!(
            "corefn-clean: stopping instance {} of {}: {why}",
            instance.id, instance.function
        );
        let (cleaner, instance) = (self.clone(), instance.clone());
        let mut stops = self.stops.lock().await;
        while stops.try_join_next().is_some() {}
        stops.spawn(async move {
            let ended = cleaner.docker.stop(&instance.container, STOP_GRACE).await;
            let forgotten = match ended {
                Ok(()) => cleaner
                    .store
                    .forget(instance.id, &instance.function)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = forgotten {
                eprintln!("corefn-clean: instance {}: {error}", instance.id);
            }
            cleaner.stopping().remove(&instance.container);
        });
    }

    /// Whether a container of ours belongs to nobody any more.
    ///
    /// Registering an instance and giving the starter's lock back is one step, so an instance
    /// that is neither being started nor, asked in this order, registered never will be.
    async fn is_left_over(&self, container: &Container) -> Result<bool, RebuildError> {
        let age = age(container);
        if let Some(role) = container.labels.get(label::ROLE) {
            return Ok(
                [label::ROLE_BUILD, label::ROLE_TRIAL].contains(&role.as_str()) && age > BUILD_AGE,
            );
        }
        let Some(instance) = instance(container) else {
            return Ok(false);
        };
        if age < ORPHAN_AGE || self.stopping().contains(&container.id) {
            return Ok(false);
        }
        let function: &FunctionName = &instance.function;
        Ok(!self.store.is_starting(function).await? && !self.store.knows(instance.id).await?)
    }

    fn stopping(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn age(container: &Container) -> Duration {
    let created = UNIX_EPOCH + Duration::from_secs(container.created.max(0).unsigned_abs());
    SystemTime::now()
        .duration_since(created)
        .unwrap_or_default()
}
