//! As Prometheus reads it.

use std::fmt::{self, Write as _};

use super::*;
use crate::survey::BuildCounts;

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
    if let Some(records) = &snapshot.survey.records {
        for (state, frozen) in [("frozen", true), ("draining", false)] {
            text.sample(&INSTANCES, "", &[state], records.count_withheld(frozen));
        }
    }
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
    text.begin(&BUILDS);
    if let Some(records) = &snapshot.survey.records {
        let BuildCounts { deployed, rejected } = records.counts;
        text.sample(&BUILDS, "", &["deployed"], deployed);
        text.sample(&BUILDS, "", &["rejected"], rejected);
    }
    text.begin(&BUILDS_RUNNING);
    if let Some(records) = &snapshot.survey.records {
        text.sample(&BUILDS_RUNNING, "", &[], records.count_running());
    }
    let sandboxes = snapshot.survey.sandboxes.iter().flatten();
    let sandboxes: Vec<_> = sandboxes.map(|it| (it, it.network_label())).collect();
    text.begin(&SANDBOXES);
    for (it, network) in &sandboxes {
        text.sample(&SANDBOXES, "", &[it.runtime(), network], it.waiting);
    }
    text.begin(&SANDBOXES_WANTED);
    for (it, network) in &sandboxes {
        text.sample(&SANDBOXES_WANTED, "", &[it.runtime(), network], it.wanted);
    }
    for (metric, up) in [(&REDIS_UP, snapshot.redis), (&DOCKER_UP, snapshot.docker)] {
        text.begin(metric);
        text.sample(metric, "", &[], u8::from(up));
    }
    text.0
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
pub(super) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
