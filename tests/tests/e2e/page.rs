//! The page of what there is: what it is, what it is told, and the logs of builds.

use std::time::Duration;

use corefn_core::feed::EVENT_STREAM;
use corefn_core::function::RevisionId;
use corefn_core::metrics::JSON;
use corefn_core::page::HTML;
use corefn_core::survey::{Build, BuildState};
use corefn_tests::client::Stream;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, process, wait_until};
use serde_json::Value;

use crate::sandbox_starts::executable;

const PATIENCE: Duration = Duration::from_secs(30);

const STATUS: &str = "location = /corefn/status { corefn_status; }
    location = /slow { corefn_status; limit_rate 500; }";

async fn home(name: &str) -> Home {
    let builder = Home::builder(name).workers(2).server(STATUS);
    builder.start().await
}

/// What a page is told.
pub struct Told {
    stream: Stream,
    text: String,
}

impl Told {
    pub async fn open(home: &Home, target: &str) -> Self {
        let request = home.get(target).header("Accept", EVENT_STREAM);
        let stream = request.open().await.unwrap();
        assert_eq!(stream.status, 200);
        Self {
            stream,
            text: String::new(),
        }
    }

    /// The next message; none when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let json = event.strip_prefix("data: ").unwrap();
                let message = serde_json::from_str(json).unwrap();
                self.text = rest.to_owned();
                return Some(message);
            }
            let piece = self.stream.next().await.unwrap();
            let Some(piece) = piece else {
                assert_eq!(self.text, "", "the last message is whole");
                return None;
            };
            self.text += str::from_utf8(&piece).unwrap();
        }
    }

    /// The next message of which something is so.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let message = self.next().await.expect("it goes on");
                if is_so(&message) {
                    return message;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("not told within {PATIENCE:?}: {what}"))
    }

    /// The next message in which something is so of a function.
    async fn function(&mut self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let message = self.until(name, |message| {
            let found = function(message, name);
            found.is_some_and(&is_so)
        });
        message.await
    }
}

/// What a message says of a function.
fn function<'a>(message: &'a Value, name: &str) -> Option<&'a Value> {
    let functions = message["functions"].as_array()?;
    functions.iter().find(|it| it["name"] == name)
}

