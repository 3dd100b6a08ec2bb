//! What is measured, as it is told.

use std::collections::HashMap;
use std::time::Duration;

use corefn_core::metrics::{JSON, TEXT};
use corefn_tests::{Home, probe, process, wait_until};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

const STATUS: &str = "location = /corefn/status { corefn_status; }
    location = /closed { corefn_status; deny all; }";

/// What is told, by the metric with its labels.
async fn told(home: &Home) -> HashMap<String, f64> {
    let answer = home.get("/corefn/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(TEXT));
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let told = lines.map(|line| {
        let (metric, value) = line.rsplit_once(' ').unwrap();
        (metric.to_owned(), value.parse().unwrap())
    });
    told.collect()
}

fn requests(function: &str, code: &str) -> String {
    format!("corefn_requests_total{{function=\"{function}\",code=\"{code}\"}}")
}

#[tokio::test]
async fn requests_and_starts_are_counted_over_all_workers() {
    let mut home = Home::builder("metrics")
        .workers(4)
        .with_alerts()
        .server(STATUS)
        .start()
        .await;
    home.deploy("demo/hello", probe::idle(60)).await;
    home.deploy("demo/bad", probe::misbehaving("exit")).await;
    // Twenty wait for one start, and then many don't.
    for answer in home.at_once("/demo/hello/sleep/200", 20).await {
        assert_eq!(answer.status, 200);
    }
    for _ in 0..100 {
        assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    }
    assert_eq!(home.get("/demo/hello/status/418").await.status, 418);
    assert_eq!(
        home.get("/demo/bad/x").await.error(),
        Some("function-exited")
    );
    assert_eq!(
        home.get("/no/function").await.error(),
        Some("unknown-function")
    );
    // (A request is counted when nginx has done with it, which may be after its client has.)
    let counts = [
        (requests("demo/hello", "200"), 20.0),
        (requests("demo/hello", "204"), 100.0),
        (requests("demo/hello", "4xx"), 1.0),
        (requests("demo/bad", "502"), 1.0),
        (requests("", "404"), 1.0),
        (
            "corefn_request_duration_seconds_count{function=\"demo/hello\"}".to_owned(),
            121.0,
        ),
        (
            "corefn_waited_requests_total{function=\"demo/hello\",start=\"cold\"}".to_owned(),
            20.0,
        ),
        ("corefn_overhead_seconds_count".to_owned(), 123.0),
        (
            "corefn_errors_total{error=\"function-exited\"}".to_owned(),
            1.0,
        ),
        (
            "corefn_errors_total{error=\"unknown-function\"}".to_owned(),
            1.0,
        ),
        ("corefn_errors_total{error=\"queue-full\"}".to_owned(), 0.0),
        ("corefn_cold_starts_total{way=\"image\"}".to_owned(), 1.0),
        (
            "corefn_start_duration_seconds_count{way=\"image\"}".to_owned(),
            1.0,
        ),
        ("corefn_stops_total{reason=\"died\"}".to_owned(), 1.0),
        ("corefn_stops_total{reason=\"stopped\"}".to_owned(), 0.0),
        ("corefn_functions".to_owned(), 2.0),
        ("corefn_instances{state=\"idle\"}".to_owned(), 1.0),
        ("corefn_workers".to_owned(), 4.0),
        ("corefn_requests_in_flight".to_owned(), 0.0),
        ("corefn_redis_up".to_owned(), 1.0),
        ("corefn_docker_up".to_owned(), 1.0),
    ];
    wait_until("all are counted", PATIENCE, async || {
        let told = told(&home).await;
        counts
            .iter()
            .all(|(metric, wanted)| told.get(metric) == Some(wanted))
    })
    .await;
    let told_before = told(&home).await;
    assert!(
        told_before["corefn_request_duration_seconds_sum{function=\"demo/hello\"}"] >= 20.0 * 0.2
    );
    let phases = ["created", "started", "ready"].map(|phase| {
        told_before[&format!("corefn_start_phase_seconds_total{{way=\"image\",phase=\"{phase}\"}}")]
    });
    let took = told_before["corefn_start_duration_seconds_sum{way=\"image\"}"];
    assert!(
        (phases.iter().sum::<f64>() - took).abs() < 0.001,
        "{phases:?} {took}"
    );
    assert!(phases[0] > 0.0 && phases[1] > 0.0 && took < 30.0);

    // What is under way is seen.
    let slow = tokio::spawn(home.get("/demo/hello/sleep/3000").send());
    wait_until("one is under way", PATIENCE, async || {
        let told = told(&home).await;
        told["corefn_requests_in_flight"] == 1.0 && told["corefn_instances{state=\"busy\"}"] == 1.0
    })
    .await;
    assert_eq!(slow.await.unwrap().unwrap().status, 200);

    // Neither a reload nor the end of a worker loses what was counted.
    let workers = home.reload().await;
    wait_until("the old workers end", PATIENCE, async || {
        !workers.iter().any(|&id| process::is_alive(id))
    })
    .await;
    for worker in home.ready_workers().await.into_iter().take(2) {
        process::signal(worker, Signal::KILL);
    }
    wait_until("there are four again", PATIENCE, async || {
        let told = told(&home).await;
        told["corefn_workers"] == 4.0
            && told[&requests("demo/hello", "200")] == 21.0
            && told[&requests("demo/hello", "204")] == 100.0
    })
    .await;

    // For programs.
    let answer = home.get("/corefn/status").header("Accept", JSON).await;
    assert_eq!(answer.header("content-type"), Some(JSON));
    let said = answer.json();
    let functions = said["functions"].as_array().unwrap();
    let hello = functions
        .iter()
        .find(|it| it["name"] == "demo/hello")
        .unwrap();
    assert_eq!(hello["codes"]["204"], 100);
    assert_eq!(said["starts"]["image"]["count"], 1);

    // An end that all workers hear of is one.
    let instances = home.instances("demo/hello").await;
    home.docker
        .stop(&instances[0].id, Duration::from_secs(1))
        .await
        .unwrap();
    wait_until("its end is counted", PATIENCE, async || {
        told(&home).await["corefn_stops_total{reason=\"stopped\"}"] > 0.0
    })
    .await;
    home.deploy("demo/other", probe::config()).await;
    assert_eq!(home.get("/demo/other/x").await.status, 200);
    assert_eq!(
        told(&home).await["corefn_stops_total{reason=\"stopped\"}"],
        1.0
    );

    // As any location of nginx's.
    assert_eq!(home.get("/closed").await.status, 403);
    assert_eq!(home.client().post("/corefn/status", "x").await.status, 405);
}

#[tokio::test]
async fn services_that_are_away_are_told() {
    let mut home = Home::builder("metricsaway")
        .workers(1)
        .docker_proxy()
        .server(STATUS)
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let up = async |home: &Home| {
        let told = told(home).await;
        (told["corefn_redis_up"], told["corefn_docker_up"])
    };
    assert_eq!(up(&home).await, (1.0, 1.0));
    home.redis.stop().await;
    wait_until("Redis is missed", PATIENCE, async || {
        up(&home).await == (0.0, 1.0)
    })
    .await;
    home.redis.start().await;
    wait_until("Redis is found", PATIENCE, async || {
        up(&home).await == (1.0, 1.0)
    })
    .await;
    // (With the next event its old connections end as well.)
    let instances = home.instances("demo/hello").await;
    home.proxy().shut();
    home.docker.remove(&instances[0].id).await.unwrap();
    wait_until("Docker is missed", PATIENCE, async || {
        up(&home).await == (1.0, 0.0)
    })
    .await;
    home.proxy().reopen();
    wait_until("Docker is found", PATIENCE, async || {
        up(&home).await == (1.0, 1.0)
    })
    .await;
}

/// However many functions there are, what is told is bounded by the zone.
#[tokio::test]
async fn functions_beyond_the_zone_are_counted_together() {
    let home = Home::builder("metricsfull")
        .workers(1)
        .zone("256k")
        .server(STATUS)
        .start()
        .await;
    const FUNCTIONS: usize = 80;
    // (What is deployed from now on is told by the log.)
    assert_eq!(home.get("/no/function").await.status, 404);
    for number in 0..FUNCTIONS {
        let deployment = home.without_image(&format!("demo/f{number}"), probe::config());
        home.store.deploy(&[(&deployment, None)]).await.unwrap();
    }
    home.knows(&format!("demo/f{}", FUNCTIONS - 1), "r1").await;
    for number in 0..FUNCTIONS {
        let answer = home.get(&format!("/demo/f{number}/x")).await;
        assert_eq!(answer.error(), Some("image-missing"));
    }
    let counted = async || {
        let told = told(&home).await;
        let counted = told
            .into_iter()
            .filter(|(metric, _)| metric.starts_with("corefn_requests_total{"));
        let counted = counted.filter(|(metric, _)| *metric != requests("", "404"));
        counted.collect::<HashMap<_, _>>()
    };
    wait_until("all are counted", PATIENCE, async || {
        counted().await.values().sum::<f64>() == FUNCTIONS as f64
    })
    .await;
    let counted = counted().await;
    let others = counted[&requests("other", "502")];
    assert!(others > 0.0 && counted.len() > 30, "{counted:?}");
    assert_eq!(counted.len() as f64 - 1.0 + others, FUNCTIONS as f64);
}
