//! What the runtime thread reads of the zone: whose leases are to be renewed.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corefn_core::instance::InstanceId;
use corefn_core::lease::{Activity, renewal};
use corefn_core::metrics::Fate;
use corefn_core::start::{Phase, StartWay};
use corefn_engine::runtime::{Gauges, Service};

use super::instance_key;
use super::memory::{Memory, System};

/// The event loop's end: tells which instances this worker has slots of.
#[derive(Clone)]
pub struct Watch(Sender<(InstanceId, Option<usize>)>);

/// The runtime thread's end.
pub struct HostGauges {
    memory: Memory,
    shard: usize,
    /// Only the runtime thread locks it.
    watched: Mutex<Watched>,
}

struct Watched {
    changes: Receiver<(InstanceId, Option<usize>)>,
    slots: HashMap<InstanceId, usize>,
}

/// Both ends.
pub fn pair(memory: Memory, shard: usize) -> (Watch, HostGauges) {
    let (sender, changes) = channel();
    let watched = Mutex::new(Watched {
        changes,
        slots: HashMap::new(),
    });
    let gauges = HostGauges {
        memory,
        shard,
        watched,
    };
    (Watch(sender), gauges)
}

impl Watch {
    /// This worker has attached to the instance's slot.
    pub fn begin(&self, id: InstanceId, index: usize) {
        // The thread has ended only when the worker does.
        let _ = self.0.send((id, Some(index)));
    }

    /// This worker has let go of it.
    pub fn end(&self, id: InstanceId) {
        let _ = self.0.send((id, None));
    }
}

impl HostGauges {
    fn with_slots<T>(&self, read: impl FnOnce(&HashMap<InstanceId, usize>) -> T) -> T {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Watched { changes, slots } = &mut *watched;
        for (id, index) in changes.try_iter() {
            match index {
                Some(index) => slots.insert(id, index),
                None => slots.remove(&id),
            };
        }
        read(slots)
    }
}

impl Gauges for HostGauges {
    fn due(&self, now: u64) -> Vec<(InstanceId, u64)> {
        #[cfg(feature = "fault-injection")]
        crate::ngx::fault::strike("due");
        let zone = self.memory.zone();
        zone.take_back_orphans(now, &System);
        self.with_slots(|slots| {
            let due = slots.iter().filter_map(|(id, &index)| {
                let counters = &zone.counters[index];
                let activity = Activity {
                    in_flight: counters.load(),
                    last_work: counters.last_work.load(Relaxed),
                    renewed: counters.renewed.load(Relaxed),
                    idle: counters.idle.load(Relaxed),
                };
                let ttl = renewal(activity, now)?;
                // The event loop may have let go of the counters by now, and another instance may have them.
                // Of the workers that see it due, one gets it.
                let mine = zone.with(index, instance_key(*id), |counters| {
                    let (renewed, last) = (&counters.renewed, activity.renewed);
                    let swapped = renewed.compare_exchange(last, now, Relaxed, Relaxed);
                    swapped.is_ok()
                });
                mine?.then_some((*id, ttl))
            });
            due.collect()
        })
    }

    fn started(&self, way: StartWay, steps: &[(Phase, Duration)]) {
        self.memory.totals().started(way, steps);
    }

    fn ended(&self, instance: InstanceId, fate: Fate) {
        self.memory.totals().ended(instance.get(), fate);
    }

    fn reached(&self, service: Service, is_up: bool) {
        self.memory.totals().reached(self.shard, service, is_up);
    }

    fn renewed(&self, instance: InstanceId, until: u64) {
        self.with_slots(|slots| {
            if let Some(&index) = slots.get(&instance) {
                // As of due(): what one instance is relied on for must not be another's.
                let key = instance_key(instance);
                self.memory.zone().with(index, key, |counters| {
                    counters.until.fetch_max(until, Relaxed);
                });
            }
        });
    }
}
