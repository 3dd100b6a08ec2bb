//! What nginx refuses wakes no container, and no check of nginx's is weakened.

use std::time::Duration;

use corefn_tests::{Builder, Home, probe, wait_until};

/// A location for the functions of one account, with further lines.
fn location(account: &str, lines: &str) -> String {
    format!(
        "location /{account}/ {{ {lines} corefn on; proxy_pass http://functions$corefn_uri; \
         include corefn/proxy.conf; }}"
    )
}

fn builder(name: &str, lines: &str) -> Builder {
    Home::builder(name).server(&location("closed", lines))
}

/// user:secret
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQ=";

#[tokio::test]
async fn satisfy_any_still_refuses() {
    let lines = "satisfy any; deny all; auth_basic closed; auth_basic_user_file htpasswd;";
    let home = builder("satisfy", lines).start().await;
    home.folder.write("htpasswd", "user:{PLAIN}secret\n");
    home.deploy("closed/hello", probe::config()).await;
    let events = home.events().await;

    let answer = home.get("/closed/hello/x").await;
    assert_eq!((answer.status, answer.error()), (401, None));
    let answer = home
        .get("/closed/hello/x")
        .header("Authorization", "Basic dXNlcjpub25l")
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        events.created("closed/hello").await,
        0,
        "a refused request started a container"
    );

    let answer = home
        .get("/closed/hello/x")
        .header("Authorization", CREDENTIALS)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        home.get("/closed/hello/x").await.status,
        401,
        "warm, and refused all the same"
    );
}

#[tokio::test]
async fn satisfy_all_wants_both() {
    let lines =
        "satisfy all; allow 127.0.0.1; deny all; auth_basic closed; auth_basic_user_file htpasswd;";
    let home = builder("both", lines).start().await;
    home.folder.write("htpasswd", "user:{PLAIN}secret\n");
    home.deploy("closed/hello", probe::config()).await;
    let events = home.events().await;
    assert_eq!(home.get("/closed/hello/x").await.status, 401);
    assert_eq!(events.created("closed/hello").await, 0);
    let answer = home
        .get("/closed/hello/x")
        .header("Authorization", CREDENTIALS)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn deny_refuses() {
    let home = builder("deny", "deny all;").start().await;
    home.deploy("closed/hello", probe::config()).await;
    home.deploy("open/hello", probe::config()).await;
    let events = home.events().await;
    // Whichever way the path is spelled.
    for path in [
        "/closed/hello/x",
        "/closed//hello",
        "/%63losed/hello/x",
        "/open/../closed/hello/x",
    ] {
        let answer = home.client().raw_get(path).await;
        assert_eq!((answer.status, answer.error()), (403, None), "{path}");
    }
    // nginx's checks go by the path as nginx reads it: a function they don't cover can't be used to
    // get to one that they do.
    let answer = home.client().raw_get("/closed/../open/hello/x").await;
    assert_eq!((answer.status, answer.error()), (400, Some("bad-path")));
    assert_eq!(events.created("closed/hello").await, 0);
    assert_eq!(home.get("/open/hello/x").await.status, 200);
}

#[tokio::test]
async fn auth_request_refuses() {
    let home = builder("authrequest", "auth_request /auth;")
        .server(
            "location = /auth { internal; if ($http_x_key = good) { return 204; } return 403; }",
        )
        .start()
        .await;
    home.deploy("closed/hello", probe::config()).await;
    let events = home.events().await;
    assert_eq!(home.get("/closed/hello/x").await.status, 403);
    assert_eq!(events.created("closed/hello").await, 0);
    let answer = home.get("/closed/hello/x").header("X-Key", "good").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn limit_req_refuses() {
    let home = builder("limitreq", "limit_req zone=slow;")
        .http("limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m;")
        .start()
        .await;
    home.deploy("closed/one", probe::config()).await;
    home.deploy("closed/two", probe::config()).await;
    let events = home.events().await;
    assert_eq!(home.get("/closed/one/x").await.status, 200);
    for _ in 0..5 {
        let answer = home.get("/closed/two/x").await;
        assert_eq!((answer.status, answer.error()), (503, None));
    }
    assert_eq!(events.created("closed/two").await, 0);
}

#[tokio::test]
async fn too_large_a_body_is_refused() {
    let home = builder("bodysize", "client_max_body_size 1k;")
        .start()
        .await;
    home.deploy("closed/hello", probe::config()).await;
    let events = home.events().await;
    let answer = home
        .client()
        .post("/closed/hello/x", vec![b'x'; 2000])
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(events.created("closed/hello").await, 0);
    assert_eq!(
        home.client()
            .post("/closed/hello/x", vec![b'x'; 1000])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn locations_without_functions_are_left_alone() {
    let home = Home::builder("mixed")
        .server("location /plain { return 200 plain; }")
        .server("location /off/ { corefn off; return 200 off; }")
        .server("location /wrong/ { proxy_pass http://functions; }")
        .start()
        .await;
    home.deploy("off/hello", probe::config()).await;
    assert_eq!(home.get("/plain").await.text(), "plain");
    assert_eq!(home.get("/off/hello/x").await.text(), "off");
    assert_eq!(
        home.get("/wrong/x").await.status,
        500,
        "the upstream without `corefn on`"
    );
    let log = home.error_log();
    assert!(
        log.contains("corefn_instances") && log.contains("write corefn on"),
        "{log}"
    );
}

#[tokio::test]
async fn other_handlers_of_the_phase_still_run() {
    let home = Home::builder("precontent")
        .server(
            "location /mirrored/ { mirror /mirror; corefn on; proxy_pass http://functions$corefn_uri; \
             include corefn/proxy.conf; }",
        )
        .server("location = /mirror { internal; access_log log/mirror.log; log_subrequest on; return 204; }")
        .start()
        .await;
    home.deploy("mirrored/hello", probe::config()).await;
    assert_eq!(home.get("/mirrored/hello/x").await.status, 200);
    assert_eq!(home.get("/mirrored/hello/x").await.status, 200);
    let patience = Duration::from_secs(30);
    wait_until("nginx has mirrored each of them", patience, async || {
        home.folder.read("log/mirror.log").lines().count() == 2
    })
    .await;
}
