//! Errors are the platform's or the function's, and say so; and the limits that a function sets.

use std::time::{Duration, Instant};

use bollard::query_parameters::KillContainerOptions;
use bytes::Bytes;
use corefn_core::config::{FunctionConfig, Limits};
use corefn_tests::{Home, probe, wait_until};
use hyper::Method;

const LONG: Duration = Duration::from_secs(60);

fn limited(timeout_ms: Option<u64>, body: Option<u64>) -> FunctionConfig {
    let config = probe::config();
    FunctionConfig {
        limits: Limits {
            timeout_ms,
            body,
            ..config.limits
        },
        ..config
    }
}

#[tokio::test]
async fn function_that_dies_under_a_request() {
    let home = Home::start("dies").await;
    home.deploy("demo/hello", probe::config()).await;
    let answer = home.client().post("/demo/hello/exit", "body").await;
    assert_eq!(answer.said(), (502, Some("function-died")));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let problem = answer.json();
    assert_eq!(problem["status"], 502);
    assert_eq!(problem["code"], "function-died");
    assert_eq!(problem["function"], "demo/hello");
    let request = home.client().post("/demo/hello/exit", "body");
    let answer = request.header("Accept", "text/html,*/*").await;
    assert_eq!(answer.said(), (502, Some("function-died")));
    assert!(answer.text().contains("<h1>502</h1>"), "{}", answer.text());
    assert!(answer.text().contains("demo/hello"), "{}", answer.text());
    let accesses = home.accesses(2).await;
    assert!(accesses.iter().all(|access| access.status == "502"));
}

#[tokio::test]
async fn answers_of_the_function_are_its_own() {
    let home = Home::start("own").await;
    home.deploy("demo/hello", probe::config()).await;
    for status in ["413", "500", "502", "503", "504"] {
        let answer = home.get(&format!("/demo/hello/status/{status}")).await;
        assert_eq!(answer.status.to_string(), status);
        assert_eq!(answer.error(), None);
        assert_eq!(answer.text(), format!("status {status}\n"));
    }
    // It began well, and is no answer all the same.
    let answer = home.get("/demo/hello/huge-header").await;
    assert_eq!(answer.said(), (502, Some("bad-answer")));
    assert_eq!(answer.json()["code"], "bad-answer");
}

#[tokio::test]
async fn page_of_the_operator_for_a_death() {
    let home = Home::builder("page")
        .location("error_page 502 504 /sorry;")
        .server("location = /sorry { internal; return 502 \"sorry\"; }")
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let answer = home.client().post("/demo/hello/exit", "body").await;
    assert_eq!(answer.said(), (502, Some("function-died")));
    assert_eq!(answer.text(), "sorry");
    // What is no function's stays nginx's.
    assert_eq!(home.get("/sorry").await.said(), (404, None));
}

#[tokio::test]
async fn instance_that_can_not_be_connected_to() {
    // nginx may not try again, and takes the silence of the address for a timeout.
    let home = Home::builder("unreachable")
        .docker_proxy()
        .server(
            "location /demo/ { corefn on; proxy_pass http://functions$corefn_uri; \
             proxy_connect_timeout 300ms; proxy_next_upstream off; }",
        )
        .workers(1)
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let id = home.instances("demo/hello").await[0].id.clone();
    home.proxy().shut();
    let client = home.docker.client().await.unwrap();
    let killed = client.kill_container(&id, None::<KillContainerOptions>);
    killed.await.unwrap();
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.said(), (502, Some("function-unreachable")));
    assert_eq!(answer.json()["status"], 502);
    assert_eq!(home.accesses(2).await[1].status, "502");
    home.proxy().reopen();
}

#[tokio::test]
async fn storm_is_told_of_once() {
    let home = Home::builder("storm").workers(1).start().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let requests: Vec<_> = (0..20)
        .map(|number| {
            let target = format!("/demo/hello/upload/{number}");
            let (request, upload) = home.client().request(Method::POST, &target).upload();
            (tokio::spawn(request.send()), upload)
        })
        .collect();
    let id = home.instances("demo/hello").await[0].id.clone();
    for number in 0..20 {
        wait_until("the function has the request", LONG, async || {
            let target = format!("/demo/hello/has/{number}");
            home.get(&target).await.text() == "true"
        })
        .await;
    }
    let client = home.docker.client().await.unwrap();
    let killed = client.kill_container(&id, None::<KillContainerOptions>);
    killed.await.unwrap();
    for (request, _upload) in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.said(), (502, Some("function-died")));
    }
    let log = home.error_log();
    assert_eq!(log.matches("function-died: instance").count(), 1, "{log}");
    assert!(log.contains("corefn logs demo/hello"), "{log}");
}

#[tokio::test]
async fn time_until_the_answer_begins() {
    let home = Home::start("timelimit").await;
    // Longer than it takes an answer to begin on a busy machine.
    home.deploy("demo/hello", limited(Some(6000), None)).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let begin = Instant::now();
    let late = [Method::GET, Method::POST].map(|method| {
        let request = home.client().request(method, "/demo/hello/sleep/60000");
        tokio::spawn(request.body("body").send())
    });
    // An answer that has begun takes the time it takes, and so does the request.
    let stream = tokio::spawn(home.get("/demo/hello/stream/5/2000").send());
    let request = home.client().request(Method::POST, "/demo/hello/upload/x");
    let (request, mut upload) = request.upload();
    let request = tokio::spawn(request.send());
    for _ in 0..4 {
        upload.send("piece").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    drop(upload);
    for answer in late {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.said(), (504, Some("function-timeout")));
        assert_eq!(answer.json()["function"], "demo/hello");
    }
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    let answer = stream.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().ends_with("line 4\n"));
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["length"], 20);
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let home = Home::start("bodylimit").await;
    home.deploy("demo/hello", limited(None, Some(100_000)))
        .await;
    let events = home.events().await;
    let target = "/demo/hello/upload/x";
    let body = |length: usize| Bytes::from(vec![b'x'; length]);
    let answer = home.client().post(target, body(100_001)).await;
    assert_eq!(answer.said(), (413, Some("too-large")));
    assert_eq!(answer.json()["code"], "too-large");
    assert_eq!(events.created("demo/hello").await, 0, "it was started");
    let answer = home.client().post(target, body(100_000)).await;
    assert_eq!(answer.json()["length"], 100_000);
    // Chunked, nobody knows how long it gets: in one piece, and piece by piece.
    for piece in [200_000, 1_000] {
        let request = home.client().request(Method::POST, target);
        let (request, mut upload) = request.upload();
        let request = tokio::spawn(request.send());
        let sending = tokio::spawn(async move {
            for _ in 0..200_000 / piece {
                if upload.send(vec![b'x'; piece]).await.is_err() {
                    return;
                }
            }
        });
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.said(), (413, Some("too-large")), "{piece}");
        assert_eq!(answer.json()["code"], "too-large");
        sending.abort();
    }
    let request = home.client().request(Method::POST, target);
    let (request, mut upload) = request.upload();
    let request = tokio::spawn(request.send());
    for _ in 0..100 {
        upload.send(vec![b'x'; 1_000]).await.unwrap();
    }
    drop(upload);
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.json()["length"], 100_000);
}
