//! What a deployment changes, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use corefn_core::config::{Export, FunctionConfig};
use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
use corefn_core::names::env;
use corefn_engine::store::StoreError;
use corefn_tests::{Home, probe, wait_for, wait_until};

const LONG: Duration = Duration::from_secs(30);

async fn revision(home: &Home) -> String {
    let env = home.get("/demo/hello/env").await;
    assert_eq!(env.status, 200, "{}", env.text());
    env.json()[env::REVISION].as_str().unwrap().to_owned()
}

/// A deployment that can be asked for without starting it: it has one export, and the path of any
/// other is refused with an error of its own.
pub async fn quiet(home: &Home, function: &str) -> Deployment {
    let export = Export {
        name: "Only".to_owned(),
        ..Export::default()
    };
    let config = FunctionConfig {
        exports: Some(vec![export]),
        ..probe::config()
    };
    home.image(function, config).await
}

#[tokio::test]
async fn all_workers_know() {
    let home = Home::start("allworkers").await;
    let deployment = quiet(&home, "demo/hello").await;
    home.switch(&deployment).await;
    home.knows("demo/hello", &deployment.revision.0).await;
    let requests = (0..100).map(|_| tokio::spawn(home.get("/demo/hello/other").send()));
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(
            request.await.unwrap().unwrap().error(),
            Some("unknown-export")
        );
    }
}

#[tokio::test]
async fn new_revision_answers_and_the_old_one_goes() {
    let mut home = Home::start("redeploy").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(revision(&home).await, "r1");
    home.deploy("demo/hello", probe::config()).await;
    for _ in 0..20 {
        assert_eq!(revision(&home).await, "r2");
    }
    wait_until(
        "the old revision's instance is gone",
        Duration::from_secs(30),
        async || revision(&home).await == "r2" && home.instances("demo/hello").await.len() == 1,
    )
    .await;
}

#[tokio::test]
async fn request_that_is_under_way_finishes_on_the_old_revision() {
    let mut home = Home::start("underway").await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        idle_ms: Some(2000),
        ..probe::config()
    };
    home.deploy("demo/hello", config.clone()).await;
    assert_eq!(revision(&home).await, "r1");
    // It lasts for much longer than the idle time, and has begun when it is open.
    let mut long = home.get("/demo/hello/stream/8/1000").open().await.unwrap();
    home.deploy("demo/hello", config).await;
    assert_eq!(revision(&home).await, "r2");
    let mut text = Vec::new();
    while let Some(piece) = long.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    assert!(text.ends_with(b"line 7\n"), "{text:?}");
}

#[tokio::test]
async fn removed_function_is_unknown() {
    let home = Home::start("remove").await;
    let deployment = home.deploy("demo/hello", probe::config()).await;
    assert_eq!(revision(&home).await, "r1");
    home.undeploy(&deployment).await;
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(
        (answer.status, answer.error()),
        (404, Some("unknown-function"))
    );
}

#[tokio::test]
async fn function_that_is_removed_while_requests_wait_for_it() {
    let home = Home::start("removewait").await;
    let deployment = home
        .deploy("demo/hello", probe::misbehaving("slow-start:3000"))
        .await;
    let requests: Vec<_> = (0..8)
        .map(|_| tokio::spawn(home.get("/demo/hello/x").send()))
        .collect();
    wait_until(
        "a start is under way",
        Duration::from_secs(30),
        async || home.is_starting("demo/hello").await,
    )
    .await;
    home.store.remove(&deployment.function).await.unwrap();
    for request in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(
            answer.error(),
            Some("unknown-function"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn start_of_an_old_revision_that_hangs_is_nothing_to_the_new_one() {
    let home = Home::builder("hangingold")
        .http("corefn_max_starts 1;")
        .start()
        .await;
    home.deploy("demo/hello", probe::misbehaving("never-listen"))
        .await;
    let waiting: Vec<_> = (0..8)
        .map(|_| tokio::spawn(home.get("/demo/hello/env").send()))
        .collect();
    home.until_under_way(8).await;
    let old = wait_for("it is being started", LONG, async || {
        home.instances("demo/hello").await.pop()
    })
    .await;
    // Whether the new one is warm, as after a push, or cold.
    let warm = home.image("demo/hello", probe::idle(600)).await;
    home.switch_warm(&warm).await;
    for request in waiting {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()[env::REVISION], "r2");
    }
    wait_until("the old start is given up", LONG, async || {
        !home
            .docker
            .containers()
            .await
            .unwrap()
            .iter()
            .any(|container| container.id == old.id)
    })
    .await;
    home.deploy("demo/hello", probe::misbehaving("never-listen"))
        .await;
    let waits = tokio::spawn(home.get("/demo/hello/env").send());
    wait_until("it is being started", LONG, async || {
        home.is_starting("demo/hello").await
    })
    .await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(revision(&home).await, "r4");
    let answer = waits.await.unwrap().unwrap();
    assert_eq!(answer.json()[env::REVISION], "r4");
    // Nothing of the old ones is held against it.
    let failures = home.store.keys().failures(&warm.function);
    assert_eq!(home.redis.command::<u32>(&["EXISTS", &failures]).await, 0);
    assert!(
        !home.error_log().contains("[error]"),
        "{}",
        home.error_log()
    );
}

#[tokio::test]
async fn new_revision_while_requests_wait_for_the_old_one() {
    let home = Home::builder("deploywait").docker_proxy().start().await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().delay("/start");
    let requests: Vec<_> = (0..8)
        .map(|_| tokio::spawn(home.get("/demo/hello/env").send()))
        .collect();
    home.until_under_way(8).await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().release();
    for request in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(revision(&home).await, "r2");
}

/// The routes in Redis are those of what is deployed, and nobody takes away another's.
#[tokio::test]
async fn routes_come_and_go_with_their_function() {
    let home = Home::builder("routes").without_nginx().start().await;
    let deployment = |function: &str, revision: &str, routes: &[&str]| Deployment {
        function: function.parse().unwrap(),
        revision: RevisionId(revision.to_owned()),
        image: String::new(),
        config: FunctionConfig {
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
            ..FunctionConfig::default()
        },
        releases: Vec::new(),
    };
    let deploy = async |function: &str, revision: &str, routes: &[&str]| {
        let deployment = deployment(function, revision, routes);
        home.store.deploy(&[(&deployment, None)]).await
    };
    let owners = async || {
        let key = home.store.keys().routes();
        let found: BTreeMap<String, String> = home.redis.command(&["HGETALL", &key]).await;
        let found = found
            .into_iter()
            .map(|(route, owner)| format!("{route} {owner}"));
        found.collect::<Vec<_>>()
    };
    deploy("demo/a", "r1", &["h/x", "h/y"]).await.unwrap();
    deploy("demo/b", "r1", &["h/z"]).await.unwrap();
    let refused = deploy("demo/b", "r2", &["h/x"]).await;
    assert!(
        matches!(refused, Err(StoreError::Claimed { .. })),
        "{refused:?}"
    );
    deploy("demo/a", "r2", &["h/y"]).await.unwrap();
    deploy("demo/b", "r2", &["h/x"]).await.unwrap();
    let all = [
        "/demo/a demo/a",
        "/demo/b demo/b",
        "h/x demo/b",
        "h/y demo/a",
    ];
    assert_eq!(owners().await, all);
    assert!(home.store.remove(&"demo/a".parse().unwrap()).await.unwrap());
    assert!(!home.store.remove(&"demo/a".parse().unwrap()).await.unwrap());
    assert_eq!(owners().await, ["/demo/b demo/b", "h/x demo/b"]);
}
