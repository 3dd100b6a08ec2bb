//! What a worker knows, for those who look at what there is.

use std::collections::HashMap;

use corefn_core::feed::Source;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::metrics::Snapshot;
use corefn_core::survey::{Survey, Withheld};
use corefn_core::view::{FailureView, FunctionView, InstanceState, InstanceView};
use corefn_engine::runtime::Service;

use crate::ngx::{now, version};
use crate::recent::time;
use crate::worker::Worker;

/// What a worker knows at a time.
pub struct View<'a> {
    worker: &'a Worker,
    snapshot: Snapshot,
    /// The functions' instances that get no work.
    withheld: HashMap<FunctionName, Vec<Withheld>>,
    failures: HashMap<FunctionName, (RevisionId, FailureView)>,
    now: u64,
}

/// What this worker knows, and what all of them count, less what is of single functions and what is found elsewhere.
pub fn snapshot(worker: &Worker) -> Snapshot {
    let metrics = &worker.shard.metrics;
    let (requests, millis) = metrics.sums();
    let (mut busy, mut idle, mut in_flight) = (0, 0, 0);
    let now = now();
    for peer in worker
        .endpoints
        .borrow()
        .values()
        .filter_map(|it| it.upgrade())
    {
        let load = u64::from(peer.endpoint.counters.load());
        in_flight += load;
        match load {
            0 if peer.endpoint.is_usable(now) => idle += 1,
            0 => {}
            _ => busy += 1,
        }
    }
    let waiting = worker.shard.host().map_or(0, |slot| slot.load());
    Snapshot {
        nginx: version().to_owned(),
        workers: metrics.workers(),
        deployed: worker.table.borrow().len() as u64,
        busy,
        idle,
        in_flight,
        waiting: waiting.into(),
        requests,
        millis,
        functions: Vec::new(),
        waits: metrics.waits(),
        errors: metrics.errors(),
        starts: metrics.starts(),
        fates: metrics.fates(),
        redis: metrics.is_up(Service::Redis),
        docker: metrics.is_up(Service::Docker),
        survey: Survey::default(),
    }
}

impl<'a> View<'a> {
    /// What a worker knows now.
    pub fn new(worker: &'a Worker) -> Self {
        let mut snapshot = snapshot(worker);
        snapshot.survey = (*worker.viewers.survey()).clone();
        let mut withheld: HashMap<_, Vec<_>> = HashMap::new();
        let records = snapshot.survey.records.iter();
        for instance in records.flat_map(|it| &it.withheld) {
            let of = withheld.entry(instance.function.clone()).or_default();
            of.push(instance.clone());
        }
        Self {
            worker,
            snapshot,
            withheld,
            failures: worker.recent.failures(),
            now: now(),
        }
    }

    fn instances(&self, name: &FunctionName) -> Vec<InstanceView> {
        let table = self.worker.table.borrow();
        let peers = table.get(name).map(|it| it.peers()).unwrap_or_default();
        let serving = peers.iter().map(|peer| {
            let load = peer.endpoint.counters.load();
            let state = match load {
                0 if peer.endpoint.is_usable(self.now) => InstanceState::Idle,
                0 => InstanceState::Draining,
                _ => InstanceState::Busy,
            };
            let revision = peer.instance.revision.clone();
            let id = peer.instance.id;
            InstanceView {
                id,
                revision,
                state,
                load,
            }
        });
        let mut all: Vec<_> = serving.collect();
        let endpoints = self.worker.endpoints.borrow();
        let load = |id| endpoints.get(id).and_then(|it| it.upgrade());
        for withheld in self.withheld.get(name).into_iter().flatten() {
            // (One that this worker sends requests to was thawed since.)
            if all.iter().all(|it| it.id != withheld.id) {
                let load = load(&withheld.id).map_or(0, |it| it.endpoint.counters.load());
                all.push(InstanceView {
                    id: withheld.id,
                    revision: withheld.revision.clone(),
                    state: match withheld.frozen {
                        true => InstanceState::Frozen,
                        false => InstanceState::Draining,
                    },
                    load,
                });
            }
        }
        all.sort_by_key(|instance| instance.id);
        all
    }
}

impl Source for View<'_> {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn has_keeper(&self) -> bool {
        self.worker.has_keeper
    }

    fn time(&self) -> u64 {
        time()
    }

    fn changes(&self) -> u64 {
        self.worker.recent.changes()
    }

    fn changed_since(&self, changes: u64) -> Option<Vec<FunctionName>> {
        self.worker.recent.changed_since(changes)
    }

    fn all(&self) -> Vec<FunctionName> {
        self.worker.table.borrow().names().cloned().collect()
    }

    fn active(&self) -> Vec<FunctionName> {
        let endpoints = self.worker.endpoints.borrow();
        let serving = endpoints.values().filter_map(|it| it.upgrade());
        let mut active: Vec<FunctionName> = serving
            .map(|peer| peer.instance.function.clone())
            .chain(self.withheld.keys().cloned())
            .chain(self.failures.keys().cloned())
            .collect();
        // (Of those that are removed, there is nothing to be told.)
        let table = self.worker.table.borrow();
        active.retain(|name| table.get(name).is_some());
        active
    }

    fn places(&self) -> usize {
        self.worker.shard.metrics.places()
    }

    fn counted_at(&self, place: usize) -> Option<FunctionName> {
        let name = self.worker.shard.metrics.name_at(place)?.parse().ok()?;
        self.worker.table.borrow().get(&name)?;
        Some(name)
    }

    fn function(&self, name: &FunctionName) -> Option<FunctionView> {
        let revision = self.worker.table.borrow().revision(name)?.clone();
        let failure = self.failures.get(name);
        let failure = failure.filter(|(failed, _)| *failed == revision);
        let mut view = FunctionView::new(name.clone(), revision.clone());
        view.failure = failure.map(|(_, failure)| failure.clone());
        view.instances = self.instances(name);
        if let Some(row) = self.worker.shard.metrics.function(name.as_str()) {
            view.requests = row.requests();
            view.errors = row.errors();
            view.millis = row.millis;
            view.cold = row.cold;
            view.thawed = row.thawed;
        }
        Some(view)
    }

    fn failures(&self) -> Vec<(FunctionName, FailureView)> {
        let failures = self.failures.iter();
        let mut failures: Vec<_> = failures
            .map(|(name, (_, failure))| (name.clone(), failure.clone()))
            .collect();
        failures.sort_by(|(a, _), (b, _)| a.cmp(b));
        failures
    }
}
