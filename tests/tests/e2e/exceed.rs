//! Functions that use all that they get: they meet their limits, and others do not notice.

use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use corefn_core::config::{FunctionConfig, Limits};
use corefn_engine::docker::OPEN_FILES;
use corefn_tests::{Home, probe, wait_for, wait_until};

use crate::sandbox_starts::{executable, kept, started_from, with_router};

const PATIENCE: Duration = Duration::from_secs(60);

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    nano_cpus: 200_000_000,
    pids: 40,
    requests: None,
    timeout_ms: None,
    body: None,
};

/// The size of `/tmp`, and of the log that is kept, in bytes.
const TMP: u64 = 16 << 20;
const LOG: u64 = 4 << 20;

/// How many bytes Docker's log takes for a line of a kilobyte beside those, and what it may be beyond the limit: one more line.
const LINE: u64 = 2 << 10;

/// Calls it, while another function answers, and returns its answer.
async fn used(home: &Home, function: &str, what: &str) -> (u16, u64) {
    let target = format!("/{function}/use/{what}");
    let asked = home.get(&target);
    let others = async {
        loop {
            let other = home.get("/demo/other/status/200").await;
            assert_eq!(other.status, 200, "beside {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::select! {
        answer = async { asked.await } => answer,
        () = others => unreachable!("it goes on"),
    };
    (answer.status, answer.text().trim().parse().unwrap_or(0))
}

async fn all_limits_hold(home: &Home, function: &str) {
    let (status, threads) = used(home, function, "threads").await;
    assert!(
        status == 200 && threads < u64::from(LIMITS.pids),
        "{threads}"
    );
    let (status, files) = used(home, function, "files").await;
    assert!(
        status == 200 && files < OPEN_FILES as u64 && files > OPEN_FILES as u64 / 2,
        "{files}"
    );
    let (status, bytes) = used(home, function, "disk").await;
    assert!(status == 200 && bytes <= TMP && bytes > TMP / 2, "{bytes}");
    // (A second has ten of the kernel's periods, in each of which it may have begun.)
    let (status, time) = used(home, function, "processors/1000").await;
    assert!(status == 200 && time < 500, "{time}");
    let (status, _) = used(home, function, "log/20000000").await;
    assert_eq!(status, 200);
    let container = home.instances(function).await.remove(0).id;
    let client = home.docker.client().await.unwrap();
    let none = None::<InspectContainerOptions>;
    let found = client.inspect_container(&container, none).await.unwrap();
    let path = found.log_path.unwrap();
    // (Docker may be making it anew.)
    let kept = wait_for("there is a log", PATIENCE, async || {
        std::fs::metadata(&path).ok().map(|found| found.len())
    })
    .await;
    assert!(kept <= LOG + LINE, "{kept}");
    // It has served all of that; memory is what it dies of.
    assert_eq!(home.instances(function).await[0].id, container);
    let (status, _) = used(home, function, "memory").await;
    assert_eq!(status, 502);
    let says = format!("of {function} has run out of memory (limits.memory of its corefn.toml)");
    wait_until("it is told of", PATIENCE, async || {
        home.error_log().contains(&says)
    })
    .await;
    // (It is backed off for a second.)
    wait_until("another serves", PATIENCE, async || {
        home.get(&format!("/{function}/status/200")).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn functions_meet_their_limits() {
    let (home, _keeper) = with_router("exceed", "floor = 1").await;
    home.deploy("demo/other", probe::idle(600)).await;
    let image = FunctionConfig {
        limits: LIMITS,
        ..probe::idle(600)
    };
    home.deploy("demo/image", image).await;
    assert_eq!(home.get("/demo/other/status/200").await.status, 200);
    all_limits_hold(&home, "demo/image").await;

    // From a sandbox, which has gone over from other limits.
    let sandboxed = FunctionConfig {
        limits: LIMITS,
        ..executable()
    };
    let digest = sandboxed.executable.clone().unwrap();
    home.deploy("demo/sandboxed", sandboxed).await;
    assert_eq!(home.get("/demo/sandboxed/status/200").await.status, 200);
    wait_until("its executable is on the host", PATIENCE, async || {
        kept(&home, &digest).exists()
    })
    .await;
    let first = home.instances("demo/sandboxed").await.remove(0);
    home.docker.remove(&first.id).await.unwrap();
    let before = started_from(&home, "a sandbox");
    wait_until("one is from a sandbox", PATIENCE, async || {
        home.get("/demo/sandboxed/status/200").await.status == 200
            && started_from(&home, "a sandbox") > before
    })
    .await;
    all_limits_hold(&home, "demo/sandboxed").await;
}
