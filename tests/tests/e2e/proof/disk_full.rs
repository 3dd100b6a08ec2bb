//! Pushes to a host whose disk is full.

use std::time::Duration;

use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};

/// An image of the probe that needs no other.
const DOCKERFILE: &str = "FROM scratch\nCOPY probe /\nCOPY revision /\nCMD [\"/probe\"]\n";

#[tokio::test]
async fn docker_without_room_rejects_the_push_and_serves_on() {
    let mut home = Home::builder("diskfull").own_engine().start().await;
    let repository = Repository::create(&home, "demo/hello").await;
    repository.write("Dockerfile", DOCKERFILE);
    repository.write("revision", "1");
    let path = home.folder.write("probe", probe::executable());
    repository
        .run(&format!("cp '{}' probe && chmod +x probe", path.display()))
        .await;
    let first = repository.commit("First").await;
    repository.push().await.accepted();
    wait_until("it is deployed", Duration::from_secs(5), async || {
        home.get("/demo/hello/status/200").await.status == 200
    })
    .await;

    home.engine().room.fill();
    repository.write("revision", &"2".repeat(1 << 20));
    let second = repository.commit("Second").await;
    let pushed = repository.push().await;
    pushed.rejected(&["no space left on device", "make room"]);
    assert_eq!(repository.head("main").await, Some(first));
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    assert_eq!(home.instances("demo/hello").await.len(), 1);

    home.engine().room.empty();
    repository.push().await.accepted();
    assert_eq!(repository.head("main").await, Some(second));
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
}
