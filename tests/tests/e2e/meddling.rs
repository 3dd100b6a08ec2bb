//! Containers that somebody stops, kills, removes or pauses behind CoreFn's back.

use std::time::Duration;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, StopContainerOptions,
};
use corefn_core::names::{self, label};
use corefn_core::network::{Network, NetworkKind};
use corefn_tests::{Home, probe, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// The container of the function's one instance.
async fn only(home: &Home, function: &str) -> String {
    let mut instances = home.instances(function).await;
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances.remove(0).id
}

/// Waits until no router may send work to the instance of a container.
async fn withdrawn(home: &Home, container: &str) {
    let what = "the routers hear of it";
    wait_until(what, PATIENCE, async || {
        let known = home.store.instances().await.unwrap();
        !known
            .iter()
            .any(|leased| leased.ready && leased.instance.container == container)
    })
    .await;
    let instances = home.docker.containers().await.unwrap();
    let instance = instances.iter().find(|found| found.id == container);
    if let Some(instance) = instance {
        home.until_withdrawn(&instance.labels[label::INSTANCE])
            .await;
    }
}

#[tokio::test]
async fn container_that_is_killed_or_stopped_is_replaced() {
    let mut home = Home::start("killed").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(600)).await;
    let client = home.docker.client().await.unwrap().clone();
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    for way in ["kill", "stop", "rm -f"] {
        let old = only(&home, "demo/hello").await;
        match way {
            "kill" => client
                .kill_container(&old, None::<KillContainerOptions>)
                .await
                .unwrap(),
            "stop" => client
                .stop_container(&old, None::<StopContainerOptions>)
                .await
                .unwrap(),
            _ => home.docker.remove(&old).await.unwrap(),
        }
        withdrawn(&home, &old).await;
        for _ in 0..8 {
            assert_eq!(home.get("/demo/hello/x").await.status, 200, "after {way}");
        }
        wait_until("what is left of it is removed", PATIENCE, async || {
            let instances = home.instances("demo/hello").await;
            instances.len() == 1 && instances[0].id != old
        })
        .await;
    }
}

/// An instance that is looked at since a request has failed there, and is found paused, is given to nobody who has asked for
/// one meanwhile.
#[tokio::test]
async fn instance_that_is_found_paused_is_given_to_nobody() {
    let home = Home::builder("foundpaused")
        .workers(1)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::idle(600)).await;
    // (nginx keeps no connection, on which it would try first: so one look is asked for.)
    let answer = home.get("/demo/hello/header/Connection/close").await;
    assert_eq!(answer.status, 200);
    let old = only(&home, "demo/hello").await;
    // Nobody hears of the pause but by looking.
    home.proxy().mute_events();
    home.proxy().delay("/json");
    let look = format!("/containers/{old}/json");
    let before = home.proxy().count(&look);
    let failing = tokio::spawn(home.get("/demo/hello/break").send());
    wait_until("it is looked at", PATIENCE, async || {
        home.proxy().count(&look) > before
    })
    .await;
    home.docker.pause(&old).await.unwrap();
    // Another router knows already, and says so: whoever has asked has got the instance by now.
    let known = home.store.instances().await.unwrap();
    let known = &known[0].instance;
    let withheld = home.store.withhold(known.id, &known.function).await;
    withheld.unwrap();
    home.until_withdrawn(&known.id.to_string()).await;
    let waiting = home.begin("/demo/hello/status/200", 8);
    home.until_under_way(9).await;
    home.proxy().release();
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // (It breaks there as well.)
    assert_eq!(failing.await.unwrap().unwrap().status, 502);
    home.docker.unpause(&old).await.unwrap();
}

#[tokio::test]
async fn paused_container_is_replaced_and_finishes_what_it_holds() {
    let mut home = Home::start("paused").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(600)).await;
    let client = home.docker.client().await.unwrap().clone();
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let old = only(&home, "demo/hello").await;
    let mut held = home.get("/demo/hello/stream/3/3000").open().await.unwrap();

    client.pause_container(&old).await.unwrap();
    withdrawn(&home, &old).await;
    for _ in 0..8 {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
    }
    // Longer than the lease that it had when it was paused, and several rounds of the cleaner's.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let left = home.instances("demo/hello").await;
    assert_eq!(left.len(), 2, "what holds work was stopped: {left:?}");

    client.unpause_container(&old).await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = held.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    assert!(text.ends_with(b"line 2\n"), "{text:?}");
    wait_until(
        "it is removed when it holds nothing",
        PATIENCE,
        async || {
            let instances = home.instances("demo/hello").await;
            instances.len() == 1 && instances[0].id != old
        },
    )
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.error_log().matches("started instance").count(), 2);
}

#[tokio::test]
async fn paused_container_that_holds_nothing_is_removed() {
    let mut home = Home::start("frozen").await;
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let old = only(&home, "demo/hello").await;
    // No router hears of it.
    home.nginx.quit().await;
    let client = home.docker.client().await.unwrap().clone();
    client.pause_container(&old).await.unwrap();
    home.start_cleaner(Some(1));
    withdrawn(&home, &old).await;
    home.start_nginx().await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    wait_until("it is removed", PATIENCE * 2, async || {
        let instances = home.instances("demo/hello").await;
        instances.len() == 1 && instances[0].id != old
    })
    .await;
}

/// What `docker network prune` does while nothing runs.
#[tokio::test]
async fn network_that_is_removed_comes_back() {
    let home = Home::start("pruned").await;
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let old = only(&home, "demo/hello").await;
    home.docker.remove(&old).await.unwrap();
    withdrawn(&home, &old).await;
    let client = home.docker.client().await.unwrap();
    let network = names::network(home.docker.namespace(), NetworkKind::Of(Network::Outbound));
    client.remove_network(&network).await.unwrap();
    // Each worker knows the one that is gone.
    for _ in 0..8 {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
    }
}

/// Docker may let two that ask at the same moment make two networks of one name.
#[tokio::test]
async fn second_network_of_the_name_does_no_harm() {
    // (A worker that doesn't know the first one yet would remove the second.)
    let home = Home::builder("twice").workers(1).start().await;
    home.deploy("demo/hello", probe::idle(600)).await;
    home.deploy("demo/other", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let client = home.docker.client().await.unwrap();
    let request = NetworkCreateRequest {
        name: names::network(home.docker.namespace(), NetworkKind::Of(Network::Outbound)),
        labels: Some(
            [(
                label::NAMESPACE.to_owned(),
                home.docker.namespace().to_owned(),
            )]
            .into(),
        ),
        ..NetworkCreateRequest::default()
    };
    // (Since version 1.44 of its API, Docker refuses that.)
    let Ok(second) = client.create_network(request).await else {
        return;
    };
    assert_eq!(home.get("/demo/other/x").await.status, 200);
    let container = only(&home, "demo/other").await;
    let container = client.inspect_container(&container, None::<InspectContainerOptions>);
    let networks = container
        .await
        .unwrap()
        .network_settings
        .unwrap()
        .networks
        .unwrap();
    let on: Vec<_> = networks
        .values()
        .map(|network| network.network_id.clone())
        .collect();
    assert_eq!(on.len(), 1);
    assert_ne!(on[0].as_ref(), Some(&second.id));
}
