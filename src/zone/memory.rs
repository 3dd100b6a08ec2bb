//! The shared memory behind a zone: its layout, its mutex, and what the system knows of its owners.

use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;

use corefn_sync::zone::{Counters, Header, Mutex, Processes, Zone};
use ngx::ffi::{ngx_pid_t, ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc, ngx_slab_pool_t};

/// A mapped zone.
#[derive(Clone, Copy)]
pub struct Memory {
    pool: NonNull<ngx_slab_pool_t>,
    header: NonNull<Header>,
    keys: NonNull<AtomicU64>,
    counters: NonNull<Counters>,
    count: usize,
}

// SAFETY: the memory stays mapped for as long as the process works with its cycle, and the runtime
// thread is joined before that ends. All in it are atomics, and the mutex excludes threads of one
// process as it does processes: whoever has it has swapped 0 for the process's number.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Lays out fresh memory of `size` bytes. None if it is too small.
    pub fn create(pool: &mut ngx_slab_pool_t, size: usize) -> Option<Self> {
        let each = size_of::<AtomicU64>() + size_of::<Counters>();
        // nginx's slab allocator keeps a description of each page beside the pages.
        let usable = size.checked_sub(size / 64 + (16 << 10))?;
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
                counters: keys.add(count).cast(),
                count,
            })
        }
    }

    /// The zone in it.
    pub fn zone(&self) -> Zone<'_, Self> {
        // SAFETY: create() allocated so many of each and filled them with zeros, which are valid; they are
        // only atomics, and stay mapped.
        let (header, keys, counters) = unsafe {
            (
                self.header.as_ref(),
                slice::from_raw_parts(self.keys.as_ptr(), self.count),
                slice::from_raw_parts(self.counters.as_ptr(), self.count),
            )
        };
        Zone {
            header,
            keys,
            counters,
            mutex: *self,
        }
    }
}

/// nginx takes the mutex back from a worker that dies with it.
impl Mutex for Memory {
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

/// The processes of this machine.
pub struct System;

impl Processes for System {
    /// In clock ticks since the machine started: field 22 of proc_pid_stat(5). The second, the process's
    /// name, may hold spaces and is in parentheses.
    fn started(&self, process: ngx_pid_t) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(19)?.parse().ok()
    }

    fn exists(&self, process: ngx_pid_t) -> bool {
        // SAFETY: signal 0 only asks. A process that may not be asked is one.
        unsafe { libc::kill(process, 0) == 0 || *libc::__errno_location() != libc::ESRCH }
    }
}
