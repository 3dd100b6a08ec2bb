//! What is measured, as Prometheus and programs read it: names, labels, and both forms.
//!
//! Names and units follow Prometheus' conventions (<https://prometheus.io/docs/practices/naming/>), and the text its
//! exposition format 0.0.4.

mod json;
mod text;

use std::time::Duration;

use crate::error::ErrorCode;
use crate::start::{Phase, StartWay};
use crate::survey::Survey;

pub use json::{all as json, host as json_of_host};
pub use text::text;

/// The media type of [`text`].
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of [`json()`].
pub const JSON: &str = "application/json";

/// A metric, as its documentation has it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type, in Prometheus' words.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($const:ident $name:literal $kind:literal [$($label:literal),*] $help:literal)*) => {
        $(const $const: Metric = Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order in which they are told.
        pub const ALL: &[Metric] = &[$($const),*];
    };
}

metrics! {
    BUILD_INFO "corefn_build_info" "gauge" ["version", "nginx"] "1, of this version of the module and the nginx that it was built for."
    WORKERS "corefn_workers" "gauge" [] "Workers of nginx that serve functions, those that a reload has finish their work included."
    FUNCTIONS "corefn_functions" "gauge" [] "Functions that are deployed."
    INSTANCES "corefn_instances" "gauge" ["state"] "Instances. Busy ones have requests under way, idle ones none; frozen and draining ones get none. (While Redis is out of reach, it is not told of those.)"
    IN_FLIGHT "corefn_requests_in_flight" "gauge" [] "Requests that are under way at instances."
    QUEUE_DEPTH "corefn_queue_depth" "gauge" [] "Requests that wait for an instance, of all functions."
    REQUESTS "corefn_requests_total" "counter" ["function", "code"] "Requests that have ended, by the status that the client got."
    REQUEST_DURATION "corefn_request_duration_seconds" "summary" ["function"] "How long they took, from their first byte to the end of the answer."
    WAITED "corefn_waited_requests_total" "counter" ["function", "start"] "Those that waited for an instance: until one was started (cold) or went on (thawed)."
    OVERHEAD "corefn_overhead_seconds" "histogram" [] "How long requests waited before a function had them. Warm ones do not wait."
    ERRORS "corefn_errors_total" "counter" ["error"] "Errors of the platform, by the code in X-CoreFn-Error."
    COLD_STARTS "corefn_cold_starts_total" "counter" ["way"] "Instances that were started, by what from: a sandbox, their image on a sandbox's network, their image alone; or thawed."
    START_DURATION "corefn_start_duration_seconds" "histogram" ["way"] "How long such a start took, until the instance was ready."
    START_PHASE "corefn_start_phase_seconds_total" "counter" ["way", "phase"] "The time that such starts took in each of their steps."
    STOPS "corefn_stops_total" "counter" ["reason"] "Instances that have ended: because somebody had Docker end them, as the cleaner does with idle ones (stopped), or by themselves (died)."
    OUT_OF_MEMORY "corefn_out_of_memory_total" "counter" [] "Instances that had no more memory, so that the kernel ended a process of theirs."
    BUILDS "corefn_builds_total" "counter" ["result"] "Builds that have ended since Redis was last emptied: pushes that were deployed, and rejected ones."
    BUILDS_RUNNING "corefn_builds_running" "gauge" [] "Builds that are under way."
    SANDBOXES "corefn_sandboxes" "gauge" ["runtime", "network"] "Sandboxes that wait on the host, by what runs in them and what they can reach. Nothing runs in those of executables."
    SANDBOXES_WANTED "corefn_sandboxes_wanted" "gauge" ["runtime", "network"] "How many should."
    REDIS_UP "corefn_redis_up" "gauge" [] "Whether the worker that answers can use Redis."
    DOCKER_UP "corefn_docker_up" "gauge" [] "Whether it follows Docker's events, or the gate's."
}

/// Of which function requests are that are for none.
pub const NO_FUNCTION: &str = "";

/// Of which function requests are where there is no room to count more functions apart.
pub const OTHER_FUNCTIONS: &str = "other";

/// What has become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Somebody had Docker end it.
    Stopped,
    /// It ended by itself.
    Died,
    /// It had no more memory, which need not be its end.
    OutOfMemory,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stopped, Self::Died, Self::OutOfMemory];
}

