//! What the runtime thread is made of, and the tasks that work on it.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::containers::{ContainerEvents, follow_containers};
use super::failures::Failures;
use super::fallback::Fallback;
use super::health::Health;
use super::instances::Instances;
use super::launch::Launches;
use super::listen::{Listener, listen};
use super::look;
use super::outage::outages;
use super::redis::Redis;
use super::renew::{Renewals, renew};
use super::standby::{Standby, stand_by};
use super::starts::Starts;
use super::subscribers::Subscribers;
use super::survey::Surveyor;
use super::{Gauges, Outbox, Settings};
use crate::docker::Docker;
use crate::sandboxes::Sandboxes;
use crate::spans::Spans;
use crate::store::Store;

/// What a router is called where its spans go.
const SERVICE: &str = "corefn-router";

/// What the tasks are made of; each gets what it needs.
pub(super) struct Parts {
    redis: Arc<Redis>,
    docker: Arc<Docker>,
    outbox: Arc<dyn Outbox>,
    gauges: Arc<dyn Gauges>,
    failures: Arc<Failures>,
    instances: Arc<Instances>,
    ear: Option<UnixDatagram>,
    pub health: Arc<Health>,
    pub starts: Arc<Starts>,
    pub surveyor: Arc<Surveyor>,
    standby: Option<Arc<Standby>>,
}

impl Parts {
    /// On a Redis and a Docker, whose containers are started as the settings say, or taken from these sandboxes.
    pub fn new(
        store: Store,
        docker: Docker,
        settings: &Settings,
        sandboxes: Option<Sandboxes>,
        outbox: Arc<dyn Outbox>,
        gauges: Arc<dyn Gauges>,
        ear: UnixDatagram,
    ) -> Self {
        let (redis, docker) = (Arc::new(Redis::new(store)), Arc::new(docker));
        let failures = Arc::new(Failures::default());
        let instances = Arc::new(Instances::new(outbox.clone(), failures.clone()));
        let health = Arc::new(Health::new(
            redis.clone(),
            docker.clone(),
            outbox.clone(),
            instances.clone(),
        ));
        let fallback = Fallback {
            docker: docker.clone(),
            instances: instances.clone(),
            health: health.clone(),
        };
        let sandboxes = sandboxes.map(Arc::new);
        let surveyor = Arc::new(Surveyor {
            redis: redis.clone(),
            outbox: outbox.clone(),
            sandboxes: sandboxes.clone(),
        });
        let launches = Launches {
            redis: redis.clone(),
            docker: docker.clone(),
            gauges: gauges.clone(),
            sandboxes,
            // (Whoever has made the settings has looked at the address.)
            spans: settings
                .traces
                .as_ref()
                .and_then(|url| Spans::new(url, SERVICE).ok()),
        };
        let starts = Arc::new(Starts {
            redis: redis.clone(),
            outbox: outbox.clone(),
            launches,
            instances: instances.clone(),
            health: health.clone(),
            failures: failures.clone(),
            fallback,
            subscribers: Subscribers::default(),
            most: settings.starts,
        });
        let standby = settings
            .standby
            .then(|| Arc::new(Standby::new(starts.clone())));
        Self {
            redis,
            docker,
            outbox,
            gauges,
            failures,
            instances,
            ear: Some(ear),
            health,
            starts,
            surveyor,
            standby,
        }
    }

    /// Has the event loop look in a while whether those who wait for room can go on.
    pub fn look_again(&self) {
        look::again(self.outbox.clone());
    }

    /// Has the tasks work that nobody asks for.
    pub fn spawn(&mut self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Listener {
            redis: self.redis.clone(),
            docker: self.docker.clone(),
            outbox: self.outbox.clone(),
            instances: self.instances.clone(),
            starts: self.starts.clone(),
            standby: self.standby.clone(),
        }));
        tasks.spawn(follow_containers(ContainerEvents {
            redis: self.redis.clone(),
            docker: self.docker.clone(),
            gauges: self.gauges.clone(),
            instances: self.instances.clone(),
            health: self.health.clone(),
            failures: self.failures.clone(),
        }));
        tasks.spawn(renew(Renewals {
            redis: self.redis.clone(),
            docker: self.docker.clone(),
            gauges: self.gauges.clone(),
            instances: self.instances.clone(),
            health: self.health.clone(),
        }));
        if let Some(standby) = &self.standby {
            tasks.spawn(stand_by(standby.clone()));
        }
        if let Some(ear) = self.ear.take() {
            tasks.spawn(look::listen(ear, self.outbox.clone()));
        }
        let (redis, gauges) = (self.redis.clone(), self.gauges.clone());
        tasks.spawn(outages(redis, gauges, self.instances.clone()));
        tasks
    }
}
