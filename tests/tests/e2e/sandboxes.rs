//! Sandboxes wait, are given away once, and are made again.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::Duration;

use corefn_core::config::Network;
use corefn_core::names::PORT;
use corefn_core::names::{self, label};
use corefn_sandbox::claim::{Claimed, Kind, claim};
use corefn_sandbox::executables::Digest;
use corefn_sandbox::hand_over::{Program, hand_over};
use corefn_sandbox::{INIT, order};
use corefn_tests::client::Client;
use corefn_tests::keeper::{Keeper, waiting};
use corefn_tests::{Home, probe, wait_for, wait_until};

/// How long making a few sandboxes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn kind(home: &Home, network: Network) -> Kind {
    Kind {
        image: names::sandbox_image(home.namespace(), &Digest::of(INIT).as_str()[..16]),
        network,
    }
}

/// Claims a sandbox, as soon as one waits.
async fn claimed(home: &Home, keeper: &Keeper, network: Network) -> Claimed {
    wait_for("a sandbox waits", PATIENCE, async || {
        let claimed = claim(&keeper.socket(), &kind(home, network)).await;
        claimed.ok().flatten()
    })
    .await
}

/// Waits until so many wait.
async fn until_waiting(home: &Home, count: usize) -> Vec<String> {
    wait_for("sandboxes wait", PATIENCE, async || {
        let found = waiting(home).await;
        (found.len() == count).then_some(found)
    })
    .await
}

/// Has a sandbox become the probe, and returns what asks it.
async fn become_probe(home: &Home, claimed: Claimed) -> Client {
    let path = home.folder.file("probe");
    if !path.exists() {
        home.folder.write("probe", probe::executable());
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    }
    let executable = File::open(path).unwrap();
    let order = order::write(["/function"], [&*format!("PORT={PORT}"), "GREETING=hi"]).unwrap();
    let program = Program {
        executable: executable.as_fd(),
        order: &order,
        listener: None,
    };
    hand_over(claimed.connection, program).await.unwrap();
    let client = Client::new((claimed.sandbox.ip, PORT).into());
    wait_until("the probe answers", PATIENCE, async || {
        client.get("/status/204").send().await.is_ok()
    })
    .await;
    client
}

#[tokio::test]
async fn sandboxes_become_functions() {
    let home = Home::builder("sandboxes").without_nginx().start().await;
    let keeper = Keeper::start(&home, "floor = 1\nceiling = 4\nat_once = 2");
    let first = until_waiting(&home, 2).await;
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    assert!(first.contains(&taken.sandbox.container));
    let sandbox = taken.sandbox.clone();
    let client = become_probe(&home, taken).await;

    // It is what a container of its own would be, and sees nothing of the host.
    let whoami = client.get("/whoami").await.json();
    assert_eq!(whoami["uid"], "65534");
    for capabilities in ["effective", "permitted", "bounding"] {
        assert_eq!(whoami[capabilities], "0000000000000000", "{capabilities}");
    }
    assert_eq!(whoami["no_new_privileges"], "1");
    assert_eq!(whoami["root_writable"], false);
    assert_eq!(client.get("/env").await.json()["GREETING"], "hi");

    // By its name Docker alone can tell what it is.
    let deployment = home.without_image("demo/hello", probe::config());
    let id = sandbox.instance;
    let named = home
        .docker
        .name_sandbox(&sandbox.container, &deployment, id)
        .await;
    named.unwrap();
    let instances = home.instances("demo/hello").await;
    assert_eq!(instances.len(), 1);
    assert!(instances[0].has(label::INSTANCE, &id.to_string()));
    assert!(instances[0].has(label::REVISION, &deployment.revision.to_string()));

    // Another takes its place, and none is given away twice.
    let second = until_waiting(&home, 2).await;
    assert!(!second.contains(&sandbox.container));
    let again = claimed(&home, &keeper, Network::Outbound).await;
    assert_ne!(again.sandbox.container, sandbox.container);
    drop(again);
    let other = Kind {
        image: "other".to_owned(),
        network: Network::Outbound,
    };
    assert!(claim(&keeper.socket(), &other).await.unwrap().is_none());
    // Its own is alive through all of this.
    assert_eq!(client.get("/status/204").await.status, 204);
    keeper.end().await;
}

#[tokio::test]
async fn keeper_that_is_killed_is_followed_by_one_that_takes_over() {
    let home = Home::builder("keeper").without_nginx().start().await;
    let keeper = Keeper::start(&home, "floor = 2\nceiling = 2");
    let before = until_waiting(&home, 4).await;
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    let sandbox = taken.sandbox.clone();
    let client = become_probe(&home, taken).await;
    let deployment = home.without_image("demo/hello", probe::config());
    let named = home
        .docker
        .name_sandbox(&sandbox.container, &deployment, sandbox.instance);
    named.await.unwrap();
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    let after = until_waiting(&home, 4).await;
    let kept = after.iter().filter(|id| before.contains(id)).count();
    assert_eq!(kept, 3, "those that waited still do: {}", keeper.log());
    assert_eq!(client.get("/status/204").await.status, 204);
    let taken = claimed(&home, &keeper, Network::None).await;
    let sandbox = taken.sandbox.clone();
    become_probe(&home, taken).await;
    let named = home
        .docker
        .name_sandbox(&sandbox.container, &deployment, sandbox.instance);
    named.await.unwrap();

    // One that dies while it waits is replaced.
    let waits = until_waiting(&home, 4).await;
    home.docker.remove(&waits[0]).await.unwrap();
    wait_until("another is there", PATIENCE, async || {
        let now = waiting(&home).await;
        now.len() == 4 && !now.contains(&waits[0])
    })
    .await;
    // There is one keeper.
    let second = Keeper::start_again(&home);
    wait_until("the second gives up", PATIENCE, async || {
        second.log().contains("has a keeper already")
    })
    .await;
}
