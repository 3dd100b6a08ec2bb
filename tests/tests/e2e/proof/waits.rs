//! What takes a minute or more: idle times as they are by default, and long outages.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::network::Network;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::builds;
use corefn_tests::{Home, probe, wait_until};

use crate::idle::{ROUND, SLACK, count, gone};
use crate::push_rejected::{State, deployed};
use crate::sandboxes::{become_probe, claimed, until_gone, until_waiting};
use crate::without_redis::{registered, told};

const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any lease in these tests, and than every pause between two tries to connect.
const TWO_MINUTES: Duration = Duration::from_secs(120);

#[tokio::test]
async fn default_idle_time_is_a_minute() {
    let mut home = Home::start("minute").await;
    home.start_cleaner(None);
    let config = FunctionConfig {
        idle_ms: None,
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let last = Instant::now();
    let took = gone(&home, "demo/hello").await - last;
    let minute = Duration::from_secs(60);
    assert!(took >= minute && took <= minute + ROUND + SLACK, "{took:?}");
}

#[tokio::test]
async fn request_of_90_seconds_survives() {
    let mut home = Home::start("ninety").await;
    home.start_cleaner(None);
    home.deploy("demo/hello", probe::idle(5)).await;
    let request = home
        .get("/demo/hello/sleep/90000")
        .patience(Duration::from_secs(120));
    let answer = request.await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "slept\n"));
    assert_eq!(count(&home, "demo/hello").await, 1, "it is not idle yet");
    gone(&home, "demo/hello").await;
}

#[tokio::test]
async fn two_minutes_without_redis() {
    let mut home = Home::start("twominutes").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/warm", probe::idle(10)).await;
    home.deploy("demo/socket", probe::idle(10)).await;
    home.deploy("demo/cold", probe::idle(10)).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    let mut socket = home.client().websocket("/demo/socket/x").await;
    home.redis.kill().await;
    let begin = Instant::now();
    assert_eq!(home.get("/demo/cold/x").await.status, 200);
    while begin.elapsed() < TWO_MINUTES {
        assert_eq!(home.get("/demo/warm/status/200").await.status, 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Its idle time is long over, but nobody may stop it.
    assert_eq!(home.get("/demo/cold/x").await.status, 200);
    assert_eq!(told(&home, "started instance"), 3);
    socket.write("ping").await;
    assert_eq!(socket.read(4).await, b"ping");

    home.redis.start().await;
    registered(&home, 3).await;
    socket.write("pong").await;
    assert_eq!(socket.read(4).await, b"pong");
    drop(socket);
    for function in ["demo/warm", "demo/socket", "demo/cold"] {
        wait_until("it is stopped when it is idle", PATIENCE, async || {
            home.instances(function).await.is_empty()
        })
        .await;
    }
    assert_eq!(told(&home, "started instance"), 3);
}

#[tokio::test]
async fn functions_that_never_listen_are_rejected() {
    let home = Home::builder("deaf").without_nginx().start().await;
    let (never, elsewhere) = tokio::join!(
        deployed(&home, "demo/never"),
        deployed(&home, "demo/elsewhere")
    );
    never.write("server.pl", "$| = 1; print qq(waiting\\n); sleep 600;\n");
    never.commit("Sleeps").await;
    elsewhere.replace("server.pl", "$ENV{PORT} // 8080", "9090");
    elsewhere.commit("Port 9090").await;
    let good = State::of(&home, &never).await;
    let (first, second) = tokio::join!(never.push(), elsewhere.push());
    first.rejected(&[
        "the new revision does not start, so it is not deployed: demo/never runs, but nothing \
         accepted a connection on port 8080 within 30s",
        "listen on 0.0.0.0 and the port in $PORT; its last output:",
        "waiting",
    ]);
    second.rejected(&["demo/elsewhere runs, but nothing accepted a connection on port 8080"]);
    assert_eq!(State::of(&home, &never).await, good);
    assert_eq!(builds(&home.docker).await.len(), 0);
}

/// Whoever has claimed a sandbox dies before anybody knows what it has become, alone or together with the keeper.
#[tokio::test]
async fn sandboxes_that_nobody_names() {
    let home = Home::builder("unnamed").without_nginx().start().await;
    let mut keeper = Keeper::start(&home, "floor = 1");
    for keeper_dies in [false, true] {
        until_waiting(&home, 2).await;
        let taken = claimed(&home, &keeper, Network::Outbound).await;
        let container = taken.sandbox.container.clone();
        become_probe(&home, taken).await;
        if keeper_dies {
            keeper.kill().await;
            keeper = Keeper::start_again(&home);
        }
        let begin = Instant::now();
        until_gone(&home, &container).await;
        assert!(begin.elapsed() > Duration::from_secs(50));
    }
}
