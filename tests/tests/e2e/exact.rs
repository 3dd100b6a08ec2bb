//! What is busy is counted as busy for exactly as long as it is, whatever happens to nginx.

use std::time::Duration;

use corefn_tests::raw::Connection;
use corefn_tests::{Home, probe, process, wait_until};
use rustix::process::Signal;

/// Far beyond the idle time and a cleaner's round.
const LONG: Duration = Duration::from_secs(8);

const PATIENCE: Duration = Duration::from_secs(30);

async fn assert_echoes(socket: &mut Connection) {
    socket.write("still there").await;
    assert_eq!(socket.read(11).await, b"still there");
}

async fn stopped(home: &Home) {
    wait_until("it is stopped when it is idle", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn counts_survive_a_reload() {
    let mut home = Home::start("countreload").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut socket = home.client().websocket("/demo/hello/ws").await;
    for workers in [2, 6, 1] {
        home.conf.workers = workers;
        home.reload().await;
        // Work of the new workers that ends must not take the old one's count along.
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
    }
    tokio::time::sleep(LONG).await;
    assert_echoes(&mut socket).await;
    assert_eq!(home.error_log().matches("started instance").count(), 1);
    drop(socket);
    stopped(&home).await;
}

#[tokio::test]
async fn share_of_a_worker_that_nobody_replaces_is_given_back() {
    let mut home = Home::builder("buried").with_alerts().start().await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut dead = Vec::new();
    for _ in 0..8 {
        dead.push(home.client().websocket("/demo/hello/ws").await);
    }
    home.conf.workers = 2;
    let old = home.reload().await;
    // They are finishing their work: nginx doesn't start others in their places.
    for &worker in &old {
        if process::is_alive(worker) {
            process::signal(worker, Signal::KILL);
        }
    }
    for socket in &mut dead {
        assert!(socket.is_at_end().await);
    }
    // The system tells one worker of a new connection (EPOLLEXCLUSIVE), which may be one that is about to die.
    wait_until("the old workers are gone", PATIENCE, async || {
        !old.iter().any(|&worker| process::is_alive(worker))
    })
    .await;
    let mut living = home.client().websocket("/demo/hello/ws").await;
    tokio::time::sleep(LONG).await;
    assert_echoes(&mut living).await;
    drop(living);
    stopped(&home).await;
}

#[tokio::test]
async fn counts_survive_an_upgrade_of_nginx() {
    let mut home = Home::builder("countupgrade").without_nginx().start().await;
    let conf = home.conf.clone();
    home.nginx.start_daemon(&conf).await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut socket = home.client().websocket("/demo/hello/ws").await;
    let old = home.nginx.workers();
    // nginx's procedure: USR2, then WINCH and QUIT to the old one.
    let master = home.nginx.upgrade(&conf).await;
    process::signal(master, Signal::WINCH);
    wait_until("one old worker is left", PATIENCE, async || {
        old.iter().filter(|&&id| process::is_alive(id)).count() == 1
    })
    .await;
    process::signal(master, Signal::QUIT);
    // The new one knows the instance, but not what the old one does with it.
    for _ in 0..20 {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        tokio::time::sleep(LONG / 20).await;
    }
    tokio::time::sleep(LONG).await;
    assert_echoes(&mut socket).await;
    assert_eq!(home.error_log().matches("started instance").count(), 1);
    drop(socket);
    wait_until("the old nginx ends", PATIENCE, async || {
        !process::is_alive(master)
    })
    .await;
    stopped(&home).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn long_streams_outlive_the_idle_time() {
    let mut home = Home::start("longstreams").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut socket = home.client().websocket("/demo/hello/ws").await;
    let mut events = home
        .get("/demo/hello/stream/1000/5000")
        .open()
        .await
        .unwrap();
    assert!(events.next().await.unwrap().is_some());
    tokio::time::sleep(LONG + Duration::from_secs(4)).await;
    assert_echoes(&mut socket).await;
    assert!(events.next().await.unwrap().is_some());
    assert_eq!(home.error_log().matches("started instance").count(), 1);
    drop(socket);
    // One of the two is enough.
    tokio::time::sleep(LONG).await;
    assert!(events.next().await.unwrap().is_some());
    drop(events);
    stopped(&home).await;
}
