//! Functions that start from sandboxes serve on the socket that they are given there.

use std::path::PathBuf;

use corefn_core::config::FunctionConfig;
use corefn_core::instance::{Address, Instance};
use corefn_core::names::env;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::{Home, pattern, wait_until};

use crate::sandbox_starts::{
    SETTINGS, end_instance, executable, kept, outlives_the_index, started_from, with_router,
};
use crate::sandboxes::{PATIENCE, until_waiting};

/// A configuration as a push of the probe has it, if that were what a stack serves with.
pub fn with_socket() -> FunctionConfig {
    FunctionConfig {
        socket: true,
        ..executable()
    }
}

/// Deploys the probe so, and has its executable kept on the host by a first start. Nothing runs then, and so many sandboxes
/// wait.
pub async fn deploy(home: &Home, function: &str, config: FunctionConfig, count: usize) {
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
