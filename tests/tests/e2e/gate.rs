//! Docker as nginx gets it: as much as the router needs. Whoever has taken a worker over can't become root by it.

use std::time::Duration;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use corefn_core::config::{FunctionConfig, Network};
use corefn_core::deployment::Deployment;
use corefn_core::instance::InstanceId;
use corefn_core::names::label;
use corefn_engine::docker::{Joined, Placement, Purpose, instance_body};
use corefn_tests::cli::state;
use corefn_tests::gate::Gate;
use corefn_tests::nginx::check;
use corefn_tests::programs::workspace;
use corefn_tests::{Home, probe, wait_until};
use serde_json::json;

mod tries;

use tries::{Scene, request};

const FUNCTION: &str = "demo/hello";

const PATIENCE: Duration = Duration::from_secs(60);

/// What nginx says where there is no gate.
const WARNING: &str = "[warn] corefn: corefn_docker names no socket of corefn-gate";

/// What the gate says where it passes nothing on.
const REFUSED: &str = "corefn-gate does not pass this on";

#[tokio::test]
async fn router_has_all_that_it_needs() {
    let mut home = Home::builder("gated").gated().start().await;
    home.deploy(FUNCTION, probe::idle(30)).await;
    let warm = async || home.get("/demo/hello/status/200").await.status == 200;
    assert!(warm().await);
    // One that is removed is replaced.
    let first = home.instances(FUNCTION).await.remove(0);
    home.docker.remove(&first.id).await.unwrap();
    wait_until("another answers", PATIENCE, async || {
        let instances = home.instances(FUNCTION).await;
        warm().await && instances.iter().any(|it| it.id != first.id)
    })
    .await;
    let log = home.folder.read("log/gate.log");
    assert!(!log.contains("is refused"), "{log}");
    assert_eq!(state(&home, "gate").await, "ok");
    // nginx warns of what is no gate.
    let text = home.conf.text(&home.folder, home.nginx.address());
    assert!(!check(&home.folder, &text).output.contains(WARNING));
    let without = text.replace(&home.gate().url(), corefn_tests::docker::URL);
    let checked = check(&home.folder, &without);
    assert!(
        checked.accepted && checked.output.contains(WARNING),
        "{checked:?}"
    );
    // Without the gate it is as without Docker, and with another as with this.
    home.deploy("demo/cold", probe::idle(30)).await;
    home.take_gate().kill().await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let answer = home.get("/demo/cold/status/200").await;
    assert_eq!(answer.said(), (503, Some("docker-unavailable")));
    assert_eq!(state(&home, "gate").await, "wrong");
    let gate = Gate::start(&home.folder).await;
    wait_until("Docker is there again", PATIENCE, async || {
        home.get("/demo/cold/status/200").await.status == 200
    })
    .await;
    assert!(gate.stop().await);
}

#[tokio::test]
async fn taken_over_worker_does_not_become_root() {
    let neighbour = Home::builder("neighbour").without_gate().start().await;
    assert_eq!(state(&neighbour, "gate").await, "warning");
    neighbour.deploy(FUNCTION, probe::idle(30)).await;
    assert_eq!(neighbour.get("/demo/hello/status/200").await.status, 200);
    let foreign = neighbour.instances(FUNCTION).await.remove(0).id;
    let foreign_network = neighbour.docker.network(Network::Outbound).await.unwrap();

    let home = Home::builder("taken-over").without_gate().start().await;
    let proxy = home.proxy_programs();
    let gate = Gate::start(&home.folder).await;
    let deployment = home.image(FUNCTION, FunctionConfig::default()).await;
    let network = home.docker.network(Network::Outbound).await.unwrap();
    let id = InstanceId::from_random(7);
    let ip = network.subnet.address(1000);
    let placement = Placement { id, ip };
    let joined = Joined::Network(&network);
    let body = instance_body(home.namespace(), &deployment, placement, joined);
    let name = Purpose::Serve.name(home.namespace(), &deployment, id);

    // What is tried differs in one thing from what is not refused.
    let path = format!("/v1.41/containers/create?name={name}");
    let made = gate
        .raw(&request("POST", &path, &json!(body).to_string()))
        .await;
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let container = home.docker.containers().await.unwrap().remove(0).id;
    for path in [
        "json",
        "logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=5",
    ] {
        let path = format!("/v1.41/containers/{container}/{path}");
        let answer = gate.raw(&request("GET", &path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let build = build(&home, &deployment).await;
    let begin = proxy.calls().len();
    let scene = Scene {
        build,
        body: json!(body),
        name,
        namespace: home.namespace().to_owned(),
        container,
        foreign,
        network: network.id,
        foreign_network: foreign_network.id,
        foreign_image: format!("{}/{FUNCTION}:current", neighbour.namespace()),
    };
    let page = std::fs::read_to_string(workspace().join("docs/gate.md")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for attempt in scene.tries() {
        count += 1;
        let answer = gate.raw(&attempt.bytes).await;
        let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
        let is_refused = last.contains("HTTP/1.1 403") && last.contains(REFUSED);
        // (What is no HTTP is answered by what reads it, or not at all.)
        let is_none =
            last.is_empty() || last.starts_with("HTTP/1.1 400") || last.starts_with("HTTP/1.1 431");
        if !(is_refused || is_none && attempt.is_garbled) {
            wrong.push(format!("{}: {answer}", attempt.name));
        }
        if !page.contains(attempt.way) {
            wrong.push(format!("docs/gate.md does not tell of: {}", attempt.way));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{count} tries");
    // Docker was asked about things, and for none.
    let calls = proxy.calls().split_off(begin);
    let asked = calls.iter().filter(|call| *call != "connect");
    let others: Vec<_> = asked.filter(|call| !call.starts_with("GET ")).collect();
    assert!(others.is_empty(), "{others:?}");
    let log = home.folder.read("log/gate.log");
    assert!(log.contains("is refused \"POST /v1.41/"), "{log}");
    assert!(gate.stop().await);
}

/// A container that is for a build.
async fn build(home: &Home, deployment: &Deployment) -> String {
    let labels = [
        (label::NAMESPACE, home.namespace()),
        (label::ROLE, label::ROLE_BUILD),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = ContainerCreateBody {
        image: Some(deployment.image.clone()),
        labels: Some(labels.into()),
        ..ContainerCreateBody::default()
    };
    let client = home.docker.client().await.unwrap();
    let created = client.create_container(None::<CreateContainerOptions>, body);
    created.await.unwrap().id
}
