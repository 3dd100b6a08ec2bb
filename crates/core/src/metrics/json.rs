//! As programs read it.

use serde_json::{Map, Value, json};

use super::*;

/// As programs read it: an object with the same figures.
pub fn all(snapshot: &Snapshot) -> String {
    let mut all = host(snapshot);
    all["functions"] = functions(snapshot);
    format!("{all}\n")
}

fn functions(snapshot: &Snapshot) -> Value {
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
    functions.collect()
}

/// The same, but for what is of single functions.
pub fn host(snapshot: &Snapshot) -> Value {
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
    let records = snapshot.survey.records.as_ref();
    let builds = records.map(|records| {
        json!({
            "deployed": records.counts.deployed,
            "rejected": records.counts.rejected,
            "running": records.count_running(),
        })
    });
    let sandboxes = snapshot.survey.sandboxes.iter().flatten().map(|it| {
        json!({
            "runtime": it.runtime(),
            "network": it.network_label(),
            "waiting": it.waiting,
            "wanted": it.wanted,
        })
    });
    let sandboxes = sandboxes.collect::<Vec<_>>();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "nginx": snapshot.nginx,
        "workers": snapshot.workers,
        "deployed": snapshot.deployed,
        "instances": {
            "busy": snapshot.busy,
            "idle": snapshot.idle,
            "frozen": records.map(|records| records.count_withheld(true)),
            "draining": records.map(|records| records.count_withheld(false)),
        },
        "requests": snapshot.requests,
        "seconds": seconds(snapshot.millis * 1000),
        "in_flight": snapshot.in_flight,
        "waiting": snapshot.waiting,
        "overhead": buckets(&snapshot.overhead()),
        "errors": errors,
        "starts": starts,
        "stopped": snapshot.fates[0],
        "died": snapshot.fates[1],
        "out_of_memory": snapshot.fates[2],
        "redis": snapshot.redis,
        "docker": snapshot.docker,
        "builds": builds,
        "sandboxes": snapshot.survey.sandboxes.is_some().then_some(sandboxes),
    })
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