/// The statuses that are counted one by one; others by their class.
pub const CODES: [u16; 41] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408,
    409, 410, 411, 412, 413, 414, 415, 416, 422, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502,
    503, 504, 507,
];

/// The classes of the others.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How many counts there are: one for each of [`CODES`], and then one for each class.
pub const CODE_COUNTS: usize = CODES.len() + CLASSES.len();

/// Which of the counts a status goes to. What is no status is an error of nginx's own.
pub fn code_index(status: u16) -> usize {
    CODES.binary_search(&status).unwrap_or_else(|_| {
        let class = usize::from(status / 100).clamp(1, CLASSES.len());
        let class = if (100..600).contains(&status) {
            class
        } else {
            CLASSES.len()
        };
        CODES.len() + class - 1
    })
}

/// The label of a count.
fn code_label(index: usize) -> String {
    match CODES.get(index) {
        Some(code) => code.to_string(),
        None => CLASSES[index - CODES.len()].to_owned(),
    }
}

/// Up to how many microseconds the buckets of [`Histogram`] reach, but for the last, which has no end.
pub const BOUNDS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How many buckets there are.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a time.
pub fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    BOUNDS.partition_point(|bound| *bound < micros)
}

/// How often something took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How often, by bucket.
    pub buckets: [u64; BUCKETS],
    /// How long in all, in microseconds.
    pub micros: u64,
}

impl Histogram {
    /// How often.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What is known of a function's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionMetrics {
    /// Its name; [`NO_FUNCTION`] and [`OTHER_FUNCTIONS`] are none.
    pub name: String,
    /// How many have ended, as [`code_index`] has it.
    pub codes: [u64; CODE_COUNTS],
    /// How long they took in all, in milliseconds.
    pub millis: u64,
    /// How many waited for an instance to be started.
    pub cold: u64,
    /// How many waited for a frozen one.
    pub thawed: u64,
}

impl FunctionMetrics {
    /// How many requests have ended.
    pub fn requests(&self) -> u64 {
        self.codes.iter().sum()
    }

    /// How many of them with a status of 500 or more.
    pub fn errors(&self) -> u64 {
        let first = CODES.partition_point(|code| *code < 500);
        let known: u64 = self.codes[first..CODES.len()].iter().sum();
        known + self.codes[CODE_COUNTS - 1]
    }
}

/// What is known of starts in one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartMetrics {
    /// How long they took.
    pub took: Histogram,
    /// How long they took in each of [`Phase::ALL`], in microseconds.
    pub phases: [u64; Phase::ALL.len()],
}

/// All that is known at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The version of nginx that the module was built for.
    pub nginx: String,
    /// How many workers serve functions.
    pub workers: u64,
    /// How many functions are deployed.
    pub deployed: u64,
    /// How many instances have requests under way.
    pub busy: u64,
    /// How many have none.
    pub idle: u64,
    /// How many requests are under way at instances.
    pub in_flight: u64,
    /// How many wait for an instance.
    pub waiting: u64,
    /// How many requests have ended.
    pub requests: u64,
    /// How long they took in all, in milliseconds.
    pub millis: u64,
    /// What is known of functions; nothing where it is told apart.
    pub functions: Vec<FunctionMetrics>,
    /// How long requests have waited, of those that did.
    pub waits: Histogram,
    /// How often each of [`ErrorCode::ALL`] has been answered.
    pub errors: [u64; ErrorCode::ALL.len()],
    /// What is known of starts in each of [`StartWay::ALL`].
    pub starts: [StartMetrics; StartWay::ALL.len()],
    /// How many instances each of [`Fate::ALL`] has met.
    pub fates: [u64; Fate::ALL.len()],
    /// Whether Redis can be used.
    pub redis: bool,
    /// Whether Docker can.
    pub docker: bool,
    /// What was found besides.
    pub survey: Survey,
}

impl Snapshot {
    /// The histogram of overhead: those who did not wait are in its first bucket.
    fn overhead(&self) -> Histogram {
        let mut overhead = self.waits;
        overhead.buckets[0] += self.requests.saturating_sub(self.waits.count());
        overhead
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests;
