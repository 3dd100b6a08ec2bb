//! Spans of cold starts and of builds.

use std::time::Duration;

use corefn_core::names::HOST_FILE;
use corefn_core::names::attribute::WAY;
use corefn_tests::collector::{Collector, attribute};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_for, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const SPAN: &str = "00f067aa0ba902b7";

/// One that sends its spans to a collector.
async fn with_collector(name: &str, url: &str) -> Home {
    let directive = format!("corefn_traces {url};\n");
    let home = Home::builder(name).workers(2).http(&directive);
    let home = home.start().await;
    home.set(&format!("traces = '{url}'\n"));
    home
}

fn nanos(span: &Value, field: &str) -> u64 {
    span[field].as_str().unwrap().parse().unwrap()
}

/// The only span of a name, once it is there.
async fn only(collector: &Collector, name: &str) -> Value {
    wait_for(name, PATIENCE, async || {
        let mut all = collector.named(name);
        assert!(all.len() <= 1, "{all:?}");
        all.pop()
    })
    .await
}

#[tokio::test]
async fn cold_starts_belong_to_the_request_that_waits() {
    let collector = Collector::start().await;
    let home = with_collector("traces", &collector.url()).await;
    let deployed = home.deploy("demo/hello", probe::idle(60)).await;
    let ask = |flags: &str| {
        let request = home.get("/demo/hello/status/200");
        request.header("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}"))
    };
    assert_eq!(ask("01").await.status, 200);
    let start = only(&collector, "cold start").await;
    assert_eq!(start["traceId"], TRACE);
    assert_eq!(start["parentSpanId"], SPAN);
    assert_eq!(start["service"], "corefn-router");
    assert_eq!(start["status"], Value::Null);
    assert_eq!(attribute(&start, "faas.name"), Some("demo/hello"));
    let revision = deployed.revision.to_string();
    assert_eq!(attribute(&start, "faas.version"), Some(&*revision));
    assert_eq!(attribute(&start, WAY), Some("image"));
    let instance = attribute(&start, "faas.instance").unwrap();
    assert!(
        home.error_log()
            .contains(&format!("started instance {instance}"))
    );
    // Its steps are in it, one after the other.
    let steps = collector.parts_of(&start);
    let names: Vec<_> = steps
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["created", "started", "ready"]);
    let mut time = nanos(&start, "startTimeUnixNano");
    for step in &steps {
        let begin = nanos(step, "startTimeUnixNano");
        assert!(begin >= time, "{steps:?}");
        time = nanos(step, "endTimeUnixNano");
        assert!(time > begin, "{steps:?}");
    }
    assert!(nanos(&start, "endTimeUnixNano") >= time);

    // Of warm requests, and of traces that are not recorded, there are none.
    assert_eq!(ask("01").await.status, 200);
    home.deploy("demo/other", probe::idle(60)).await;
    let other = home.get("/demo/other/status/200");
    let other = other.header("traceparent", &format!("00-{TRACE}-{SPAN}-00"));
    assert_eq!(other.await.status, 200);

    // A start that fails says why, and begins a trace where there is none.
    home.deploy("demo/bad", probe::misbehaving("exit")).await;
    assert_eq!(home.get("/demo/bad/x").await.status, 502);
    wait_until("its failure is told", PATIENCE, async || {
        collector.named("cold start").len() == 2
    })
    .await;
    let failed = collector.named("cold start").pop().unwrap();
    assert_eq!(
        (&failed["parentSpanId"], &failed["status"]["code"]),
        (&Value::Null, &2.into())
    );
    let why = failed["status"]["message"].as_str().unwrap();
    assert!(why.contains("exited with code 3"), "{why}");
    assert_ne!(failed["traceId"], TRACE);
}

#[tokio::test]
async fn pushes_have_their_steps() {
    let collector = Collector::start().await;
    let home = with_collector("tracespush", &collector.url()).await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.probe("");
    let commit = hello.commit("First").await;
    hello.push().await.accepted();
    // (The push ends when they are sent.)
    let pushes = collector.named("push");
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0]["service"], "corefn-build");
    assert_eq!(
        attribute(&pushes[0], "vcs.repository.name"),
        Some("demo/hello")
    );
    assert_eq!(
        attribute(&pushes[0], "vcs.ref.head.revision"),
        Some(&*commit)
    );
    let steps = collector.parts_of(&pushes[0]);
    let names: Vec<_> = steps
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["build", "deploy"]);
    assert_eq!(attribute(&steps[0], "faas.name"), Some("demo/hello"));

    hello.probe("[wrong]\n");
    hello.commit("Second").await;
    hello.push().await.rejected(&["wrong"]);
    let failed = collector.named("push").pop().unwrap();
    assert_eq!(failed["status"]["code"], 2);

    let host = home.folder.read(HOST_FILE);
    let host = host.replace(&collector.url(), "https://h");
    home.folder.write(HOST_FILE, host);
    hello.probe("");
    hello.commit("Third").await;
    hello
        .push()
        .await
        .rejected(&["host.toml: traces: \"https://h\" is no address of a collector"]);
}

/// Nobody waits for a collector that is away.
#[tokio::test]
async fn collectors_may_be_away() {
    let gone = Collector::start().await.url();
    let home = with_collector("tracesaway", &gone).await;
    for number in 0..2 {
        let function = format!("demo/f{number}");
        home.deploy(&function, probe::idle(60)).await;
        assert_eq!(
            home.get(&format!("/{function}/status/200")).await.status,
            200
        );
    }
    wait_until("it is logged", PATIENCE, async || {
        home.error_log()
            .contains("spans are lost: the collector at 127.0.0.1:")
    })
    .await;
}
