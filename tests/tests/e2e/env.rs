//! The variables of a function's environment that are set for it.

use corefn_core::config::FunctionConfig;
use corefn_core::environment;
use corefn_core::names::env;
use corefn_tests::cli::{Ran, corefn};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe};
use serde_json::{Value, json};

use crate::deploys::{Watchers, assert_all_warm};

/// Runs `corefn env`.
async fn run(home: &Home, arguments: &[&str]) -> Ran {
    corefn(home, &[&["env"], arguments].concat()).await
}

/// Runs what changes something, waits until every worker has it, and returns the revision.
async fn change(home: &Home, words: &[&str]) -> String {
    changed(home, corefn(home, &[words, &["--json"]].concat())).await
}

/// Waits until every worker has what a command changes that prints JSON, and returns the revision.
pub async fn changed(home: &Home, command: impl Future<Output = Ran>) -> String {
    let begin = home.error_log().len();
    let changed = command.await.json();
    assert_eq!(changed["changed"], true, "{changed}");
    let revision = changed["revision"].as_str().unwrap().to_owned();
    home.knows_since(begin, "demo/hello", &revision).await;
    revision
}

/// The function's environment.
pub async fn environment(home: &Home) -> Value {
    let answer = home.get("/demo/hello/env").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// A function with two variables of its own.
fn config() -> FunctionConfig {
    let mut config = probe::config();
    for (name, value) in [("A", "a"), ("B", "b")] {
        config.env.insert(name.to_owned(), value.to_owned());
    }
    config
}

#[tokio::test]
async fn variables_are_set_and_unset() {
    let home = Home::start("env").await;
    home.deploy("demo/hello", config()).await;
    let odd = "x y='\"$HOME\\\n{}é";
    let words = ["env", "set", "demo/hello", "B=2", &format!("C={odd}")];
    let second = change(&home, &words).await;
    let have = environment(&home).await;
    assert_eq!(have["A"], "a");
    assert_eq!(have["B"], "2");
    assert_eq!(have["C"], odd);
    assert_eq!(have[env::REVISION], second);
    let list = run(&home, &["list", "demo/hello", "--json"]).await.json();
    let want = json!([
        { "name": "A", "value": "a", "from": "corefn.toml" },
        { "name": "B", "value": "2", "from": "set" },
        { "name": "C", "value": odd, "from": "set" },
    ]);
    assert_eq!(list, want);
    let described = corefn(&home, &["describe", "demo/hello", "--json"]).await;
    assert_eq!(described.json()["env"]["B"], "2");

    // What is set already changes nothing.
    let same = run(&home, &["set", "demo/hello", "B=2"]).await;
    let same_text = format!("demo/hello is at revision {second} already\n");
    assert_eq!(same.succeeded(), same_text);

    // What the manifest says counts again; and the whole is a revision, to be gone back to as any other.
    let third = change(&home, &["env", "unset", "demo/hello", "B"]).await;
    assert_eq!(environment(&home).await["B"], "b");
    assert_eq!(environment(&home).await["C"], odd);
    assert!(third > second);
    assert_eq!(change(&home, &["rollback", "demo/hello"]).await, second);
    assert_eq!(environment(&home).await["B"], "2");
    assert_eq!(change(&home, &["rollback", "demo/hello", "r1"]).await, "r1");
    assert_eq!(environment(&home).await["B"], "b");
    assert_eq!(environment(&home).await["C"], Value::Null);
    let revisions = corefn(&home, &["revisions", "demo/hello", "--json"]).await;
    let revisions = revisions.json();
    let commits = revisions.as_array().unwrap().iter();
    let commits: Vec<_> = commits.map(|revision| &revision["commit"]).collect();
    assert_eq!(commits.len(), 3);
    assert!(commits.iter().all(|commit| *commit == commits[0]));

    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    assert!(home.docker.images().await.unwrap().is_empty());
}

#[tokio::test]
async fn variables_stay_when_it_is_pushed() {
    let home = Home::start("envpush").await;
    let hello = Repository::create(&home, "demo/hello").await;
    let limits = "[function]\nlimits = { pids = 1024 }\n";
    hello.probe(&format!("{limits}env = {{ A = 'a', B = 'b' }}\n"));
    hello.commit("First").await;
    let first = hello.push().await.accepted().revision();
    home.knows("demo/hello", &first).await;
    let second = change(&home, &["env", "set", "demo/hello", "A=1"]).await;
    assert_eq!(second.rsplit('-').next(), first.rsplit('-').next());
    hello.write(
        "corefn.toml",
        &format!("{limits}env = {{ A = 'x', B = 'y' }}\n"),
    );
    hello.commit("Second").await;
    let third = hello.push().await.accepted().revision();
    home.knows("demo/hello", &third).await;
    let have = environment(&home).await;
    assert_eq!((&have["A"], &have["B"]), (&json!("1"), &json!("y")));
    change(&home, &["env", "unset", "demo/hello", "A"]).await;
    assert_eq!(environment(&home).await["A"], "x");
}

#[tokio::test]
async fn variables_are_set_under_load() {
    let home = Home::start("envload").await;
    let deployment = home.image("demo/hello", probe::config()).await;
    home.switch_warm(&deployment).await;
    home.knows("demo/hello", &deployment.revision.0).await;
    let watchers = Watchers::start(&home, 8);
    watchers.see("r1").await;
    for number in 0..3 {
        let assignment = format!("NUMBER={number}");
        let revision = change(&home, &["env", "set", "demo/hello", &assignment]).await;
        watchers.see(&revision).await;
    }
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len()).await;
    assert_eq!(environment(&home).await["NUMBER"], "2");
}

