//! What a warm request costs: nothing but nginx.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use corefn_tests::load::Load;
use corefn_tests::{Home, probe};

#[tokio::test]
async fn warm_requests_call_neither_redis_nor_docker() {
    let home = Home::builder("warm").docker_proxy().start().await;
    home.deploy("demo/one", probe::config()).await;
    home.deploy("demo/two", probe::config()).await;
    for function in ["one", "two"] {
        assert_eq!(home.get(&format!("/demo/{function}/x")).await.status, 200);
    }
    // Whatever the starts have left to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = home.proxy().calls();
    let mut monitor = home.redis.monitor().await;
    let begin = Instant::now();

    let one = Load::start(home.client(), "/demo/one/status/200", 4);
    let two = Load::start(home.client(), "/demo/two/status/200", 4);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (one, two) = (one.finish().await, two.finish().await);

    let commands = monitor.commands(&home.redis).await;
    let seconds = begin.elapsed().as_secs() as usize + 1;
    assert!(
        one.failed.is_empty() && two.failed.is_empty(),
        "{one:?} {two:?}"
    );
    assert!(one.answered + two.answered > 2000, "{one:?} {two:?}");
    let renewals = commands
        .iter()
        .filter(|command| command.starts_with("\"EVALSHA\""))
        .count();
    assert_eq!(
        renewals,
        commands.len(),
        "something else than renewals: {commands:?}"
    );
    assert!(
        renewals <= 2 * seconds,
        "{renewals} renewals of two leases in {seconds} s"
    );
    assert!(
        renewals >= 3,
        "{renewals} renewals would not keep a lease of 3 s for 5 s"
    );
    assert_eq!(home.proxy().calls(), calls);
}

#[tokio::test]
async fn one_long_request_renews_once_a_second() {
    let home = Home::start("renewals").await;
    home.deploy("demo/hello", probe::config()).await;
    // The first renewal also loads the script.
    assert_eq!(home.get("/demo/hello/sleep/1500").await.status, 200);
    let mut monitor = home.redis.monitor().await;
    assert_eq!(home.get("/demo/hello/sleep/6000").await.status, 200);
    let commands = monitor.commands(&home.redis).await;
    assert!((4..=7).contains(&commands.len()), "{commands:?}");
}

#[tokio::test]
async fn one_connection_many_requests() {
    let home = Home::start("keepalive").await;
    home.deploy("demo/hello", probe::config()).await;
    // One connection, many requests: each gets its own answer.
    let mut connection = home.client().connect().await;
    for number in 0..200 {
        connection
            .write(format!(
                "GET /demo/hello/n{number} HTTP/1.1\r\nHost: h\r\n\r\n"
            ))
            .await;
        let answer = connection.answer().await;
        assert_eq!(answer.json()["target"], format!("/n{number}"));
    }
    let accesses = home.accesses(200).await;
    assert!(accesses[1..].iter().all(|access| access.start == "warm"));
}
