//! Functions on unix sockets that are frozen, and that have no network.

use bollard::query_parameters::InspectContainerOptions;
use corefn_core::config::FunctionConfig;
use corefn_core::names::env;
use corefn_core::network::Network;
use corefn_engine::docker::Condition;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::wait_until;

use crate::sandbox_sockets::{deploy, only, path, with_socket};
use crate::sandbox_starts::{SETTINGS, outlives_the_index, started_from, with_router};
use crate::sandboxes::{PATIENCE, until_waiting};

/// It does not answer at its socket while it is frozen, and after that as before.
#[tokio::test]
async fn frozen_function_goes_on_at_its_socket() {
    let (mut home, keeper) = with_router("coldsocket", SETTINGS).await;
    let config = FunctionConfig {
        freeze_ms: Some(2_000),
        ..with_socket()
    };
    deploy(&home, "demo/hello", config, 2).await;
    let before = home.get("/demo/hello/env").await.json();
    let instance = only(&home, "demo/hello").await;
    path(&instance);
    home.start_cleaner(Some(1));
    wait_until("it is frozen", PATIENCE, async || {
        let condition = home.docker.condition(&instance.container).await;
        matches!(condition, Ok(Condition::Paused))
    })
    .await;
    let after = home.get("/demo/hello/env").await.json();
    assert_eq!(after[env::INSTANCE], before[env::INSTANCE]);
    assert_eq!(only(&home, "demo/hello").await, instance);
    keeper.end().await;
}

/// What is to reach nothing has no network at all there.
#[tokio::test]
async fn function_without_a_network() {
    let (home, keeper) = with_router("nonet", SETTINGS).await;
    let config = FunctionConfig {
        network: Network::None,
        ..with_socket()
    };
    // There is a third kind of sandboxes, for as long as such a function is deployed.
    deploy(&home, "demo/hello", config, 3).await;
    let waiting = until_waiting(&home, 3).await;
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    assert_eq!(until_waiting(&home, 3).await, waiting);
    let environment = home.get("/demo/hello/env").await.json();
    assert_eq!(started_from(&home, "a sandbox"), 1);
    let instance = only(&home, "demo/hello").await;
    path(&instance);
    let client = home.docker.client().await.unwrap();
    let none = None::<InspectContainerOptions>;
    let found = client.inspect_container(&instance.container, none).await;
    let found = found.unwrap();
    let mode = found.host_config.unwrap().network_mode;
    assert_eq!(mode.as_deref(), Some("none"));
    let process = found.state.unwrap().pid.unwrap();
    // (proc(5): a head of two lines, and then one for each interface.)
    let interfaces = std::fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap();
    let names = interfaces
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    let names: Vec<_> = names.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"]);
    until_waiting(&home, 3).await;

    outlives_the_index(&home, &instance).await;
    let answer = home.get("/demo/hello/env").await.json();
    assert_eq!(answer[env::INSTANCE], environment[env::INSTANCE]);
    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    until_waiting(&home, 2).await;
    wait_until("the third kind is gone", PATIENCE, async || {
        home.docker.containers().await.unwrap().len() == 2
    })
    .await;
    keeper.end().await;
}