#[tokio::test]
async fn what_can_not_be_set_changes_nothing() {
    let home = Home::start("noenv").await;
    home.deploy("demo/hello", config()).await;
    let revision = change(&home, &["env", "set", "demo/hello", "GREETING=hi"]).await;
    let before = home.docker.images().await.unwrap().len();
    let large = format!("D={}", "x".repeat(environment::MAX));
    let odd = format!("D={}", "\u{1}".repeat(environment::MAX / 2));
    for (words, status, texts) in [
        (
            &["set", "demo/hello", "PORT=1"][..],
            2,
            &["PORT is set by the platform"][..],
        ),
        (&["set", "demo/hello", "1A=1"], 2, &["no variable's name"]),
        (&["set", "demo/hello", "A"], 2, &["NAME=value"]),
        (
            &["set", "demo/hello", &large],
            1,
            &["bytes in all, more than 32768"],
        ),
        (
            &["set", "demo/hello", &odd],
            1,
            &["the configuration of demo/hello is too large"],
        ),
        (
            &["unset", "demo/hello", "A"],
            1,
            &["A of demo/hello is its corefn.toml's"],
        ),
        (
            &["unset", "demo/hello", "GREETINGS"],
            1,
            &["GREETINGS is not set for demo/hello (did you mean GREETING?)"],
        ),
        (
            &["list", "demo/helo"],
            1,
            &["there is no function demo/helo (did you mean demo/hello?)"],
        ),
        (
            &["set", "demo/other", "A=1"],
            1,
            &["there is no function demo/other"],
        ),
    ] {
        run(&home, words).await.failed(status, texts);
    }
    assert_eq!(home.docker.images().await.unwrap().len(), before);
    assert_eq!(environment(&home).await[env::REVISION], revision);
    // One that does not start with them is not deployed, and nothing of it is left.
    let misbehaves = ["set", "demo/hello", "MODE=exit"];
    run(&home, &misbehaves)
        .await
        .failed(1, &["does not start, so it is not deployed"]);
    assert_eq!(home.docker.images().await.unwrap().len(), before);
    assert_eq!(home.instances("demo/hello").await.len(), 1);
    assert_eq!(environment(&home).await[env::REVISION], revision);
}
