//! Revisions that are released beside the current one.

use std::collections::BTreeMap;
use std::time::Duration;

use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::names::{self, env, header};
use corefn_core::release::{Split, Sticky};
use corefn_engine::agree::{Look, disagreements, settle};
use corefn_tests::cli::{Ran, corefn};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::deploys::{Watchers, assert_all_warm};

const FUNCTION: &str = "demo/hello";

const PATH: &str = "/demo/hello/env";

const PATIENCE: Duration = Duration::from_secs(30);

/// How many clients ask at once.
const CLIENTS: usize = 8;

/// A home in which a function has so many revisions, of which the last is current and warm.
pub(crate) async fn with_revisions(
    name: &str,
    workers: u32,
    count: usize,
    config: FunctionConfig,
) -> Home {
    let home = Home::builder(name).workers(workers).start().await;
    for number in 1..=count {
        let deployment = home.image(FUNCTION, config.clone()).await;
        if number < count {
            home.switch(&deployment).await;
        } else {
            home.switch_warm(&deployment).await;
            home.knows(FUNCTION, &deployment.revision.0).await;
        }
    }
    home
}

/// Runs `corefn release` for the function, and waits until every worker has heard of it; `current` is the current revision.
pub(crate) async fn release(home: &Home, current: &str, arguments: &[&str]) -> Ran {
    let begin = home.error_log().len();
    let ran = refused(home, arguments).await;
    ran.succeeded();
    home.knows_since(begin, FUNCTION, current).await;
    ran
}

async fn refused(home: &Home, arguments: &[&str]) -> Ran {
    corefn(home, &[&["release", FUNCTION], arguments].concat()).await
}

/// Which revision answers a request that has this header.
async fn revision_of(home: &Home, path: &str, header: Option<(&str, &str)>) -> String {
    let mut request = home.get(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[env::REVISION].as_str().unwrap().to_owned()
}

/// How many of so many requests each revision answers.
pub(crate) async fn shares(home: &Home, count: usize) -> BTreeMap<String, usize> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = home.client();
        clients.spawn(async move {
            let mut seen = BTreeMap::new();
            for _ in 0..count / CLIENTS {
                let answer = client.get(PATH).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let revision = answer.json()[env::REVISION].as_str().unwrap().to_owned();
                *seen.entry(revision).or_insert(0) += 1;
            }
            seen
        });
    }
    let mut all = BTreeMap::new();
    for (revision, count) in clients.join_all().await.into_iter().flatten() {
        *all.entry(revision).or_insert(0) += count;
    }
    all
}

/// Revisions, their states and percentages, as the command line lists them.
async fn listed(home: &Home) -> Vec<Value> {
    let listed = corefn(home, &["revisions", FUNCTION, "--json"]).await;
    let rows = listed.json();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| json!([row["revision"], row["state"], row["weight"]]))
        .collect()
}

