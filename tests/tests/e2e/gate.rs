//! Docker as nginx and the services get it: as much as each needs. Whoever has taken one over can't become root by it.

use std::path::Path;
use std::time::Duration;

use corefn_build::image::of_program;
use corefn_core::config::FunctionConfig;
use corefn_core::gate::Caller;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_core::network::Network;
use corefn_engine::docker::{
    BuildPurpose, Docker, Joined, Placement, Purpose, SandboxParts, build_body, fetch_body,
    instance_body, sandbox_body,
};
use corefn_engine::sandboxes::{KEEPER, WAITING};
use corefn_tests::cli::{command, ran, state};
use corefn_tests::gate::Gate;
use corefn_tests::nginx::check;
use corefn_tests::programs::workspace;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use serde_json::{Value, json};

mod tries;

use crate::sandbox_starts::with_router;
use tries::{Scene, archive, request, request_with};

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
    let without = text.replace(&home.gate().url(Caller::Router), corefn_tests::docker::URL);
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
async fn services_have_all_that_they_need() {
    let (mut home, _keeper) = with_router("served", "floor = 1").await;
    home.start_cleaner(Some(1));
    let hello = Repository::create(&home, FUNCTION).await;
    hello.example("dockerfile").await;
    let text = hello.read("Dockerfile");
    // (With commands it also gets the host's certificates, which are taken out of it again.)
    hello.write("Dockerfile", &format!("{text}RUN echo built > /built\n"));
    hello.write("corefn.toml", "[function]\nscale = { idle = \"2s\" }\n");
    hello.commit("With a command").await;
    hello.push().await.accepted().says(&["deployed demo/hello"]);
    assert_eq!(home.get("/demo/hello/").await.status, 200);
    let builder = |words: &[&str]| {
        let mut command = command();
        command
            .env(names::env::GATE, Caller::Builder.word())
            .arg("--home")
            .arg(home.folder.path())
            .args(words);
        command
    };
    for (words, says) in [
        (&["logs", FUNCTION][..], ""),
        (&["revisions", FUNCTION], "current"),
        (&["ls"], FUNCTION),
        (&["ps"], ""),
    ] {
        let ran = ran(&mut builder(words)).await;
        assert!(
            ran.code == 0 && ran.output.contains(says),
            "{words:?}: {ran:?}"
        );
    }
    wait_until("the cleaner has stopped it", PATIENCE, async || {
        home.instances(FUNCTION).await.is_empty()
    })
    .await;
    hello.write("Dockerfile", &format!("{text}RUN exit 7\n"));
    hello.commit("Broken").await;
    hello
        .push()
        .await
        .rejected(&["returned a non-zero code: 7"]);
    let removed = ran(&mut builder(&["rm", "--yes", FUNCTION])).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    let log = home.folder.read("log/gate.log");
    assert!(!log.contains("is refused"), "{log}");
    let nobody = ran(builder(&["ls"]).env(names::env::GATE, "nginx")).await;
    assert!(
        nobody
            .errors
            .contains("set it to builder, keeper or cleaner"),
        "{nobody:?}"
    );
}

