//! The layout of the shared memory, and what is done to it under its mutex.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use corefn_sync::{ATTACHED, sum};
use ngx::ffi::{ngx_pid_t, ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc, ngx_slab_pool_t};

/// How many worker processes may share a zone at once, old and new ones of a reload together.
const LANES: usize = 128;

/// How often it is looked whether the owners of lanes live, in milliseconds.
const BURIAL_INTERVAL: u64 = 1_000;

/// What the zone begins with; the keys and then the slots follow it.
#[repr(C)]
struct Header {
    /// Who has each lane; 0 for nobody.
    owners: [AtomicI32; LANES],
    /// When each of them started, which tells it from a later process of the same number.
    started: [AtomicU64; LANES],
    /// When it was last looked whether they all live.
    looked: AtomicU64,
}

/// What is shared about an instance or a function. Times are milliseconds of the monotonic clock.
#[repr(C)]
pub struct Shared {
    /// When work last ended.
    pub last_work: AtomicU64,
    /// When the lease was last renewed.
    pub renewed: AtomicU64,
    /// Until when it may be relied on.
    pub until: AtomicU64,
    /// The idle time.
    pub idle: AtomicU64,
    lanes: [AtomicU32; LANES],
}

/// A lane, and which process has it: 0 for none.
#[derive(Clone, Copy, PartialEq)]
struct Owned {
    lane: usize,
    pid: ngx_pid_t,
    started: u64,
}

/// A mapped zone.
#[derive(Clone, Copy)]
pub struct Memory {
    pool: NonNull<ngx_slab_pool_t>,
    header: NonNull<Header>,
    keys: NonNull<AtomicU64>,
    slots: NonNull<Shared>,
    count: usize,
}

