//! Instances that compute for long yield to others.

use std::time::Duration;

use corefn_core::config::{FunctionConfig, Limits};
use corefn_engine::docker::Priority;
use corefn_tests::{Home, probe, wait_until};

/// For how long anything may take here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A function that may use all processors there are.
fn heavy() -> FunctionConfig {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    FunctionConfig {
        limits: Limits {
            nano_cpus: processors as u64 * 1_000_000_000,
            ..probe::config().limits
        },
        ..probe::idle(600)
    }
}

/// Docker's number for the priority of a function's only instance.
async fn priority(home: &Home, function: &str) -> Option<i64> {
    let instances = home.instances(function).await;
    let [instance] = &instances[..] else {
        panic!("there is one: {instances:?}");
    };
    let client = home.docker.client().await.unwrap();
    let found = client.inspect_container(&instance.id, None).await.unwrap();
    found.host_config.unwrap().cpu_shares
}

/// Two functions, of which one computes until it yields.
async fn until_one_yields(name: &str) -> Home {
    let mut home = Home::builder(name).gated().start().await;
    home.start_cleaner(None);
    home.deploy("demo/heavy", heavy()).await;
    home.deploy("demo/light", probe::idle(600)).await;
    for function in ["demo/heavy", "demo/light"] {
        assert_eq!(home.get(&format!("/{function}/x")).await.status, 200);
        assert_eq!(
            priority(&home, function).await,
            Some(Priority::Normal.cpu_shares())
        );
    }
    wait_until("the one that computes yields", PATIENCE, async || {
        let computes = home.get("/demo/heavy/use/processors/500").await;
        assert_eq!(computes.status, 200);
        priority(&home, "demo/heavy").await == Some(Priority::Low.cpu_shares())
    })
    .await;
    assert_eq!(
        priority(&home, "demo/light").await,
        Some(Priority::Normal.cpu_shares())
    );
    let log = home.cleaner_log();
    assert_eq!(log.matches(" of demo/heavy uses processors").count(), 1);
    assert!(!log.contains("of demo/light uses"), "{log}");
    home
}

#[tokio::test]
async fn who_computes_without_a_pause_yields() {
    until_one_yields("yields").await;
}

#[tokio::test]
async fn who_is_calm_again_yields_no_longer() {
    let home = until_one_yields("calm").await;
    wait_until("it yields no longer", PATIENCE, async || {
        priority(&home, "demo/heavy").await == Some(Priority::Normal.cpu_shares())
    })
    .await;
    let log = home.cleaner_log();
    assert_eq!(log.matches(" of demo/heavy is calm").count(), 1, "{log}");
}

#[tokio::test]
async fn nobody_yields_where_the_settings_say_so() {
    let mut home = Home::start("unyielding").await;
    let file = home.folder.path().join("host.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("yielding = false\n{settings}")).unwrap();
    home.start_cleaner(None);
    home.deploy("demo/heavy", heavy()).await;
    for _ in 0..8 {
        let computes = home.get("/demo/heavy/use/processors/500").await;
        assert_eq!(computes.status, 200);
    }
    assert_eq!(
        priority(&home, "demo/heavy").await,
        Some(Priority::Normal.cpu_shares())
    );
}
