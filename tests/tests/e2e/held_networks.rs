//! Functions of any image start on the network of a sandbox.

use bollard::query_parameters::{InspectContainerOptions, KillContainerOptions};

use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::names::{env, label};
use corefn_engine::docker::{Container, Joined, Purpose};
use corefn_engine::sandboxes::Sandboxes;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::{Home, probe, wait_for, wait_until};

use crate::sandbox_starts::{
    SETTINGS, end_instance, instance, outlives_the_index, started_from, until_logged, with_router,
};
use crate::sandboxes::{PATIENCE, clean_once, until_gone, until_waiting};

/// What the router says of such a start, after how long it took.
const HELD: &str = "its image, on a sandbox's network";

/// What holds an instance's network, once Docker has its name.
async fn holder(home: &Home, instance: &Container) -> Container {
    let id = instance.labels[label::HOLDER].clone();
    wait_for("the holder has its name", PATIENCE, async || {
        let containers = home.docker.containers().await.unwrap();
        let found = containers.into_iter().find(|found| found.id == id);
        found.filter(|found| found.has(label::ROLE, label::ROLE_HOLDER))
    })
    .await
}

/// Waits until a single round of the cleaner removes what is left over.
async fn until_settled(home: &Home) {
    wait_until("Redis has run for a while", PATIENCE, async || {
        let about: String = home.redis.command(&["INFO", "server"]).await;
        let mut lines = about.lines();
        let uptime = lines.find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        uptime.is_some_and(|uptime| uptime.parse::<u64>().unwrap() > 6)
    })
    .await;
}

async fn kill(home: &Home, container: &str) {
    let client = home.docker.client().await.unwrap();
    let killed = client.kill_container(container, None::<KillContainerOptions>);
    killed.await.unwrap();
}

/// What the function finds, less what is each container's own.
async fn traces(home: &Home) -> [serde_json::Value; 2] {
    let mut seen = [
        home.get("/demo/hello/traces").await.json(),
        home.get("/demo/hello/env").await.json(),
    ];
    for own in [env::INSTANCE, "HOSTNAME"] {
        assert!(seen[1].as_object_mut().unwrap().remove(own).is_some());
    }
    seen
}

/// A function finds there what it finds on a network of its own, and whoever looks after it needs not know.
#[tokio::test]
async fn instance_is_as_any_other() {
    let (home, keeper) = with_router("held", SETTINGS).await;
    let small = FunctionConfig {
        limits: Limits {
            memory: 64 << 20,
            ..Limits::default()
        },
        ..probe::idle(600)
    };
    home.deploy("demo/hello", small).await;
    until_waiting(&home, 2).await;
    let held = traces(&home).await;
    assert_eq!(started_from(&home, HELD), 1);
    let found = instance(&home, "demo/hello").await;
    let holder = holder(&home, &found).await;
    let name = format!("--{}--network", found.labels[label::INSTANCE]);
    assert!(holder.name.ends_with(&name), "{}", holder.name);
    let client = home.docker.client().await.unwrap();
    let inspected = client.inspect_container(&found.id, None::<InspectContainerOptions>);
    let host = inspected.await.unwrap().host_config.unwrap();
    assert_eq!(host.memory, Some(64 << 20));

    until_logged(&home, "the probe listens on 0.0.0.0:8080\n").await;
    until_waiting(&home, 2).await;
    let listed = corefn(&home, &["ps", "--json"]).await.json();
    let listed: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["state"].clone(), row["from"].clone()))
        .collect();
    let waits = ("waiting".into(), serde_json::Value::Null);
    assert_eq!(
        listed,
        [("ready".into(), "image".into()), waits.clone(), waits]
    );

    let before = home.store.instances().await.unwrap()[0].instance.clone();
    outlives_the_index(&home, &before).await;
    assert_eq!(home.instances("demo/hello").await.len(), 1);

    // What holds the network goes when nobody is on it any more.
    until_settled(&home).await;
    clean_once(&home).await;
    end_instance(&home, "demo/hello").await;
    let containers = home.docker.containers().await.unwrap();
    assert!(containers.iter().any(|found| found.id == holder.id));
    clean_once(&home).await;
    until_gone(&home, &holder.id).await;
    keeper.end().await;
    assert_eq!(traces(&home).await, held);
    assert_eq!(started_from(&home, HELD), 1);
    assert_eq!(started_from(&home, "its image"), 2);
}

/// Without what holds its network nobody reaches an instance: it is replaced.
#[tokio::test]
async fn holder_that_is_killed_is_an_instance_that_ends() {
    let (mut home, _keeper) = with_router("unheld", SETTINGS).await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(600)).await;
    until_waiting(&home, 2).await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    let first = instance(&home, "demo/hello").await;
    let holder = holder(&home, &first).await;
    until_waiting(&home, 2).await;
    kill(&home, &holder.id).await;
    home.until_withdrawn(&first.labels[label::INSTANCE]).await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    assert_eq!(started_from(&home, HELD), 2);
    for container in [&first.id, &holder.id] {
        until_gone(&home, container).await;
    }
    assert_eq!(home.instances("demo/hello").await.len(), 1);
}

/// Whoever kills what holds the network of one that is not ready yet costs it some time.
#[tokio::test]
async fn holder_that_is_killed_early_is_done_without() {
    let (home, _keeper) = with_router("early", SETTINGS).await;
    let slow = probe::misbehaving("slow-start:1500");
    home.deploy("demo/hello", slow).await;
    until_waiting(&home, 2).await;
    let asked = tokio::spawn(home.get("/demo/hello/status/204").send());
    let newborn = wait_for("it runs", PATIENCE, async || {
        let found = home.instances("demo/hello").await;
        found.into_iter().find(|found| found.running)
    })
    .await;
    kill(&home, &newborn.labels[label::HOLDER]).await;
    assert_eq!(asked.await.unwrap().unwrap().status, 204);
    assert_eq!(started_from(&home, HELD), 0);
    assert_eq!(started_from(&home, "its image"), 1);
    assert_eq!(home.instances("demo/hello").await.len(), 1);
    until_gone(&home, &newborn.id).await;
    until_gone(&home, &newborn.labels[label::HOLDER]).await;
}

/// Whoever takes a sandbox may die before Docker has its new name. Then it gets that from the keeper.
#[tokio::test]
async fn keeper_names_what_its_taker_has_not() {
    let home = Home::builder("namer").without_nginx().start().await;
    let _keeper = Keeper::start(&home, SETTINGS);
    until_waiting(&home, 2).await;
    let deployment = home.image("demo/hello", probe::idle(600)).await;
    let sandboxes = Sandboxes::new(&home.folder.file("sandboxes"), home.namespace());
    let taken = sandboxes.hold(&home.docker, &deployment).await.unwrap();
    let joined = Joined::Holder(&taken.container);
    let (docker, placement) = (&home.docker, taken.placement);
    let created = docker.create(&deployment, placement, joined, Purpose::Serve);
    let container = created.await.unwrap();
    docker.start(&container).await.unwrap();
    let instance = instance(&home, "demo/hello").await;
    assert_eq!(instance.id, container);
    assert_eq!(holder(&home, &instance).await.id, taken.container);
}
