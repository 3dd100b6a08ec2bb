//! What is measured: a worker counts in the zone, and reads what all of them have counted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::metrics::{
    CODE_COUNTS, Fate, FunctionMetrics, Histogram, NO_FUNCTION, OTHER_FUNCTIONS, StartMetrics,
    bucket, code_index,
};
use corefn_core::start::StartWay;
use corefn_engine::acquire::Start;
use corefn_engine::runtime::Service;

use super::memory::Memory;
use super::totals::{COLD, MILLIS, Row, THAWED, histogram, micros};

const NONE: RowIndex = RowIndex(0);
const OTHERS: RowIndex = RowIndex(1);

/// Which row a function has.
#[derive(Debug, Clone, Copy)]
pub struct RowIndex(usize);

/// A request that has ended.
pub struct Ended {
    /// What the client got.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// How long it waited for an instance, and until what was there; none if it did not.
    pub waited: Option<(Start, Duration)>,
}

/// One worker's view.
pub struct Metrics {
    memory: Memory,
    shard: usize,
    /// The rows that this worker has looked up.
    known: RefCell<HashMap<Box<str>, RowIndex>>,
}

impl Metrics {
    /// Of the worker that has the shard.
    pub fn new(memory: Memory, shard: usize) -> Self {
        for service in [Service::Redis, Service::Docker] {
            memory.totals().reached(shard, service, true);
        }
        Self {
            memory,
            shard,
            known: RefCell::default(),
        }
    }

    /// The row of a function, by its name without a revision.
    pub fn row(&self, name: Option<&str>) -> RowIndex {
        let Some(name) = name else {
            return NONE;
        };
        if let Some(row) = self.known.borrow().get(name) {
            return *row;
        }
        let found = self
            .memory
            .rows()
            .find(super::hash(("metrics", name)), name);
        let row = found.map_or(OTHERS, RowIndex);
        self.known.borrow_mut().insert(name.into(), row);
        row
    }

    /// A request has ended. This is all that a warm one costs.
    pub fn on_end(&self, row: RowIndex, ended: &Ended) {
        let counts = &self.memory.rows().rows[row.0].counts;
        counts[code_index(ended.status)].fetch_add(1, Relaxed);
        let millis = ended.took.as_millis() as u64;
        if millis > 0 {
            counts[MILLIS].fetch_add(millis, Relaxed);
        }
        if let Some((start, waited)) = ended.waited {
            match start {
                Start::Warm => {}
                Start::Thawed => drop(counts[THAWED].fetch_add(1, Relaxed)),
                Start::Cold => drop(counts[COLD].fetch_add(1, Relaxed)),
            }
            let waits = &self.memory.totals().waits;
            waits.add(bucket(waited), micros(waited));
        }
    }

    /// The platform answers with an error.
    pub fn on_error(&self, code: ErrorCode) {
        let at = ErrorCode::ALL.iter().position(|it| *it == code);
        self.memory.totals().errors.add(at.unwrap_or(usize::MAX), 1);
    }

    /// What is counted of functions: of those, and of what is none if there is anything.
    pub fn functions(&self) -> Vec<FunctionMetrics> {
        let rows = self.memory.rows();
        let read = rows.used().map(|(at, row)| {
            let name = match RowIndex(at) {
                RowIndex(0) => NO_FUNCTION.to_owned(),
                RowIndex(1) => OTHER_FUNCTIONS.to_owned(),
                RowIndex(_) => row.name(),
            };
            counted(name, row)
        });
        read.filter(|function| function.requests() > 0).collect()
    }

    /// What is counted of a function, by its name without a revision, if it is counted apart.
    pub fn function(&self, name: &str) -> Option<FunctionMetrics> {
        let rows = self.memory.rows();
        let row = rows.get(super::hash(("metrics", name)))?;
        Some(counted(name.to_owned(), row))
    }

    /// How many functions may be counted apart.
    pub fn places(&self) -> usize {
        self.memory.rows().keys.len()
    }

    /// The name of the function that is counted at a place.
    pub fn name_at(&self, place: usize) -> Option<String> {
        Some(self.memory.rows().at(place)?.name())
    }

    /// How many requests have ended, and how long they took in all, in milliseconds.
    pub fn sums(&self) -> (u64, u64) {
        let rows = self.memory.rows();
        rows.used().fold((0, 0), |(requests, millis), (_, row)| {
            let counts = row.read();
            let ended: u64 = counts[..CODE_COUNTS].iter().sum();
            (requests + ended, millis + counts[MILLIS])
        })
    }

    /// How long requests waited.
    pub fn waits(&self) -> Histogram {
        histogram(&self.memory.totals().waits)
    }

    /// How often each error was answered.
    pub fn errors(&self) -> [u64; ErrorCode::ALL.len()] {
        self.memory.totals().errors.read()
    }

    /// What is counted of starts, by way.
    pub fn starts(&self) -> [StartMetrics; StartWay::ALL.len()] {
        self.memory.totals().starts()
    }

    /// How many instances each fate has met.
    pub fn fates(&self) -> [u64; Fate::ALL.len()] {
        self.memory.totals().fates.read()
    }

    /// Whether this worker can use something.
    pub fn is_up(&self, service: Service) -> bool {
        self.memory.totals().is_up(self.shard, service)
    }

    /// How many workers there are.
    pub fn workers(&self) -> u64 {
        self.memory.zone().owners() as u64
    }
}

/// What a row says of a function.
fn counted(name: String, row: &Row) -> FunctionMetrics {
    let counts = row.read();
    let mut codes = [0; CODE_COUNTS];
    codes.copy_from_slice(&counts[..CODE_COUNTS]);
    FunctionMetrics {
        name,
        codes,
        millis: counts[MILLIS],
        cold: counts[COLD],
        thawed: counts[THAWED],
    }
}
