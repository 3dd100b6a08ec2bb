//! Functions that fail again and again, and one that fails now and then.

use std::time::Duration;

use corefn_tests::{Home, probe, wait_until};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn function_that_crashes_at_its_start_is_backed_off() {
    let home = Home::start("crashloop").await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    home.deploy("demo/other", probe::config()).await;
    let events = home.events().await;
    let fails = async || {
        let answer = home.get("/demo/hello/x").await;
        assert_eq!(answer.said(), (502, Some("function-exited")));
        answer.header("retry-after").map(str::to_owned)
    };
    assert_eq!(fails().await, None, "the first failure costs nothing");
    let mut monitor = home.redis.monitor().await;
    assert_eq!(fails().await.as_deref(), Some("1"));
    wait_until("all workers know", LONG, async || {
        monitor.commands(&home.redis).await;
        for answer in home.at_once("/demo/hello/x", 40).await {
            assert_eq!(answer.status, 502);
        }
        monitor.commands(&home.redis).await.is_empty()
    })
    .await;
    assert_eq!(home.get("/demo/other/x").await.status, 200, "others serve");
    // Each time it is tried again, once, and then not for twice as long.
    for (starts, seconds) in [(3, "2"), (4, "4")] {
        wait_until("it is tried again", LONG, async || {
            fails().await.as_deref() == Some(seconds)
        })
        .await;
        assert_eq!(events.created("demo/hello").await, starts);
    }
    let log = home.error_log();
    assert_eq!(
        log.matches("the probe exits on purpose").count(),
        4,
        "{log}"
    );
    assert_eq!(log.matches("it isn't started again for 4s").count(), 1);
    // A new deployment is started at once.
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn only_instances_that_die_soon_again_and_again_are_backed_off() {
    let home = Home::start("diesoon").await;
    home.deploy("demo/hello", probe::config()).await;
    let poison = async || {
        let ended = home.error_log().matches("has ended").count();
        home.get("/demo/hello/exit").await;
        wait_until("all workers know that it has ended", LONG, async || {
            home.error_log().matches("has ended").count() > ended
                && home
                    .instances("demo/hello")
                    .await
                    .iter()
                    .all(|c| !c.running)
        })
        .await;
        home.get("/demo/hello/x").await
    };
    // Somebody who stops it is no failure of the function.
    for _ in 0..3 {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        for container in home.instances("demo/hello").await {
            home.docker.remove(&container.id).await.unwrap();
        }
        wait_until("it is forgotten", LONG, async || {
            home.store.instances().await.unwrap().is_empty()
        })
        .await;
    }
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    // One poisonous request costs the others nothing. Of those that follow each costs more, so that
    // sooner or later even a slow test sees it.
    let answer = poison().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut pauses = 0;
    let answer = loop {
        pauses += 1;
        let answer = poison().await;
        if answer.status != 200 || pauses == 5 {
            break answer;
        }
    };
    assert_eq!(answer.said(), (502, Some("function-exited")));
    assert!(answer.header("retry-after").is_some());
    wait_until("it is started again", LONG, async || {
        home.get("/demo/hello/x").await.status == 200
    })
    .await;
    // An instance that lives ends the row.
    let key = home.store.keys().failures(&"demo/hello".parse().unwrap());
    wait_until("the failures are forgotten", LONG, async || {
        home.get("/demo/hello/x").await;
        home.redis.command::<u32>(&["EXISTS", &key]).await == 0
    })
    .await;
    let answer = poison().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = home.error_log();
    let told = log.matches("died within 10s of getting ready").count();
    assert_eq!(told, pauses, "by one worker, for each pause: {log}");
}
