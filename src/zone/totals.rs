//! What is counted in the zone: a row for each function, and what is counted for all of them together.

use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::metrics::{BUCKETS, CODE_COUNTS, Fate, Histogram, StartMetrics, bucket};
use corefn_core::start::{Phase, StartWay};
use corefn_engine::runtime::Service;
use corefn_sync::metrics::{Counted, Counts, Flags, SharedHistogram};
use corefn_sync::zone::SHARDS;

/// How many counts a row has: those of statuses, the time in milliseconds, and how many waited for which start.
pub const COUNTS: usize = CODE_COUNTS + 3;
/// Where the time is.
pub const MILLIS: usize = CODE_COUNTS;
/// Where those are that waited for a start.
pub const COLD: usize = CODE_COUNTS + 1;
/// Where those are that waited for a frozen instance.
pub const THAWED: usize = CODE_COUNTS + 2;

/// A function's row.
pub type Row = corefn_sync::metrics::Row<COUNTS>;

/// How many rows are of no function: that of requests for none, and that of functions for which there is no room.
pub const FIXED_ROWS: usize = 2;

/// What is counted for all functions together.
#[repr(C)]
pub struct Totals {
    /// How long requests waited.
    pub waits: SharedHistogram<BUCKETS>,
    /// How often each error was answered.
    pub errors: Counts<{ ErrorCode::ALL.len() }>,
    starts: [Starts; StartWay::ALL.len()],
    /// What has become of instances.
    pub fates: Counts<{ Fate::ALL.len() }>,
    told: Counted,
    /// What each worker can't use.
    down: [Flags; SHARDS],
}

/// What is counted of starts in one way.
#[derive(Default)]
#[repr(C)]
struct Starts {
    took: SharedHistogram<BUCKETS>,
    phases: Counts<{ Phase::ALL.len() }>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            waits: SharedHistogram::default(),
            errors: Counts::default(),
            starts: Default::default(),
            fates: Counts::default(),
            told: Counted::default(),
            down: std::array::from_fn(|_| Flags::default()),
        }
    }
}

fn flag(service: Service) -> u32 {
    match service {
        Service::Redis => 1,
        Service::Docker => 2,
    }
}

impl Totals {
    /// An instance was started, in these steps.
    pub fn started(&self, way: StartWay, steps: &[(Phase, Duration)]) {
        let starts = StartWay::ALL.iter().position(|it| *it == way);
        let Some(starts) = starts.map(|at| &self.starts[at]) else {
            return;
        };
        let took = steps.iter().map(|(_, took)| *took).sum();
        starts.took.add(bucket(took), micros(took));
        for (phase, took) in steps {
            let at = Phase::ALL.iter().position(|it| it == phase);
            starts.phases.add(at.unwrap_or(0), micros(*took));
        }
    }

    /// Something has become of an instance, of which every worker tells.
    pub fn ended(&self, instance: u64, fate: Fate) {
        let fate = Fate::ALL.iter().position(|it| *it == fate).unwrap_or(0);
        // (Running out of memory is not its end, and may be told of besides.)
        if self
            .told
            .is_first(instance.wrapping_mul(4).wrapping_add(fate as u64))
        {
            self.fates.add(fate, 1);
        }
    }

    /// What is counted of starts, by way.
    pub fn starts(&self) -> [StartMetrics; StartWay::ALL.len()] {
        std::array::from_fn(|at| StartMetrics {
            took: histogram(&self.starts[at].took),
            phases: self.starts[at].phases.read(),
        })
    }

    /// Whether a worker can use something.
    pub fn is_up(&self, shard: usize, service: Service) -> bool {
        !self.down[shard].has(flag(service))
    }

    /// A worker can use something, or not.
    pub fn reached(&self, shard: usize, service: Service, is_up: bool) {
        self.down[shard].set(flag(service), !is_up);
    }
}

/// What a histogram says.
pub fn histogram(shared: &SharedHistogram<BUCKETS>) -> Histogram {
    let (buckets, micros) = shared.read();
    Histogram { buckets, micros }
}

/// A time in microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