/// Somebody who has Docker by the gate, and tries to get more.
#[tokio::test]
async fn who_is_taken_over_does_not_become_root() {
    let neighbour = Home::builder("neighbour").without_gate().start().await;
    assert_eq!(state(&neighbour, "gate").await, "warning");
    neighbour.deploy(FUNCTION, probe::idle(30)).await;
    assert_eq!(neighbour.get("/demo/hello/status/200").await.status, 200);
    let foreign = neighbour.instances(FUNCTION).await.remove(0).id;
    let foreign_network = neighbour.docker.network(Network::Outbound).await.unwrap();

    let home = Home::builder("taken-over").without_nginx().without_gate();
    let home = home.start().await;
    let proxy = home.proxy_programs();
    let gate = Gate::start(&home.folder).await;
    let deployment = home.image(FUNCTION, FunctionConfig::default()).await;
    let network = home.docker.network(Network::Outbound).await.unwrap();
    let build_network = home.docker.build_network().await.unwrap();
    let namespace = home.namespace();
    let [id, linked] = [7, 8].map(InstanceId::from_random);
    let ip = network.subnet.address(1000);
    let create = async |caller, name: &str, body: &Value| {
        let path = match name {
            "" => "/v1.41/containers/create".to_owned(),
            name => format!("/v1.41/containers/create?name={name}"),
        };
        let bytes = request("POST", &path, &body.to_string());
        let made = gate.raw(caller, &bytes).await;
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        let id = made.split(r#""Id":""#).nth(1).expect("it says which");
        id[..64].to_owned()
    };

    // What is tried differs in one thing from what is not refused: an instance for a router …
    let placement = Placement { id, ip };
    let joined = Joined::Network(&network);
    let instance = json!(instance_body(namespace, &deployment, placement, joined));
    let instance_name = Purpose::Serve.name(namespace, &deployment, id);
    let container = create(Caller::Router, &instance_name, &instance).await;
    for path in [
        "json",
        "logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=5",
    ] {
        let path = format!("/v1.41/containers/{container}/{path}");
        let answer = gate.raw(Caller::Router, &request("GET", &path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // … a build for a builder …
    let function = FUNCTION.parse().unwrap();
    let build = |purpose| json!(build_body(namespace, &function, &deployment.image, purpose));
    let measure = build(BuildPurpose::Measure);
    let compile = build(BuildPurpose::Compile {
        environment: vec!["A=b".to_owned()],
        network: build_network.clone(),
        memory: 1 << 28,
        nano_cpus: 1_000_000_000,
        pids: 64,
    });
    let build_name = |id| names::container(namespace, &function, InstanceId::from_random(id));
    create(Caller::Builder, &build_name(20), &measure).await;
    let built = create(Caller::Builder, &build_name(21), &compile).await;
    let started = create(Caller::Builder, &build_name(22), &compile).await;
    home.docker.start(&started).await.unwrap();
    // … a sandbox for a keeper, and a look into an image.
    let docker = Docker::new(&gate.url(Caller::Keeper), namespace);
    let image = names::sandbox_image(namespace, "1");
    let labels = [(label::NAMESPACE.to_owned(), namespace.to_owned())].into();
    of_program(&docker, &image, &labels, &probe::executable())
        .await
        .unwrap();
    let waiting = home.folder.file("sandboxes").join(WAITING);
    std::fs::create_dir_all(waiting.join(id.to_string())).unwrap();
    std::os::unix::fs::symlink("/", waiting.join(linked.to_string())).unwrap();
    let parts = SandboxParts {
        image: &image,
        runtime: None,
        version: "1",
        folder: &waiting.join(id.to_string()).display().to_string(),
        socket: KEEPER,
        serving: Path::new("/nowhere"),
    };
    let sandbox = json!(sandbox_body(namespace, parts, id, Some((&network, ip))));
    let sandbox_name = names::sandbox(namespace, id);
    let waits = create(Caller::Keeper, &sandbox_name, &sandbox).await;
    let fetch = json!(fetch_body(namespace, &deployment.image));
    let fetched = create(Caller::Keeper, "", &fetch).await;

    let begin = proxy.calls().len();
    let scene = Scene {
        caller: Caller::Router,
        build: built,
        started_build: started,
        measure,
        sandbox: waits,
        fetch: fetched,
        instance: id.to_string(),
        linked: linked.to_string(),
        own_image: deployment.image.clone(),
        build_network,
        body: instance.clone(),
        name: instance_name.clone(),
        namespace: namespace.to_owned(),
        container,
        foreign,
        network: network.id.clone(),
        foreign_network: foreign_network.id,
        foreign_image: format!("{}/{FUNCTION}:current", neighbour.namespace()),
    };
    let page = std::fs::read_to_string(workspace().join("docs/gate.md")).unwrap();
    let mut wrong = Vec::new();
    for (caller, body, name) in [
        (Caller::Router, &instance, instance_name.clone()),
        (Caller::Builder, &compile, build_name(23)),
        (Caller::Keeper, &sandbox, sandbox_name),
        (Caller::Cleaner, &instance, instance_name),
    ] {
        let scene = Scene {
            caller,
            body: body.clone(),
            name,
            ..scene.clone()
        };
        let tries = scene.tries();
        println!("{} tries of a {}", tries.len(), caller.word());
        for attempt in tries {
            let answer = gate.raw(caller, &attempt.bytes).await;
            let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
            let is_refused = last.contains("HTTP/1.1 403") && last.contains(REFUSED);
            // (What is no HTTP is answered by what reads it, or not at all.)
            let is_none = last.is_empty()
                || last.starts_with("HTTP/1.1 400")
                || last.starts_with("HTTP/1.1 431");
            if !(is_refused || is_none && attempt.is_garbled) {
                wrong.push(format!("{}: {}: {answer}", caller.word(), attempt.name));
            }
            if !page.contains(attempt.way) {
                wrong.push(format!("docs/gate.md does not tell of: {}", attempt.way));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Docker was asked about things, and for none.
    let calls = proxy.calls().split_off(begin);
    let asked = calls.iter().filter(|call| *call != "connect");
    let others: Vec<_> = asked.filter(|call| !call.starts_with("GET ")).collect();
    assert!(others.is_empty(), "{others:?}");
    let log = home.folder.read("log/gate.log");
    for caller in Caller::ALL {
        let who = format!("{} (process ", caller.word());
        assert!(
            log.contains(&who) && log.contains("is refused \"POST /v1.41/"),
            "{log}"
        );
    }
    assert!(gate.stop().await);
}

/// What shows only later is not passed on to its end, and so Docker makes nothing of it.
#[tokio::test]
async fn images_that_are_not_what_they_say_are_not_made() {
    let home = Home::builder("brought").without_nginx().gated();
    let home = home.start().await;
    let tag = format!("{}/demo/hello:r1", home.namespace());
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    let manifest = manifest.to_string();
    let config =
        r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}"#;
    let [list, config] = [
        ("manifest.json", manifest.as_str()),
        ("config.json", config),
    ];
    for (files, why) in [
        (vec![list, config, ("repositories", "{}")], "a file"),
        (vec![list, list], "a file"),
        (vec![list, config, config], "a file"),
        (vec![list, config, ("../layer.tar", "")], "a file"),
        (vec![list, config], "without its file"),
    ] {
        let archived = archive(&files);
        let path = "/v1.41/images/load?quiet=true";
        let bytes = request_with("POST", path, &archived);
        let answer = home.gate().raw(Caller::Builder, &bytes).await;
        assert!(!answer.contains("Loaded image"), "{answer}");
        let log = home.folder.read("log/gate.log");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(why) && last.contains(&tag), "{last}");
    }
    // One that breaks off is not made either.
    let whole = archive(&[list, config, ("layer.tar", "x")]);
    let bytes = request_with("POST", "/v1.41/images/load?quiet=true", &whole);
    home.gate()
        .break_off(Caller::Builder, &bytes[..bytes.len() - 2000])
        .await;
    wait_until("it is told of", PATIENCE, async || {
        let log = home.folder.read("log/gate.log");
        let last = log.lines().last().unwrap_or_default();
        !last.contains("without its file")
    })
    .await;
    assert!(home.docker.images().await.unwrap().is_empty());
}
