//! The memory that all workers of a host share, as data: counters by key, in shards.
//!
//! Each worker owns a shard from its start to its end and writes to that alone, so what a worker that died
//! has counted can be taken back. Counters are found, given out and freed under the zone's mutex, for
//! which event loops spin: so nothing is done under it that asks the system for anything.

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use crate::count::{ATTACHED, sum};

/// How many worker processes may share a zone at once, old and new ones of a reload together.
pub const SHARDS: usize = 128;

/// How often the owners of shards are looked for, in milliseconds.
pub const CHECK_INTERVAL: u64 = 1_000;

/// What a zone begins with. Nobody owns a shard by default.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// The process that owns each shard; 0 for nobody.
    owners: [AtomicI32; SHARDS],
    /// When each of them started, which tells it from a later process of the same number.
    started: [AtomicU64; SHARDS],
    /// When the owners were last looked for.
    checked: AtomicU64,
    /// Where each of them can be woken; 0 for nowhere.
    pub ears: [AtomicU64; SHARDS],
}

impl Default for Header {
    fn default() -> Self {
        Self {
            owners: [const { AtomicI32::new(0) }; SHARDS],
            started: [const { AtomicU64::new(0) }; SHARDS],
            checked: AtomicU64::new(0),
            ears: [const { AtomicU64::new(0) }; SHARDS],
        }
    }
}

/// The counters of an instance or a function. Times are milliseconds of the monotonic clock. What nobody's counters say means
/// nothing: they are cleared when they are given out.
#[repr(C)]
#[derive(Debug, zerocopy::FromBytes)]
pub struct Counters {
    /// When work last ended.
    pub last_work: AtomicU64,
    /// When the lease was last renewed.
    pub renewed: AtomicU64,
    /// Until when it may be relied on.
    pub until: AtomicU64,
    /// The idle time.
    pub idle: AtomicU64,
    /// The next number of those who wait in line; of a function.
    pub next: AtomicU32,
    /// What is under way, by shard.
    pub active: [AtomicU32; SHARDS],
}

/// The mutex of a zone. It also excludes threads of one process from each other.
pub trait Mutex {
    /// Does something while nobody else does anything under the mutex. It is given back when that panics.
    fn locked<T>(&self, action: impl FnOnce() -> T) -> T;
}

/// What the system knows of processes.
pub trait Processes {
    /// When a process started, in any unit; none if that can't be known.
    fn started(&self, process: i32) -> Option<u64>;

    /// Whether a process of that number exists.
    fn exists(&self, process: i32) -> bool;
}

/// A zone. Its keys and its counters are of the same number; a key of 0 is nobody's.
#[derive(Debug)]
pub struct Zone<'a, M> {
    /// What it begins with.
    pub header: &'a Header,
    /// Whose the counters are.
    pub keys: &'a [AtomicU64],
    /// The counters.
    pub counters: &'a [Counters],
    /// Its mutex.
    pub mutex: M,
}

/// A shard and the process that owns it; 0 for nobody.
#[derive(Clone, Copy, PartialEq)]
struct Owned {
    shard: usize,
    process: i32,
    started: u64,
}

