//! What a warm request costs: nothing but nginx.

use corefn_tests::{Home, probe};

/// How many requests are sent, one after the other.
const REQUESTS: usize = 500;

#[tokio::test]
async fn warm_requests_call_neither_redis_nor_docker() {
    let home = Home::builder("warm").docker_proxy().start().await;
    home.deploy("demo/hello", probe::idle(60)).await;
    let events = home.events().await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    events.all().await;
    let mut monitor = home.redis.monitor().await;
    let calls = home.proxy().calls();
    for _ in 0..REQUESTS {
        assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    }
    let commands = monitor.commands(&home.redis).await;
    // The lease is renewed about once a second, and somebody may still be told of the start.
    assert!(commands.len() < REQUESTS / 10, "{commands:?}");
    assert_eq!(home.proxy().calls(), calls);
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
