//! nginx reloads, quits and loses workers, and nobody notices.

use std::time::Duration;

use corefn_tests::load::Load;
use corefn_tests::{Home, probe, process, wait_until};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(30);

/// The threads of a worker that serves functions.
const THREADS: [&str; 2] = ["corefn", "nginx"];

async fn all_ended(workers: &[u32]) {
    wait_until("the old workers end", Duration::from_secs(30), async || {
        !workers.iter().any(|&id| process::is_alive(id))
    })
    .await;
}

fn no_sockets_left(home: &Home) {
    let log = home.error_log();
    assert!(!log.contains("open socket"), "{log}");
}

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    let mut home = Home::start("reload").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/warm", probe::idle(3)).await;
    for number in 0..5 {
        home.deploy(
            &format!("demo/cold{number}"),
            probe::misbehaving("slow-start:500"),
        )
        .await;
    }
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    let quick = Load::start(home.client(), "/demo/warm/status/200", 4);
    let slow = Load::start(home.client(), "/demo/warm/stream/5/100", 4);
    for number in 0..5 {
        // They wait when the reload comes, and are served by the old workers.
        let cold: Vec<_> = (0..4)
            .map(|_| tokio::spawn(home.get(&format!("/demo/cold{number}/x")).send()))
            .collect();
        let name = format!("demo/cold{number}");
        wait_until("a start is under way", LONG, async || {
            home.is_starting(&name).await
        })
        .await;
        let old = home.reload().await;
        for request in cold {
            let answer = request.await.unwrap().unwrap();
            assert_eq!(answer.status, 200, "reload {number}: {}", answer.text());
        }
        all_ended(&old).await;
    }
    let (quick, slow) = (quick.finish().await, slow.finish().await);
    for report in [quick, slow] {
        report.assert_all_answered();
    }
    for worker in home.nginx.workers() {
        process::until_threads(worker, &THREADS).await;
    }
    no_sockets_left(&home);
    wait_until(
        "no count is left, so it is stopped when idle",
        Duration::from_secs(30),
        async || home.instances("demo/warm").await.is_empty(),
    )
    .await;
}

#[tokio::test]
async fn old_worker_keeps_what_it_serves_alive() {
    let mut home = Home::start("oldworker").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut long = home.get("/demo/hello/stream/6/2000").open().await.unwrap();
    let old = home.reload().await;
    let mut text = Vec::new();
    while let Some(piece) = long.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    assert!(text.ends_with(b"line 5\n"), "its instance was stopped");
    all_ended(&old).await;
    no_sockets_left(&home);
}

#[tokio::test]
async fn quit_finishes_all_requests() {
    let mut home = Home::start("quit").await;
    home.deploy("demo/warm", probe::idle(5)).await;
    home.deploy("demo/cold", probe::misbehaving("slow-start:4000"))
        .await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    // All are to be under way together, on a busy machine as well.
    let mut requests = Vec::new();
    for path in [
        "/demo/warm/sleep/4000",
        "/demo/warm/stream/10/400",
        "/demo/cold/x",
    ] {
        for _ in 0..4 {
            requests.push((path, tokio::spawn(home.get(path).send())));
        }
    }
    home.until_under_way(requests.len()).await;
    let workers = home.nginx.workers();
    for &worker in &workers {
        process::until_threads(worker, &THREADS).await;
    }
    home.nginx.quit().await;
    for (path, request) in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    all_ended(&workers).await;
    no_sockets_left(&home);
    wait_until(
        "its connections to Redis are closed",
        Duration::from_secs(30),
        async || {
            // The harness has one of its own.
            home.redis.clients().await <= 1
        },
    )
    .await;
}

#[tokio::test]
async fn reload_without_functions_ends_all_threads() {
    let mut home = Home::start("without").await;
    assert_eq!(home.get("/x").await.status, 404);
    home.conf.functions = false;
    let old = home.reload().await;
    all_ended(&old).await;
    for worker in home.nginx.workers() {
        assert_eq!(process::threads(worker), ["nginx"]);
    }
    home.conf.functions = true;
    home.reload().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    no_sockets_left(&home);
}

#[tokio::test]
async fn reload_with_a_wrong_configuration_changes_nothing() {
    let mut home = Home::builder("wrong").with_alerts().start().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let workers = home.nginx.workers();
    let mut conf = home.conf.clone();
    conf.location.push_str("corefn_idle never;\n");
    home.folder
        .write("nginx.conf", conf.text(&home.folder, home.nginx.address()));
    home.nginx.signal(Signal::HUP);
    wait_until("nginx refuses it", Duration::from_secs(30), async || {
        home.error_log().contains("is no time for corefn_idle")
    })
    .await;
    assert_eq!(home.nginx.workers(), workers);
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn killed_worker_leaves_no_count_behind() {
    let mut home = Home::builder("killed").with_alerts().start().await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(3)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let held: Vec<_> = (0..16)
        .map(|_| tokio::spawn(home.get("/demo/hello/sleep/60000").send()))
        .collect();
    home.until_under_way(held.len()).await;
    let old = home.nginx.workers();
    for worker in &old {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*worker).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    for request in held {
        assert!(request.await.unwrap().is_err());
    }
    wait_until("nginx replaces them", Duration::from_secs(30), async || {
        let new = home.nginx.workers();
        new.len() == 4 && !new.iter().any(|id| old.contains(id))
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.error_log().matches("started instance").count(), 1);
    wait_until(
        "it is stopped when it is idle",
        Duration::from_secs(30),
        async || home.instances("demo/hello").await.is_empty(),
    )
    .await;
}

#[tokio::test]
async fn killed_starter_is_replaced() {
    let mut home = Home::builder("starter")
        .with_alerts()
        .workers(1)
        .start()
        .await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::misbehaving("slow-start:3000"))
        .await;
    let lost = tokio::spawn(home.get("/demo/hello/x").send());
    wait_until(
        "its container is there",
        Duration::from_secs(30),
        async || home.instances("demo/hello").await.len() == 1,
    )
    .await;
    let orphan = home.instances("demo/hello").await.remove(0);
    let worker = home.nginx.workers()[0];
    let pid = rustix::process::Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert!(lost.await.unwrap().is_err());
    wait_until("nginx replaces it", Duration::from_secs(30), async || {
        home.nginx.workers().iter().any(|&id| id != worker)
    })
    .await;
    // The lock outlives its holder by its TTL, then another starts.
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    wait_until(
        "the half-started container is removed",
        Duration::from_secs(30),
        async || {
            let left = home.instances("demo/hello").await;
            !left.iter().any(|container| container.id == orphan.id)
        },
    )
    .await;
}
