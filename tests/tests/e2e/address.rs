//! Which addresses containers get.

use corefn_core::names::label;
use corefn_tests::{Home, probe};

/// More than a start tries of addresses that are taken.
const RUNNING: usize = 7;

#[tokio::test]
async fn emptied_redis_does_not_give_out_the_addresses_of_what_runs() {
    let home = Home::start("addresses").await;
    for number in 0..RUNNING {
        home.deploy(&format!("demo/f{number}"), probe::config())
            .await;
        assert_eq!(home.get(&format!("/demo/f{number}/x")).await.status, 200);
    }
    home.deploy("demo/next", probe::config()).await;
    let before = addresses(&home).await;
    home.redis.command::<String>(&["FLUSHALL"]).await;
    let answer = home.get("/demo/next/x").await;
    assert_eq!((answer.status, answer.error()), (200, None));
    let mut after = addresses(&home).await;
    after.retain(|address| !before.contains(address));
    assert_eq!(after.len(), 1, "{before:?} and then {after:?}");
}

async fn addresses(home: &Home) -> Vec<String> {
    let containers = home.docker.containers().await.unwrap();
    let of = |labels: &std::collections::HashMap<_, _>| labels.get(label::ADDRESS).cloned();
    containers
        .iter()
        .filter_map(|container| of(&container.labels))
        .collect()
}
