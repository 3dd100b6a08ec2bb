//! The shared memory behind a zone: its layout, its mutex, and what the system knows of its owners.

use std::sync::atomic::AtomicU64;

use corefn_sync::metrics::Rows;
use corefn_sync::zone::{Counters, Header, Mutex, Processes, Zone};
use ngx::core::SlabPool;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::totals::{COUNTS, FIXED_ROWS, Row, Totals};
use crate::ngx::{Layout, Shared};

/// Which part of the zone is for rows of functions: one in so many.
const METRICS_PART: usize = 8;

/// A mapped zone.
#[derive(Clone)]
pub struct Memory {
    pool: SlabPool,
    header: Shared<[Header]>,
    keys: Shared<[AtomicU64]>,
    counters: Shared<[Counters]>,
    totals: Shared<[Totals]>,
    row_keys: Shared<[AtomicU64]>,
    rows: Shared<[Row]>,
}

impl Layout for Memory {
    fn create(pool: SlabPool, size: usize) -> Option<Self> {
        let each = size_of::<AtomicU64>() + size_of::<Counters>();
        // nginx's slab allocator keeps a description of each page beside the pages, and gives whole pages.
        let usable = size.checked_sub(size / 64 + (32 << 10))?;
        let measured = usable / METRICS_PART;
        let row_count = FIXED_ROWS + measured / (size_of::<AtomicU64>() + size_of::<Row>());
        let fixed = size_of::<Header>() + size_of::<Totals>() + FIXED_ROWS * size_of::<Row>();
        let count = usable.checked_sub(measured + fixed)? / each;
        let header = Shared::allocate(&pool, 1, Header::default)?;
        let keys = Shared::allocate(&pool, count, AtomicU64::default)?;
        let counters = Shared::allocate_as_it_is(&pool, count)?;
        let totals = Shared::allocate(&pool, 1, Totals::default)?;
        let row_keys = Shared::allocate(&pool, row_count, AtomicU64::default)?;
        let rows = Shared::allocate_as_it_is(&pool, row_count)?;
        let memory = Self {
            pool,
            header,
            keys,
            counters,
            totals,
            row_keys,
            rows,
        };
        memory.rows().begin();
        Some(memory)
    }
}

impl Memory {
    /// The zone in it.
    pub fn zone(&self) -> Zone<'_, &Self> {
        Zone {
            header: &self.header.get()[0],
            keys: self.keys.get(),
            counters: self.counters.get(),
            mutex: self,
        }
    }
}

impl Memory {
    /// What is counted of functions.
    pub fn rows(&self) -> Rows<'_, &Self, COUNTS> {
        Rows {
            keys: self.row_keys.get(),
            rows: self.rows.get(),
            fixed: FIXED_ROWS,
            mutex: self,
        }
    }

    /// What is counted of all of them together.
    pub fn totals(&self) -> &Totals {
        &self.totals.get()[0]
    }
}

/// nginx takes the mutex back from a worker that dies with it. It excludes threads of one process as it does
/// processes: whoever has it has swapped 0 for the process's number.
impl Mutex for &Memory {
    fn locked<T>(&self, action: impl FnOnce() -> T) -> T {
        let _locked = self.pool.lock();
        action()
    }
}

/// The processes of this machine.
pub struct System;

impl Processes for System {
    /// In clock ticks since the machine started: field 22 of proc_pid_stat(5). The second, the process's
    /// name, may hold spaces and is in parentheses.
    fn started(&self, process: i32) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(19)?.parse().ok()
    }

    /// A process that may not be asked is one.
    fn exists(&self, process: i32) -> bool {
        let Some(process) = Pid::from_raw(process) else {
            return false;
        };
        test_kill_process(process) != Err(Errno::SRCH)
    }
}
