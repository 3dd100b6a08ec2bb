//! Nothing idle stays, and nothing busy is stopped.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::keys::WATCH_TTL;
use corefn_engine::store::Fenced;
use corefn_tests::{Home, probe, wait_until};
use hyper::Method;

/// The cleaner's own interval between rounds.
pub const ROUND: Duration = Duration::from_secs(5);

/// For how long anything may take here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// For how long a cleaner stops nothing when it begins: leases may not have been renewed yet.
pub const SETTLES: Duration = Duration::from_secs(6);

/// What stopping a container may take on a quiet machine.
pub const SLACK: Duration = Duration::from_secs(3);

/// Waits for the end of a function's last container; returns when it was.
pub async fn gone(home: &Home, function: &str) -> Instant {
    wait_until(&format!("{function} is stopped"), PATIENCE, async || {
        home.instances(function).await.is_empty()
    })
    .await;
    Instant::now()
}

pub async fn count(home: &Home, function: &str) -> usize {
    home.instances(function).await.len()
}

#[tokio::test]
async fn idle_time_of_the_location_is_for_functions_that_set_none() {
    let mut home = Home::builder("location").idle("2s").start().await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        idle_ms: None,
        ..probe::config()
    };
    home.deploy("demo/none", config).await;
    home.deploy("demo/own", probe::idle(600)).await;
    assert_eq!(home.get("/demo/none/x").await.status, 200);
    assert_eq!(home.get("/demo/own/x").await.status, 200);
    gone(&home, "demo/none").await;
    assert_eq!(count(&home, "demo/own").await, 1);
}

#[tokio::test]
async fn busy_functions_outlive_their_idle_time() {
    let mut home = Home::start("busy").await;
    home.start_cleaner(Some(1));
    for function in ["request", "stream", "upgrade", "upload", "idle"] {
        home.deploy(&format!("demo/{function}"), probe::idle(2))
            .await;
    }
    let request = tokio::spawn(home.get("/demo/request/told").send());
    let stream = tokio::spawn(home.get("/demo/stream/asked/2").send());
    let (upload, mut body) = home
        .client()
        .request(Method::POST, "/demo/upload/upload/slow")
        .upload();
    let upload = tokio::spawn(upload.send());
    body.send("first").await.unwrap();
    let mut upgrade = home.client().websocket("/demo/upgrade/ws").await;
    let busy = ["request", "stream", "upgrade", "upload"].map(|name| format!("demo/{name}"));
    for function in &busy {
        wait_until("it runs", Duration::from_secs(30), async || {
            count(&home, function).await == 1
        })
        .await;
    }
    // A container runs a little before its start is told.
    let began = busy.len();
    wait_until(
        "their starts are told",
        Duration::from_secs(30),
        async || home.error_log().matches("started instance").count() == began,
    )
    .await;
    assert_eq!(home.get("/demo/idle/x").await.status, 200);

    gone(&home, "demo/idle").await;
    // They have been busy for longer than that one was idle.
    for _ in 0..5 {
        for function in &busy {
            assert_eq!(
                count(&home, function).await,
                1,
                "{function} was stopped while busy"
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    upgrade.write("still there").await;
    assert_eq!(upgrade.read(11).await, b"still there");
    body.send(" last").await.unwrap();
    drop(body);
    assert_eq!(upload.await.unwrap().unwrap().json()["length"], 10);
    for path in ["/demo/request/upload/told", "/demo/stream/upload/asked"] {
        assert_eq!(home.client().post(path, "x").await.status, 200);
    }
    assert_eq!(request.await.unwrap().unwrap().text(), "told\n");
    assert_eq!(stream.await.unwrap().unwrap().text().lines().count(), 2);
    assert_eq!(
        home.error_log().matches("started instance").count(),
        began + 1,
        "one was replaced"
    );

    drop(upgrade);
    for function in &busy {
        gone(&home, function).await;
    }
}

#[tokio::test]
async fn mixed_requests_leave_no_count_behind() {
    let mut home = Home::start("leaks").await;
    home.deploy("demo/hello", probe::idle(3)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let to = home.client();
        clients.spawn(async move {
            for number in 0..250 {
                match (client + number) % 6 {
                    // Clients that go away in the middle.
                    0 => drop(to.get("/demo/hello/stream/100/50").open().await.unwrap()),
                    1 => {
                        let gone = to
                            .get("/demo/hello/sleep/500")
                            .patience(Duration::from_millis(5))
                            .send();
                        assert!(gone.await.is_err());
                    }
                    2 => drop(to.websocket("/demo/hello/ws").await),
                    3 => assert_eq!(to.get("/demo/hello/status/500").await.status, 500),
                    4 => assert_eq!(to.post("/demo/hello/x", "body").await.status, 200),
                    _ => assert_eq!(to.get("/unknown/x").await.status, 404),
                }
            }
        });
    }
    clients.join_all().await;
    home.start_cleaner(Some(1));
    gone(&home, "demo/hello").await;
}

/// While Redis hangs nobody can renew a lease. One that has ended by then says nothing of its holder.
#[tokio::test]
async fn lease_that_ended_while_redis_hung_does_not_count() {
    let mut home = Home::builder("hung").without_nginx().start().await;
    let deployment = home.without_image("demo/hello", probe::config());
    let instance = Instance {
        id: InstanceId::from_random(7),
        function: deployment.function.clone(),
        revision: deployment.revision.clone(),
        container: "none".to_owned(),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let lease = Duration::from_secs(1);
    home.store.begin_watch("me").await.unwrap();
    let registered = home.store.register(&instance, None, lease).await;
    assert!(registered.unwrap());
    home.redis.hang();
    tokio::time::sleep(lease + WATCH_TTL).await;
    home.redis.resume();
    let fenced = home.store.fence(&instance, "me").await.unwrap();
    assert_eq!(fenced, Fenced::Unwatched);
    assert!(!home.store.watch("me").await.unwrap(), "it has lapsed");
    assert!(home.store.instances().await.unwrap()[0].ready);

    // Whoever watches from here on, and sees no lease, is right.
    home.store.begin_watch("me").await.unwrap();
    assert!(home.store.watch("me").await.unwrap());
    assert!(!home.store.watch("other").await.unwrap());
    let fenced = home.store.fence(&instance, "me").await.unwrap();
    assert_eq!(fenced, Fenced::Yes);
    assert!(!home.store.instances().await.unwrap()[0].ready);
}
