//! Sandboxes wait, are given away once, and are made again.

use std::fs::{File, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;

use corefn_core::config::{FunctionConfig, Limits, Network};
use corefn_core::deployment::Deployment;
use corefn_core::instance::Instance;
use corefn_core::names::{HOST_FILE, PORT, env, label};
use corefn_engine::docker::Container;
use corefn_sandbox::claim::{Claimed, Kind, Sandbox, claim};
use corefn_sandbox::executables::Digest;
use corefn_sandbox::hand_over::{Program, hand_over};
use corefn_sandbox::order;
use corefn_tests::cli::corefn;
use corefn_tests::client::Client;
use corefn_tests::keeper::{Keeper, waiting};
use corefn_tests::programs::program;
use corefn_tests::{Home, probe, wait_for, wait_until};

/// How long making a few sandboxes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn kind(home: &Home, network: Network) -> Kind {
    Kind {
        image: corefn_sandbox::image(home.namespace()),
        network,
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

/// Gives a sandbox the name of an instance of a deployment.
async fn name(home: &Home, sandbox: &Sandbox, deployment: &Deployment) {
    let instance = Instance {
        id: sandbox.instance,
        function: deployment.function.clone(),
        revision: deployment.revision.clone(),
        container: sandbox.container.clone(),
        address: (sandbox.ip, PORT).into(),
    };
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

pub async fn until_gone(home: &Home, container: &str) {
    wait_until("the sandbox is gone", PATIENCE * 2, async || {
        !unnamed(home).await.iter().any(|id| id == container)
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
    assert_eq!(unnamed(&home).await.len(), 6, "{}", keeper.log());

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

/// An installation whose router takes sandboxes, with a keeper.
pub async fn with_router(name: &str, settings: &str) -> (Home, Keeper) {
    let mut home = Home::builder(name).without_nginx().start().await;
    let keeper = Keeper::start(&home, settings);
    let folder = home.folder.file("sandboxes");
    home.conf.http = format!("corefn_sandboxes {};", folder.display());
    home.start_nginx().await;
    (home, keeper)
}

/// A configuration as a push of the probe by a stack has it.
fn executable() -> FunctionConfig {
    FunctionConfig {
        executable: Some(Digest::of(&probe::executable()).as_str().to_owned()),
        ..probe::idle(600)
    }
}

/// The same with the limits that sandboxes are made with.
fn with_default_limits() -> FunctionConfig {
    FunctionConfig {
        limits: Limits::default(),
        ..executable()
    }
}

/// Where the host keeps an executable of that digest.
pub fn kept(home: &Home, digest: &str) -> PathBuf {
    home.folder.file("sandboxes/executables").join(digest)
}

/// The function's one instance, once Docker has its name.
async fn instance(home: &Home, function: &str) -> Container {
    wait_for("it has its name", PATIENCE, async || {
        let mut instances = home.instances(function).await;
        assert!(instances.len() < 2, "{instances:?}");
        instances.pop()
    })
    .await
}

/// Has the function's one instance end, and waits until every worker knows.
async fn end_instance(home: &Home, function: &str) {
    let instance = instance(home, function).await;
    home.docker.remove(&instance.id).await.unwrap();
    home.until_withdrawn(&instance.labels[label::INSTANCE])
        .await;
}

/// How many instances were started from `a sandbox`, or from `its image`.
pub fn started_from(home: &Home, what: &str) -> usize {
    home.error_log()
        .matches(&format!(" ms from {what}"))
        .count()
}

/// A start from a sandbox does without Docker. What it has become is told to Docker later, by the keeper if need be.
#[tokio::test]
async fn cold_start_while_docker_is_away() {
    let mut home = Home::builder("nodocker")
        .without_nginx()
        .docker_proxy()
        .start()
        .await;
    let keeper = Keeper::start(&home, "floor = 1\nceiling = 4");
    let folder = home.folder.file("sandboxes");
    home.conf.http = format!("corefn_sandboxes {};", folder.display());
    home.start_nginx().await;
    let deployment = home.deploy("demo/hello", with_default_limits()).await;
    let path = kept(&home, &deployment.config.executable.unwrap());
    until_waiting(&home, 2).await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    end_instance(&home, "demo/hello").await;

    home.proxy().shut();
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "a sandbox"), 1);
    let instance = home.store.instances().await.unwrap()[0].instance.clone();
    wait_until("the keeper has told Docker", PATIENCE, async || {
        let found = home.instances("demo/hello").await;
        found.iter().any(|found| found.id == instance.container)
    })
    .await;
    home.proxy().reopen();
    let environment = home.get("/demo/hello/env").await.json();
    assert_eq!(environment[env::INSTANCE], instance.id.to_string());
    keeper.end().await;
}

#[tokio::test]
async fn cold_starts_come_from_sandboxes() {
    let (home, keeper) = with_router("coldbox", "floor = 1\nceiling = 4").await;
    let deployment = home.deploy("demo/hello", executable()).await;
    let path = kept(&home, &deployment.config.executable.unwrap());
    until_waiting(&home, 2).await;
    // The first start finds no executable on the host, and has it fetched.
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "its image"), 1);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    end_instance(&home, "demo/hello").await;

    let environment = home.get("/demo/hello/env").await.json();
    assert_eq!(started_from(&home, "a sandbox"), 1);
    assert_eq!(environment[env::FUNCTION], "demo/hello");
    assert_eq!(environment[env::REVISION], "r1");
    let found = self::instance(&home, "demo/hello").await;
    assert_eq!(environment[env::INSTANCE], found.labels[label::INSTANCE]);
    let instance = home.store.instances().await.unwrap()[0].instance.clone();
    assert_eq!(instance.container, found.id);

    // The operator sees whence it came, and what waits.
    until_waiting(&home, 2).await;
    let listed = corefn(&home, &["ps", "--json"]).await.json();
    let listed: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let memory = row["memory"].as_u64().unwrap_or(0);
            assert!((1..64 << 20).contains(&memory), "{row}");
            let text = |name: &str| row[name].as_str().map(str::to_owned);
            (text("state").unwrap(), text("function"), text("from"))
        })
        .collect();
    let waits = || ("waiting".to_owned(), None, None);
    let hello = ("demo/hello".to_owned(), "sandbox".to_owned());
    let ready = ("ready".to_owned(), Some(hello.0), Some(hello.1));
    assert_eq!(listed, [ready, waits(), waits()]);

    // An emptied Redis is told by Docker what it is.
    home.redis.command::<String>(&["FLUSHALL"]).await;
    // (By whoever asks it next: nobody does for an instance without work.)
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    wait_until("it is known again", PATIENCE, async || {
        let found = home.store.instances().await.unwrap_or_default();
        found.len() == 1 && found[0].instance == instance
    })
    .await;
    assert_eq!(
        home.get("/demo/hello/env").await.json()[env::INSTANCE],
        environment[env::INSTANCE]
    );

    // Docker's events are those of an instance: who dies is replaced.
    until_waiting(&home, 2).await;
    end_instance(&home, "demo/hello").await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "a sandbox"), 2);

    // Limits of its own hold from the first instruction on.
    until_waiting(&home, 2).await;
    let mut small = executable();
    small.limits.memory = 64 << 20;
    home.deploy("demo/small", small).await;
    assert_eq!(home.get("/demo/small/status/204").await.status, 204);
    assert_eq!(started_from(&home, "a sandbox"), 3);
    let id = self::instance(&home, "demo/small").await.id;
    let client = home.docker.client().await.unwrap();
    let found = client
        .inspect_container(&id, None::<InspectContainerOptions>)
        .await;
    assert_eq!(found.unwrap().host_config.unwrap().memory, Some(64 << 20));

    // What is kept may be garbage, gone, or not to be had: functions start all the same.
    until_waiting(&home, 2).await;
    end_instance(&home, "demo/hello").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "garbage").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "its image"), 2);
    end_instance(&home, "demo/hello").await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "its image"), 3);
    wait_until("it is fetched anew", PATIENCE, async || path.exists()).await;
    keeper.kill().await;
    end_instance(&home, "demo/hello").await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, "its image"), 4);
}

/// One round of a cleaner.
async fn clean_once(home: &Home) {
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