#[tokio::test]
async fn requests_are_split_by_weight() {
    const COUNT: usize = 2000;
    let home = with_revisions("split", 4, 3, probe::idle(120)).await;
    let ran = release(&home, "r3", &["r1", "--weight", "10", "--json"]).await;
    let said = ran.json();
    let instance = said["instance"].as_str().unwrap();
    assert_eq!(
        said,
        json!({
            "function": FUNCTION, "revision": "r1", "former": null, "weight": 10,
            "url": "http://localhost/demo/hello@r1", "instance": instance,
        })
    );
    release(&home, "r3", &["r2", "--weight", "30"]).await;
    let seen = shares(&home, COUNT).await;
    // Six standard deviations are 4 % of all requests, and 6 %.
    let within = |revision: &str, share: usize, off: usize| {
        let got = seen[revision] * 100;
        assert!(got.abs_diff(COUNT * share) <= COUNT * off, "{seen:?}");
    };
    within("r1", 10, 4);
    within("r2", 30, 6);
    within("r3", 60, 7);
    // Whoever was released was warm, and the log says which revision it was of which function.
    let accesses = home.accesses(COUNT).await;
    let of = |revision: &str| {
        let of_it = |access: &&corefn_tests::access::Access| access.revision == revision;
        accesses.iter().filter(of_it).count()
    };
    assert_eq!(of("r1"), seen["r1"]);
    assert!(
        accesses
            .iter()
            .all(|access| access.start == "warm" && access.function == FUNCTION)
    );

    assert_eq!(
        listed(&home).await,
        [
            json!(["r3", "current", null]),
            json!(["r2", "released", 30]),
            json!(["r1", "released", 10]),
        ]
    );
    let table = corefn(&home, &["revisions", FUNCTION]).await;
    assert!(table.succeeded().contains("released, 30 %"), "{table:?}");
    let described = corefn(&home, &["describe", FUNCTION, "--json"])
        .await
        .json();
    let url = "http://localhost/demo/hello@r2";
    let second = json!({ "revision": "r2", "weight": 30, "url": url });
    assert_eq!(described["releases"][1], second);
    assert_eq!(described["instances"].as_array().unwrap().len(), 3);
    let all = corefn(&home, &["ls", "--json"]).await.json();
    assert_eq!(
        (all.as_array().unwrap().len(), &all[0]["instances"]),
        (1, &json!(3))
    );
    let ran = corefn(&home, &["ps", "--json"]).await.json();
    for row in ran.as_array().unwrap() {
        assert_eq!(row["function"], FUNCTION);
    }

    // With another weight it is not started anew, and with none it gets what is meant for it alone.
    let ran = release(&home, "r3", &["r1", "--weight", "0", "--json"])
        .await
        .json();
    assert_eq!(
        (&ran["former"], &ran["instance"]),
        (&json!(10), &Value::Null)
    );
    let seen = shares(&home, 400).await;
    assert!(!seen.contains_key("r1") && seen["r2"] > 0, "{seen:?}");
    assert_eq!(revision_of(&home, "/demo/hello@r1/env", None).await, "r1");
    assert_eq!(revision_of(&home, "/demo/hello@r2/env", None).await, "r2");
    for wanted in ["r1", "r2", "r3"] {
        let named = Some((header::REVISION, wanted));
        for _ in 0..10 {
            assert_eq!(revision_of(&home, PATH, named).await, wanted);
        }
    }
    let unknown = home.get(PATH).header(header::REVISION, "r9").await;
    assert_eq!(unknown.said(), (404, Some("unknown-revision")));
    let unknown = home.get("/demo/hello@r9/env").await;
    assert_eq!(unknown.said(), (404, Some("unknown-function")));
    assert_eq!(home.get("/demo/hello@/env").await.status, 404);

    let ended = release(&home, "r3", &["r2", "--end"]).await;
    assert_eq!(
        ended.succeeded(),
        "revision r2 of demo/hello is released no more\n"
    );
    let seen = shares(&home, 400).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["r3"]);
    assert_eq!(home.get("/demo/hello@r2/env").await.status, 404);
    assert_eq!(home.error_log().matches("started instance").count(), 0);
    assert_eq!(listed(&home).await[1], json!(["r2", "previous", null]));
}

#[tokio::test]
async fn requests_that_belong_together_get_the_same() {
    const USERS: usize = 40;
    let config = FunctionConfig {
        sticky: Some(Sticky::Cookie("session".to_owned())),
        ..probe::idle(120)
    };
    let home = with_revisions("sticky", 4, 2, config).await;
    let function = FUNCTION.parse().unwrap();
    let percentile = |user: usize| Split::percentile(&function, user.to_string().as_bytes());
    for weight in [30, 60] {
        release(&home, "r2", &["r1", "--weight", &weight.to_string()]).await;
        for user in 0..USERS {
            let released = percentile(user) < weight;
            let wanted = ["r2", "r1"][usize::from(released)];
            for _ in 0..3 {
                let cookies = format!("a=b; session={user}; c=d");
                let cookie = Some(("Cookie", cookies.as_str()));
                assert_eq!(
                    revision_of(&home, PATH, cookie).await,
                    wanted,
                    "user {user}"
                );
            }
        }
    }
    // Others are split as ever.
    assert_eq!(shares(&home, 200).await.len(), 2);
    let described = corefn(&home, &["describe", FUNCTION, "--json"])
        .await
        .json();
    assert_eq!(described["sticky"], "cookie:session");
}

