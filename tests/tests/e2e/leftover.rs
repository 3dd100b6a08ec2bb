//! Containers that nobody looked after are tidied up or replaced.

use std::time::{Duration, Instant};

use corefn_core::instance::InstanceId;
use corefn_core::names::label;
use corefn_engine::docker::{Joined, Placement, Purpose};
use corefn_tests::{Home, probe, wait_until};

#[tokio::test]
async fn stop_that_a_cleaner_did_not_finish_is_finished_by_the_next() {
    let mut home = Home::start("draining").await;
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let instance = home.store.instances().await.unwrap().remove(0).instance;
    // As a cleaner leaves it that dies between the fence and the stop.
    home.store.drain(&instance).await.unwrap();
    home.start_cleaner(Some(1));
    wait_until(
        "the draining instance is gone",
        Duration::from_secs(30),
        async || {
            let left = home.instances("demo/hello").await;
            !left
                .iter()
                .any(|container| container.id == instance.container)
        },
    )
    .await;
    wait_until("Redis forgets it", Duration::from_secs(30), async || {
        !home.store.knows(instance.id).await.unwrap()
    })
    .await;
    // The routers were told by the fence.
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn container_without_a_maker_is_removed() {
    let mut home = Home::start("orphan").await;
    let orphan = home.deploy("demo/orphan", probe::idle(600)).await;
    let starting = home.deploy("demo/starting", probe::idle(600)).await;
    let mut containers = Vec::new();
    for (number, deployment) in [&orphan, &starting].into_iter().enumerate() {
        let turn = home.store.next_address().await.unwrap();
        let network = home
            .docker
            .network(deployment.config.network)
            .await
            .unwrap();
        let placement = Placement {
            id: InstanceId::from_random(number as u64 + 1),
            ip: network.subnet.address(turn),
        };
        let container = home
            .docker
            .create(
                deployment,
                placement,
                Joined::Network(&network),
                Purpose::Serve,
            )
            .await
            .unwrap();
        home.docker.start(&container).await.unwrap();
        containers.push(container);
    }
    home.start_cleaner(Some(1));
    let begin = Instant::now();
    wait_until(
        "the orphan is removed",
        Duration::from_secs(30),
        async || {
            assert!(
                home.store
                    .lock(&starting.function, &starting.revision, "a starter")
                    .await
                    .unwrap()
            );
            !home.docker.is_running(&containers[0]).await.unwrap()
        },
    )
    .await;
    assert!(
        begin.elapsed() > Duration::from_secs(5),
        "its maker had no time to register it"
    );
    for _ in 0..20 {
        assert!(
            home.store
                .lock(&starting.function, &starting.revision, "a starter")
                .await
                .unwrap()
        );
        assert!(
            home.docker.is_running(&containers[1]).await.unwrap(),
            "its start is under way"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn removed_container_is_replaced() {
    let home = Home::start("byhand").await;
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    for _ in 0..3 {
        let old = home.instances("demo/hello").await.remove(0);
        home.docker.remove(&old.id).await.unwrap();
        home.until_withdrawn(&old.labels[label::INSTANCE]).await;
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        let new = home.instances("demo/hello").await;
        assert!(new.len() == 1 && new[0].id != old.id, "{new:?}");
    }
}

#[tokio::test]
async fn function_that_ends_by_itself_is_replaced() {
    let home = Home::start("suicide").await;
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let old = home.instances("demo/hello").await.remove(0);
    let answer = home.get("/demo/hello/exit").await;
    assert_eq!(
        answer.status, 502,
        "the request that killed it is not sent again"
    );
    home.until_withdrawn(&old.labels[label::INSTANCE]).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn cleaner_ends_on_sigterm() {
    let mut home = Home::builder("sigterm").without_nginx().start().await;
    let mut monitor = home.redis.monitor().await;
    home.start_cleaner(None);
    wait_until("it works", Duration::from_secs(30), async || {
        !monitor.commands(&home.redis).await.is_empty()
    })
    .await;
    let status = home.take_cleaner().stop().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn cleaner_that_is_killed_is_followed_by_one_that_finishes() {
    let mut home = Home::start("killedcleaner").await;
    home.deploy("demo/hello", probe::idle(2)).await;
    home.deploy("demo/busy", probe::idle(2)).await;
    let busy = tokio::spawn(home.get("/demo/busy/sleep/25000").send());
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    // Killed at some moment of a round, of a fence, of a stop.
    for millis in [300, 6300, 7100, 6700, 900] {
        home.start_cleaner(Some(1));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        home.take_cleaner().kill().await;
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
    }
    assert_eq!(busy.await.unwrap().unwrap().status, 200);
    let busy = home.cleaner_log().matches("of demo/busy").count();
    assert_eq!(busy, 0, "what was busy was stopped");
    home.start_cleaner(Some(1));
    wait_until("nothing is left", Duration::from_secs(30), async || {
        home.docker.containers().await.unwrap().is_empty()
            && home.store.instances().await.unwrap().is_empty()
    })
    .await;
}
