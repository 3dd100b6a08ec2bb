//! The memory that all workers share: who works on what. `corefn_sync::zone` says how.
//!
//! A slot is this worker's hold on the counters of an instance, or of a function that requests wait for.

mod gauges;
mod memory;
mod metrics;
mod totals;
mod waker;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use corefn_core::error::ErrorCode;
use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names::directive;
use corefn_core::throttle::may_log;
use corefn_sync::zone::Counters;
use corefn_sync::{Line, enter_within};

use crate::ngx::{log, now};
pub use gauges::HostGauges;
use gauges::Watch;
pub use memory::Memory;
use memory::System;
pub use metrics::{Ended, Metrics, RowIndex};
pub use waker::Waker;

/// The smallest zone: nginx's own minimum is eight pages; this holds some 330 slots, and counts some 50 functions apart.
pub const MIN_SIZE: usize = 256 << 10;

/// One worker's part of the zone.
pub struct Shard {
    memory: Memory,
    number: usize,
    open: RefCell<HashMap<u64, Weak<Held>>>,
    watch: Watch,
    waker: Rc<Waker>,
    /// What is measured.
    pub metrics: Metrics,
    /// When it was last logged that the zone is full; 0 for never.
    full_logged: AtomicU64,
}

/// What a process has of the zone.
pub struct Taken {
    /// The event loop's.
    pub shard: Shard,
    /// The runtime thread's.
    pub gauges: Arc<HostGauges>,
    /// Where the runtime thread is told that the event loop should look who can go on.
    pub ear: UnixDatagram,
}

impl Shard {
    /// Takes a shard for this process, and what the runtime thread has of the zone; none if living
    /// processes own all of them. Others wake this one by the random number.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn take(memory: Memory, random: u64) -> io::Result<Option<Taken>> {
        let number = i32::try_from(std::process::id())
            .ok()
            .and_then(|me| memory.zone().take_shard(me, &System));
        let Some(number) = number else {
            return Ok(None);
        };
        let opened = Waker::open(memory.clone(), number, random);
        let (waker, ear) = opened.inspect_err(|_| memory.zone().release_shard(number))?;
        let (watch, gauges) = gauges::pair(memory.clone(), number);
        let shard = Self {
            metrics: Metrics::new(memory.clone(), number),
            memory,
            number,
            open: RefCell::default(),
            watch,
            waker: Rc::new(waker),
            full_logged: AtomicU64::new(0),
        };
        Ok(Some(Taken {
            shard,
            gauges: Arc::new(gauges),
            ear,
        }))
    }

    /// The slot of an instance.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn instance(&self, id: InstanceId) -> Result<Slot, ErrorCode> {
        self.slot(instance_key(id), Some(id))
    }

    /// The slot of those who wait for a function.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn function(&self, name: &FunctionName) -> Result<Slot, ErrorCode> {
        self.slot(key("waiting", name), None)
    }

    /// The slot of all requests that are under way at a function.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn requests(&self, name: &FunctionName) -> Result<Slot, ErrorCode> {
        self.slot(key("requests", name), None)
    }

    /// The slot of the line of those who wait for room at a function's instances.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn line(&self, name: &FunctionName) -> Result<Slot, ErrorCode> {
        self.slot(key("line", name), None)
    }

    /// The slot of the dispatcher.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn dispatcher(&self) -> Result<Slot, ErrorCode> {
        self.slot(DISPATCHER_KEY, None)
    }

    /// What wakes other workers.
    pub fn waker(&self) -> Rc<Waker> {
        self.waker.clone()
    }

    /// The slot of all who wait on the host.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn host(&self) -> Result<Slot, ErrorCode> {
        self.slot(HOST_KEY, None)
    }

    /// Gives everything back.
    pub fn release(&self) {
        self.memory.zone().release_shard(self.number);
    }

    fn slot(&self, key: u64, id: Option<InstanceId>) -> Result<Slot, ErrorCode> {
        if let Some(held) = self.open.borrow().get(&key).and_then(Weak::upgrade) {
            return Ok(Slot(held));
        }
        let index = self.memory.zone().attach(key, self.number);
        let index = index.ok_or_else(|| self.full())?;
        if let Some(id) = id {
            self.watch.begin(id, index);
        }
        let held = Rc::new(Held {
            memory: self.memory.clone(),
            shard: self.number,
            index,
            watched: id.map(|id| (self.watch.clone(), id)),
        });
        let mut open = self.open.borrow_mut();
        open.retain(|_, held| held.strong_count() > 0);
        open.insert(key, Rc::downgrade(&held));
        Ok(Slot(held))
    }

    /// Says so in the log, once in a while: what the operator has to do is the same each time.
    fn full(&self) -> ErrorCode {
        if may_log(&self.full_logged, now()) {
            let zone = directive::ZONE.to_string_lossy();
            let text = format!("the shared memory is full: raise the size of {zone}");
            log::cycle(log::NGX_LOG_ERR, &text);
        }
        ErrorCode::ZoneFull
    }
}

