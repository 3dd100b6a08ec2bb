//! Sandboxes wait, are given away once, and are made again.

use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::instance::Instance;
use corefn_core::names::{HOST_FILE, PORT, label};
use corefn_core::network::Network;
use corefn_sandbox::claim::{Claimed, Kind, Sandbox, claim};
use corefn_sandbox::hand_over::{Program, hand_over};
use corefn_sandbox::order;
use corefn_tests::cli::corefn;
use corefn_tests::client::Client;
use corefn_tests::keeper::{Keeper, waiting};
use corefn_tests::programs::program;
use corefn_tests::{Home, probe, wait_for, wait_until};

/// How long making a few sandboxes may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

fn kind(home: &Home, network: Network) -> Kind {
    Kind {
        image: corefn_sandbox::image(home.namespace()),
        network: Some(network),
    }
}

/// Claims a sandbox, as soon as one waits.
pub async fn claimed(home: &Home, keeper: &Keeper, network: Network) -> Claimed {
    wait_for("a sandbox waits", PATIENCE, async || {
        let claimed = claim(&keeper.socket(), &kind(home, network)).await;
        claimed.ok().flatten()
    })
    .await
}

/// Waits until so many wait.
pub async fn until_waiting(home: &Home, count: usize) -> Vec<String> {
    wait_for("sandboxes wait", PATIENCE, async || {
        let found = waiting(home).await;
        (found.len() == count).then_some(found)
    })
    .await
}

/// Has a sandbox become the probe, and returns what asks it.
pub async fn become_probe(home: &Home, claimed: Claimed) -> Client {
    let path = home.folder.file("probe");
    if !path.exists() {
        home.folder.write("probe", probe::executable());
        std::fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
    }
    let executable = File::open(path).unwrap();
    let order = order::write(["/function"], [&*format!("PORT={PORT}"), "GREETING=hi"]).unwrap();
    let program = Program {
        executable: executable.as_fd(),
        order: &order,
        listens: false,
    };
    hand_over(claimed.connection, program).await.unwrap();
    let client = Client::new((claimed.sandbox.ip.unwrap(), PORT).into());
    wait_until("the probe answers", PATIENCE, async || {
        client.get("/status/204").send().await.is_ok()
    })
    .await;
    client
}

/// The instance of a deployment that a sandbox has become.
fn instance(sandbox: &Sandbox, deployment: &Deployment) -> Instance {
    Instance {
        id: sandbox.instance,
        function: deployment.function.clone(),
        revision: deployment.revision.clone(),
        container: sandbox.container.clone(),
        address: SocketAddr::from((sandbox.ip.unwrap(), PORT)).into(),
    }
}

/// Gives a sandbox the name of an instance of a deployment.
async fn name(home: &Home, sandbox: &Sandbox, deployment: &Deployment) {
    let instance = instance(sandbox, deployment);
    home.docker.name_sandbox(&instance).await.unwrap();
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
    name(&home, &sandbox, &deployment).await;
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
        network: Some(Network::Outbound),
    };
    assert!(claim(&keeper.socket(), &other).await.unwrap().is_none());
    // Its own is alive through all of this.
    assert_eq!(client.get("/status/204").await.status, 204);
    keeper.end().await;
}

/// Docker doesn't know what it is yet, and it is removed all the same.
#[tokio::test]
async fn function_is_removed_with_an_instance_without_a_name() {
    let home = Home::builder("nameless").without_nginx().start().await;
    let keeper = Keeper::start(&home, "floor = 1\nceiling = 1");
    let deployment = home.deploy("demo/hello", probe::config()).await;
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    let sandbox = taken.sandbox.clone();
    become_probe(&home, taken).await;
    let instance = instance(&sandbox, &deployment);
    let registered = home.store.register(&instance, None, PATIENCE);
    assert!(registered.await.unwrap());
    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    let containers = home.docker.containers().await.unwrap();
    assert!(!containers.iter().any(|it| it.id == sandbox.container));
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
    name(&home, &sandbox, &deployment).await;
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    let after = until_waiting(&home, 4).await;
    let kept = after.iter().filter(|id| before.contains(id)).count();
    assert_eq!(kept, 3, "those that waited still do: {}", keeper.log());
    assert_eq!(client.get("/status/204").await.status, 204);
    let taken = claimed(&home, &keeper, Network::None).await;
    let sandbox = taken.sandbox.clone();
    become_probe(&home, taken).await;
    name(&home, &sandbox, &deployment).await;

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

/// All containers of sandboxes that have no name yet, whether they run or not.
async fn unnamed(home: &Home) -> Vec<String> {
    let containers = home.docker.containers().await.unwrap();
    let unnamed = containers
        .into_iter()
        .filter(|found| found.has(label::ROLE, label::ROLE_SANDBOX));
    let mut unnamed: Vec<_> = unnamed.map(|found| found.id).collect();
    unnamed.sort();
    unnamed
}

/// Waits until a container is removed.
pub async fn until_gone(home: &Home, container: &str) {
    wait_until("the container is gone", PATIENCE * 2, async || {
        let containers = home.docker.containers().await.unwrap();
        containers.iter().all(|found| found.id != container)
    })
    .await;
}

#[tokio::test]
async fn whoever_dies_leaves_nothing() {
    let mut home = Home::builder("claimers").without_nginx().start().await;
    // A keeper that is killed while it makes some.
    let keeper = Keeper::start(&home, "floor = 3\nceiling = 3\nat_once = 3");
    wait_until("some are being made", PATIENCE, async || {
        !unnamed(&home).await.is_empty()
    })
    .await;
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    until_waiting(&home, 6).await;
    // (Docker may have been about to make some for the first.)
    home.start_cleaner(Some(1));
    wait_until("no other is left", PATIENCE, async || {
        unnamed(&home).await.len() == 6
    })
    .await;
    home.take_cleaner().stop().await;

    // A claimer that dies before it has said what the sandbox is to become.
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    let container = taken.sandbox.container.clone();
    drop(taken);
    until_gone(&home, &container).await;

    // Sandboxes are claimed and made without Redis.
    home.redis.kill().await;
    until_waiting(&home, 6).await;
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    become_probe(&home, taken).await;
    until_waiting(&home, 6).await;
    let folders = std::fs::read_dir(home.folder.file("sandboxes/waiting"));
    assert_eq!(folders.unwrap().count(), 6);
}

/// One round of a cleaner.
pub async fn clean_once(home: &Home) {
    let mut command = tokio::process::Command::new(program("corefn-clean"));
    let command = command.arg("--once").arg("--home").arg(home.folder.path());
    let output = command.kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[tokio::test]
async fn sandboxes_that_nobody_keeps_are_removed() {
    let home = Home::builder("unkept").without_nginx().start().await;
    let settings = home.folder.read(HOST_FILE);
    let keeper = Keeper::start(&home, "floor = 1");
    let kept = until_waiting(&home, 2).await;
    keeper.end().await;
    wait_until("they are old", PATIENCE, async || {
        let containers = home.docker.containers().await.unwrap();
        let now = jiff::Timestamp::now().as_second();
        containers.iter().all(|found| now - found.created > 15)
    })
    .await;
    // A keeper may be away for a while, such as for an upgrade.
    clean_once(&home).await;
    assert_eq!(unnamed(&home).await, kept);
    home.folder.write(HOST_FILE, settings);
    clean_once(&home).await;
    assert_eq!(unnamed(&home).await, Vec::<String>::new());
}
