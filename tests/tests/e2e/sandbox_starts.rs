//! Functions start from sandboxes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, StopContainerOptions,
};

use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::instance::Instance;
use corefn_core::names::{env, label};
use corefn_engine::docker::Container;
use corefn_sandbox::executables::Digest;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::{Home, probe, wait_for, wait_until};

use crate::sandboxes::{PATIENCE, until_waiting};

/// One of each kind waits, however fast they are taken.
pub const SETTINGS: &str = "floor = 1\nceiling = 1";

/// An installation whose router takes sandboxes, with a keeper.
pub async fn with_router(name: &str, settings: &str) -> (Home, Keeper) {
    let builder = Home::builder(name).without_nginx().gated();
    let mut home = builder.start().await;
    let keeper = Keeper::start_with_nginx(&mut home, settings).await;
    (home, keeper)
}

/// A configuration as a push of the probe by a stack has it.
pub fn executable() -> FunctionConfig {
    FunctionConfig {
        executable: Some(Digest::of(&probe::executable()).as_str().to_owned()),
        ..probe::idle(600)
    }
}

/// The same with the limits that sandboxes are made with.
pub fn with_default_limits() -> FunctionConfig {
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
pub async fn instance(home: &Home, function: &str) -> Container {
    wait_for("it has its name", PATIENCE, async || {
        let mut instances = home.instances(function).await;
        assert!(instances.len() < 2, "{instances:?}");
        instances.pop()
    })
    .await
}

/// Has the function's one instance end, and waits until every worker knows.
pub async fn end_instance(home: &Home, function: &str) {
    let instance = instance(home, function).await;
    home.docker.remove(&instance.id).await.unwrap();
    home.until_withdrawn(&instance.labels[label::INSTANCE])
        .await;
}

/// Waits until Docker has read what the function has written.
pub async fn until_logged(home: &Home, text: &str) {
    wait_until("its output is there", PATIENCE, async || {
        let logs = corefn(home, &["logs", "demo/hello"]).await;
        logs.succeeded() == text
    })
    .await;
}

/// Docker tells an emptied Redis what the function's one instance is.
pub async fn outlives_the_index(home: &Home, instance: &Instance) {
    home.redis.command::<String>(&["FLUSHALL"]).await;
    // (By whoever asks it next: nobody does for an instance without work.)
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    wait_until("it is known again", PATIENCE, async || {
        let found = home.store.instances().await.unwrap_or_default();
        found.len() == 1 && found[0].instance == *instance
    })
    .await;
}

/// How many instances were started from `a sandbox`, or from `its image`.
pub fn started_from(home: &Home, what: &str) -> usize {
    home.error_log()
        .matches(&format!(" ms from {what}"))
        .count()
}

/// A function finds in a sandbox what it finds in a container of its own, and nothing of another that was started from one
/// before; and whoever looks after it needs not know.
#[tokio::test]
async fn instance_is_as_any_other() {
    let (home, keeper) = with_router("asany", SETTINGS).await;
    let secret = FunctionConfig {
        env: [("SECRET".to_owned(), "of another".to_owned())].into(),
        ..executable()
    };
    home.deploy("demo/other", secret).await;
    let deployment = home.deploy("demo/hello", executable()).await;
    let path = kept(&home, &deployment.config.executable.unwrap());
    // The first start, of any of them, has the executable fetched.
    let of_image = [
        home.get("/demo/hello/traces").await.json(),
        home.get("/demo/hello/env").await.json(),
    ];
    assert_eq!(started_from(&home, "its image"), 1);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    until_waiting(&home, 2).await;
    let whoami = home.get("/demo/other/whoami").await.json();
    assert_eq!(whoami["tmp_writable"], true, "it leaves a trace");
    end_instance(&home, "demo/hello").await;
    until_waiting(&home, 2).await;
    let of_sandbox = [
        home.get("/demo/hello/traces").await.json(),
        home.get("/demo/hello/env").await.json(),
    ];
    assert_eq!(started_from(&home, "a sandbox"), 2);
    let common = |mut seen: [serde_json::Value; 2]| {
        let [traces, variables] = &mut seen;
        // The folder of the socket by which it was handed over, which is gone.
        let files = traces["files"].as_array_mut().unwrap();
        files.retain(|file| file != "/run" && file != "/run/corefn");
        let variables = variables.as_object_mut().unwrap();
        // Those of each container are its own.
        for own in [env::INSTANCE, "HOSTNAME"] {
            assert!(variables.remove(own).is_some(), "{own}");
        }
        seen
    };
    assert_eq!(common(of_sandbox), common(of_image));

    until_logged(&home, "the probe listens on 0.0.0.0:8080\n").await;
    let listed = corefn(&home, &["ls", "--json"]).await.json();
    let instances = listed.as_array().unwrap().iter();
    let instances: Vec<_> = instances.map(|row| row["instances"].as_u64()).collect();
    assert_eq!(instances, [Some(1), Some(1)]);
    let one = instance(&home, "demo/hello").await;
    let client = home.docker.client().await.unwrap();
    let stopped = client.stop_container(&one.id, None::<StopContainerOptions>);
    stopped.await.unwrap();
    let found = client
        .inspect_container(&one.id, None::<InspectContainerOptions>)
        .await;
    // It ends by itself when it is told to.
    let state = found.unwrap().state.unwrap();
    assert_eq!((state.running, state.exit_code), (Some(false), Some(0)));
    home.until_withdrawn(&one.labels[label::INSTANCE]).await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    let removed = corefn(&home, &["rm", "--yes", "demo/hello"]).await;
    removed.succeeded();
    assert!(home.instances("demo/hello").await.is_empty());
    keeper.end().await;
}

/// Whoever is killed before it is ready need not be at fault.
#[tokio::test]
async fn newborn_that_is_killed_is_started_anew() {
    let (home, keeper) = with_router("newborn", SETTINGS).await;
    let slow = FunctionConfig {
        env: probe::misbehaving("slow-start:1500").env,
        ..executable()
    };
    let deployment = home.deploy("demo/hello", slow).await;
    let path = kept(&home, &deployment.config.executable.unwrap());
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    until_waiting(&home, 2).await;
    end_instance(&home, "demo/hello").await;

    let asked = tokio::spawn(home.get("/demo/hello/status/204").send());
    let newborn = instance(&home, "demo/hello").await;
    assert!(newborn.labels.contains_key(label::SANDBOX));
    let client = home.docker.client().await.unwrap();
    let killed = client.kill_container(&newborn.id, None::<KillContainerOptions>);
    killed.await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().status, 204);
    assert_eq!(started_from(&home, "its image"), 2);
    assert_eq!(started_from(&home, "a sandbox"), 0);
    keeper.end().await;
}