/// The key of an instance.
fn instance_key(id: InstanceId) -> u64 {
    id.get() & !FUNCTION_BIT
}

/// The key of what is counted of a function; the same in all workers.
fn key(what: &str, name: &FunctionName) -> u64 {
    hash((what, name)) | FUNCTION_BIT
}

/// The same in all workers.
fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Tells keys of functions from those of instances.
const FUNCTION_BIT: u64 = 1 << 63;

/// The key of all who wait on the host.
const HOST_KEY: u64 = u64::MAX;

/// The key of the dispatcher.
const DISPATCHER_KEY: u64 = u64::MAX - 1;

/// One of those that a slot counts. Dropping it takes it off the count.
pub struct Place(Slot);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.end(now());
    }
}

/// A slot that this worker has attached to. The last one to let go frees it.
#[derive(Clone)]
pub struct Slot(Rc<Held>);

struct Held {
    memory: Memory,
    shard: usize,
    index: usize,
    watched: Option<(Watch, InstanceId)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((watch, id)) = &self.watched {
            watch.end(*id);
        }
        self.memory.zone().detach(self.index, self.shard);
    }
}

impl Held {
    fn counters(&self) -> &Counters {
        &self.memory.zone().counters[self.index]
    }

    /// This worker's count of what is under way.
    fn active(&self) -> &AtomicU32 {
        &self.counters().active[self.shard]
    }
}

impl Slot {
    /// Takes one of `most` places here; none if they are taken. Of all workers that ask, never do
    /// more get one than there are.
    pub fn enter(&self, most: u32) -> Option<Place> {
        let active = &self.0.counters().active;
        enter_within(active, self.0.shard, most).then(|| Place(self.clone()))
    }

    /// One more is under way here.
    pub fn begin(&self) {
        self.0.active().fetch_add(1, Relaxed);
    }

    /// One less is, since `now`.
    pub fn end(&self, now: u64) {
        self.0.counters().last_work.fetch_max(now, Relaxed);
        self.0.active().fetch_sub(1, Relaxed);
    }

    /// Counts one more here, if there are no more than `most` with it; as of [`Slot::enter`].
    pub fn begin_within(&self, most: u32) -> bool {
        enter_within(&self.0.counters().active, self.0.shard, most)
    }

    /// A number for somebody who begins to wait in line.
    pub fn draw(&self) -> u32 {
        self.line().draw()
    }

    /// This worker's first in line has this number.
    pub fn show(&self, first: Option<u32>) {
        self.line().show(self.0.shard, first);
    }

    /// The worker whose first in line has waited for the longest.
    pub fn turn(&self) -> Option<usize> {
        self.line().turn()
    }

    /// Whether it is this one.
    pub fn is_my_turn(&self) -> bool {
        self.turn() == Some(self.0.shard)
    }

    fn line(&self) -> Line<'_> {
        let counters = self.0.counters();
        Line {
            first: &counters.active,
            next: &counters.next,
        }
    }

    /// How many are under way on all workers.
    pub fn load(&self) -> u32 {
        self.0.counters().load()
    }

    /// The time until which the instance's lease may be relied on.
    pub fn until(&self) -> u64 {
        self.0.counters().until.load(Relaxed)
    }

    /// The lease may be relied on until then.
    pub fn extend(&self, until: u64) {
        self.0.counters().until.fetch_max(until, Relaxed);
    }

    /// Whether to log something at `now` that is logged once in an interval: of all workers that
    /// ask, one may. For slots of no instance, which have no lease to renew.
    pub fn may_log(&self, now: u64) -> bool {
        may_log(&self.0.counters().renewed, now)
    }

    /// The idle time that the next renewal goes by, in milliseconds.
    pub fn set_idle(&self, idle: u64) {
        let current = &self.0.counters().idle;
        if current.load(Relaxed) != idle {
            current.store(idle, Relaxed);
        }
    }
}
