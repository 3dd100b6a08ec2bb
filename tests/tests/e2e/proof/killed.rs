//! Who deploys is killed at each of its calls to Docker, or whoever has pushed goes away there; and who rotates keys at any time.

use std::fs;
use std::time::{Duration, Instant};

use corefn_core::names::{env, label};
use corefn_engine::secrets::SecretStore;
use corefn_tests::cli::{command, corefn, follow};
use corefn_tests::git_host::GitHost;
use corefn_tests::proxy::Proxy;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};

use crate::push_interrupted::lock;

const PATIENCE: Duration = Duration::from_secs(60);

/// How long a push has to notice that whoever wanted it is gone.
const NOTICES: Duration = Duration::from_millis(200);

/// The most calls that are expected.
const MOST: usize = 200;

/// A home with a cleaner. All programs but this and nginx talk to Docker by way of a socket that can be shut.
async fn cleaned(name: &str) -> (Home, Proxy) {
    let mut home = Home::start(name).await;
    home.start_cleaner(Some(1));
    wait_until("the cleaner is at work", PATIENCE, async || {
        home.store.facts().await.unwrap().is_cleaned
    })
    .await;
    let proxy = home.proxy_programs();
    (home, proxy)
}

/// The revision that answers.
async fn answers(home: &Home) -> String {
    let answer = home.get("/demo/hello/env").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[env::REVISION].as_str().unwrap().to_owned()
}

/// What is left over is removed, and nothing else.
async fn tidied_up(home: &Home, revision: &str) {
    wait_until(
        "the cleaner removes what is left over",
        PATIENCE,
        async || {
            let containers = home.docker.containers().await.unwrap();
            containers
                .iter()
                .all(|it| it.has(label::REVISION, revision))
        },
    )
    .await;
    assert_eq!(answers(home).await, revision);
    let found = corefn(home, &["doctor", "--json"]).await;
    let found: serde_json::Value = serde_json::from_str(&found.output).unwrap();
    let mut found = found.as_array().unwrap().iter();
    let functions = found
        .find(|finding| finding["check"] == "functions")
        .unwrap();
    assert_eq!(functions["state"], "ok", "{functions}");
}

/// A repository whose function is ready in no time, and away soon.
async fn repository(home: &Home) -> Repository {
    let hello = Repository::create(home, "demo/hello").await;
    hello.probe("[function]\nlimits = { pids = 1024 }\nscale = { idle = '5s' }\n");
    hello
}

/// A builder that is killed changes nothing, and the next push works.
#[tokio::test]
async fn builder_is_killed_at_each_call() {
    let (home, proxy) = cleaned("killed").await;
    let hello = repository(&home).await;
    let first = hello.commit("First").await;
    let pushed = hello.push().await.accepted();
    let old = pushed.revision();
    home.knows("demo/hello", &old).await;
    let second = hello.commit("Second").await;
    let mut calls = 0;
    let new = loop {
        assert!(calls < MOST, "it does not come to an end");
        proxy.hold_after(calls);
        let mut push = hello.begin_push("main");
        wait_until("the push has got so far", PATIENCE, async || {
            proxy.is_holding() || !push.is_running()
        })
        .await;
        if !proxy.is_holding() {
            break push.end().await.accepted().revision();
        }
        // (With all that it has started.)
        drop(push);
        proxy.release();
        // The branch and what answers go together: when it was switched, what is left need not be done.
        let head = hello.head("main").await.unwrap();
        let is_old = answers(&home).await == old;
        assert_eq!(head == first, is_old, "after {calls} calls");
        assert!(head == first || head == second, "after {calls} calls");
        if head == second {
            break answers(&home).await;
        }
        calls += 1;
    };
    println!("a push of {calls} calls was killed before each of them");
    home.knows("demo/hello", &new).await;
    // Only what was deployed is there to be gone back to.
    let revisions = corefn(&home, &["revisions", "demo/hello", "--json"]).await;
    let revisions = revisions.json();
    let revisions = revisions.as_array().unwrap().iter();
    let revisions: Vec<_> = revisions
        .map(|it| it["revision"].as_str().unwrap())
        .collect();
    assert_eq!(revisions, [&*new, &*old]);
    tidied_up(&home, &new).await;
    // What was built in vain, and had an instance until then, goes with the next push.
    hello.commit("Third").await;
    hello.push().await.accepted();
    let images = home.docker.images().await.unwrap();
    let tags: Vec<_> = images.iter().map(|image| &image.tags).collect();
    assert_eq!(images.len(), 3, "{tags:?}");
}

