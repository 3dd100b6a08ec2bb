//! Functions that start from sandboxes serve on the socket that they are given there.

use std::path::PathBuf;

use bollard::query_parameters::InspectContainerOptions;
use corefn_core::config::{FunctionConfig, Network};
use corefn_core::instance::{Address, Instance};
use corefn_core::names::env;
use corefn_engine::docker::Condition;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::{Home, pattern, wait_until};

use crate::sandbox_starts::{
    SETTINGS, end_instance, executable, kept, outlives_the_index, started_from, with_router,
};
use crate::sandboxes::{PATIENCE, until_waiting};

/// A configuration as a push of the probe has it, if that were what a stack serves with.
fn with_socket() -> FunctionConfig {
    FunctionConfig {
        socket: true,
        ..executable()
    }
}

/// Deploys the probe so, and has its executable kept on the host by a first start. Nothing runs then, and so many sandboxes
/// wait.
async fn deploy(home: &Home, function: &str, config: FunctionConfig, count: usize) {
    let deployment = home.deploy(function, config).await;
    let path = kept(home, &deployment.config.executable.unwrap());
    assert_eq!(home.get(&format!("/{function}/x")).await.status, 200);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    assert!(only(home, function).await.address.port().is_some());
    end_instance(home, function).await;
    until_waiting(home, count).await;
}

/// What Redis says of the function's only instance.
pub async fn only(home: &Home, function: &str) -> Instance {
    let mut instances = home.store.instances().await.unwrap();
    instances.retain(|leased| leased.instance.function.as_str() == function);
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances.remove(0).instance
}

/// The path of the socket on which an instance serves.
pub fn path(instance: &Instance) -> PathBuf {
    match &instance.address {
        Address::Socket(path) => path.clone(),
        Address::Port(address) => panic!("it serves at {address}"),
    }
}

#[tokio::test]
async fn functions_serve_on_sockets() {
    let (mut home, keeper) = with_router("sockets", SETTINGS).await;
    deploy(&home, "demo/hello", with_socket(), 2).await;
    let environment = home.get("/demo/hello/env").await.json();
    assert_eq!(started_from(&home, "a sandbox"), 1);
    assert_eq!(environment[env::SOCKET], "9");
    let instance = only(&home, "demo/hello").await;
    assert_eq!(environment[env::INSTANCE], instance.id.to_string());
    let socket = path(&instance);
    let folder = home.folder.file("sandboxes/serving");
    assert_eq!(socket, folder.join(instance.id.to_string()));
    // Bodies go both ways.
    const LARGE: usize = 5 << 20;
    let sum = pattern::sum(&pattern::bytes(LARGE));
    let upload = home
        .client()
        .post("/demo/hello/upload/large", pattern::bytes(LARGE));
    assert_eq!(upload.await.json()["sum"], sum);
    let download = home.get(&format!("/demo/hello/download/{LARGE}")).await;
    assert_eq!(pattern::sum(&download.body), sum);
    let listed = corefn(&home, &["ps", "--json"]).await.json();
    let address = format!("unix:{}", socket.display());
    assert_eq!(listed[0]["address"], address);

    // Whoever has to find it anew does: an emptied Redis, another nginx, and it outlives its keeper.
    outlives_the_index(&home, &instance).await;
    home.reload().await;
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    until_waiting(&home, 2).await;
    let answer = home.get("/demo/hello/env").await.json();
    assert_eq!(answer[env::INSTANCE], environment[env::INSTANCE]);

    // Who doesn't take a socket gets none.
    home.deploy("demo/other", executable()).await;
    let other = home.get("/demo/other/env").await.json();
    assert_eq!(started_from(&home, "a sandbox"), 2);
    assert_eq!(other.get(env::SOCKET), None);
    assert!(only(&home, "demo/other").await.address.port().is_some());

    // One that dies is replaced, and what it has left is removed.
    until_waiting(&home, 2).await;
    end_instance(&home, "demo/hello").await;
    let answer = home.get("/demo/hello/env").await.json();
    assert_ne!(answer[env::INSTANCE], environment[env::INSTANCE]);
    let next = path(&only(&home, "demo/hello").await);
    assert_ne!(next, socket);
    assert!(socket.exists(), "the keeper looks once a minute");
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    wait_until("the socket is removed", PATIENCE, async || !socket.exists()).await;
    assert!(next.exists());
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    keeper.end().await;
}

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
    corefn(&home, &["rm", "demo/hello"]).await.succeeded();
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    until_waiting(&home, 2).await;
    wait_until("the third kind is gone", PATIENCE, async || {
        home.docker.containers().await.unwrap().len() == 2
    })
    .await;
    keeper.end().await;
}
