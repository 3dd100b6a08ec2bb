//! Variables whose values are kept on the host, sealed.

use std::path::Path;
use std::{fs, io};

use bollard::query_parameters::InspectContainerOptions;
use corefn_core::config::FunctionConfig;
use corefn_core::environment::MAX_SECRET;
use corefn_core::names::{env, label};
use corefn_tests::cli::{Ran, corefn, corefn_with};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use serde_json::{Value, json};

use crate::deploys::{Watchers, assert_all_warm};
use crate::env::{changed, environment};
use crate::sandbox_starts::{
    SETTINGS, end_instance, executable, instance, kept, started_from, with_router,
};
use crate::sandboxes::{PATIENCE, until_waiting};

/// A value that is found wherever it is.
const VALUE: &str = "correct-horse-battery";

/// Sets a secret.
async fn set(home: &Home, name: &str, value: &str) -> Ran {
    let words = ["secret", "set", "demo/hello", name, "--json"];
    corefn_with(home, &words, value.as_bytes()).await
}

/// Sets one of what is deployed, waits until every worker has it, and returns the revision.
async fn change(home: &Home, name: &str, value: &str) -> String {
    changed(home, set(home, name, value)).await
}

/// Has all instances end, those of former revisions as well, and waits until every worker knows.
async fn end_all(home: &Home) {
    for instance in home.instances("demo/hello").await {
        home.docker.remove(&instance.id).await.unwrap();
        home.until_withdrawn(&instance.labels[label::INSTANCE])
            .await;
    }
}

/// The files below a folder that have a text in them.
fn found_below(folder: &Path, text: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found_below(&entry.path(), text, found)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path())?;
            if bytes.windows(text.len()).any(|it| it == text.as_bytes()) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    Ok(())
}

/// Checks that the value is nowhere but where it has to be.
async fn assert_nowhere(home: &Home) {
    home.redis.command::<String>(&["SAVE"]).await;
    let mut found = Vec::new();
    found_below(home.folder.path(), VALUE, &mut found).unwrap();
    assert!(found.is_empty(), "{found:?}");
    let client = home.docker.client().await.unwrap();
    let mut names = 0;
    for image in home.docker.images().await.unwrap() {
        let image = client.inspect_image(&image.id).await.unwrap();
        let shown = serde_json::to_string(&image).unwrap();
        assert!(!shown.contains(VALUE), "{shown}");
        names += usize::from(shown.contains("TOKEN"));
    }
    assert!(names > 0, "which of them it has is no secret");
    for words in [
        &["describe", "demo/hello"][..],
        &["env", "list", "demo/hello"],
        &["secret", "list", "demo/hello"],
        &["logs", "demo/hello"],
        &["builds"],
    ] {
        let ran = corefn(home, words).await;
        assert!(!ran.succeeded().contains(VALUE), "{ran:?}");
        assert!(!ran.errors.contains(VALUE), "{ran:?}");
    }
}

