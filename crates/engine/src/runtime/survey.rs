//! Looks for what is seen only by those who want to see it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::error::ErrorCode;
use corefn_core::instance::Instance;
use corefn_core::metrics::{self, Snapshot};
use corefn_core::start::{Phase, StartWay};
use corefn_core::survey::{Records, SandboxCount, Started, Survey};

use super::redis::Redis;
use super::{Outbox, Update};
use crate::sandboxes::Sandboxes;
use crate::store::millis;

/// How long each of those who are asked may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is asked.
pub(super) struct Surveyor {
    pub redis: Arc<Redis>,
    pub outbox: Arc<dyn Outbox>,
    pub sandboxes: Option<Arc<Sandboxes>>,
}

impl Surveyor {
    /// Looks at everything, in a task of its own.
    pub fn survey(self: &Arc<Self>) {
        let this = self.clone();
        tokio::spawn(async move {
            let survey = this.look().await;
            this.outbox.send(Update::Surveyed(Box::new(survey)));
        });
    }

    /// Adds what it finds to what is measured, and makes text of it, in a task of its own: of thousands of functions that takes
    /// longer than an event loop can wait.
    pub fn measure(self: &Arc<Self>, number: u64, mut snapshot: Box<Snapshot>, json: bool) {
        let this = self.clone();
        tokio::spawn(async move {
            snapshot.survey = this.look().await;
            let text = match json {
                true => metrics::json(&snapshot),
                false => metrics::text(&snapshot),
            };
            let answer = Ok(Some(text));
            this.outbox.send(Update::Answer { number, answer });
        });
    }

    async fn look(&self) -> Survey {
        let (records, sandboxes) = tokio::join!(self.records(), self.sandboxes());
        Survey { records, sandboxes }
    }

    /// Reads a build's log, in a task of its own.
    pub fn read_log(self: &Arc<Self>, number: u64, build: String) {
        let this = self.clone();
        tokio::spawn(async move {
            let store = &this.redis.store;
            let log = this.redis.look(store.within(PATIENCE, store.log(&build)));
            let answer = log.await.ok_or(ErrorCode::RedisUnavailable);
            this.outbox.send(Update::Answer { number, answer });
        });
    }

    async fn records(&self) -> Option<Records> {
        let store = &self.redis.store;
        let records = store.within(PATIENCE, store.records());
        self.redis.look(records).await
    }

    async fn sandboxes(&self) -> Option<Vec<SandboxCount>> {
        let count = self.sandboxes.as_ref()?.count();
        tokio::time::timeout(PATIENCE, count).await.ok()?.ok()
    }
}

/// Has Redis keep a start that has ended just now, in a task of its own.
pub(super) fn keep_start(
    redis: &Arc<Redis>,
    instance: &Instance,
    way: StartWay,
    phases: &[(Phase, Duration)],
) {
    let at = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let started = Started {
        function: instance.function.clone(),
        revision: instance.revision.clone(),
        instance: instance.id,
        way,
        at: millis(at.unwrap_or_default()),
        phases: phases
            .iter()
            .map(|(it, took)| (*it, micros(*took)))
            .collect(),
    };
    let redis = redis.clone();
    tokio::spawn(async move {
        redis.look(redis.store.keep_start(&started)).await;
    });
}
