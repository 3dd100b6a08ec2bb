//! An nginx that loads the module and doesn't use it is the same as one that doesn't load it.

use corefn_tests::{Builder, Home, process};

const PLAIN: &str = "location /plain { return 200 plain; }";

/// What a worker has: its threads and its open files.
type Worker = (Vec<String>, Vec<String>);

async fn workers(builder: Builder) -> Vec<Worker> {
    let home = builder
        .workers(2)
        .docker_proxy()
        .server(PLAIN)
        .start()
        .await;
    for _ in 0..20 {
        assert_eq!(home.get("/plain").await.text(), "plain");
    }
    assert_eq!(
        home.redis.clients().await,
        0,
        "somebody is connected to Redis"
    );
    assert_eq!(home.proxy().calls(), Vec::<String>::new());
    home.nginx.until_connections_are_closed().await;
    let name = home.namespace();
    let workers = home.nginx.workers().into_iter().map(|id| {
        let files = process::open_files(id);
        (
            process::threads(id),
            files
                .iter()
                .map(|file| file.replace(name, "home"))
                .collect(),
        )
    });
    workers.collect()
}

#[tokio::test]
async fn module_that_is_not_used_changes_nothing() {
    let without = workers(Home::builder("absent").without_module()).await;
    let loaded = workers(Home::builder("loaded").without_functions()).await;
    assert_eq!(loaded, without);
    let directives = "corefn_redis redis://127.0.0.1:1; corefn_docker unix:///nonexistent; \
                      corefn_zone corefn 8m; corefn off; upstream functions { corefn_instances; keepalive 8; }";
    let configured = workers(
        Home::builder("configured")
            .without_functions()
            .http(directives),
    )
    .await;
    assert_eq!(configured, without);
    assert_eq!(without[0].0, ["nginx"]);
}

#[tokio::test]
async fn worker_that_serves_functions_has_one_thread_more() {
    let home = Home::builder("used").workers(2).start().await;
    for worker in home.nginx.workers() {
        process::until_threads(worker, &["corefn", "nginx"]).await;
    }
    // Neither the master nor its cache helpers take part.
    let all = process::children(std::process::id());
    let master = all
        .into_iter()
        .find(|&id| !process::children(id).is_empty())
        .unwrap();
    assert_eq!(process::threads(master), ["nginx"]);
}
