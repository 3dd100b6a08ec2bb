//! What is measured, as Prometheus and programs read it: names, labels, and both forms.
//!
//! Names and units follow Prometheus' conventions (<https://prometheus.io/docs/practices/naming/>), and the text its
//! exposition format 0.0.4.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::ErrorCode;

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
    INSTANCES "corefn_instances" "gauge" ["state"] "Instances that get requests: busy ones have some under way, idle ones none."
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
    REDIS_UP "corefn_redis_up" "gauge" [] "Whether the worker that answers can use Redis."
    DOCKER_UP "corefn_docker_up" "gauge" [] "Whether it follows Docker's events, or the gate's."
}

/// Of which function requests are that are for none.
pub const NO_FUNCTION: &str = "";

/// Of which function requests are where there is no room to count more functions apart.
pub const OTHER_FUNCTIONS: &str = "other";

/// What an instance is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWay {
    /// A sandbox becomes it.
    Sandbox,
    /// Its image, on the network of a sandbox.
    Network,
    /// Its image.
    Image,
    /// It was frozen.
    Thaw,
}

impl StartWay {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sandbox, Self::Network, Self::Image, Self::Thaw];

    /// As a label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Network => "network",
            Self::Image => "image",
            Self::Thaw => "thaw",
        }
    }
}

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

/// A step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A sandbox was claimed, and told what to become.
    HandedOver,
    /// A sandbox was claimed, and told to hold its network.
    Held,
    /// Docker made the container.
    Created,
    /// Docker started it.
    Started,
    /// It answered, and Redis and the workers know.
    Ready,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::HandedOver,
        Self::Held,
        Self::Created,
        Self::Started,
        Self::Ready,
    ];

    /// As a label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_over",
            Self::Held => "held",
            Self::Created => "created",
            Self::Started => "started",
            Self::Ready => "ready",
        }
    }
}

/// As the log has it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandedOver => "handed over",
            other => other.label(),
        })
    }
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// What is known of functions.
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
}

impl Snapshot {
    /// The histogram of overhead: those who did not wait are in its first bucket.
    fn overhead(&self) -> Histogram {
        let requests: u64 = self.functions.iter().map(FunctionMetrics::requests).sum();
        let mut overhead = self.waits;
        overhead.buckets[0] += requests.saturating_sub(self.waits.count());
        overhead
    }
}

/// As Prometheus reads it.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text = Text(String::new());
    let version = env!("CARGO_PKG_VERSION");
    text.begin(&BUILD_INFO);
    text.sample(&BUILD_INFO, "", &[version, &snapshot.nginx], 1);
    for (metric, value) in [
        (&WORKERS, snapshot.workers),
        (&FUNCTIONS, snapshot.deployed),
    ] {
        text.begin(metric);
        text.sample(metric, "", &[], value);
    }
    text.begin(&INSTANCES);
    text.sample(&INSTANCES, "", &["busy"], snapshot.busy);
    text.sample(&INSTANCES, "", &["idle"], snapshot.idle);
    for (metric, value) in [
        (&IN_FLIGHT, snapshot.in_flight),
        (&QUEUE_DEPTH, snapshot.waiting),
    ] {
        text.begin(metric);
        text.sample(metric, "", &[], value);
    }
    text.begin(&REQUESTS);
    for function in &snapshot.functions {
        for (at, count) in function.codes.iter().enumerate() {
            if *count > 0 {
                text.sample(&REQUESTS, "", &[&function.name, &code_label(at)], *count);
            }
        }
    }
    text.begin(&REQUEST_DURATION);
    for function in &snapshot.functions {
        let labels: &[&str] = &[&function.name];
        let seconds = seconds(function.millis * 1000);
        text.sample(&REQUEST_DURATION, "_sum", labels, seconds);
        text.sample(&REQUEST_DURATION, "_count", labels, function.requests());
    }
    text.begin(&WAITED);
    for function in &snapshot.functions {
        for (start, count) in [("cold", function.cold), ("thawed", function.thawed)] {
            if count > 0 {
                text.sample(&WAITED, "", &[&function.name, start], count);
            }
        }
    }
    text.begin(&OVERHEAD);
    text.histogram(&OVERHEAD, &[], &snapshot.overhead());
    text.begin(&ERRORS);
    for (code, count) in ErrorCode::ALL.iter().zip(snapshot.errors) {
        text.sample(&ERRORS, "", &[code.as_str()], count);
    }
    let starts = || StartWay::ALL.iter().zip(&snapshot.starts);
    text.begin(&COLD_STARTS);
    for (way, start) in starts() {
        text.sample(&COLD_STARTS, "", &[way.label()], start.took.count());
    }
    text.begin(&START_DURATION);
    for (way, start) in starts() {
        text.histogram(&START_DURATION, &[way.label()], &start.took);
    }
    text.begin(&START_PHASE);
    for (way, start) in starts() {
        for (phase, micros) in Phase::ALL.iter().zip(start.phases) {
            if micros > 0 {
                let labels = [way.label(), phase.label()];
                text.sample(&START_PHASE, "", &labels, seconds(micros));
            }
        }
    }
    let [stopped, died, out_of_memory] = snapshot.fates;
    text.begin(&STOPS);
    text.sample(&STOPS, "", &["stopped"], stopped);
    text.sample(&STOPS, "", &["died"], died);
    text.begin(&OUT_OF_MEMORY);
    text.sample(&OUT_OF_MEMORY, "", &[], out_of_memory);
    for (metric, up) in [(&REDIS_UP, snapshot.redis), (&DOCKER_UP, snapshot.docker)] {
        text.begin(metric);
        text.sample(metric, "", &[], u8::from(up));
    }
    text.0
}

