//! Paths that lead to no function, and what they cost.

use corefn_core::config::{Export, FunctionConfig};
use corefn_tests::{Home, probe};

#[tokio::test]
async fn platform_errors_are_told_from_the_functions_own() {
    let home = Home::start("unknown").await;
    home.deploy("demo/hello", probe::config()).await;

    for path in [
        "/",
        "/demo",
        "/demo/",
        "/demo/other",
        "/demo/hellox",
        "/Demo/hello",
        "/other/hello/x",
    ] {
        let answer = home.get(path).await;
        assert_eq!(
            (answer.status, answer.error()),
            (404, Some("unknown-function")),
            "{path}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        let problem = answer.json();
        assert_eq!(problem["status"], 404, "{problem}");
        assert_eq!(problem["code"], "unknown-function", "{problem}");
        assert!(
            problem["title"].is_string() && problem["type"].is_string(),
            "{problem}"
        );
    }

    let own = home.get("/demo/hello/status/404").await;
    assert_eq!((own.status, own.error()), (404, None));
    assert_eq!(own.text(), "status 404\n");

    let error = corefn_core::names::header::ERROR;
    let forged = home
        .get(&format!("/demo/hello/header/{error}/unknown-function"))
        .await;
    assert_eq!(
        (forged.status, forged.error()),
        (200, None),
        "a function passes for the platform"
    );
}

#[tokio::test]
async fn html_is_for_those_who_ask() {
    let home = Home::start("html").await;
    let rows = [
        (Some("text/html,application/xhtml+xml;q=0.9"), true),
        (Some("*/*"), false),
        (Some("application/json, text/html"), false),
        (None, false),
    ];
    for (accept, html) in rows {
        let mut request = home.get("/nobody/nothing");
        if let Some(accept) = accept {
            request = request.header("Accept", accept);
        }
        let answer = request.await;
        let kind = answer.header("content-type").unwrap();
        assert_eq!(kind.starts_with("text/html"), html, "{accept:?}: {kind}");
        assert_eq!(
            answer.text().starts_with("<!doctype html>"),
            html,
            "{accept:?}"
        );
        assert_eq!(answer.error(), Some("unknown-function"), "{accept:?}");
    }
    let mut connection = home.client().connect().await;
    connection
        .write("HEAD /nobody/nothing HTTP/1.0\r\n\r\n")
        .await;
    let answer = connection.head().await;
    assert_eq!(
        (answer.status, answer.error()),
        (404, Some("unknown-function"))
    );
    assert!(connection.is_at_end().await, "HEAD has a body");
}

#[tokio::test]
async fn unknown_export_starts_nothing() {
    let home = Home::start("exports").await;
    let named = |name: &str| Export {
        name: name.to_owned(),
        ..Export::default()
    };
    let config = FunctionConfig {
        exports: Some(vec![named("SayHello"), named("Now")]),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    let events = home.events().await;
    for path in [
        "",
        "/",
        "/Other",
        "/sayhello",
        "/SayHello/more",
        "/SayHello/",
    ] {
        let answer = home.get(&format!("/demo/hello{path}")).await;
        assert_eq!(
            (answer.status, answer.error()),
            (404, Some("unknown-export")),
            "{path}"
        );
        assert_eq!(answer.json()["function"], "demo/hello");
    }
    assert_eq!(
        events.created("demo/hello").await,
        0,
        "a container was started for nothing"
    );
    assert_eq!(home.get("/demo/hello/SayHello?x").await.status, 200);
    assert_eq!(events.created("demo/hello").await, 1);
}

#[tokio::test]
async fn unknown_paths_cost_neither_redis_nor_docker_a_call() {
    let home = Home::builder("costless").docker_proxy().start().await;
    home.deploy("demo/hello", probe::config()).await;
    // Once every worker has its table, and the connections that it keeps.
    corefn_tests::wait_until(
        "all workers listen to Redis",
        std::time::Duration::from_secs(30),
        async || {
            let channel = home.store.keys().events();
            let counts: (String, usize) = home.redis.command(&["PUBSUB", "NUMSUB", &channel]).await;
            counts.1 == 4 && home.proxy().count("/events") == 4
        },
    )
    .await;
    home.get("/demo/other").await;
    let calls = home.proxy().calls();
    let mut monitor = home.redis.monitor().await;

    let clients = (0..8).map(|client| {
        let to = home.client();
        tokio::spawn(async move {
            for number in 0..125 {
                let answer = to.get(&format!("/unknown/f{client}-{number}")).await;
                assert_eq!(answer.error(), Some("unknown-function"));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }

    assert_eq!(monitor.commands(&home.redis).await, Vec::<String>::new());
    assert_eq!(home.proxy().calls(), calls);
}

#[tokio::test]
async fn error_page_of_the_operator_is_the_answer() {
    let home = Home::builder("errorpage")
        .location("error_page 404 /missing.html;")
        .server("location = /missing.html { internal; return 200 'nothing here'; }")
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let answer = home.get("/demo/other").await;
    assert_eq!(
        (answer.status, answer.error(), answer.text().as_str()),
        (404, Some("unknown-function"), "nothing here")
    );
    // proxy_intercept_errors is off: the function's own errors pass.
    let own = home.get("/demo/hello/status/404").await;
    assert_eq!((own.error(), own.text().as_str()), (None, "status 404\n"));
}

#[tokio::test]
async fn refused_request_leaves_its_connection_usable() {
    let home = Home::start("refusedbody").await;
    home.deploy("demo/hello", probe::config()).await;
    let mut connection = home.client().connect().await;
    let body = "x".repeat(100_000);
    for _ in 0..3 {
        connection
            .write(format!(
                "POST /unknown/x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, answer.error()),
            (404, Some("unknown-function"))
        );
        connection
            .write("POST /demo/hello/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nWorld")
            .await;
        assert_eq!(connection.answer().await.json()["body"], "World");
    }
}