/// Whoever pushes and goes away at any of its calls changes nothing, or has deployed.
async fn pusher_goes_away_at_each_call(
    home: &Home,
    proxy: &Proxy,
    has_ended: impl AsyncFn(&Repository, usize),
) {
    let hello = repository(home).await;
    // (Who pushes without ssh must own it.)
    hello
        .run("chown -R root: \"$(git remote get-url origin)\"")
        .await;
    let mut head = hello.commit("First").await;
    let mut old = hello.push().await.accepted().revision();
    home.knows("demo/hello", &old).await;
    let (mut calls, mut deployed) = (0, 0);
    loop {
        assert!(calls < MOST, "it does not come to an end");
        let new = hello.commit(&format!("Goes away after {calls}")).await;
        proxy.pause_after(calls);
        let mut push = hello.begin_push("main");
        wait_until("the push has got so far", PATIENCE, async || {
            proxy.is_holding() || !push.is_running()
        })
        .await;
        if !proxy.is_holding() {
            proxy.release();
            push.end().await.accepted();
            break;
        }
        push.interrupt();
        // It has time to let go of what it must not let go of.
        tokio::time::sleep(NOTICES).await;
        proxy.release();
        push.end().await;
        calls += 1;
        has_ended(&hello, calls + 1).await;
        let is_moved = hello.head("main").await.as_ref() != Some(&head);
        if is_moved {
            assert_eq!(hello.head("main").await.as_ref(), Some(&new));
            wait_until("what was deployed answers", PATIENCE, async || {
                answers(home).await != old
            })
            .await;
            (head, old) = (new, answers(home).await);
            deployed += 1;
        }
        assert_eq!(answers(home).await, old, "after {calls} calls");
    }
    println!(
        "whoever pushed went away at each of {calls} calls; at the last {deployed} it was deployed"
    );
    assert!(deployed > 0 && deployed < calls);
    let revision = answers(home).await;
    tidied_up(home, &revision).await;
}

#[tokio::test]
async fn pusher_goes_away() {
    let (home, proxy) = cleaned("goes").await;
    pusher_goes_away_at_each_call(&home, &proxy, async |hello, _| {
        // The hook has it until its end.
        drop(lock(&home.folder, hello).await);
    })
    .await;
}

#[tokio::test]
async fn pusher_goes_away_whose_push_a_service_builds() {
    let (home, proxy) = cleaned("goesfar").await;
    let _git_host = GitHost::start(&home).await;
    pusher_goes_away_at_each_call(&home, &proxy, async |hello, pushes| {
        drop(lock(&home.folder, hello).await);
        wait_until("the service is done with it", PATIENCE, async || {
            let log = home.folder.read("log/corefn-build.log");
            log.matches("push to \"demo/hello\"").count() == pushes
        })
        .await;
    })
    .await;
}

/// So does a way back,
#[tokio::test]
async fn way_back_is_killed_at_each_call() {
    let (home, proxy) = cleaned("killedback").await;
    for _ in 0..2 {
        home.deploy("demo/hello", probe::idle(5)).await;
    }
    let calls = killed_at_each_call(&home, &proxy, &["rollback", "demo/hello", "r1"]).await;
    println!("a way back of {calls} calls was killed before each of them");
    assert_eq!(answers(&home).await, "r1");
}