/// As programs read it: an object with the same figures.
pub fn json(snapshot: &Snapshot) -> String {
    let functions = snapshot.functions.iter().map(|function| {
        let counted = function
            .codes
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        let codes: Map<String, Value> = counted
            .map(|(at, count)| (code_label(at), (*count).into()))
            .collect();
        json!({
            "name": function.name,
            "requests": function.requests(),
            "codes": codes,
            "seconds": seconds(function.millis * 1000),
            "cold": function.cold,
            "thawed": function.thawed,
        })
    });
    let functions: Vec<Value> = functions.collect();
    let errors: Map<String, Value> = ErrorCode::ALL
        .iter()
        .zip(snapshot.errors)
        .filter(|(_, count)| *count > 0)
        .map(|(code, count)| (code.as_str().to_owned(), count.into()))
        .collect();
    let starts: Map<String, Value> = StartWay::ALL
        .iter()
        .zip(&snapshot.starts)
        .map(|(way, start)| {
            let phases: Map<String, Value> = Phase::ALL
                .iter()
                .zip(start.phases)
                .filter(|(_, micros)| *micros > 0)
                .map(|(phase, micros)| (phase.label().to_owned(), seconds(micros).into()))
                .collect();
            let mut said = buckets(&start.took);
            said["phases"] = phases.into();
            (way.label().to_owned(), said)
        })
        .collect();
    let all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "nginx": snapshot.nginx,
        "workers": snapshot.workers,
        "deployed": snapshot.deployed,
        "instances": { "busy": snapshot.busy, "idle": snapshot.idle },
        "in_flight": snapshot.in_flight,
        "waiting": snapshot.waiting,
        "functions": functions,
        "overhead": buckets(&snapshot.overhead()),
        "errors": errors,
        "starts": starts,
        "stopped": snapshot.fates[0],
        "died": snapshot.fates[1],
        "out_of_memory": snapshot.fates[2],
        "redis": snapshot.redis,
        "docker": snapshot.docker,
    });
    format!("{all}\n")
}

/// A histogram as an object: how often in each bucket, by where that ends.
fn buckets(histogram: &Histogram) -> Value {
    let ends = BOUNDS.iter().map(|bound| seconds(*bound).to_string());
    let ends = ends.chain(["+Inf".to_owned()]);
    let buckets: Map<String, Value> = ends
        .zip(histogram.buckets)
        .filter(|(_, count)| *count > 0)
        .map(|(end, count)| (end, count.into()))
        .collect();
    json!({
        "count": histogram.count(),
        "seconds": seconds(histogram.micros),
        "buckets": buckets,
    })
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// What is written of the exposition format.
struct Text(String);

impl Text {
    fn begin(&mut self, metric: &Metric) {
        let Metric {
            name, kind, help, ..
        } = metric;
        // (Writing to a string can't fail.)
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A line: the metric's labels have these values.
    fn sample(&mut self, metric: &Metric, suffix: &str, values: &[&str], value: impl fmt::Display) {
        self.line(metric, suffix, values, None, value);
    }

    fn line(
        &mut self,
        metric: &Metric,
        suffix: &str,
        values: &[&str],
        more: Option<(&str, &str)>,
        value: impl fmt::Display,
    ) {
        let labels = metric.labels.iter().copied().zip(values.iter().copied());
        let labels: Vec<String> = labels
            .chain(more)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let name = metric.name;
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name}{suffix} {value}")
        } else {
            writeln!(self.0, "{name}{suffix}{{{}}} {value}", labels.join(","))
        };
    }

    fn histogram(&mut self, metric: &Metric, values: &[&str], histogram: &Histogram) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound).to_string());
        for (end, more) in bounds.chain(["+Inf".to_owned()]).zip(histogram.buckets) {
            count += more;
            self.line(metric, "_bucket", values, Some(("le", &end)), count);
        }
        self.sample(metric, "_sum", values, seconds(histogram.micros));
        self.sample(metric, "_count", values, count);
    }
}

