//! nginx's cache before functions: what is there needs no instance, and is no work of one.

use std::time::Duration;

use corefn_tests::{Home, probe, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// With a cache, and the header `X-Cache` that says what it came to.
async fn start(name: &str, lines: &str) -> Home {
    let cache = "proxy_cache_path cache keys_zone=answers:1m;\n";
    let location =
        format!("proxy_cache answers; add_header X-Cache $upstream_cache_status always; {lines}\n");
    let mut home = Home::builder(name)
        .workers(1)
        .http(cache)
        .location(&location)
        .cached()
        .start()
        .await;
    home.start_cleaner(Some(1));
    home
}

/// The status, what the cache says, and how the instance was come by.
async fn ask(home: &Home, target: &str) -> (u16, String) {
    let answer = home.get(target).await;
    let cache = answer.header("x-cache").unwrap_or_default().to_owned();
    (answer.status, cache)
}

async fn until_none_runs(home: &Home) {
    wait_until("no instance is left", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

fn said(status: u16, cache: &str) -> (u16, String) {
    (status, cache.to_owned())
}

#[tokio::test]
async fn hits_need_no_instance_and_are_no_work() {
    let home = start("cachehit", "proxy_cache_valid 200 1h;").await;
    home.deploy("demo/hello", probe::idle(2)).await;
    assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "MISS"));
    // It is asked for all the time, and ends nevertheless: nginx answers by itself.
    wait_until("no instance is left", PATIENCE, async || {
        assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "HIT"));
        home.instances("demo/hello").await.is_empty()
    })
    .await;
    let before = home.error_log().matches("started instance").count();
    for _ in 0..20 {
        assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "HIT"));
    }
    assert_eq!(home.error_log().matches("started instance").count(), before);
    assert!(home.instances("demo/hello").await.is_empty());
    // What isn't there starts one, for several who come at once as well; and so does what is never kept.
    for answer in home.at_once("/demo/hello/sleep/100", 10).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(
        home.error_log().matches("started instance").count(),
        before + 1
    );
    let answer = home.client().post("/demo/hello/x", "body").await;
    assert_eq!((answer.status, &answer.json()["length"]), (200, &4.into()));
    assert_eq!(ask(&home, "/demo/none/x").await.0, 404);
}

#[tokio::test]
async fn stale_answers_come_while_an_instance_starts() {
    let lines = "proxy_cache_valid 200 1s; proxy_cache_use_stale updating; proxy_cache_background_update on;";
    let home = start("cachestale", lines).await;
    home.deploy("demo/hello", probe::idle(2)).await;
    assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "MISS"));
    until_none_runs(&home).await;
    // Nobody waits for the start, and afterwards it is new.
    assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "STALE"));
    wait_until("it was fetched anew", PATIENCE, async || {
        let (status, cache) = ask(&home, "/demo/hello/x").await;
        assert_eq!(status, 200);
        cache == "HIT"
    })
    .await;
    let accesses = home.error_log();
    assert!(!accesses.contains("an upstream with"), "{accesses}");
}

#[tokio::test]
async fn stale_answers_are_better_than_none() {
    let lines = "proxy_cache_valid 200 1s; proxy_cache_use_stale error;";
    let home = start("cacheerror", lines).await;
    let deployment = home.deploy("demo/hello", probe::idle(2)).await;
    assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "MISS"));
    until_none_runs(&home).await;
    // Its image is gone, so it can't be started any more.
    home.docker.remove_image(&deployment.image).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&home, "/demo/hello/x").await, said(200, "STALE"));
    }
    // What was never there is the platform's error.
    let answer = home.get("/demo/hello/y").await;
    assert_eq!(answer.said(), (502, Some("image-missing")));
}