/// and a change of the environment.
#[tokio::test]
async fn change_is_killed_at_each_call() {
    let (home, proxy) = cleaned("killedenv").await;
    home.deploy("demo/hello", probe::idle(5)).await;
    let calls = killed_at_each_call(&home, &proxy, &["env", "set", "demo/hello", "A=1"]).await;
    println!("a change of {calls} calls was killed before each of them");
    assert_eq!(home.get("/demo/hello/env").await.json()["A"], "1");
    // What was made in vain, and had an instance until then, goes with the next change.
    corefn(&home, &["env", "set", "demo/hello", "A=2"])
        .await
        .succeeded();
    let images = home.docker.images().await.unwrap();
    let tags: Vec<_> = images.iter().map(|image| &image.tags).collect();
    assert_eq!(images.len(), 3, "{tags:?}");
}

/// Has a command killed before each of its calls, of which there are so many, until it comes through. What answers is as before
/// until then.
async fn killed_at_each_call(home: &Home, proxy: &Proxy, words: &[&str]) -> usize {
    let old = answers(home).await;
    let mut calls = 0;
    loop {
        assert!(calls < MOST, "it does not come to an end");
        proxy.hold_after(calls);
        let mut command = follow(home, words);
        wait_until("it has got so far", PATIENCE, async || {
            proxy.is_holding() || !command.is_running()
        })
        .await;
        if !proxy.is_holding() {
            break;
        }
        drop(command);
        proxy.release();
        // (Where it was killed after the switch, there is nothing left for it to do.)
        if answers(home).await != old {
            break;
        }
        calls += 1;
    }
    wait_until("another answers", PATIENCE, async || {
        answers(home).await != old
    })
    .await;
    proxy.release();
    let new = answers(home).await;
    tidied_up(home, &new).await;
    calls
}

#[tokio::test]
async fn release_is_killed_before_each_of_its_calls() {
    let (home, proxy) = cleaned("killedrelease").await;
    for _ in 0..2 {
        let deployment = home.image("demo/hello", probe::idle(3)).await;
        home.switch(&deployment).await;
        home.knows("demo/hello", &deployment.revision.0).await;
    }
    let words = ["release", "demo/hello", "r1", "--weight", "100"];
    let calls = killed_at_each_call(&home, &proxy, &words).await;
    println!("a release of {calls} calls was killed before each of them");
    let words = ["release", "demo/hello", "r1", "--end"];
    let calls = killed_at_each_call(&home, &proxy, &words).await;
    println!("the end of one, of {calls} calls, was killed before each of them");
    // What Redis was not told of, the cleaner settles; here it was told of all.
    let images = home.docker.images().await.unwrap();
    let deployments = home.store.deployments().await.unwrap();
    assert_eq!(
        corefn_engine::agree::disagreements(&deployments, &images),
        []
    );
}

/// Whoever rotates the key of secrets is killed at each twentieth part of it: all of them can be opened at any time.
#[tokio::test]
async fn rotation_is_killed() {
    let home = Home::builder("rotated").without_nginx().start().await;
    let secrets = SecretStore::new(&home.folder.file("secrets"));
    let function = "demo/hello".parse().unwrap();
    let values: Vec<_> = (0..200)
        .map(|number: u32| (secrets.set(&function, &number.to_string()).unwrap(), number))
        .collect();
    let all_can_be_opened = || {
        for (id, number) in &values {
            let value = secrets.get(&function, "A", *id).unwrap();
            assert_eq!(value, number.to_string());
        }
    };
    let keys = || home.folder.read("secrets/keys").lines().count();
    let words = ["secret", "rotate"];
    let begin = Instant::now();
    corefn(&home, &words).await.succeeded();
    let whole = begin.elapsed();
    let mut between = 0;
    for part in 0..20 {
        let mut rotation = command();
        rotation.arg("--home").arg(home.folder.path()).args(words);
        let mut rotation = rotation.spawn().unwrap();
        tokio::time::sleep(whole * part / 20).await;
        rotation.kill().await.unwrap();
        all_can_be_opened();
        between += usize::from(keys() > 1);
    }
    println!("killed 20 times, {between} of them between two keys");
    assert!(between > 0, "it was never killed in the middle");
    corefn(&home, &words).await.succeeded();
    assert_eq!(keys(), 1);
    all_can_be_opened();
    // Nothing is left of what was being written.
    let files = fs::read_dir(home.folder.file("secrets/values/demo/hello")).unwrap();
    assert_eq!(files.count(), values.len());
}