/// A label's value as the format has it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn snapshot() -> Snapshot {
        let mut codes = [0; CODE_COUNTS];
        codes[code_index(200)] = 7;
        codes[code_index(299)] = 1;
        codes[code_index(503)] = 2;
        let mut starts = [StartMetrics::default(); StartWay::ALL.len()];
        starts[0].took.buckets[bucket(Duration::from_micros(4200))] = 2;
        starts[0].took.micros = 8400;
        starts[0].phases[0] = 1500;
        let mut waits = Histogram::default();
        waits.buckets[bucket(Duration::from_millis(20))] = 3;
        waits.micros = 60_000;
        let mut errors = [0; ErrorCode::ALL.len()];
        errors[1] = 5;
        Snapshot {
            nginx: "1.22.1".to_owned(),
            workers: 2,
            deployed: 3,
            busy: 1,
            idle: 2,
            in_flight: 4,
            waiting: 5,
            functions: vec![FunctionMetrics {
                name: "demo/hello".to_owned(),
                codes,
                millis: 1234,
                cold: 2,
                thawed: 0,
            }],
            waits,
            errors,
            starts,
            fates: [8, 1, 0],
            redis: true,
            docker: false,
        }
    }

    #[test]
    fn text_has_each_metric_with_its_help_and_type() {
        let text = text(&snapshot());
        for metric in ALL {
            let head = format!(
                "# HELP {0} {1}\n# TYPE {0} {2}\n{0}",
                metric.name, metric.help, metric.kind
            );
            assert!(text.contains(&head), "{head}\n{text}");
        }
        for line in [
            "corefn_build_info{version=\"0.1.0\",nginx=\"1.22.1\"} 1",
            "corefn_instances{state=\"idle\"} 2",
            "corefn_requests_total{function=\"demo/hello\",code=\"200\"} 7",
            "corefn_requests_total{function=\"demo/hello\",code=\"2xx\"} 1",
            "corefn_request_duration_seconds_sum{function=\"demo/hello\"} 1.234",
            "corefn_request_duration_seconds_count{function=\"demo/hello\"} 10",
            "corefn_waited_requests_total{function=\"demo/hello\",start=\"cold\"} 2",
            "corefn_overhead_seconds_bucket{le=\"0.001\"} 7",
            "corefn_overhead_seconds_bucket{le=\"0.01\"} 7",
            "corefn_overhead_seconds_bucket{le=\"0.025\"} 10",
            "corefn_overhead_seconds_bucket{le=\"+Inf\"} 10",
            "corefn_overhead_seconds_sum 0.06",
            "corefn_errors_total{error=\"unknown-function\"} 5",
            "corefn_cold_starts_total{way=\"sandbox\"} 2",
            "corefn_start_duration_seconds_bucket{way=\"sandbox\",le=\"0.005\"} 2",
            "corefn_start_phase_seconds_total{way=\"sandbox\",phase=\"handed_over\"} 0.0015",
            "corefn_stops_total{reason=\"stopped\"} 8",
            "corefn_out_of_memory_total 0",
            "corefn_redis_up 1",
            "corefn_docker_up 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn json_has_the_same() {
        let value: Value = serde_json::from_str(&json(&snapshot())).unwrap();
        assert_eq!(value["functions"][0]["codes"]["2xx"], 1);
        assert_eq!(value["functions"][0]["seconds"], 1.234);
        assert_eq!(value["overhead"]["buckets"]["0.025"], 3);
        assert_eq!(value["starts"]["sandbox"]["phases"]["handed_over"], 0.0015);
        assert_eq!(value["errors"]["unknown-function"], 5);
        assert_eq!(
            (&value["died"], &value["docker"]),
            (&1.into(), &false.into())
        );
    }

    #[test]
    fn every_status_has_its_count() {
        assert!(CODES.is_sorted());
        for (status, label) in [
            (200, "200"),
            (299, "2xx"),
            (199, "1xx"),
            (399, "3xx"),
            (418, "4xx"),
            (599, "5xx"),
            (0, "5xx"),
            (999, "5xx"),
        ] {
            assert_eq!(code_label(code_index(status)), label, "{status}");
        }
    }

    #[test]
    fn buckets_end_at_their_bounds() {
        for (micros, at) in [
            (0, 0),
            (1000, 0),
            (1001, 1),
            (60_000_000, 14),
            (60_000_001, 15),
        ] {
            assert_eq!(bucket(Duration::from_micros(micros)), at, "{micros}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    /// The variable with which the page is written anew.
    const UPDATE: &str = "UPDATE_DOCS";

    /// What the page's table begins with.
    const TABLE: &str = "| metric | type | labels | |\n|---|---|---|---|\n";

    #[test]
    fn page_has_the_metrics() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once(TABLE).unwrap();
        let (_, tail) = rest.split_once("\n\n").unwrap();
        let rows = ALL.iter().map(|metric| {
            let labels = metric.labels.iter().map(|label| format!("`{label}`"));
            let labels: Vec<String> = labels.collect();
            format!(
                "| `{}` | {} | {} | {} |",
                metric.name,
                metric.kind,
                labels.join(", "),
                metric.help
            )
        });
        let rows: Vec<String> = rows.collect();
        let page = format!("{head}{TABLE}{}\n\n{tail}", rows.join("\n"));
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &page).unwrap();
        } else {
            assert!(
                text == page,
                "{} is not what metrics.rs says: run the test with {UPDATE}=1",
                path.display()
            );
        }
    }
}