#[tokio::test]
async fn releases_under_load_lose_nothing() {
    let home = with_revisions("releaseload", 2, 2, probe::config()).await;
    let watchers = Watchers::start(&home, CLIENTS);
    watchers.see("r2").await;
    for arguments in [&["r1", "--weight", "50"], &["r1", "--weight", "100"]] {
        release(&home, "r2", arguments).await;
        watchers.see("r1").await;
    }
    release(&home, "r2", &["r1", "--end"]).await;
    watchers.see("r2").await;
    release(&home, "r2", &["r1", "--weight", "50"]).await;
    watchers.see("r1").await;
    // What is released is deployed, and what was deployed is so no more.
    let begin = home.error_log().len();
    corefn(&home, &["promote", FUNCTION, "r1"])
        .await
        .succeeded();
    home.knows_since(begin, FUNCTION, "r1").await;
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len()).await;
    assert_eq!(shares(&home, 200).await.keys().collect::<Vec<_>>(), ["r1"]);
    assert_eq!(
        listed(&home).await,
        [
            json!(["r2", "previous", null]),
            json!(["r1", "current", null])
        ]
    );
    assert_eq!(home.get("/demo/hello@r1/env").await.status, 404);
}

#[tokio::test]
async fn releases_outlive_pushes_and_redis() {
    let mut home = with_revisions("releasekept", 1, 2, probe::idle(120)).await;
    release(&home, "r2", &["r1", "--weight", "40"]).await;
    // What is deployed next has it beside it as well.
    home.deploy(FUNCTION, probe::idle(120)).await;
    let rows = [
        json!(["r3", "current", null]),
        json!(["r2", "previous", null]),
        json!(["r1", "released", 40]),
    ];
    assert_eq!(listed(&home).await, rows);
    let both = async |home: &Home| {
        let seen = shares(home, 200).await;
        let seen: Vec<_> = seen.keys().map(String::as_str).collect();
        assert_eq!(seen, ["r1", "r3"]);
    };
    both(&home).await;
    home.start_cleaner(Some(1));
    let begin = home.error_log().len();
    home.redis.command::<String>(&["FLUSHALL"]).await;
    home.knows_since(begin, FUNCTION, "r3").await;
    both(&home).await;
    assert_eq!(revision_of(&home, "/demo/hello@r1/env", None).await, "r1");
    // (All instances are known again: only what was deployed without one was started.)
    assert_eq!(home.error_log().matches("started instance").count(), 1);

    // A router that starts without Redis knows it from Docker.
    home.redis.stop().await;
    home.reload().await;
    wait_until("it has asked Docker", PATIENCE, async || {
        home.get("/demo/hello@r1/env").await.status == 200
    })
    .await;
    both(&home).await;
    home.redis.start().await;
    let removed = async || {
        let ran = corefn(&home, &["rm", "--yes", FUNCTION]).await;
        ran.errors.is_empty()
    };
    wait_until("it is removed", PATIENCE, removed).await;
    for path in [PATH, "/demo/hello@r1/env"] {
        wait_until("every worker knows", PATIENCE, async || {
            home.get(path).await.status == 404
        })
        .await;
    }
    assert!(home.docker.images().await.unwrap().is_empty());
    assert!(home.store.deployments().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_can_not_be_released_changes_nothing() {
    let home = with_revisions("norelease", 1, 3, probe::idle(120)).await;
    home.image(FUNCTION, probe::misbehaving("exit")).await;
    release(&home, "r3", &["r1", "--weight", "60"]).await;
    let before = listed(&home).await;
    for (arguments, says) in [
        (
            &["r9", "--weight", "1"][..],
            "demo/hello has no revision r9",
        ),
        (
            &["r3", "--weight", "1"],
            "r3 is the current revision of demo/hello",
        ),
        (
            &["r3", "--end"],
            "revision r3 of demo/hello is not released",
        ),
        (
            &["r2", "--end"],
            "revision r2 of demo/hello is not released",
        ),
        (
            &["r2", "--weight", "41"],
            "r2 can't get 41 % of demo/hello's requests: 40 % are left, since r1 (60 %) have the others",
        ),
        (
            &["r4", "--weight", "1"],
            "revision r4 of demo/hello does not start",
        ),
    ] {
        refused(&home, arguments).await.failed(1, &[says]);
    }
    for arguments in [
        &["r2"][..],
        &["r2", "--weight", "101"],
        &["r2", "--weight", "x"],
    ] {
        refused(&home, arguments).await.failed(2, &["--weight"]);
    }
    corefn(&home, &["release", "demo/hallo", "r1", "--end"])
        .await
        .failed(1, &["did you mean demo/hello?"]);
    corefn(&home, &["release", "demo/hello@r1", "r1", "--end"])
        .await
        .failed(2, &["is no name"]);
    assert_eq!(listed(&home).await, before);
    // What was started in vain is gone.
    assert_eq!(home.docker.containers().await.unwrap().len(), 2);
    release(&home, "r3", &["r2", "--weight", "40"]).await;
    let seen = shares(&home, 200).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["r1", "r2"]);
}

#[tokio::test]
async fn docker_and_redis_come_to_agree_on_releases() {
    let mut home = Home::builder("releasesettle").without_nginx().start().await;
    for _ in 0..2 {
        home.deploy(FUNCTION, probe::idle(120)).await;
    }
    let look = async |home: &Home| {
        let images = home.docker.images().await.unwrap();
        disagreements(&home.store.deployments().await.unwrap(), &images).len()
    };
    let names = async |home: &Home| {
        let deployments = home.store.deployments().await.unwrap().into_iter();
        let mut names: Vec<_> = deployments.map(|it| it.function.to_string()).collect();
        names.sort();
        names
    };
    // (What Redis is to forget or to learn can be settled soon; what Docker is to forget, somebody may be about to tell Redis.)
    let twice = async |home: &Home, soon: bool| {
        let mut former = Vec::new();
        let knows_since = home.store.began().await.unwrap();
        let mut settled = async |is_soon| {
            let look = Look {
                knows_since,
                is_soon,
            };
            let settled = settle(&mut former, &home.store, &home.docker, look).await;
            settled.unwrap()
        };
        // (It is looked once whether somebody is at it.)
        assert!(settled(false).await.is_empty());
        if !soon {
            assert!(settled(true).await.is_empty());
        }
        assert_eq!(settled(soon).await, [FUNCTION.parse().unwrap()]);
        assert!(settled(false).await.is_empty());
        assert_eq!(look(home).await, 0);
    };
    assert_eq!(look(&home).await, 0);
    let repository = names::image(home.namespace(), &FUNCTION.parse().unwrap());
    let image = format!("{repository}:r1");
    let tag = format!("{repository}:released-25.r1");

    // Whoever releases what was just made is killed before Redis is told: it never was released.
    home.docker.tag(&image, &tag).await.unwrap();
    assert_eq!(look(&home).await, 1);
    let doctor = corefn(&home, &["doctor"]).await.output;
    let says = "disagree on what is released of demo/hello";
    assert!(doctor.contains(says), "{doctor}");
    twice(&home, false).await;
    assert_eq!(listed(&home).await[1], json!(["r1", "previous", null]));

    // Whoever ends a release is killed before Redis is told: it has ended.
    refused(&home, &["r1", "--weight", "25"]).await.succeeded();
    assert_eq!(names(&home).await, [FUNCTION, "demo/hello@r1"]);
    home.docker.remove_image(&tag).await.unwrap();
    twice(&home, true).await;
    assert_eq!(names(&home).await, [FUNCTION]);

    // A Redis that comes back as it was before is told. (Docker and Redis tell times to the second.)
    refused(&home, &["r1", "--weight", "25"]).await.succeeded();
    tokio::time::sleep(Duration::from_secs(4)).await;
    home.redis.stop().await;
    home.redis.start().await;
    home.store.set_index("before").await.unwrap();
    let images = home.docker.images().await.unwrap();
    let current = images.iter().find(|image| image.current).unwrap();
    home.store
        .deploy(&[(&current.deployment, None)])
        .await
        .unwrap();
    assert_eq!(names(&home).await, [FUNCTION]);
    twice(&home, true).await;
    assert_eq!(names(&home).await, [FUNCTION, "demo/hello@r1"]);
}

#[tokio::test]
async fn push_is_released_beside() {
    const MANIFEST: &str = "[function]\nsticky = 'header:X-User'\nroutes = ['/short']\n";
    let home = Home::start("pushbeside").await;
    let repository = Repository::create(&home, FUNCTION).await;
    repository.probe(MANIFEST);
    repository.commit("One").await;
    // There is nothing yet that it could be beside.
    repository
        .begin_push("-o weight=10 main")
        .end()
        .await
        .rejected(&["nothing is deployed of demo/hello that a revision could be released beside"]);
    let first = repository.push().await.accepted().revision();
    home.knows(FUNCTION, &first).await;
    for (options, says) in [
        (
            "-o weight=101",
            "weight=101 is no percentage: write a number from 0 to 100",
        ),
        (
            "-o wait=1",
            "is no option of a push: -o weight=PERCENT is one",
        ),
        ("-o weight=1 -o weight=2", "weight is given twice"),
    ] {
        repository.commit("Two").await;
        let push = repository.begin_push(&format!("{options} main"));
        push.end().await.rejected(&[says]);
    }
    let begin = home.error_log().len();
    let pushed = repository
        .begin_push("-o weight=50 main")
        .end()
        .await
        .accepted();
    let second = pushed.revision();
    let url = format!("http://localhost/demo/hello@{second}");
    let share = format!("weight   50 % of the requests, and all that are sent to {url}");
    pushed.says(&[&share, &format!("curl {url}/")]);
    home.knows_since(begin, FUNCTION, &first).await;
    let function = FUNCTION.parse().unwrap();
    for user in ["alice", "bob", "carol", "dave", "eve"] {
        let released = Split::percentile(&function, user.as_bytes()) < 50;
        let wanted = [&first, &second][usize::from(released)];
        for path in [PATH, "/short/env"] {
            let got = revision_of(&home, path, Some(("X-User", user))).await;
            assert_eq!(got, *wanted, "{user}");
        }
    }
    assert_eq!(home.error_log().matches("started instance").count(), 0);
    assert!(repository.head("main").await.is_some());
    // What can't be, is found before anything is built.
    repository.commit("Three").await;
    let push = repository.begin_push("-o weight=51 main");
    let left =
        format!("can't get 51 % of demo/hello's requests: 50 % are left, since {second} (50 %)");
    let rejected = push.end().await.rejected(&[&left]);
    assert!(
        !rejected.output.contains("==> starting"),
        "{}",
        rejected.output
    );
    // One that takes the place of what is deployed says what else there is.
    let pushed = repository.push().await.accepted();
    let third = pushed.revision();
    pushed.says(&[&format!(
        "{second} of demo/hello still gets 50 % of the requests"
    )]);
    assert_eq!(
        listed(&home).await,
        [
            json!([third, "current", null]),
            json!([second, "released", 50]),
            json!([first, "previous", null]),
        ]
    );
}

/// A limit of all requests to a function is one of those to all of its revisions.
#[tokio::test]
async fn limits_are_those_of_the_function() {
    let limits = Limits {
        requests: Some(1),
        ..probe::config().limits
    };
    let config = FunctionConfig {
        limits,
        ..probe::idle(120)
    };
    let home = with_revisions("releaselimit", 1, 2, config).await;
    release(&home, "r2", &["r1", "--weight", "0"]).await;
    let busy = home.begin("/demo/hello/sleep/2000", 1);
    home.until_under_way(1).await;
    let refused = home.get("/demo/hello@r1/env").await;
    assert_eq!(refused.said(), (429, Some("too-many-requests")));
    for answer in busy.join_all().await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(revision_of(&home, "/demo/hello@r1/env", None).await, "r1");
}