// SAFETY: the memory stays mapped for as long as the process works with its cycle, and the runtime
// thread is joined before that ends. All in it are atomics, and the mutex excludes threads of one
// process as it does processes: whoever has it has swapped 0 for the process's number.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Lays out fresh memory of `size` bytes. All zeros are: no owners, no keys, no counts.
    pub fn create(pool: &mut ngx_slab_pool_t, size: usize) -> Option<Self> {
        let each = size_of::<AtomicU64>() + size_of::<Shared>();
        // nginx's slab allocator keeps a description of each page beside the pages.
        let usable = size - size / 64 - (16 << 10);
        let count = usable.checked_sub(size_of::<Header>())? / each;
        let bytes = size_of::<Header>() + count * each;
        // SAFETY: a valid pool; the result is checked.
        let header = NonNull::new(unsafe { ngx_slab_alloc(pool, bytes) }.cast::<Header>())?;
        // SAFETY: that many bytes were allocated, in pages, so they are aligned for anything; the
        // parts follow each other and all are of 8-byte alignment.
        unsafe {
            header.cast::<u8>().write_bytes(0, bytes);
            let keys = header.add(1).cast::<AtomicU64>();
            Some(Self {
                pool: NonNull::from(pool),
                header,
                keys,
                slots: keys.add(count).cast(),
                count,
            })
        }
    }

    /// Takes a lane for this process: one of nobody, or of a process that is no more, whose counts
    /// are given back.
    pub fn take_lane(&self) -> Option<usize> {
        let me = i32::try_from(std::process::id()).ok()?;
        let start = start_of(me).unwrap_or(0);
        let dead = self.dead_lanes();
        self.locked(|| {
            self.clear_dead_lanes(&dead);
            let Header {
                owners, started, ..
            } = self.header();
            let lane = owners
                .iter()
                .position(|owner| [0, me].contains(&owner.load(Relaxed)))?;
            self.clear_lane(lane);
            started[lane].store(start, Relaxed);
            owners[lane].store(me, Relaxed);
            Some(lane)
        })
    }

    /// Gives back the counts of workers that died and that no other follows, as those of a reload
    /// that were finishing their work. Of the workers that ask, one a second looks.
    pub fn bury(&self, now: u64) {
        let looked = &self.header().looked;
        let last = looked.load(Relaxed);
        let mine = now.saturating_sub(last) >= BURIAL_INTERVAL
            && looked.compare_exchange(last, now, Relaxed, Relaxed).is_ok();
        if !mine {
            return;
        }
        let dead = self.dead_lanes();
        if !dead.is_empty() {
            self.locked(|| self.clear_dead_lanes(&dead));
        }
    }

    /// Gives a lane and all its counts back.
    pub fn release_lane(&self, lane: usize) {
        self.locked(|| self.clear_lane(lane));
    }

    /// Attaches a lane to the slot of a key, which is taken if it isn't there yet. None if all are
    /// taken.
    pub fn attach(&self, key: u64, lane: usize) -> Option<usize> {
        let key = key.max(1);
        self.locked(|| {
            let found = (0..self.count).find(|&at| self.key(at).load(Relaxed) == key);
            let index = match found {
                Some(index) => index,
                None => {
                    let free = (0..self.count).find(|&at| self.key(at).load(Relaxed) == 0)?;
                    let slot = self.slot(free);
                    for time in [&slot.last_work, &slot.renewed, &slot.until, &slot.idle] {
                        time.store(0, Relaxed);
                    }
                    self.key(free).store(key, Relaxed);
                    free
                }
            };
            self.lane(index, lane).fetch_or(ATTACHED, Relaxed);
            Some(index)
        })
    }

    /// Detaches a lane from a slot; the last one frees it.
    pub fn detach(&self, index: usize, lane: usize) {
        self.locked(|| {
            self.lane(index, lane).store(0, Relaxed);
            self.free_if_unused(index);
        });
    }

    /// A slot.
    pub fn slot(&self, index: usize) -> &Shared {
        assert!(index < self.count, "slot {index} of {}", self.count);
        // SAFETY: the index is checked, and slots are only atomics, for which zeros are valid.
        unsafe { self.slots.add(index).as_ref() }
    }

    /// A lane's count in a slot.
    pub fn lane(&self, index: usize, lane: usize) -> &AtomicU32 {
        &self.slot(index).lanes[lane]
    }

    /// All lanes' counts in a slot.
    pub fn lanes(&self, index: usize) -> &[AtomicU32] {
        &self.slot(index).lanes
    }

    /// The sum of a slot's counts.
    pub fn load(&self, index: usize) -> u32 {
        sum(self.lanes(index))
    }

    fn header(&self) -> &Header {
        // SAFETY: create() made it; it is only atomics.
        unsafe { self.header.as_ref() }
    }

    fn key(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "key {index} of {}", self.count);
        // SAFETY: the index is checked; keys are atomics.
        unsafe { self.keys.add(index).as_ref() }
    }

    /// The lanes of processes that are no more. It asks the system, so not under the mutex: event
    /// loops wait for that.
    fn dead_lanes(&self) -> Vec<Owned> {
        let lanes = (0..LANES).map(|lane| self.owned(lane));
        lanes
            .filter(|owned| owned.pid != 0 && !is_alive(owned.pid, owned.started))
            .collect()
    }

    /// Clears those of the lanes that nobody has taken since.
    fn clear_dead_lanes(&self, dead: &[Owned]) {
        for owned in dead {
            if self.owned(owned.lane) == *owned {
                self.clear_lane(owned.lane);
            }
        }
    }

    fn owned(&self, lane: usize) -> Owned {
        let Header {
            owners, started, ..
        } = self.header();
        Owned {
            lane,
            pid: owners[lane].load(Relaxed),
            started: started[lane].load(Relaxed),
        }
    }

    /// Does something with the slot of a key, if it still is that one's: slots are taken and freed
    /// under the mutex, which is held meanwhile.
    pub fn with<T>(&self, index: usize, key: u64, action: impl FnOnce(&Shared) -> T) -> Option<T> {
        self.locked(|| {
            let is_its = self.key(index).load(Relaxed) == key.max(1);
            is_its.then(|| action(self.slot(index)))
        })
    }

    fn clear_lane(&self, lane: usize) {
        for index in 0..self.count {
            if self.key(index).load(Relaxed) != 0 {
                self.lane(index, lane).store(0, Relaxed);
                self.free_if_unused(index);
            }
        }
        self.header().owners[lane].store(0, Relaxed);
    }

    fn free_if_unused(&self, index: usize) {
        if self
            .slot(index)
            .lanes
            .iter()
            .all(|count| count.load(Relaxed) == 0)
        {
            self.key(index).store(0, Relaxed);
        }
    }

    /// Does it under the mutex, for microseconds. If it panics the mutex is given back.
    fn locked<T>(&self, action: impl FnOnce() -> T) -> T {
        struct Unlock(NonNull<ngx_slab_pool_t>);
        impl Drop for Unlock {
            fn drop(&mut self) {
                // SAFETY: locked below by this thread.
                unsafe { ngx_shmtx_unlock(&raw mut (*self.0.as_ptr()).mutex) };
            }
        }
        // SAFETY: the pool is in the mapped zone.
        unsafe { ngx_shmtx_lock(&raw mut (*self.pool.as_ptr()).mutex) };
        let _unlock = Unlock(self.pool);
        action()
    }
}

/// Whether the process that has this number and started then is still there.
fn is_alive(pid: ngx_pid_t, started: u64) -> bool {
    // SAFETY: signal 0 only asks. A process that may not be asked is one.
    let exists = unsafe { libc::kill(pid, 0) == 0 || *libc::__errno_location() != libc::ESRCH };
    // Without a time to compare, the number has to do.
    exists && (started == 0 || start_of(pid).is_none_or(|start| start == started))
}

/// When a process started, in clock ticks since the machine did: field 22 of proc_pid_stat(5). The
/// second, its name, may hold spaces and is in parentheses.
fn start_of(pid: ngx_pid_t) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}
