//! Nothing holds up the event loop: not for 5 ms, whatever Redis and Docker do.
//!
//! The module of `scripts/build-fault` takes how long each call of an entry point holds its thread
//! up, the time not counted that the system gave to others. So a busy machine doesn't matter.

use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::keys::Keys;
use corefn_tests::load::Load;
use corefn_tests::{Home, probe, process, wait_until};
use tokio::net::UnixListener;

use super::scale::{deploy, deployment};
use crate::page::Told;

const LONG: Duration = Duration::from_secs(30);

/// Where the loop may not be.
const STALL: u64 = 5_000;

/// What isn't called while a worker's event loop serves: at its begin and end.
const ELSEWHERE: [&str; 10] = [
    "create_loc_conf",
    "create_main_conf",
    "directive",
    "exit_process",
    "init_process",
    "init_upstream",
    "merge_loc_conf",
    "postconfiguration",
    "preconfiguration",
    "zone_init",
];

/// The longest call of each entry point in microseconds, when nginx has ended.
fn longest(home: &Home) -> Vec<(String, u64)> {
    let log = home.error_log();
    let measured = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once(" calls of ")?;
        let (name, rest) = rest.split_once(", longest ")?;
        Some((name.to_owned(), rest.strip_suffix(" us")?.parse().ok()?))
    });
    measured
        .filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()))
        .collect()
}

fn assert_none_stalls(home: &Home) {
    let times = longest(home);
    assert!(
        times.iter().any(|(name, _)| name == "on_updates"),
        "not measured"
    );
    println!("{times:?}");
    let long: Vec<_> = times.iter().filter(|(_, time)| *time >= STALL).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[tokio::test]
async fn redis_and_docker_that_hang() {
    let builder = Home::builder("stall").workers(1).with_faults();
    let mut home = builder.start_timeout("3s").start().await;
    let config = FunctionConfig {
        idle_ms: Some(60_000),
        ..probe::config()
    };
    home.deploy("demo/warm", config).await;
    home.deploy("demo/cold", probe::config()).await;
    home.deploy("demo/colder", probe::config()).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    let load = Load::start(home.client(), "/demo/warm/status/200", 4);

    home.redis.hang();
    let answer = home.get("/demo/cold/x").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    home.redis.resume();

    // A Docker that takes connections and never says a word.
    let socket = home.folder.file("silent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    home.conf.docker = format!("unix://{}", socket.display());
    let old = home.reload().await;
    wait_until("the old worker ends", LONG, async || {
        !old.iter().any(|&id| process::is_alive(id))
    })
    .await;
    let answer = home.get("/demo/colder/x").await;
    assert!([503, 504].contains(&answer.status), "{}", answer.text());

    load.finish().await.assert_all_answered();
    home.nginx.quit().await;
    assert_none_stalls(&home);
}

#[tokio::test]
async fn many_requests_that_are_resumed_at_once() {
    let mut home = Home::builder("crowd")
        .workers(1)
        .with_faults()
        .start()
        .await;
    home.deploy("demo/cold", probe::misbehaving("slow-start:1500"))
        .await;
    let requests: Vec<_> = (0..200)
        .map(|_| tokio::spawn(home.get("/demo/cold/status/200").send()))
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status, 200);
    }
    home.nginx.quit().await;
    assert_none_stalls(&home);
}

#[tokio::test]
async fn many_functions() {
    let builder = Home::builder("many").workers(1).with_faults();
    let mut home = builder.without_nginx().start().await;
    let mut deployment = home.deploy("demo/hello", probe::config()).await;
    deployment.function = "many/placeholder".parse().unwrap();
    let text = serde_json::to_string(&deployment).unwrap();
    let keys = Keys::new(home.namespace());
    let script = "for i = 1, 10000 do \
                    local text = string.gsub(ARGV[1], 'placeholder', 'function' .. i) \
                    redis.call('HSET', KEYS[1], 'many/function' .. i, text) \
                  end";
    home.redis
        .command::<()>(&["EVAL", script, "1", &keys.functions(), &text])
        .await;
    assert_eq!(home.store.deployments().await.unwrap().len(), 10_001);
    home.start_nginx().await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    // Once more, over what is there.
    home.redis
        .command::<usize>(&["CLIENT", "KILL", "TYPE", "pubsub"])
        .await;
    wait_until("it connects again", LONG, async || {
        let list = home
            .redis
            .command::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        !list.await.trim().is_empty()
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    home.nginx.quit().await;
    assert_none_stalls(&home);
}

/// Pages and scrapes of an installation with ten thousand functions, of a good many of which there is something to tell.
#[tokio::test]
async fn many_functions_that_are_looked_at() {
    const STATUS: &str = "location = /corefn/status { corefn_status; }";
    let builder = Home::builder("looked").workers(1).with_faults();
    let mut home = builder.server(STATUS).without_nginx().start().await;
    let all: Vec<_> = (0..10_000).map(|number| deployment(number, 1)).collect();
    deploy(&home, &all).await;
    home.start_nginx().await;
    wait_until("nginx has them", LONG, async || {
        home.error_log().contains(": 10000 functions are deployed")
    })
    .await;
    // (What is refused is counted as well.)
    for number in 0..1_000 {
        let path = format!("/account-{}/function-{number}/Nothing", number % 100);
        assert_eq!(home.get(&path).await.status, 404);
    }
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(Told::open(&home, "/corefn/status").await);
    }
    for page in &mut pages {
        let mut told = 0;
        while told < 10_000 {
            let message = page.next().await.unwrap();
            told += message["functions"].as_array().map_or(0, Vec::len);
        }
    }
    for _ in 0..20 {
        for kind in ["application/json", "text/plain"] {
            let answer = home.get("/corefn/status").header("Accept", kind).await;
            assert_eq!(answer.status, 200);
        }
    }
    drop(pages);
    home.nginx.quit().await;
    assert_none_stalls(&home);
}
