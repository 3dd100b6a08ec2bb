use std::fs;
use std::path::Path;

use serde_json::Value;

use super::text::escaped;
use super::*;
use crate::function::RevisionId;
use crate::network::Network;
use crate::survey::{Build, BuildCounts, BuildState, Records, SandboxCount};

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
        requests: 10,
        millis: 1234,
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
        survey: survey(),
    }
}

fn survey() -> Survey {
    let build = Build {
        repository: "demo/hello".to_owned(),
        revision: RevisionId("r1".to_owned()),
        account: None,
        began: 0,
        state: BuildState::Running,
        took_ms: None,
        error: None,
    };
    let sandboxes = |runtime: Option<&str>, network| SandboxCount {
        runtime: runtime.map(str::to_owned),
        network,
        waiting: 3,
        wanted: 4,
    };
    Survey {
        records: Some(Records {
            builds: vec![build],
            counts: BuildCounts {
                deployed: 11,
                rejected: 12,
            },
            ..Records::default()
        }),
        sandboxes: Some(vec![
            sandboxes(None, Some(Network::Outbound)),
            sandboxes(Some("python"), None),
        ]),
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
        "corefn_instances{state=\"frozen\"} 0",
        "corefn_builds_total{result=\"rejected\"} 12",
        "corefn_builds_running 1",
        "corefn_sandboxes{runtime=\"\",network=\"outbound\"} 3",
        "corefn_sandboxes_wanted{runtime=\"python\",network=\"\"} 4",
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
    assert_eq!(value["instances"]["draining"], 0);
    assert_eq!(value["builds"]["deployed"], 11);
    assert_eq!(value["sandboxes"][1]["runtime"], "python");
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

#[test]
fn errors_are_those_of_the_server() {
    let mut function = snapshot().functions.remove(0);
    assert_eq!((function.requests(), function.errors()), (10, 2));
    for status in [599, 500, 499, 299] {
        function.codes[code_index(status)] += 1;
    }
    assert_eq!((function.requests(), function.errors()), (14, 4));
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut snapshot = snapshot();
    snapshot.survey = Survey::default();
    let text = text(&snapshot);
    for absent in [
        "state=\"frozen\"",
        "corefn_builds_total{",
        "corefn_sandboxes{",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
    let value: Value = serde_json::from_str(&json(&snapshot)).unwrap();
    assert!(value["builds"].is_null() && value["sandboxes"].is_null());
}
