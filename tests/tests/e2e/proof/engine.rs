//! A Docker engine that is stopped, killed and hangs, each in a test with one of its own; and the subnets it gives.

use std::process::Command;
use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_tests::load::Load;
use corefn_tests::{Home, probe, wait_until};

const LONG: Duration = Duration::from_secs(20);

/// What is said where a function is needed that only Docker could start.
const UNAVAILABLE: (u16, Option<&str>) = (503, Some("docker-unavailable"));

/// An installation with `demo/warm`, which runs, and `demo/cold`, which doesn't.
async fn home(name: &str, live_restore: bool) -> Home {
    let mut home = Home::builder(name)
        .own_engine()
        .start_timeout("5s")
        .start()
        .await;
    if live_restore {
        let engine = home.engine();
        engine.stop().await;
        engine.live_restore = true;
        engine.start().await;
    }
    for function in ["demo/warm", "demo/cold"] {
        home.deploy(function, probe::idle(3)).await;
    }
    home.start_cleaner(Some(1));
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    home
}

async fn instances(home: &Home, function: &str) -> Vec<String> {
    let containers = home.instances(function).await.into_iter();
    let running = containers.filter(|container| container.running);
    running
        .map(|container| container.labels[label::INSTANCE].clone())
        .collect()
}

/// A function that doesn't run is refused at once, and is told of the next try.
async fn refused_at_once(home: &Home) {
    let begin = Instant::now();
    let answer = home.get("/demo/cold/x").await;
    assert_eq!(answer.said(), UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// Every request was answered, or told that Docker can't be reached.
async fn answered_or_told(load: Load) {
    let mut report = load.finish().await;
    report
        .failed
        .retain(|failed| !failed.contains("docker-unavailable"));
    report.assert_all_answered();
}

/// All is as if nothing had been: functions run, and are stopped when they are idle.
async fn recovers(home: &Home) {
    for function in ["warm", "cold"] {
        let answer = home.get(&format!("/demo/{function}/x")).await;
        assert_eq!(answer.status, 200, "{function}: {}", answer.text());
    }
    for function in ["demo/warm", "demo/cold"] {
        wait_until("no container is left", LONG, async || {
            home.instances(function).await.is_empty()
        })
        .await;
    }
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
}

/// Its containers go on, so nobody with a warm function notices, be it stopped or killed.
async fn goes_on_without(home: &mut Home, end: impl AsyncFnOnce(&mut Home)) {
    let before = instances(home, "demo/warm").await;
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    end(home).await;
    for _ in 0..5 {
        refused_at_once(home).await;
        // Longer than the idle time in all: the lease is renewed, and the cleaner can't be wrong.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    home.engine().start().await;
    assert_eq!(home.get("/demo/cold/x").await.status, 200, "the very next");
    load.finish().await.assert_all_answered();
    assert_eq!(instances(home, "demo/warm").await, before);
    recovers(home).await;
}

#[tokio::test]
async fn engine_that_is_stopped_and_restores_its_containers() {
    let mut home = home("restored", true).await;
    goes_on_without(&mut home, async |home| home.engine().stop().await).await;
}

#[tokio::test]
async fn engine_that_is_killed_and_restores_its_containers() {
    let mut home = home("killedlive", true).await;
    goes_on_without(&mut home, async |home| home.engine().kill().await).await;
}

/// Its containers end with it: whoever has an answer under way gets it, all others are told at
/// once, and afterwards nothing stands in the way.
#[tokio::test]
async fn engine_that_is_stopped_with_its_containers() {
    let mut home = home("stopped", false).await;
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    home.engine().stop().await;
    for _ in 0..3 {
        refused_at_once(&home).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    home.engine().start().await;
    answered_or_told(load).await;
    recovers(&home).await;
}

/// Docker ends the containers only when it starts again.
#[tokio::test]
async fn engine_that_is_killed() {
    let mut home = home("killed", false).await;
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    home.engine().kill().await;
    for _ in 0..3 {
        refused_at_once(&home).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    load.finish().await.assert_all_answered();
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    home.engine().start().await;
    answered_or_told(load).await;
    recovers(&home).await;
}

#[tokio::test]
async fn engine_that_hangs() {
    let mut home = home("hangs", false).await;
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    home.engine().hang();
    let begin = Instant::now();
    let answer = home.get("/demo/cold/x").await;
    assert_eq!(answer.said(), (504, Some("start-timeout")));
    let took = begin.elapsed().as_secs_f32();
    assert!((4.5..7.0).contains(&took), "{took} s");
    home.engine().resume();
    wait_until("it starts", LONG, async || {
        home.get("/demo/cold/x").await.status == 200
    })
    .await;
    load.finish().await.assert_all_answered();
    recovers(&home).await;
}

/// All ends at once, and what was in memory is lost; containers that have ended are still there.
#[tokio::test]
async fn host_that_is_started_again() {
    let mut home = home("reboot", false).await;
    home.take_cleaner().kill().await;
    home.nginx.end();
    home.redis.kill().await;
    home.engine().stop().await;

    home.engine().start().await;
    assert_eq!(home.instances("demo/warm").await.len(), 1, "what has ended");
    home.redis.start().await;
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    recovers(&home).await;
}

/// A link that leads to a subnet; dropping it removes it.
struct Link(String);

impl Link {
    fn to(name: &str, address: &str) -> Self {
        let link = Self(name.to_owned());
        ip(&["link", "add", name, "type", "bridge"]);
        ip(&["address", "add", address, "dev", name]);
        ip(&["link", "set", name, "up"]);
        link
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {}", arguments.join(" "));
}

#[tokio::test]
async fn functions_get_no_subnet_that_a_route_leads_to() {
    let _all = Link::to("cftroute0", "10.192.0.1/16");
    let _part = Link::to("cftroute1", "10.193.7.1/24");
    let home = Home::start("routes").await;
    home.deploy("demo/hello", probe::config()).await;
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let instances = home.store.instances().await.unwrap();
    let address = instances[0].instance.address.to_string();
    assert!(
        !address.starts_with("10.192.") && !address.starts_with("10.193."),
        "{address}"
    );
}
