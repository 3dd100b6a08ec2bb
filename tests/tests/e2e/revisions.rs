//! The revisions of a function: which there are, the way back and forth, and which are kept.

use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::host::Revisions;
use corefn_core::names::{self, HOST_FILE, env, label};
use corefn_engine::agree::Look;
use corefn_engine::docker::Image;
use corefn_engine::revisions::Disagreements;
use corefn_engine::store::Store;
use corefn_tests::cli::{Ran, corefn};
use corefn_tests::port::Port;
use corefn_tests::{Home, probe, wait_until};
use serde_json::{Value, json};

use crate::deploys::{Watchers, assert_all_warm};
use crate::without_redis::{until_replicated, with_replica};

const PATIENCE: Duration = Duration::from_secs(30);

/// Revisions and their states, as the command line lists them.
async fn states(home: &Home, function: &str) -> Vec<(String, String)> {
    let listed = corefn(home, &["revisions", function, "--json"])
        .await
        .json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = listed.as_array().unwrap().iter();
    rows.map(|row| (text(row, "revision"), text(row, "state")))
        .collect()
}

/// The same as pairs that can be written down.
fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |text: &str| text.to_owned();
    rows.iter()
        .map(|(id, state)| (owned(id), owned(state)))
        .collect()
}

async fn back(home: &Home, arguments: &[&str]) -> Ran {
    corefn(home, &[&["rollback", "demo/hello"], arguments].concat()).await
}

/// Has a revision deployed, and waits until every worker has it.
async fn to(home: &Home, revision: &str, words: &[&str]) -> Ran {
    let begin = home.error_log().len();
    let ran = corefn(home, words).await;
    ran.succeeded();
    home.knows_since(begin, "demo/hello", revision).await;
    ran
}

/// The revision that answers.
async fn answers(home: &Home) -> String {
    let answer = home.get("/demo/hello/env").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[env::REVISION].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn way_back_and_forth() {
    let home = Home::start("rollback").await;
    home.deploy("demo/hello", probe::idle(60)).await;
    back(&home, &[])
        .await
        .failed(1, &["nothing was deployed of demo/hello before"]);
    home.deploy("demo/hello", probe::idle(60)).await;
    home.deploy("demo/hello", probe::idle(60)).await;
    assert_eq!(answers(&home).await, "r3");
    let listed = corefn(&home, &["revisions", "demo/hello", "--json"]).await;
    let listed = listed.json();
    assert_eq!(listed[0]["instances"], 1);
    assert_eq!(listed[1]["instances"], 0);
    assert_eq!(listed[2]["commit"], format!("{:040x}", 1));
    assert_eq!(listed[2]["account"], Value::Null);
    assert!(listed[2]["size"].as_i64().unwrap() > 100_000, "{listed}");
    let created: jiff::Timestamp = listed[2]["created"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(created).as_secs() < 600);
    let table = corefn(&home, &["revisions", "demo/hello"]).await;
    let lines: Vec<_> = table.succeeded().lines().collect();
    assert!(lines[0].starts_with("REVISION  STATE     AGE"), "{lines:?}");
    assert!(lines[2].starts_with("r2        previous  "), "{lines:?}");

    // It is the way back from a way back, too.
    for (from, to, rows) in [
        (
            "r3",
            "r2",
            [("r3", "previous"), ("r2", "current"), ("r1", "kept")],
        ),
        (
            "r2",
            "r3",
            [("r3", "current"), ("r2", "previous"), ("r1", "kept")],
        ),
    ] {
        let gone = self::to(&home, to, &["rollback", "demo/hello", "--json"]).await;
        let gone = gone.json();
        let instance = gone["instance"].as_str().unwrap();
        assert_eq!(
            gone,
            json!({
                "function": "demo/hello", "revision": to, "changed": true, "former": from, "instance": instance,
            })
        );
        assert_eq!(states(&home, "demo/hello").await, pairs(&rows));
    }
    assert_eq!(answers(&home).await, "r3");
    let back = to(&home, "r1", &["rollback", "demo/hello", "r1"]).await;
    assert!(back.errors.contains("it was at r3"), "{back:?}");
    assert_eq!(answers(&home).await, "r1");
    let all = [("r3", "previous"), ("r2", "kept"), ("r1", "current")];
    assert_eq!(states(&home, "demo/hello").await, pairs(&all));
    let same = corefn(&home, &["promote", "demo/hello", "r1"]).await;
    assert_eq!(same.succeeded(), "demo/hello is at revision r1 already\n");
    to(&home, "r2", &["promote", "demo/hello", "r2"]).await;
    assert_eq!(answers(&home).await, "r2");
    // Of what was gone back to, each first request found its instance ready.
    let accesses = home.accesses(4).await;
    let starts: Vec<_> = accesses
        .iter()
        .map(|access| access.start.as_str())
        .collect();
    assert_eq!(starts, ["cold", "warm", "warm", "warm"]);
    // It is the way back where Redis was emptied, too, which is filled from Docker first.
    home.redis.command::<String>(&["FLUSHALL"]).await;
    to(&home, "r3", &["rollback", "demo/hello", "r3"]).await;
    assert_eq!(answers(&home).await, "r3");

    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    assert!(home.docker.images().await.unwrap().is_empty());
}

#[tokio::test]
async fn way_back_under_load_loses_nothing() {
    let home = Home::start("rollbackload").await;
    for _ in 0..2 {
        let deployment = home.image("demo/hello", probe::config()).await;
        home.switch_warm(&deployment).await;
        home.knows("demo/hello", &deployment.revision.0).await;
    }
    let watchers = Watchers::start(&home, 8);
    watchers.see("r2").await;
    for to in ["r1", "r2", "r1"] {
        back(&home, &[to]).await.succeeded();
        watchers.see(to).await;
    }
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len()).await;
}