fn states(function: &Value) -> Vec<&str> {
    let instances = function["instances"].as_array().unwrap().iter();
    instances.map(|it| it["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_comes_is_what_is_asked_for() {
    let home = home("pageform").await;
    let page = home.get("/corefn/status").header("Accept", "text/html,*/*");
    let page = page.await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some(HTML))
    );
    assert!(page.text().starts_with("<!doctype html>"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("vary", "Accept"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let json = home.get("/corefn/status").header("Accept", JSON).await;
    assert_eq!(json.json()["instances"]["frozen"], 0, "Redis was asked");
    assert_eq!(json.json()["sandboxes"], Value::Null, "there is no keeper");
    for (target, status) in [
        ("/corefn/status?log=x", 400),
        ("/corefn/status?log=r1/a/%62", 400),
        ("/corefn/status?log=r1/a/b", 404),
    ] {
        assert_eq!(home.get(target).await.status, status, "{target}");
    }
    // A body is read and forgotten; one that is yet to come has no place here.
    let posted = home.client().post("/corefn/status", "x").await;
    assert_eq!(posted.status, 405);
    let head = home.client().request(hyper::Method::HEAD, "/corefn/status");
    let head = head.header("Accept", EVENT_STREAM).await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some(EVENT_STREAM))
    );
    assert_eq!(home.error_log().matches("[alert]").count(), 0);
}

#[tokio::test]
async fn it_is_told_what_happens() {
    let mut home = home("page").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    let mut told = Told::open(&home, "/corefn/status").await;
    let first = told.next().await.unwrap();
    assert_eq!((&first["reset"], &first["rest"]), (&true.into(), &0.into()));
    let hello = function(&first, "demo/hello").unwrap();
    assert_eq!((&hello["requests"], states(hello).len()), (&0.into(), 0));
    assert_eq!(first["problems"], Value::Array(Vec::new()));

    // An instance comes, is at work, and goes; whichever worker has the request.
    let slow = tokio::spawn(home.get("/demo/hello/sleep/2500").send());
    told.function("demo/hello", |it| states(it) == ["busy"])
        .await;
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    let idle = told.function("demo/hello", |it| {
        states(it) == ["idle"] && it["requests"] == 1
    });
    let idle = idle.await;
    let hello = function(&idle, "demo/hello").unwrap();
    assert_eq!((&hello["cold"], &hello["errors"]), (&1.into(), &0.into()));
    assert!(hello["millis"].as_u64().unwrap() >= 2500, "{hello}");
    told.function("demo/hello", |it| states(it).is_empty())
        .await;

    // How it was started is known to all who look, from the first message but one on.
    let mut other = Told::open(&home, "/corefn/status").await;
    let starts = other.until("starts", |it| it["starts"].is_array()).await;
    let start = &starts["starts"][0];
    assert_eq!(
        (&start["function"], &start["way"]),
        (&"demo/hello".into(), &"image".into())
    );
    let phases: Vec<_> = start["phases"].as_array().unwrap().iter().collect();
    assert_eq!(phases.len(), 3);
    assert!(
        phases.iter().all(|it| it[1].as_u64().unwrap() > 0),
        "{start}"
    );

    // Functions come and go, and fail.
    let bad = home.deploy("demo/bad", probe::misbehaving("exit")).await;
    told.function("demo/bad", |it| it["requests"] == 0).await;
    assert_eq!(
        home.get("/demo/bad/x").await.error(),
        Some("function-exited")
    );
    let failed = |it: &Value| it["failure"]["code"] == "function-exited";
    let message = told.function("demo/bad", failed).await;
    let problem = &message["problems"][0];
    let what = problem["what"].as_str().unwrap();
    assert!(
        what.starts_with("A function can't be started: demo/bad exited"),
        "{what}"
    );
    assert!(problem["remedy"].as_str().unwrap().len() > 10);
    home.undeploy(&bad).await;
    told.until("it is removed", |it| it["removed"][0] == "demo/bad")
        .await;

    // Redis goes and comes back.
    home.redis.stop().await;
    let away = told
        .until("Redis is away", |it| it["host"]["redis"] == false)
        .await;
    assert!(
        away["problems"]
            .to_string()
            .contains("Redis can't be reached"),
        "{away}"
    );
    let json = home
        .get("/corefn/status")
        .header("Accept", JSON)
        .await
        .json();
    assert_eq!(
        (&json["redis"], &json["builds"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(home.get("/corefn/status?log=r1/a/b").await.status, 503);
    home.redis.start().await;
    told.until("Redis is back", |it| it["host"]["redis"] == true)
        .await;
}

#[tokio::test]
async fn a_reload_does_not_wait_for_those_who_look() {
    let mut home = home("pagereload").await;
    let mut told = Told::open(&home, "/corefn/status").await;
    assert!(told.next().await.is_some());
    let before = home.reload().await;
    while told.next().await.is_some() {}
    for worker in before {
        wait_until("the worker has ended", PATIENCE, async || {
            !process::is_alive(worker)
        })
        .await;
    }
    let mut again = Told::open(&home, "/corefn/status").await;
    assert_eq!(again.next().await.unwrap()["reset"], true);
    assert_eq!(home.error_log().matches("[alert]").count(), 0);
}

/// Of a client that reads slowly, no more than one message is kept, and what it gets is whole.
#[tokio::test]
async fn slow_readers_get_whole_messages() {
    let home = home("pageslow").await;
    home.deploy("demo/hello", probe::idle(60)).await;
    let mut told = Told::open(&home, "/slow").await;
    let mut requests = 0;
    while requests < 8 {
        assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
        let message = told.next().await.unwrap();
        let found = function(&message, "demo/hello");
        requests = found.map_or(requests, |it| it["requests"].as_u64().unwrap());
    }
    // One that goes away is noticed.
    drop(told);
    wait_until("no connection is left", PATIENCE, async || {
        home.under_way().await == 0
    })
    .await;
    assert_eq!(home.error_log().matches("[alert]").count(), 0);
}

/// What a push prints is there while it is built and afterwards, of those that are rejected too.
#[tokio::test]
async fn builds_and_their_logs() {
    let home = home("pagebuilds").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.probe("");
    hello.commit("First").await;
    let mut told = Told::open(&home, "/corefn/status").await;
    hello.push().await.accepted();
    let message = told
        .until("it is deployed", |it| {
            it["builds"][0]["state"] == "deployed"
        })
        .await;
    let build = &message["builds"][0];
    assert_eq!(build["repository"], "demo/hello");
    assert!(build["took_ms"].as_u64().unwrap() > 0);
    let log = |build: &Value| {
        let revision = build["revision"].as_str().unwrap();
        home.get(&format!("/corefn/status?log={revision}/demo/hello"))
    };
    let answer = log(build).await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(
        answer.text().contains("==> deployed demo/hello"),
        "{}",
        answer.text()
    );

    hello.probe("[wrong]\n");
    hello.commit("Second").await;
    hello.push().await.rejected(&["corefn.toml"]);
    let message = told
        .until("it is rejected", |it| {
            it["builds"][0]["state"] == "rejected"
        })
        .await;
    let build = &message["builds"][0];
    let error = build["error"].as_str().unwrap();
    assert!(error.contains("wrong"), "{error}");
    assert!(
        message["problems"]
            .to_string()
            .contains("The last push to demo/hello was rejected")
    );
    let text = log(build).await.text();
    assert!(text.contains(&format!("error: {error}")), "{text}");

    let told = home.get("/corefn/status").await.text();
    for line in [
        r#"builds_total{result="deployed"} 1"#,
        r#"builds_total{result="rejected"} 1"#,
        "builds_running 0",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

/// While a build is under way it is seen, with what it has printed.
#[tokio::test]
async fn a_build_is_seen_while_it_is_under_way() {
    let home = home("pagerunning").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.write(
        "Dockerfile",
        "FROM debian:bookworm-slim\nRUN echo be\"\"gun; sleep 600\n",
    );
    hello.commit("Sleeps").await;
    let mut told = Told::open(&home, "/corefn/status").await;
    let mut push = hello.begin_push("main");
    push.until("begun").await;
    let state = |state: &'static str| move |it: &Value| it["builds"][0]["state"] == state;
    let message = told.until("it is under way", state("running")).await;
    let revision = message["builds"][0]["revision"]
        .as_str()
        .unwrap()
        .to_owned();
    let target = format!("/corefn/status?log={revision}/demo/hello");
    wait_until("what it prints is seen", PATIENCE, async || {
        home.get(&target).await.text().contains("begun")
    })
    .await;
    push.kill().await;
    let message = told.until("it has ended", state("rejected")).await;
    let build: Build = serde_json::from_value(message["builds"][0].clone()).unwrap();
    assert_eq!(
        build.error.as_deref(),
        Some("the build was ended: the pusher is gone; nothing was deployed")
    );

    // One of which nobody says anything any more is lost.
    let lost = Build {
        revision: RevisionId("9".to_owned()),
        state: BuildState::Running,
        ..build
    };
    home.store.keep_log(&lost, "so far").await.unwrap();
    home.store.keep_build(&lost).await.unwrap();
    told.until("it is under way", state("running")).await;
    home.redis
        .command::<()>(&["DEL", &home.store.keys().log(&lost.id())])
        .await;
    let message = told.until("it is lost", state("lost")).await;
    assert!(
        message["problems"].to_string().contains("was broken off"),
        "{message}"
    );
}

#[tokio::test]
async fn sandboxes_that_wait_are_counted() {
    let builder = Home::builder("pagebox").without_nginx().gated();
    let mut home = builder.server(STATUS).start().await;
    let _keeper = Keeper::start_with_nginx(&mut home, "floor = 2").await;
    home.deploy("demo/hello", executable()).await;
    wait_until("two of each wait", PATIENCE, async || {
        let told = home
            .get("/corefn/status")
            .header("Accept", JSON)
            .await
            .json();
        let kinds = told["sandboxes"].as_array().cloned().unwrap_or_default();
        kinds.len() >= 2
            && kinds
                .iter()
                .all(|it| it["waiting"] == 2 && it["wanted"] == 2)
    })
    .await;
}