#[tokio::test]
async fn secret_waits_for_the_first_push() {
    let home = Home::start("secret").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.probe("[function]\nlimits = { pids = 1024 }\nsecrets = ['TOKEN']\n");
    hello.commit("First").await;
    hello.push().await.rejected(&[
        "corefn.toml:3:12: the secret TOKEN is not set",
        "corefn secret set demo/hello TOKEN",
    ]);
    corefn(&home, &["secret", "list", "demo/hello"])
        .await
        .failed(1, &["there is no function demo/hello"]);
    let waiting = set(&home, "TOKEN", &format!("{VALUE}\n")).await.json();
    assert_eq!(
        waiting,
        json!({ "function": "demo/hello", "waiting": ["TOKEN"] })
    );
    set(&home, "OTHER", "x").await.succeeded();
    let list = corefn(&home, &["secret", "list", "demo/hello", "--json"]).await;
    let list = list.json();
    assert_eq!(
        (&list[0]["name"], &list[1]["name"]),
        (&json!("OTHER"), &json!("TOKEN"))
    );
    assert!(
        list[1]["set"].is_string() && list[1]["waits"] == true,
        "{list}"
    );
    let unset = ["secret", "unset", "demo/hello", "OTHER"];
    corefn(&home, &unset).await.succeeded();

    let first = hello.push().await.accepted().revision();
    home.knows("demo/hello", &first).await;
    let have = environment(&home).await;
    assert_eq!(
        (&have["TOKEN"], &have["OTHER"]),
        (&json!(VALUE), &Value::Null)
    );
    let list = corefn(&home, &["secret", "list", "demo/hello"]).await;
    assert!(list.succeeded().contains("deployed"), "{list:?}");
    let described = corefn(&home, &["describe", "demo/hello", "--json"]).await;
    assert_eq!(described.json()["secrets"], json!(["TOKEN"]));
    assert_nowhere(&home).await;

    // Another value is another revision; it stays when the function is pushed anew, and can be gone back from.
    let second = change(&home, "TOKEN", "another").await;
    assert_eq!(environment(&home).await["TOKEN"], "another");
    hello.write("README.md", "more");
    hello.commit("Second").await;
    let third = hello.push().await.accepted().revision();
    home.knows("demo/hello", &third).await;
    assert_eq!(environment(&home).await["TOKEN"], "another");
    let begin = home.error_log().len();
    corefn(&home, &["rollback", "demo/hello", &first])
        .await
        .succeeded();
    home.knows_since(begin, "demo/hello", &first).await;
    assert_eq!(environment(&home).await["TOKEN"], VALUE);
    assert!(second != first && third != second);
    // (Of one second, they are in the order of their commits.)
    let time = |revision: &str| revision.split('-').next().map(ToOwned::to_owned);
    assert!(time(&first) <= time(&second) && time(&second) <= time(&third));

    // Without it the next push is rejected, and what runs goes on.
    let begin = home.error_log().len();
    let unset = ["secret", "unset", "demo/hello", "TOKEN", "--json"];
    let unset = corefn(&home, &unset).await.json();
    let revision = unset["revision"].as_str().unwrap();
    home.knows_since(begin, "demo/hello", revision).await;
    assert_eq!(environment(&home).await["TOKEN"], Value::Null);
    hello.write("README.md", "still more");
    hello.commit("Third").await;
    hello
        .push()
        .await
        .rejected(&["the secret TOKEN is not set"]);
    assert_eq!(environment(&home).await[env::REVISION], revision);

    let values = home.folder.file("secrets/values/demo/hello");
    assert!(values.is_dir());
    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    assert!(!values.exists());
}

/// Whoever looks at the container of a sandbox isn't shown what it was handed.
#[tokio::test]
async fn sandbox_is_handed_its_secrets() {
    let (home, keeper) = with_router("handed", SETTINGS).await;
    let deployment = home.deploy("demo/hello", executable()).await;
    let path = kept(&home, &deployment.config.executable.unwrap());
    change(&home, "TOKEN", VALUE).await;
    assert_eq!(environment(&home).await["TOKEN"], VALUE);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    until_waiting(&home, 2).await;
    end_instance(&home, "demo/hello").await;
    until_waiting(&home, 2).await;
    let before = started_from(&home, "a sandbox");
    assert_eq!(environment(&home).await["TOKEN"], VALUE);
    assert_eq!(started_from(&home, "a sandbox"), before + 1);
    let container = instance(&home, "demo/hello").await;
    let client = home.docker.client().await.unwrap();
    let options = None::<InspectContainerOptions>;
    let shown = client.inspect_container(&container.id, options).await;
    let shown = serde_json::to_string(&shown.unwrap()).unwrap();
    assert!(!shown.contains(VALUE), "{shown}");
    assert_nowhere(&home).await;
    keeper.end().await;
}

#[tokio::test]
async fn keys_are_rotated_under_load() {
    let home = Home::start("rotated").await;
    let deployment = home.image("demo/hello", probe::config()).await;
    home.switch_warm(&deployment).await;
    home.knows("demo/hello", &deployment.revision.0).await;
    let keys = home.folder.file("secrets/keys");
    let watchers = Watchers::start(&home, 8);
    watchers.see("r1").await;
    let mut revision = change(&home, "TOKEN", VALUE).await;
    watchers.see(&revision).await;
    let mut key = fs::read(&keys).unwrap();
    for number in 0..3 {
        let rotated = corefn(&home, &["secret", "rotate", "--json"]).await;
        assert_eq!(rotated.json(), json!({ "values": number + 1 }));
        let former = std::mem::replace(&mut key, fs::read(&keys).unwrap());
        assert_ne!(former, key);
        revision = change(&home, "TOKEN", VALUE).await;
        watchers.see(&revision).await;
    }
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len()).await;
    end_all(&home).await;
    assert_eq!(environment(&home).await["TOKEN"], VALUE);

    // Without the key it is said what is missing, to the operator; with it all is as before.
    end_all(&home).await;
    fs::remove_file(&keys).unwrap();
    let answer = home.get("/demo/hello/env").await;
    assert_eq!(answer.said(), (502, Some("secret-missing")));
    assert!(!answer.text().contains("keys"), "{}", answer.text());
    let log = home.error_log();
    assert!(
        log.contains("the secret TOKEN of demo/hello can't be opened"),
        "{log}"
    );
    let doctor = corefn(&home, &["doctor"]).await;
    let remedy = "corefn secret set demo/hello TOKEN";
    assert!(
        doctor.output.contains("can't be opened by any key"),
        "{doctor:?}"
    );
    assert!(doctor.output.contains(remedy), "{doctor:?}");
    let lost = set(&home, "TOKEN", "new").await;
    lost.failed(1, &["secrets/keys is gone", "put it back"]);
    assert_eq!(home.get("/demo/hello/env").await.status, 502);
    fs::write(&keys, key).unwrap();
    let have = environment(&home).await;
    assert_eq!(
        (&have["TOKEN"], &have[env::REVISION]),
        (&json!(VALUE), &json!(revision))
    );
}

