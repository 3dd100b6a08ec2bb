//! `corefn doctor` finds what is wrong, and what it says helps.

use std::fs;
use std::time::Duration;

use corefn_core::names::{self, HOST_FILE};
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// What it says of a check: states, texts and remedies.
async fn findings(home: &Home, check: &str) -> Vec<(String, String, String)> {
    let ran = corefn(home, &["doctor", "--json"]).await;
    let all: Value = serde_json::from_str(&ran.output).unwrap_or_else(|_| panic!("{ran:?}"));
    let all = all.as_array().unwrap();
    let is_wrong = all.iter().any(|finding| finding["state"] == "wrong");
    assert_eq!(ran.code, i32::from(is_wrong), "{ran:?}");
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    all.iter()
        .filter(|finding| finding["check"] == check)
        .map(|finding| {
            (
                text(finding, "state"),
                text(finding, "says"),
                text(finding, "remedy"),
            )
        })
        .collect()
}

/// Checks that it says one thing of a check, and what.
async fn says(home: &Home, check: &str, state: &str, texts: [&str; 2]) {
    let found = findings(home, check).await;
    let [(is, says, remedy)] = &found[..] else {
        panic!("{check}: {found:?}");
    };
    assert_eq!(is, state, "{found:?}");
    assert!(says.contains(texts[0]), "{found:?}");
    assert!(remedy.contains(texts[1]), "{found:?}");
}

/// Waits until a check is in a state.
async fn comes_to(home: &Home, check: &str, state: &str) {
    wait_until(&format!("{check} is {state}"), PATIENCE, async || {
        findings(home, check).await[0].0 == state
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_found_and_mended() {
    let mut home = Home::start("doctor").await;
    home.start_cleaner(Some(1));
    let hello = Repository::create(&home, "demo/hello").await;
    home.deploy("demo/hello", probe::config()).await;
    let new = home.deploy("demo/hello", probe::config()).await;
    comes_to(&home, "cleaner", "ok").await;
    for check in [
        "settings",
        "redis",
        "clock",
        "nginx",
        "docker",
        "functions",
        "secrets",
        "builder",
        "stacks",
        "repositories",
        "accounts",
    ] {
        let found = findings(&home, check).await;
        assert_eq!((found.len(), &*found[0].0), (1, "ok"), "{check}: {found:?}");
        assert_eq!(found[0].2, "", "{check}");
    }
    says(
        &home,
        "keeper",
        "warning",
        ["takes as long as Docker", "[sandboxes]"],
    )
    .await;
    let text = corefn(&home, &["doctor"]).await;
    assert!(
        text.succeeded()
            .contains("ok       functions     1 are deployed\n"),
        "{text:?}"
    );

    // A hook that somebody has removed.
    fs::remove_file(hello.bare().join("hooks/proc-receive")).unwrap();
    says(
        &home,
        "repositories",
        "wrong",
        ["1 of 1 have not the hook", "corefn repo create demo/hello"],
    )
    .await;
    corefn(&home, &["repo", "create", "demo/hello"])
        .await
        .succeeded();
    says(&home, "repositories", "ok", ["1 in", ""]).await;

    // A push that was killed halfway.
    let folder = hello.bare().join("corefn");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("lock"), "").unwrap();
    let mark = folder.join("holds");
    let push = format!(
        "20000101T000000-0123456 {} refs/heads/main\n",
        "0".repeat(40)
    );
    fs::write(&mark, push).unwrap();
    says(
        &home,
        "repositories",
        "warning",
        [
            "a push to demo/hello was broken off",
            "push to demo/hello again",
        ],
    )
    .await;
    fs::remove_file(&mark).unwrap();

    // Redis and Docker that disagree, as when whoever deploys is killed in the middle.
    let repository = names::image(home.namespace(), &new.function);
    let current = format!("{repository}:{}", names::CURRENT_TAG);
    home.docker
        .tag(&format!("{repository}:r1"), &current)
        .await
        .unwrap();
    says(
        &home,
        "functions",
        "wrong",
        [
            "demo/hello is at r2 in Redis, and at r1 in Docker",
            "corefn promote demo/hello",
        ],
    )
    .await;
    for revision in ["r1", "r2"] {
        corefn(&home, &["promote", "demo/hello", revision])
            .await
            .succeeded();
        says(&home, "functions", "ok", ["1 are deployed", ""]).await;
        home.knows("demo/hello", revision).await;
    }

    // An image that somebody has removed.
    for container in home.docker.containers().await.unwrap() {
        home.docker.remove(&container.id).await.unwrap();
    }
    for tag in ["r2", names::CURRENT_TAG] {
        home.docker
            .remove_image(&format!("{repository}:{tag}"))
            .await
            .unwrap();
    }
    says(
        &home,
        "functions",
        "wrong",
        ["the image of demo/hello", "push it again"],
    )
    .await;

    // What does not run.
    drop(home.take_cleaner());
    comes_to(&home, "cleaner", "wrong").await;
    says(
        &home,
        "cleaner",
        "wrong",
        ["none is at work", "start corefn-clean"],
    )
    .await;
    home.nginx.stop().await;
    comes_to(&home, "nginx", "wrong").await;
    let host = home.folder.read(HOST_FILE);
    home.folder.write(
        HOST_FILE,
        format!("builder = 'nowhere'\n{host}[sandboxes]\n"),
    );
    says(&home, "builder", "wrong", ["nowhere", "corefn-build serve"]).await;
    says(&home, "keeper", "wrong", ["keeper", "start corefn-keep"]).await;
    let keeper = Keeper::start_again(&home);
    comes_to(&home, "keeper", "ok").await;
    keeper.kill().await;
    home.folder.write(
        HOST_FILE,
        host.replace("stacks = ", "stacks = '/nowhere' # "),
    );
    says(
        &home,
        "stacks",
        "wrong",
        ["/nowhere", "correct stacks in host.toml"],
    )
    .await;
    home.folder.write(
        HOST_FILE,
        host.replace("/var/run/docker.sock", "/nowhere/docker.sock"),
    );
    says(
        &home,
        "docker",
        "wrong",
        ["/nowhere/docker.sock", "correct docker in host.toml"],
    )
    .await;
    home.folder.write(HOST_FILE, "colour = 1\n");
    says(&home, "settings", "wrong", ["colour", "docs/host.md"]).await;
    home.folder.write(HOST_FILE, &host);
    home.folder.write(names::ACCESS_FILE, "colour = 1\n");
    says(&home, "accounts", "wrong", ["colour", "correct the file"]).await;

    // A Redis that forgets what is busy, and one that is away.
    for (key, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
        let _: String = home.redis.command(&["CONFIG", "SET", key, value]).await;
    }
    says(&home, "redis", "wrong", ["it removes keys", "noeviction"]).await;
    home.redis.stop().await;
    says(&home, "redis", "wrong", ["can't be used", "start it"]).await;
}
