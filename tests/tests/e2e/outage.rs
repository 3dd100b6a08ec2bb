//! Redis and Docker that are away, hang or are empty.

use std::time::{Duration, Instant};

use corefn_tests::load::Load;
use corefn_tests::{Home, probe, wait_until};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn docker_that_is_not_there() {
    let home = Home::builder("nodocker")
        .docker_at("unix:///nonexistent/docker.sock")
        .start()
        .await;
    let begin = Instant::now();
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.said(), (503, Some("docker-unavailable")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Not when the time for a start is over.
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert!(home.error_log().contains("/nonexistent/docker.sock"));
}

#[tokio::test]
async fn docker_that_goes_away_and_comes_back() {
    let home = Home::builder("dockerback").docker_proxy().start().await;
    home.deploy("demo/warm", probe::config()).await;
    home.deploy("demo/cold", probe::config()).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    home.proxy().shut();
    let begin = Instant::now();
    let answer = home.get("/demo/cold/x").await;
    assert_eq!(answer.said(), (503, Some("docker-unavailable")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Not when the time for a start is over.
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert_eq!(
        home.get("/demo/warm/x").await.status,
        200,
        "warm functions go on"
    );
    home.proxy().reopen();
    assert_eq!(
        home.get("/demo/cold/x").await.status,
        200,
        "the very next request finds it"
    );
}

#[tokio::test]
async fn redis_that_is_not_there_at_the_start() {
    let mut home = Home::builder("noredis").without_nginx().start().await;
    home.deploy("demo/hello", probe::config()).await;
    home.redis.stop().await;
    home.start_nginx().await;
    // What is deployed is in the images.
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(
        home.get("/unknown/function").await.said(),
        (404, Some("unknown-function"))
    );
    home.redis.start().await;
    wait_until("the router finds it", Duration::from_secs(30), async || {
        home.get("/demo/hello/x").await.status == 200
    })
    .await;
    assert_eq!(
        home.get("/unknown/function").await.said(),
        (404, Some("unknown-function"))
    );
}

#[tokio::test]
async fn warm_functions_do_without_redis() {
    let mut home = Home::start("redisgone").await;
    home.start_cleaner(Some(1));
    let deployment = home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let load = Load::start(home.client(), "/demo/hello/status/200", 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    home.redis.kill().await;
    // Longer than a lease.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        home.get("/unknown/function").await.said(),
        (404, Some("unknown-function"))
    );
    home.redis.start().await;
    wait_until("the index is rebuilt", LONG, async || {
        let deployments = home.store.deployments().await.unwrap_or_default();
        let instances = home.store.instances().await.unwrap_or_default();
        deployments == [deployment.clone()] && instances.len() == 1
    })
    .await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let report = load.finish().await;
    report.assert_all_answered();
    assert_eq!(
        home.error_log().matches("started instance").count(),
        1,
        "what was busy was stopped"
    );
    wait_until("it is stopped when it is idle", LONG * 2, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn emptied_redis_is_filled_from_docker() {
    let mut home = Home::start("flush").await;
    home.start_cleaner(Some(1));
    let one = home.deploy("demo/one", probe::config()).await;
    let two = home.deploy("demo/two", probe::config()).await;
    assert_eq!(home.get("/demo/one/x").await.status, 200);
    let load = Load::start(home.client(), "/demo/one/status/200", 2);
    home.redis.command::<String>(&["FLUSHALL"]).await;
    assert_eq!(
        home.get("/demo/two/x").await.status,
        200,
        "a cold start right after it"
    );
    wait_until("the index is rebuilt", LONG, async || {
        let mut deployments = home.store.deployments().await.unwrap();
        deployments.sort_by(|a, b| a.function.cmp(&b.function));
        home.store.has_index().await.unwrap() && deployments == [one.clone(), two.clone()]
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let report = load.finish().await;
    report.assert_all_answered();
    assert_eq!(
        home.instances("demo/one").await.len(),
        1,
        "what was busy was stopped"
    );
    // A router that starts now knows the same.
    home.reload().await;
    assert_eq!(home.get("/demo/two/x").await.status, 200);
    assert_eq!(
        home.get("/unknown/x").await.said(),
        (404, Some("unknown-function"))
    );
}

#[tokio::test]
async fn redis_that_comes_back_as_it_was_before() {
    const COUNT: usize = 8;
    let mut home = Home::start("set-back").await;
    let name = |number: usize| format!("demo/f{number}");
    for number in 0..2 * COUNT {
        home.deploy(&name(number), probe::idle(60)).await;
    }
    let cold = async |home: &Home, number: usize| {
        let answer = home.get(&format!("/{}/status/200", name(number))).await;
        assert_eq!(answer.said(), (200, None), "{number}: {}", answer.text());
    };
    cold(&home, 0).await;
    home.redis.save().await;
    let mut given = vec![home.store.next_address().await.unwrap()];
    for number in 1..COUNT {
        cold(&home, number).await;
    }
    given.push(home.store.next_address().await.unwrap());
    home.redis.kill().await;
    home.redis.start().await;
    // It does not know of those that run, and gives their addresses to nobody.
    let next = home.store.next_address().await.unwrap();
    assert!(
        !(given[0]..=given[1]).contains(&next),
        "{next} of {given:?}"
    );
    for number in 0..2 * COUNT {
        cold(&home, number).await;
    }
    assert!(!home.error_log().contains("Address already in use"));
}

#[tokio::test]
async fn redis_that_hangs_at_the_start() {
    let mut home = Home::builder("hangsfirst").without_nginx().start().await;
    home.deploy("demo/hello", probe::config()).await;
    home.redis.hang();
    home.start_nginx().await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    home.redis.resume();
    wait_until("Redis is told of it", LONG, async || {
        home.store.instances().await.is_ok_and(|all| all.len() == 1)
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.instances("demo/hello").await.len(), 1);
}

#[tokio::test]
async fn docker_that_hangs() {
    let home = Home::builder("dockerhangs")
        .docker_proxy()
        .early("3s")
        .start()
        .await;
    home.deploy("demo/warm", probe::config()).await;
    home.deploy("demo/cold", probe::config()).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    home.proxy().hang();
    let load = Load::start(home.client(), "/demo/warm/status/200", 2);
    let answer = home.get("/demo/cold/early").await;
    assert_eq!(answer.said(), (504, Some("start-timeout")));
    assert!(home.error_log().contains("Docker did not create and start"));
    load.finish().await.assert_all_answered();
    home.proxy().resume();
    assert_eq!(home.get("/demo/cold/x").await.status, 200);
}

#[tokio::test]
async fn redis_and_docker_that_both_hang() {
    let mut home = Home::builder("bothhang").docker_proxy().start().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    home.redis.hang();
    home.proxy().hang();
    let load = Load::start(home.client(), "/demo/hello/status/200", 2);
    // Longer than the lease.
    tokio::time::sleep(Duration::from_secs(5)).await;
    home.redis.resume();
    home.proxy().resume();
    load.finish().await.assert_all_answered();
}