/// A start from a sandbox does without Docker. What it has become is told to Docker later, by the keeper if need be.
#[tokio::test]
async fn cold_start_while_docker_is_away() {
    let mut home = Home::builder("nodocker")
        .without_nginx()
        .docker_proxy()
        .start()
        .await;
    let keeper = Keeper::start_with_nginx(&mut home, SETTINGS).await;
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
    let (home, keeper) = with_router("coldbox", SETTINGS).await;
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

    outlives_the_index(&home, &instance).await;
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

/// Who dies before its sandbox has the instance's name has failed as any other, and is backed off.
#[tokio::test]
async fn those_that_die_at_once_are_backed_off() {
    const TRIES: usize = 8;
    let (home, _keeper) = with_router("atonce", "floor = 2\nceiling = 2").await;
    let deployment = home.deploy("demo/hello", executable()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let path = kept(&home, &deployment.config.executable.unwrap());
    wait_until("the executable is kept", PATIENCE, async || path.exists()).await;
    end_instance(&home, "demo/hello").await;
    home.forgive("demo/hello").await;
    for tries in 1.. {
        assert!(tries <= TRIES, "it is started again and again");
        until_waiting(&home, 4).await;
        let answer = home.get("/demo/hello/exit").await;
        if answer.said() == (502, Some("function-exited")) {
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert_eq!(answer.said(), (502, Some("function-died")));
        wait_until("it is known that it has ended", PATIENCE, async || {
            home.store.instances().await.unwrap().is_empty()
        })
        .await;
    }
    assert!(started_from(&home, "a sandbox") >= 2, "from sandboxes");
    wait_until("what it has written is there", PATIENCE, async || {
        let logs = corefn(&home, &["logs", "demo/hello"]).await;
        logs.succeeded().contains("exits because it was asked to")
    })
    .await;
}
