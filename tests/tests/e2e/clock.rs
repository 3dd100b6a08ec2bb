//! A wall clock that jumps: Redis ends leases by it.

use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_tests::clock::Clock;
use corefn_tests::{Home, probe, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600;

/// An installation whose Redis and cleaner go by a clock of their own.
async fn home(name: &str) -> (Home, Clock) {
    let mut home = Home::builder(name).without_nginx().start().await;
    let clock = Clock::new(&home.folder);
    home.redis.stop().await;
    home.redis.clock = Some(clock.clone());
    home.redis.start().await;
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        idle_ms: Some(3000),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    (home, clock)
}

async fn seconds(home: &Home) -> i64 {
    let time: Vec<String> = home.redis.command(&["TIME"]).await;
    time[0].parse().unwrap()
}

async fn is_stopped_when_idle(home: &Home) {
    wait_until("it is stopped when it is idle", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn jump_ahead_stops_nothing_busy() {
    let (home, clock) = home("ahead").await;
    let held = tokio::spawn(home.get("/demo/hello/sleep/15000").send());
    wait_until("it is leased", PATIENCE, async || {
        home.store.instances().await.unwrap().len() == 1
    })
    .await;
    let before = seconds(&home).await;
    for jump in 1..=3 {
        clock.set(jump * DAY);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(
        seconds(&home).await > before + 2 * DAY,
        "the clock is not faked"
    );
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert!(home.cleaner_log().contains("the clock has jumped"));
    is_stopped_when_idle(&home).await;
}

#[tokio::test]
async fn jump_back_keeps_nothing_for_ever() {
    let (home, clock) = home("back").await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let before = seconds(&home).await;
    clock.set(-DAY);
    assert!(
        seconds(&home).await < before - DAY / 2,
        "the clock is not faked"
    );
    is_stopped_when_idle(&home).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}