/// What is changed by nothing that fails: tags, what Redis knows, containers.
async fn state(home: &Home) -> (Vec<(String, Vec<String>)>, Vec<Deployment>, Vec<String>) {
    let images = home.docker.images().await.unwrap();
    let mut images: Vec<_> = images
        .into_iter()
        .map(|mut image| {
            image.tags.sort();
            (image.id, image.tags)
        })
        .collect();
    images.sort();
    let mut deployments = home.store.deployments().await.unwrap();
    deployments.sort_by(|a, b| a.function.cmp(&b.function));
    let containers = home.docker.containers().await.unwrap();
    let mut containers: Vec<_> = containers.into_iter().map(|it| it.id).collect();
    containers.sort();
    (images, deployments, containers)
}

#[tokio::test]
async fn what_can_not_be_deployed_changes_nothing() {
    let home = Home::start("norollback").await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    let routed = FunctionConfig {
        routes: vec!["api.example.com/v1".parse().unwrap()],
        ..probe::config()
    };
    home.deploy("demo/hello", routed.clone()).await;
    home.deploy("demo/hello", probe::config()).await;
    home.deploy("demo/other", routed).await;
    assert_eq!(answers(&home).await, "r3");
    let before = state(&home).await;
    for (revision, texts) in [
        (
            "r1",
            &["revision r1 of demo/hello does not start, so it is not deployed"][..],
        ),
        (
            "r2",
            &["the route api.example.com/v1 of demo/hello belongs to demo/other"],
        ),
        (
            "r9",
            &["demo/hello has no revision r9: give one of r3, r2, r1"],
        ),
        (
            "r",
            &["r may be several revisions of demo/hello: give one of r3, r2, r1"],
        ),
        ("", &["has no revision"]),
    ] {
        back(&home, &[revision]).await.failed(1, texts);
        corefn(&home, &["promote", "demo/hello", revision])
            .await
            .failed(1, texts);
        assert_eq!(state(&home).await, before, "{revision}");
    }
    for words in [
        &["revisions", "demo/none"][..],
        &["rollback", "demo/none"],
        &["promote", "demo/none", "r1"],
    ] {
        corefn(&home, words).await.failed(
            1,
            &["there is no function demo/none: corefn ls lists those there are"],
        );
    }

    // One that was deployed, as its build's log says, and is not kept any more.
    corefn(&home, &["repo", "create", "demo/hello"])
        .await
        .succeeded();
    let log = "projects/demo/hello.git/corefn/builds/20230101T000000-abcdef0.log";
    let folder = home.folder.file(log);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let line = "==> deployed demo/hello, revision 20230101T000000-abcdef0\n";
    home.folder.write(log, format!("==> compiling\n{line}"));
    back(&home, &["abcdef0"]).await.failed(
        1,
        &["20230101T000000-abcdef0 of demo/hello was deployed, but its image is no longer kept: push its commit again"],
    );

    // One whose image somebody has removed.
    let image = &before
        .0
        .iter()
        .find(|(_, tags)| tags[0].ends_with(":r1"))
        .unwrap()
        .0;
    assert!(home.docker.remove_unless_used(image).await.unwrap());
    back(&home, &["r1"])
        .await
        .failed(1, &["demo/hello has no revision r1"]);
    assert_eq!(answers(&home).await, "r3");
}

