//! Starts an instance, tells of it, and has its spans sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use corefn_core::deployment::Deployment;
use corefn_core::error::Failure;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::names::attribute;
use corefn_core::start::{Phase, StartWay};
use corefn_core::trace::Parent;

use super::Gauges;
use super::redis::Redis;
use super::survey::keep_start;
use crate::acquire::Launcher;
use crate::docker::Docker;
use crate::sandboxes::Sandboxes;
use crate::spans::{Spans, Whole};
use crate::start::{Steps, start, start_in_held_network, start_in_sandbox, thaw};

/// What it takes.
pub(super) struct Launches {
    pub redis: Arc<Redis>,
    pub docker: Arc<Docker>,
    pub gauges: Arc<dyn Gauges>,
    /// Sandboxes of the host, if a keeper keeps any.
    pub sandboxes: Option<Arc<Sandboxes>>,
    /// Where spans go, if anybody takes them.
    pub spans: Option<Spans>,
}

/// What starts an instance for somebody who asks for one.
pub(super) struct Launch<'a> {
    by: &'a Launches,
    /// What is told of it, if anybody takes spans.
    whole: Option<Whole>,
    made: Mutex<Option<Made>>,
}

/// A start that has ended well.
struct Made {
    instance: InstanceId,
    way: StartWay,
    phases: Vec<(Phase, Duration)>,
    end: SystemTime,
}

impl Launches {
    /// Somebody asks for an instance, as part of something else if that is known.
    pub fn begin(&self, parent: Option<Parent>) -> Launch<'_> {
        Launch {
            by: self,
            whole: (self.spans.is_some() && parent.is_none_or(|it| it.is_recorded))
                .then(|| Whole::begin(parent)),
            made: Mutex::default(),
        }
    }
}

impl Launch<'_> {
    /// There is one, or else a failure that nobody else tells of. Nothing is told of one that was there already.
    pub fn end(self, deployment: &Deployment, failure: Option<&Failure>) {
        let made = self.made().take();
        let (Some(spans), Some(mut whole)) = (&self.by.spans, self.whole) else {
            return;
        };
        if made.is_none() && failure.is_none() {
            return;
        }
        let mut attributes = vec![
            ("faas.name", deployment.function.plain_text().to_owned()),
            ("faas.version", deployment.revision.to_string()),
        ];
        if let Some(made) = made {
            let took = made.phases.iter().map(|(_, took)| *took).sum();
            let mut begin = made.end.checked_sub(took).unwrap_or(made.end);
            for (phase, took) in &made.phases {
                whole.add(phase.label(), begin, *took, Vec::new());
                begin += *took;
            }
            attributes.push(("faas.instance", made.instance.to_string()));
            attributes.push((attribute::WAY, made.way.label().to_owned()));
        }
        let error = failure.map(|failure| failure.to_string());
        spans.send(whole.end("cold start", attributes, error));
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Launcher for Launch<'_> {
    async fn thaw(
        &self,
        deployment: &Deployment,
        frozen: Instance,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Option<Instance> {
        let steps = Steps::begin();
        let instance = thaw(&self.by.docker, deployment, frozen, timeout, needless).await?;
        log_launch("thawed", &instance, steps.elapsed(), "");
        self.record(&instance, StartWay::Thaw, &steps);
        Some(instance)
    }

    fn fits_sandbox(&self, deployment: &Deployment) -> bool {
        self.by.sandboxes.is_some() && Sandboxes::fit(deployment)
    }

    async fn launch_in_sandbox(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Option<Instance>, Failure> {
        let Some(sandboxes) = &self.by.sandboxes else {
            return Ok(None);
        };
        let (docker, mut steps) = (&self.by.docker, Steps::begin());
        let start = start_in_sandbox(docker, sandboxes, deployment, timeout, needless, &mut steps);
        let instance = start.await?;
        if let Some(instance) = &instance {
            self.tell(instance, StartWay::Sandbox, &steps);
        }
        Ok(instance)
    }

    async fn launch(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Instance, Failure> {
        let mut steps = Steps::begin();
        let mut needless = std::pin::pin!(needless);
        if let Some(sandboxes) = &self.by.sandboxes
            && Sandboxes::should_hold(deployment)
        {
            let (docker, needless) = (&self.by.docker, needless.as_mut());
            let start =
                start_in_held_network(docker, sandboxes, deployment, timeout, needless, &mut steps);
            if let Some(instance) = start.await? {
                self.tell(&instance, StartWay::Network, &steps);
                return Ok(instance);
            }
        }
        let left = timeout.saturating_sub(steps.elapsed());
        let number = self
            .by
            .redis
            .ask(self.by.redis.store.next_address())
            .await?;
        let (docker, steps) = (&self.by.docker, &mut steps);
        let instance = start(docker, deployment, number, left, needless, steps).await?;
        self.tell(&instance, StartWay::Image, steps);
        Ok(instance)
    }

    async fn discard(&self, instance: &Instance) {
        if let Err(error) = self.by.docker.remove(&instance.container).await {
            warn!("{error}");
        }
    }
}

impl Launch<'_> {
    /// Tells of a start that has ended just now.
    fn tell(&self, instance: &Instance, way: StartWay, steps: &Steps) {
        let from = match way {
            StartWay::Sandbox => "a sandbox",
            StartWay::Network => "its image, on a sandbox's network",
            StartWay::Image | StartWay::Thaw => "its image",
        };
        let from = format!(" from {from} ({steps})");
        log_launch("started", instance, steps.elapsed(), &from);
        self.record(instance, way, steps);
    }

    fn record(&self, instance: &Instance, way: StartWay, steps: &Steps) {
        let phases = steps.phases();
        self.by.gauges.started(way, &phases);
        keep_start(&self.by.redis, instance, way, &phases);
        let made = Made {
            instance: instance.id,
            way,
            phases,
            end: SystemTime::now(),
        };
        *self.made() = Some(made);
    }
}

fn log_launch(what: &str, instance: &Instance, took: Duration, from: &str) {
    let Instance {
        id,
        function,
        revision,
        address,
        ..
    } = instance;
    let took = took.as_secs_f64() * 1000.0;
    info!(
        "{what} instance {id} of {function} revision {revision} at {address} in {took:.1} ms{from}"
    );
}