#[tokio::test]
async fn what_is_no_secret_changes_nothing() {
    let home = Home::start("nosecret").await;
    let mut config = FunctionConfig::clone(&probe::config());
    config.env.insert("A".to_owned(), "a".to_owned());
    home.deploy("demo/hello", config).await;
    let words = ["env", "set", "demo/hello", "B=b"];
    corefn(&home, &words).await.succeeded();
    let revision = change(&home, "TOKEN", VALUE).await;
    let before = home.docker.images().await.unwrap().len();
    let large = vec![b'x'; 10 << 20];
    let most = vec![b'x'; MAX_SECRET + 1];
    for (words, input, status, texts) in [
        (
            &["set", "demo/hello", "C"][..],
            &b""[..],
            1,
            &["no value for C"][..],
        ),
        (&["set", "demo/hello", "C"], b"\n", 1, &["no value for C"]),
        (
            &["set", "demo/hello", "C"],
            &large,
            1,
            &["more than 32768 bytes"],
        ),
        (
            &["set", "demo/hello", "C"],
            &most,
            1,
            &["more than 32768 bytes"],
        ),
        (&["set", "demo/hello", "C"], b"a\0b", 1, &["NUL"]),
        (
            &["set", "demo/hello", "C"],
            b"a\xff",
            1,
            &["no text in UTF-8"],
        ),
        (
            &["set", "demo/hello", "PORT"],
            b"1",
            2,
            &["set by the platform"],
        ),
        (
            &["set", "demo/hello", "1C"],
            b"1",
            2,
            &["no variable's name"],
        ),
        (
            &["set", "demo/hello", "C=d"],
            b"1",
            2,
            &["no variable's name"],
        ),
        (
            &["set", "demo/hello", "B"],
            b"1",
            1,
            &["B is a variable of demo/hello: corefn env unset demo/hello B first"],
        ),
        (
            &["unset", "demo/hello", "TOKE"],
            b"",
            1,
            &["did you mean TOKEN?"],
        ),
        (
            &["unset", "demo/helo", "TOKEN"],
            b"",
            1,
            &["TOKEN is no secret of demo/helo"],
        ),
        (
            &["list", "demo/helo"],
            b"",
            1,
            &["there is no function demo/helo"],
        ),
    ] {
        let ran = corefn_with(&home, &[&["secret"], words].concat(), input).await;
        ran.failed(status, texts);
    }
    corefn(&home, &["env", "set", "demo/hello", "TOKEN=x"])
        .await
        .failed(1, &["TOKEN is a secret of demo/hello"]);
    assert_eq!(home.docker.images().await.unwrap().len(), before);
    let have = environment(&home).await;
    assert_eq!(
        (&have["TOKEN"], &have[env::REVISION]),
        (&json!(VALUE), &json!(revision))
    );
    // It comes before a variable of the manifest's.
    change(&home, "A", "of the host").await;
    assert_eq!(environment(&home).await["A"], "of the host");
    // One that waits for a function that was misspelt can be taken back.
    let waits = corefn_with(&home, &["secret", "set", "demo/helo", "C"], b"1").await;
    assert!(
        waits.succeeded().contains("first push of demo/helo: C"),
        "{waits:?}"
    );
    assert!(
        waits.errors.contains("did you mean demo/hello?"),
        "{waits:?}"
    );
    corefn(&home, &["rm", "--yes", "demo/helo"])
        .await
        .succeeded();
}