/// The revisions that there are images of, the oldest first.
async fn there_are(home: &Home) -> Vec<String> {
    let images = home.docker.images().await.unwrap();
    let mut ids: Vec<_> = images
        .iter()
        .map(|image| image.deployment.revision.to_string())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn those_that_are_not_kept_go() {
    let mut home = Home::start("gc").await;
    let host = home.folder.read(HOST_FILE);
    home.folder
        .write(HOST_FILE, format!("{host}\n[revisions]\nkeep = 2\n"));
    for number in 1..=6 {
        home.deploy("demo/hello", probe::config()).await;
        if number == 3 {
            assert_eq!(answers(&home).await, "r3");
        }
    }
    home.deploy("demo/other", probe::config()).await;
    back(&home, &["r1"]).await.succeeded();
    // The newest two, the current one and the one before it stay.
    let removed = |ran: &Ran| -> Vec<String> {
        let removed = ran.json();
        let rows = removed.as_array().unwrap().iter();
        rows.map(|row| row["revision"].as_str().unwrap().to_owned())
            .collect()
    };
    let dry = corefn(&home, &["gc", "--dry-run", "--json"]).await;
    assert_eq!(removed(&dry), ["r2", "r3", "r4"]);
    assert_eq!(
        there_are(&home).await,
        ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]
    );
    // A container is made of the third.
    let gone = corefn(&home, &["gc", "--json"]).await;
    assert_eq!(removed(&gone), ["r2", "r4"]);
    assert_eq!(there_are(&home).await, ["r1", "r3", "r5", "r6", "r7"]);

    // The cleaner does the same by itself.
    for container in home.instances("demo/hello").await {
        if container.has(label::REVISION, "r3") {
            home.docker.remove(&container.id).await.unwrap();
        }
    }
    home.start_cleaner(None);
    wait_until("the cleaner removes the third", PATIENCE, async || {
        there_are(&home).await == ["r1", "r5", "r6", "r7"]
    })
    .await;
    let told = "removed revision r3 of demo/hello, which is not kept";
    wait_until("it says so", PATIENCE, async || {
        home.cleaner_log().contains(told)
    })
    .await;
    assert_eq!(corefn(&home, &["gc", "--json"]).await.json(), json!([]));

    // One that was deployed since it was looked for is not removed.
    let images = home.docker.images().await.unwrap();
    let current = images
        .iter()
        .find(|image| image.current && image.tags.len() == 2);
    let Image { id, .. } = current.unwrap();
    for container in home.docker.containers().await.unwrap() {
        home.docker.remove(&container.id).await.unwrap();
    }
    assert!(!home.docker.remove_unless_used(id).await.unwrap());
    assert_eq!(home.docker.images().await.unwrap().len(), images.len());
}

#[tokio::test]
async fn images_that_take_too_much_go() {
    let home = Home::builder("gcdisk").without_nginx().start().await;
    for _ in 0..4 {
        home.deploy("demo/hello", probe::config()).await;
    }
    let sizes = home.docker.own_sizes().await.unwrap();
    let images = home.docker.images().await.unwrap();
    let size = sizes[&images[0].id];
    assert_eq!(size, images[0].size.unsigned_abs());
    let settings = |disk| Revisions {
        disk: Some(disk),
        ..Revisions::default()
    };
    let gone = async |disk| {
        let images = corefn_engine::revisions::not_kept(&home.docker, &settings(disk)).await;
        let images = images.unwrap().into_iter();
        let mut gone: Vec<_> = images.map(|image| image.deployment.revision.0).collect();
        gone.sort();
        gone
    };
    assert_eq!(gone(4 * size).await, [""; 0]);
    assert_eq!(gone(4 * size - 1).await, ["r1"]);
    assert_eq!(gone(3 * size - 1).await, ["r1", "r2"]);
    assert_eq!(gone(0).await, ["r1", "r2"]);
}