impl<M: Mutex> Zone<'_, M> {
    /// Takes a shard for the process `me`: one of nobody, or else of a process that is no more, whose counts
    /// are taken back. None if living processes own all of them.
    ///
    /// Who lives is only asked where no shard is free: it takes as long as there are workers, and those that
    /// nginx starts wait for each other.
    pub fn take_shard(&self, me: i32, processes: &impl Processes) -> Option<usize> {
        let started = processes.started(me).unwrap_or(0);
        self.take_free_shard(me, started).or_else(|| {
            let orphans = self.orphans(processes);
            self.mutex.locked(|| self.clear_orphans(&orphans));
            self.take_free_shard(me, started)
        })
    }

    fn take_free_shard(&self, me: i32, started: u64) -> Option<usize> {
        self.mutex.locked(|| {
            let owners = &self.header.owners;
            let shard = owners
                .iter()
                .position(|owner| [0, me].contains(&owner.load(Relaxed)))?;
            self.clear_shard(shard);
            self.header.started[shard].store(started, Relaxed);
            owners[shard].store(me, Relaxed);
            Some(shard)
        })
    }

    /// Gives a shard back, with all its counts.
    pub fn release_shard(&self, shard: usize) {
        self.mutex.locked(|| self.clear_shard(shard));
    }

    /// Takes back the counts of workers that died and that no other follows, such as those of a reload that
    /// were finishing their work. Of the workers that ask, one does it in [`CHECK_INTERVAL`].
    pub fn take_back_orphans(&self, now: u64, processes: &impl Processes) {
        let checked = &self.header.checked;
        let last = checked.load(Relaxed);
        let is_mine = now.saturating_sub(last) >= CHECK_INTERVAL
            && checked
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_ok();
        if !is_mine {
            return;
        }
        let orphans = self.orphans(processes);
        if !orphans.is_empty() {
            self.mutex.locked(|| self.clear_orphans(&orphans));
        }
    }

    /// How many processes own a shard.
    pub fn owners(&self) -> usize {
        let owners = self.header.owners.iter();
        owners.filter(|owner| owner.load(Relaxed) != 0).count()
    }

    /// Attaches a shard to the counters of a key, which are given out if the key has none. Their index; none
    /// if all are given out.
    pub fn attach(&self, key: u64, shard: usize) -> Option<usize> {
        let key = key.max(1);
        self.mutex.locked(|| {
            let with_key = |key| self.keys.iter().position(|at| at.load(Relaxed) == key);
            let index = match with_key(key) {
                Some(index) => index,
                None => {
                    let free = with_key(0)?;
                    let counters = &self.counters[free];
                    let Counters {
                        last_work,
                        renewed,
                        until,
                        idle,
                        next,
                        active,
                    } = counters;
                    for count in active.iter().chain([next]) {
                        count.store(0, Relaxed);
                    }
                    for time in [last_work, renewed, until, idle] {
                        time.store(0, Relaxed);
                    }
                    self.keys[free].store(key, Relaxed);
                    free
                }
            };
            self.counters[index].active[shard].fetch_or(ATTACHED, Relaxed);
            Some(index)
        })
    }

    /// Detaches a shard from counters; the last one frees them.
    pub fn detach(&self, index: usize, shard: usize) {
        self.mutex.locked(|| {
            self.counters[index].active[shard].store(0, Relaxed);
            self.free_if_unused(index);
        });
    }

    /// Does something with counters if they still are the key's, and keeps them so meanwhile. None if they
    /// are not.
    pub fn with<T>(
        &self,
        index: usize,
        key: u64,
        action: impl FnOnce(&Counters) -> T,
    ) -> Option<T> {
        self.mutex.locked(|| {
            let are_its = self.keys[index].load(Relaxed) == key.max(1);
            are_its.then(|| action(&self.counters[index]))
        })
    }

    /// The shards of processes that are no more.
    fn orphans(&self, processes: &impl Processes) -> Vec<Owned> {
        let is_alive = |owned: &Owned| {
            // Without two times to compare, the number has to do.
            processes.exists(owned.process)
                && (owned.started == 0
                    || processes
                        .started(owned.process)
                        .is_none_or(|started| started == owned.started))
        };
        (0..SHARDS)
            .map(|shard| self.owned(shard))
            .filter(|owned| owned.process != 0 && !is_alive(owned))
            .collect()
    }

    /// Clears those of the shards that nobody has taken since.
    fn clear_orphans(&self, orphans: &[Owned]) {
        for orphan in orphans {
            if self.owned(orphan.shard) == *orphan {
                self.clear_shard(orphan.shard);
            }
        }
    }

    fn owned(&self, shard: usize) -> Owned {
        Owned {
            shard,
            process: self.header.owners[shard].load(Relaxed),
            started: self.header.started[shard].load(Relaxed),
        }
    }

    fn clear_shard(&self, shard: usize) {
        for (index, key) in self.keys.iter().enumerate() {
            if key.load(Relaxed) != 0 {
                self.counters[index].active[shard].store(0, Relaxed);
                self.free_if_unused(index);
            }
        }
        self.header.ears[shard].store(0, Relaxed);
        self.header.owners[shard].store(0, Relaxed);
    }

    fn free_if_unused(&self, index: usize) {
        let mut counts = self.counters[index].active.iter();
        if counts.all(|count| count.load(Relaxed) == 0) {
            self.keys[index].store(0, Relaxed);
        }
    }
}

impl Counters {
    /// How much is under way, over all shards.
    pub fn load(&self) -> u32 {
        sum(&self.active)
    }
}
