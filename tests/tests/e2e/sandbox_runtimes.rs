//! Functions start from sandboxes in which their runtime waits.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use corefn_core::config::Archive;
use corefn_core::names::{env, label};
use corefn_core::network::Network;
use corefn_core::survey::SandboxCount;
use corefn_engine::docker::Container;
use corefn_sandbox::claim::{self, Fetch, Form};
use corefn_tests::Home;
use corefn_tests::cli::corefn;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::{Repository, keep_stack};
use corefn_tests::wait_until;

use crate::sandbox_sockets::{only, path};
use crate::sandbox_starts::{end_instance, instance, kept, started_from, with_router};
use crate::sandboxes::{PATIENCE, claimed, until_waiting};

/// One of each kind waits, however fast they are taken.
pub const SETTINGS: &str = "floor = 1\nceiling = 1\nruntime_floor = 1\nruntime_ceiling = 1";

/// What a push says of functions that start so.
pub const FROM_SANDBOX: &str = "    starts   from a sandbox in which its runtime waits";

/// Tells all that a function can see of where it is.
pub const SEEN: &str = include_str!("sandbox_runtimes/seen.py");

/// Pushes a function in Python.
pub async fn push(
    home: &Home,
    function: &str,
    files: &[(&str, &str)],
    says: &[&str],
) -> Repository {
    let repository = Repository::create(home, function).await;
    for (name, text) in files {
        repository.write(name, text);
    }
    repository.commit("First").await;
    let pushed = repository.push().await.accepted().says(says);
    home.knows(function, &pushed.revision()).await;
    repository
}

/// What a function's sandbox is handed.
pub async fn archive(home: &Home, function: &str) -> Option<Box<Archive>> {
    let images = home.docker.images().await.unwrap();
    let mut current = images.into_iter().filter(|image| image.current);
    let image = current.find(|image| image.deployment.function.as_str() == function);
    image.unwrap().deployment.config.archive
}

/// Waits until the host has what a function's sandbox is handed, and one of each of so many runtimes waits.
pub async fn until_prepared(home: &Home, function: &str, runtimes: usize) {
    let path = kept(home, &archive(home, function).await.unwrap().digest);
    wait_until("its files are kept", PATIENCE, async || path.exists()).await;
    until_waiting(home, 2 + runtimes).await;
}

/// What a function sees, but for what is each container's own.
pub async fn seen(home: &Home, function: &str) -> serde_json::Value {
    let mut seen = home.get(&format!("/{function}/Seen")).await.json();
    let variables = seen["variables"].as_object_mut().unwrap();
    for own in [env::INSTANCE, "HOSTNAME"] {
        assert!(variables.remove(own).is_some(), "{own}");
    }
    // (In a container of its own it has none.)
    variables.remove(env::SOCKET);
    seen
}

/// It finds there what it finds in a container of its own, and it does not matter how often.
#[tokio::test]
async fn function_sees_no_difference() {
    let (home, keeper) = with_router("pybox", SETTINGS).await;
    keep_stack(&home, "python").await;
    let files = [
        ("main.py", SEEN),
        ("data/greeting.txt", "Good day"),
        ("corefn.toml", "[function]\nenv = { GREETING = 'hi' }\n"),
    ];
    push(&home, "demo/hello", &files, &["stack python", FROM_SANDBOX]).await;
    // The push has started it from its image.
    let of_image = seen(&home, "demo/hello").await;
    assert_eq!(of_image["variables"]["GREETING"], "hi");
    assert_eq!(of_image["files"]["app/data/greeting.txt"], "Good day");
    assert_eq!(of_image["could_write"], false);
    for count in 1..=2 {
        until_prepared(&home, "demo/hello", 1).await;
        let counts = claim::count(&keeper.socket()).await.unwrap();
        let of_python = |it: &SandboxCount| it.runtime() == "python" && it.waiting == 1;
        assert!(counts.iter().any(of_python), "{counts:?}");
        end_instance(&home, "demo/hello").await;
        let of_sandbox = seen(&home, "demo/hello").await;
        assert_eq!(started_from(&home, "a sandbox"), count);
        assert_eq!(of_sandbox, of_image);
        path(&only(&home, "demo/hello").await);
    }
    let found = instance(&home, "demo/hello").await;
    assert!(found.labels.contains_key(label::RUNTIME));
    let listed = corefn(&home, &["ps", "--json"]).await.json();
    let from: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["from"])
        .collect();
    assert!(from.contains(&&serde_json::json!("sandbox")), "{listed}");
    // What it prints and raises is in its log, as ever.
    let answer = home.get("/demo/hello/Fail").await;
    assert_eq!((answer.status, &*answer.text()), (500, "on purpose"));
    wait_until("its log has the place", PATIENCE, async || {
        let log = corefn(&home, &["logs", "demo/hello"]).await;
        log.succeeded().contains("/function/app/main.py\", line")
    })
    .await;

    // What is kept may be garbage: it starts all the same, and the next time as before.
    until_prepared(&home, "demo/hello", 1).await;
    let path = kept(&home, &archive(&home, "demo/hello").await.unwrap().digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "garbage").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
    end_instance(&home, "demo/hello").await;
    assert_eq!(seen(&home, "demo/hello").await, of_image);
    assert_eq!(started_from(&home, "its image"), 1);
    end_instance(&home, "demo/hello").await;
    assert_eq!(seen(&home, "demo/hello").await, of_image);
    assert_eq!(started_from(&home, "its image"), 2);
    until_prepared(&home, "demo/hello", 1).await;
    end_instance(&home, "demo/hello").await;
    assert_eq!(seen(&home, "demo/hello").await, of_image);
    assert_eq!(started_from(&home, "a sandbox"), 3);
    keeper.end().await;
}

/// A keeper takes over what another has left, of the runtimes that functions are deployed for.
#[tokio::test]
async fn runtimes_wait_while_functions_are_deployed_for_them() {
    let (home, keeper) = with_router("pykeep", SETTINGS).await;
    keep_stack(&home, "python").await;
    push(&home, "demo/hello", &[("main.py", SEEN)], &[FROM_SANDBOX]).await;
    let waiting = until_waiting(&home, 3).await;
    keeper.kill().await;
    let keeper = Keeper::start_again(&home);
    assert_eq!(until_waiting(&home, 3).await, waiting);
    until_prepared(&home, "demo/hello", 1).await;
    end_instance(&home, "demo/hello").await;
    seen(&home, "demo/hello").await;
    assert_eq!(started_from(&home, "a sandbox"), 1);
    until_waiting(&home, 3).await;
    keeper.kill().await;
    corefn(&home, &["rm", "--yes", "demo/hello"])
        .await
        .succeeded();
    let keeper = Keeper::start_again(&home);
    until_waiting(&home, 2).await;
    wait_until("the runtime's is gone", PATIENCE, async || {
        let containers = home.docker.containers().await.unwrap();
        containers.len() == 2
    })
    .await;
    // A router that does not know yet what was removed asks for what its function needs.
    let fetch = Fetch {
        function: "demo/hello".parse().unwrap(),
        image: "demo/hello:removed".to_owned(),
        digest: "00".repeat(32),
        form: Form::Archive,
    };
    claim::fetch(&keeper.socket(), fetch).await.unwrap();
    let taken = claimed(&home, &keeper, Network::Outbound).await;
    until_waiting(&home, 2).await;
    let containers = home.docker.containers().await.unwrap();
    let has_runtime = |found: &Container| found.labels.contains_key(label::RUNTIME);
    assert!(!containers.iter().any(has_runtime), "{containers:?}");
    drop(taken);
    keeper.end().await;
}