#[tokio::test]
async fn docker_and_redis_come_to_agree() {
    let home = Home::builder("agree").without_nginx().start().await;
    let mut revisions = Vec::new();
    for _ in 0..2 {
        revisions.push(home.deploy("demo/hello", probe::config()).await);
    }
    home.deploy("demo/other", probe::config()).await;
    let before = state(&home).await;
    let mut disagreements = Disagreements::default();
    let knows_since = home.store.began().await.unwrap();
    let mut settle = async |is_soon| {
        let look = Look {
            knows_since,
            is_soon,
        };
        let settled = disagreements.settle(&home.store, &home.docker, look).await;
        let settled = settled.unwrap();
        settled
            .into_iter()
            .map(|(function, _)| function.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(settle(false).await, [""; 0]);

    // As when whoever goes back to the first is killed when Docker knows and Redis doesn't.
    let current = |revision: &Deployment| {
        let repository = names::image(home.namespace(), &revision.function);
        (
            revision.image.clone(),
            format!("{repository}:{}", names::CURRENT_TAG),
        )
    };
    let (image, tag) = current(&revisions[0]);
    home.docker.tag(&image, &tag).await.unwrap();
    let disagree = state(&home).await;
    assert_ne!(disagree, before);
    // It may be in between just now.
    for is_soon in [false, true] {
        assert_eq!(settle(is_soon).await, [""; 0]);
        assert_eq!(state(&home).await, disagree);
    }
    assert_eq!(settle(false).await, ["demo/hello"]);
    assert_eq!(state(&home).await, before);
    assert_eq!(settle(false).await, [""; 0]);

    // Where the image is gone that Redis knows, Docker's is all there is.
    home.docker.tag(&image, &tag).await.unwrap();
    home.docker.remove_image(&revisions[1].image).await.unwrap();
    assert_eq!(settle(false).await, [""; 0]);
    assert_eq!(settle(false).await, ["demo/hello"]);
    let (_, deployments, _) = state(&home).await;
    assert_eq!(deployments[0], revisions[0]);
}

/// A Redis that comes back with what was deployed some time ago.
#[tokio::test]
async fn redis_that_is_behind_catches_up() {
    let mut home = Home::builder("behind").without_nginx().start().await;
    let mut revisions = Vec::new();
    for _ in 0..2 {
        revisions.push(home.deploy("demo/hello", probe::config()).await);
    }
    // (Docker and Redis tell times to the second.)
    tokio::time::sleep(Duration::from_secs(4)).await;
    home.redis.stop().await;
    home.redis.start().await;
    home.store.deploy(&[(&revisions[0], None)]).await.unwrap();
    let mut disagreements = Disagreements::default();
    let look = Look {
        knows_since: home.store.began().await.unwrap(),
        is_soon: true,
    };
    for count in [0, 1, 0] {
        let settled = disagreements.settle(&home.store, &home.docker, look).await;
        let settled = settled.unwrap();
        assert_eq!(settled.len(), count);
    }
    assert_eq!(home.store.deployments().await.unwrap(), revisions[1..]);
}

/// Waits until requests get a revision, and Redis says so.
async fn until_told(home: &Home, store: &Store, newest: &Deployment) {
    wait_until("requests get the newest again", PATIENCE, async || {
        let answer = home.get("/demo/hello/env").await;
        answer.status == 200 && answer.json()[env::REVISION] == *newest.revision.0
    })
    .await;
    let deployments = store.deployments().await.unwrap();
    assert_eq!(deployments, std::slice::from_ref(newest));
}

/// Deploys a revision, and waits until routers know it.
async fn deploy(home: &Home) -> Deployment {
    let deployment = home.deploy("demo/hello", probe::idle(600)).await;
    home.knows("demo/hello", &deployment.revision.0).await;
    deployment
}

/// A Redis that comes back as it was when its disk was last written is told soon what is deployed.
#[tokio::test]
async fn redis_that_is_set_back_is_told_soon() {
    let mut home = Home::start("setback").await;
    home.start_cleaner(Some(1));
    let first = deploy(&home).await;
    home.redis.save().await;
    let newest = deploy(&home).await;
    home.redis.stop().await;
    home.redis.start().await;
    let deployments = home.store.deployments().await.unwrap();
    assert_eq!(deployments, [first], "it is set back");
    until_told(&home, &home.store, &newest).await;
}

/// The same of a replica that takes over and lacks the last, though it has run for longer than that is deployed.
#[tokio::test]
async fn replica_that_lacks_the_newest_is_told_soon() {
    let (mut home, other, _port) = with_replica("lacks").await;
    let first = deploy(&home).await;
    until_replicated(&other).await;
    let store = Store::new(&other.url(), home.namespace()).unwrap();
    wait_until("it knows the first", PATIENCE, async || {
        store
            .deployments()
            .await
            .is_ok_and(|it| it == [first.clone()])
    })
    .await;
    // (Nobody is there.)
    let nobody = Port::reserve();
    let number = nobody.address().port().to_string();
    let _: String = other.command(&["REPLICAOF", "127.0.0.1", &number]).await;
    let newest = deploy(&home).await;
    home.redis.kill().await;
    let _: String = other.command(&["REPLICAOF", "NO", "ONE"]).await;
    until_told(&home, &store, &newest).await;
}
