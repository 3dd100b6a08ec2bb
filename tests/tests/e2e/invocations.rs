//! Requests whose clients do not wait for the answer.

use std::time::Duration;

use corefn_core::config::{FunctionConfig, Limits};
use corefn_tests::cli::{corefn, state};
use corefn_tests::client::Answer;
use corefn_tests::dispatcher::Dispatcher;
use corefn_tests::room::Room;
use corefn_tests::{Home, probe, process, wait_for, wait_until};
use serde_json::Value;

const FUNCTION: &str = "demo/hello";

const PATIENCE: Duration = Duration::from_secs(60);

/// How much a disk has: a bit more than is left free.
const ROOM: u64 = 300 << 20;

/// The preference of a client that does not wait.
const PREFER: (&str, &str) = ("Prefer", "respond-async, wait=10");

/// An installation with invocations and a function.
async fn home(name: &str) -> Home {
    let home = Home::builder(name).invocations().start().await;
    home.deploy(FUNCTION, probe::idle(30)).await;
    home
}

/// A dispatcher that takes invocations.
async fn dispatcher(home: &Home, log: &str) -> Dispatcher {
    let dispatcher = Dispatcher::start(home, log, None);
    wait_until("invocations are taken", PATIENCE, async || {
        let (_, error) = asked_for(home, "unknown").await;
        error.as_deref() == Some("unknown-invocation")
    })
    .await;
    dispatcher
}

/// Status and error of asking for an invocation.
async fn asked_for(home: &Home, id: &str) -> (u16, Option<String>) {
    let target = format!("/{FUNCTION}/.corefn/invocations/{id}");
    let answer = home.get(&target).await;
    let (status, error) = answer.said();
    (status, error.map(ToOwned::to_owned))
}

async fn post(home: &Home, path: &str, body: &str) -> Answer {
    let target = format!("/{FUNCTION}{path}");
    let request = home.client().post(&target, body.to_owned());
    request.header(PREFER.0, PREFER.1).await
}

/// Has a function called by this path, and returns where it is told how that goes.
async fn invoke(home: &Home, path: &str, body: &str) -> String {
    let answer = post(home, path, body).await;
    assert_eq!(answer.said(), (202, None), "{}", answer.text());
    answer.header("Location").unwrap().to_owned()
}

/// How an invocation goes, once that is so.
async fn until(home: &Home, at: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{at}: {what}"), PATIENCE, async || {
        let answer = home.get(at).await;
        // (While Redis is away nobody knows.)
        let going = (answer.status == 200).then(|| answer.json());
        going.filter(|going| is(going))
    })
    .await
}

async fn until_state(home: &Home, at: &str, state: &str) -> Value {
    until(home, at, state, |going| going["state"] == state).await
}

/// Waits until so many calls of an invocation have ended, or more.
async fn until_called(home: &Home, at: &str, count: u64) -> Value {
    let what = format!("{count} calls have ended");
    until(home, at, &what, |going| {
        going["calls"].as_u64() >= Some(count)
    })
    .await
}

/// How often nginx was asked to call the function by this path.
fn calls(home: &Home, path: &str) -> usize {
    let first = format!("\"request\":\"POST /{FUNCTION}{path} HTTP/1.1\"");
    home.folder.read("log/access.log").matches(&first).count()
}

/// What the function has got of an upload.
async fn seen(home: &Home, name: &str) -> Value {
    home.get(&format!("/{FUNCTION}/seen/{name}")).await.json()
}

#[tokio::test]
async fn client_does_not_wait_for_the_answer() {
    let home = home("invocations").await;
    // Nobody can keep it yet.
    let answer = post(&home, "/upload/x", "x").await;
    assert_eq!(answer.said(), (503, Some("dispatcher-unavailable")));
    assert_eq!(answer.header("Retry-After"), Some("1"));
    let dispatcher = dispatcher(&home, "dispatch").await;

    let body = "some bytes, ".repeat(20_000);
    let answer = post(&home, "/upload/big", &body).await;
    assert_eq!(answer.said(), (202, None), "{}", answer.text());
    assert_eq!(answer.header("Preference-Applied"), Some("respond-async"));
    let report = answer.json();
    let at = answer.header("Location").unwrap();
    let id = report["id"].as_str().unwrap();
    assert_eq!(at, format!("/{FUNCTION}/.corefn/invocations/{id}"));
    assert_eq!(
        (&report["state"], &report["function"], &report["calls"]),
        (&"waiting".into(), &FUNCTION.into(), &0.into())
    );
    let done = until_state(&home, at, "done").await;
    assert_eq!(
        (&done["calls"], &done["result"]),
        (&1.into(), &"200".into())
    );
    assert_eq!(done["accepted"], report["accepted"]);
    assert_eq!(seen(&home, "big").await, body.len());
    // (It was asked for, and it was called.)
    assert_eq!(calls(&home, "/upload/big"), 2);
    let spelled = "/a%2Fb//?c=%2F&d";
    until_state(&home, &invoke(&home, spelled, "").await, "done").await;
    assert_eq!(calls(&home, spelled), 2);

    // nginx keeps no connection to the dispatcher, of which it would use none again. (Kept ones it closes after a minute.)
    const CLOSED: Duration = Duration::from_secs(30);
    let sockets = || {
        let files = process::open_files(dispatcher.id());
        files.iter().filter(|file| file.contains("socket")).count()
    };
    let before = sockets();
    for _ in 0..20 {
        invoke(&home, "/status/200", "").await;
    }
    wait_until("the connections are closed", CLOSED, async || {
        sockets() < before + 10
    })
    .await;

    // One that comes in pieces, and is broken off, is none.
    let (request, mut upload) = home
        .client()
        .post(&format!("/{FUNCTION}/upload/pieces"), "")
        .upload();
    let sent = tokio::spawn(request.header(PREFER.0, PREFER.1).send());
    for _ in 0..3 {
        upload.send("piece").await.unwrap();
    }
    drop(upload);
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.status, 202);
    until_state(&home, answer.header("Location").unwrap(), "done").await;
    assert_eq!(seen(&home, "pieces").await, 15);

    // Who does not say so waits, and gets the answer; so does who wants to talk in another protocol.
    let answer = home.get(&format!("/{FUNCTION}/status/418")).await;
    assert_eq!(answer.status, 418);
    // Nothing is known of others.
    for (id, error) in [("", "unknown-invocation"), ("0", "unknown-invocation")] {
        assert_eq!(asked_for(&home, id).await, (404, Some(error.to_owned())));
    }
    let target = format!("/{FUNCTION}/.corefn/else");
    assert_eq!(
        home.get(&target).await.said(),
        (404, Some("unknown-invocation"))
    );
    home.deploy("demo/other", probe::idle(30)).await;
    let other = at.replace(FUNCTION, "demo/other");
    assert_eq!(
        home.get(&other).await.said(),
        (404, Some("unknown-invocation"))
    );
    let answer = post(&home, "2/x", "x").await;
    assert_eq!(answer.said(), (404, Some("unknown-function")));
    assert_eq!(state(&home, "invocations").await, "ok");
    assert!(dispatcher.stop().await.success());
    assert!(kept(&home).is_empty());
    assert_eq!(state(&home, "invocations").await, "wrong");
}

/// The files of invocations that are kept.
fn kept(home: &Home) -> Vec<String> {
    let folder = home.folder.file("invocations/requests").join(FUNCTION);
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn calls_that_fail_are_made_again() {
    let home = home("again").await;
    let dispatcher = dispatcher(&home, "dispatch").await;
    let fails = invoke(&home, "/status/500", "x").await;
    let going = until_state(&home, &fails, "retrying").await;
    assert_eq!(going["result"], "500");
    assert!(going["next"].is_string() && going["last"].is_string());
    until_called(&home, &fails, 2).await;
    // What is refused for good is not.
    let refused = invoke(&home, "/status/404", "x").await;
    let going = until_state(&home, &refused, "dead").await;
    assert_eq!(
        (&going["calls"], &going["result"]),
        (&1.into(), &"404".into())
    );
    assert_eq!(calls(&home, "/status/404"), 2);
    let id = refused.rsplit('/').next().unwrap();
    assert!(kept(&home).contains(&format!("{id}.dead")));
    // What has not got there is no call.
    let broken = invoke(&home, "/break", "x").await;
    let going = until_called(&home, &broken, 1).await;
    assert_eq!(going["result"], "502 function-died");
    assert!(dispatcher.stop().await.success());
}

#[tokio::test]
async fn invocation_outlives_its_dispatcher() {
    let home = home("outlives").await;
    let first = dispatcher(&home, "first").await;
    let told_at = invoke(&home, "/told", "x").await;
    until_state(&home, &told_at, "calling").await;
    home.until_under_way(1).await;
    // Another waits until that has ended, however that comes about.
    let second = Dispatcher::start(&home, "second", None);
    wait_until("the second waits", PATIENCE, async || {
        home.folder
            .read("log/second.log")
            .contains("another dispatcher listens")
    })
    .await;
    first.kill().await;
    // (The call of the first may still wait to be told, too.)
    let going = wait_for("it has ended", PATIENCE, async || {
        let told = home.client().post(&format!("/{FUNCTION}/upload/told"), "x");
        assert_eq!(told.await.status, 200);
        let answer = home.get(&told_at).await;
        let going = (answer.status == 200).then(|| answer.json());
        going.filter(|going| going["state"] == "done")
    })
    .await;
    assert_eq!(going["calls"], 1);
    assert_eq!(calls(&home, "/told"), 3);
    // Who is asked to end finishes what is under way.
    let slow = invoke(&home, "/sleep/1000", "x").await;
    until_state(&home, &slow, "calling").await;
    assert!(second.stop().await.success());
    let _third = dispatcher(&home, "third").await;
    assert_eq!(until_state(&home, &slow, "done").await["calls"], 1);
    assert_eq!(calls(&home, "/sleep/1000"), 2);
}

#[tokio::test]
async fn invocations_outlive_redis_and_nginx() {
    const COUNT: usize = 40;
    let mut home = home("redis").await;
    home.start_cleaner(Some(1));
    let dispatcher = dispatcher(&home, "dispatch").await;
    let dead = invoke(&home, "/status/404", "x").await;
    until_state(&home, &dead, "dead").await;
    let mut waiting = Vec::new();
    for number in 0..COUNT {
        waiting.push(invoke(&home, &format!("/sleep/{}", 300 + number), "x").await);
    }
    // More than are called at once: some are being called, and some wait.
    home.redis.command::<()>(&["FLUSHALL"]).await;
    for number in 0..COUNT {
        let path = format!("/sleep/{}", 300 + number);
        wait_until(&format!("{path} is called"), PATIENCE, async || {
            calls(&home, &path) >= 2
        })
        .await;
    }
    wait_until("all have ended", PATIENCE, async || kept(&home).len() == 1).await;
    assert_eq!(until_state(&home, &dead, "dead").await["calls"], 5);
    assert_eq!(calls(&home, "/status/404"), 2);

    // What comes while Redis is away is kept.
    home.redis.stop().await;
    let kept_alone = invoke(&home, "/upload/alone", "x").await;
    assert_eq!(kept(&home).len(), 2);
    home.redis.start().await;
    wait_until("it is called", PATIENCE, async || {
        calls(&home, "/upload/alone") == 2
    })
    .await;
    until_state(&home, &kept_alone, "done").await;
    // So is what nginx is away for.
    let waits = invoke(&home, "/sleep/1000", "x").await;
    home.nginx.stop().await;
    home.start_nginx().await;
    until_state(&home, &waits, "done").await;
    assert!(dispatcher.stop().await.success());
    assert_eq!(kept(&home).len(), 1);
}

#[tokio::test]
async fn invocations_outlive_a_redis_that_is_emptied_while_queues_are_filled() {
    const OTHER: &str = "demo/other";
    let mut home = home("refilled").await;
    home.deploy(OTHER, probe::idle(30)).await;
    let slow = home.slow_programs(Duration::ZERO);
    let dispatcher = dispatcher(&home, "dispatch").await;
    home.redis.stop().await;
    invoke(&home, "/upload/first", "x").await;
    let request = home.client().post("/demo/other/upload/second", "x");
    let answer = request.header(PREFER.0, PREFER.1).await;
    assert_eq!(answer.status, 202);
    // The first function's queue is filled, and the second's is being.
    slow.withhold(OTHER);
    home.redis.start().await;
    let function = FUNCTION.parse().unwrap();
    wait_until("the first queue is filled", PATIENCE, async || {
        home.store.depth(&function).await.unwrap().waiting == 1
    })
    .await;
    home.redis.command::<()>(&["FLUSHALL"]).await;
    slow.release();
    wait_until("both are called", PATIENCE, async || {
        let log = home.folder.read("log/access.log");
        calls(&home, "/upload/first") == 2 && log.matches("/demo/other/upload/second ").count() == 2
    })
    .await;
    wait_until("both have ended", PATIENCE, async || kept(&home).is_empty()).await;
    assert!(dispatcher.stop().await.success());
}

#[tokio::test]
async fn invocations_outlive_a_redis_that_comes_back_as_it_was_before() {
    let mut home = home("rewound").await;
    home.start_cleaner(Some(1));
    let first = dispatcher(&home, "first").await;
    let dead = async || {
        let at = invoke(&home, "/status/404", "x").await;
        until_state(&home, &at, "dead").await;
        at
    };
    let (before, removed) = (dead().await, dead().await);
    let ended = invoke(&home, "/told", "x").await;
    until_state(&home, &ended, "calling").await;
    home.redis.save().await;

    // What Redis will not know.
    let answer = home.client().post(&format!("/{FUNCTION}/upload/told"), "x");
    assert_eq!(answer.await.status, 200);
    until_state(&home, &ended, "done").await;
    let id = removed.rsplit('/').next().unwrap();
    corefn(&home, &["queue", "rm", FUNCTION, id, "--yes"])
        .await
        .succeeded();
    wait_until("its file is removed", PATIENCE, async || {
        kept(&home).len() == 1
    })
    .await;
    let after = dead().await;
    for _ in 0..4 {
        invoke(&home, "/told", "x").await;
    }
    wait_until("all are called", PATIENCE, async || {
        depth(&home).await == [0, 4, 0, 2]
    })
    .await;
    home.redis.kill().await;
    home.redis.start().await;
    wait_until("Redis knows of them", PATIENCE, async || {
        depth(&home).await == [0, 4, 0, 2]
    })
    .await;
    // Their dispatcher leaves them as they are.
    first.kill().await;
    let second = dispatcher(&home, "second").await;
    until_told(&home).await;
    assert_eq!(calls(&home, "/told"), 2 * (1 + 4) + 4);
    assert_eq!(calls(&home, "/status/404"), 2 * 3);
    // What Redis knew of calls it still knows.
    for (at, calls) in [(before, 1), (after, 5)] {
        assert_eq!(until_state(&home, &at, "dead").await["calls"], calls);
    }
    assert_eq!(depth(&home).await, [0, 0, 0, 2]);
    assert!(second.stop().await.success());
    assert_eq!(kept(&home).len(), 2);
}

/// Ends the calls that wait to be told, until none is left to be made.
async fn until_told(home: &Home) {
    wait_until("all have been told", PATIENCE, async || {
        let answer = home.client().post(&format!("/{FUNCTION}/upload/told"), "x");
        assert_eq!(answer.await.status, 200);
        depth(home).await[..3] == [0; 3]
    })
    .await;
}

#[tokio::test]
async fn invocations_have_limits() {
    let mut home = home("limits").await;
    let limited = FunctionConfig {
        limits: Limits {
            body: Some(1000),
            ..Limits::default()
        },
        ..probe::idle(30)
    };
    home.deploy("demo/small", limited).await;
    home.set("max_invocations = 2\n");
    let dispatcher = dispatcher(&home, "dispatch").await;
    let large = "x".repeat(1001);
    let post_small = |body: String| {
        let request = home.client().post("/demo/small/upload/x", body);
        request.header(PREFER.0, PREFER.1)
    };
    assert_eq!(post_small(large).await.said(), (413, Some("too-large")));
    let answer = post_small("x".repeat(1000)).await;
    assert_eq!(answer.status, 202);
    until_state(&home, answer.header("Location").unwrap(), "done").await;
    // Those that wait to be called again count.
    for _ in 0..2 {
        invoke(&home, "/status/500", "x").await;
    }
    let answer = post(&home, "/upload/x", "x").await;
    assert_eq!(answer.said(), (503, Some("queue-full")));
    assert_eq!(answer.header("Retry-After"), Some("1"));
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/problem+json")
    );
    let answer = post_small("x".to_owned()).await;
    assert_eq!(answer.status, 202, "another function's are its own");
    until_state(&home, answer.header("Location").unwrap(), "done").await;
    // What the folder does not take is not accepted.
    let requests = home.folder.file("invocations/requests/demo/small");
    std::fs::remove_dir_all(&requests).unwrap();
    std::fs::write(&requests, "no folder").unwrap();
    let answer = post_small("x".to_owned()).await;
    assert_eq!(answer.said(), (507, Some("not-kept")));
    assert!(dispatcher.stop().await.success());
    // Nor is what would leave too little room for others.
    let folder = home.folder.file("invocations");
    std::fs::remove_dir_all(folder).unwrap();
    let room = Room::make(&home.folder, "invocations", ROOM);
    let dispatcher = Dispatcher::start(&home, "again", None);
    wait_until("invocations are taken", PATIENCE, async || {
        post(&home, "/status/200", "x").await.status == 202
    })
    .await;
    room.fill();
    let answer = post(&home, "/upload/x", "x").await;
    assert_eq!(answer.said(), (507, Some("not-kept")));
    let log = home.folder.read("log/again.log");
    assert!(log.contains("bytes are free"), "{log}");
    room.empty();
    let answer = post(&home, "/upload/x", "x").await;
    assert_eq!(answer.status, 202);
    assert!(dispatcher.stop().await.success());
    // Where nginx is not told of a dispatcher, clients wait.
    home.conf.http = String::new();
    home.reload().await;
    wait_until("the client waits", PATIENCE, async || {
        post(&home, "/upload/x", "x").await.status == 200
    })
    .await;
    let answer = home
        .get(&format!("/{FUNCTION}/.corefn/invocations/x"))
        .await;
    assert_eq!(answer.status, 200);
}

/// The rows that `corefn queue ls` prints.
async fn rows(home: &Home, words: &[&str]) -> Vec<Value> {
    let words = [&["queue", "ls", "--json"], words].concat();
    let printed = corefn(home, &words).await.json();
    printed.as_array().unwrap().clone()
}

/// How many invocations wait, are being called, wait to be called again, and are dead.
async fn depth(home: &Home) -> [u64; 4] {
    let rows = rows(home, &[]).await;
    let of = rows.iter().find(|row| row["function"] == FUNCTION);
    let states = ["waiting", "calling", "retrying", "dead"];
    states.map(|state| of.map_or(0, |row| row[state].as_u64().unwrap()))
}

#[tokio::test]
async fn people_see_what_waits_and_decide_about_it() {
    let home = home("people").await;
    let dispatcher = dispatcher(&home, "dispatch").await;
    assert_eq!(depth(&home).await, [0; 4]);
    // So many are called at once; others wait.
    let mut told = Vec::new();
    for _ in 0..19 {
        told.push(invoke(&home, "/told", "x").await);
    }
    let dead = invoke(&home, "/status/404", "x").await;
    wait_until("so many are called", PATIENCE, async || {
        depth(&home).await == [4, 16, 0, 0]
    })
    .await;
    let listed = rows(&home, &[FUNCTION]).await;
    let states: Vec<_> = listed
        .iter()
        .map(|row| row["state"].as_str().unwrap())
        .collect();
    let mut expected = vec!["calling"; 16];
    expected.extend(["waiting"; 4]);
    assert_eq!(states, expected);
    assert_eq!(rows(&home, &[FUNCTION, "-n", "1"]).await.len(), 17);
    let shown = corefn(&home, &["queue", "ls", FUNCTION, "-n", "1"]).await;
    assert!(shown.succeeded().contains("calling"));
    assert!(shown.errors.contains("and 3 more"), "{}", shown.errors);

    // One that waits is removed; one that is being called is not.
    let id = |at: &str| at.rsplit('/').next().unwrap().to_owned();
    let (first, last) = (id(&told[0]), id(&told[18]));
    corefn(&home, &["queue", "rm", FUNCTION, &last])
        .await
        .failed(1, &["remove 1 invocations of demo/hello", "say --yes"]);
    let removed = corefn(&home, &["queue", "rm", FUNCTION, &last, "--yes"]).await;
    assert!(removed.succeeded().contains("removed 1 invocations"));
    corefn(&home, &["queue", "rm", FUNCTION, &first, "--yes"])
        .await
        .failed(1, &["1 of the invocations were not removed"]);
    assert_eq!(depth(&home).await, [3, 16, 0, 0]);
    wait_until("nothing of it is left", PATIENCE, async || {
        home.get(&told[18]).await.status == 404
    })
    .await;
    until_told(&home).await;
    assert_eq!(depth(&home).await, [0, 0, 0, 1]);
    assert_eq!(calls(&home, "/told"), 2 * 19 - 1);

    // What is dead is called again when somebody says so, and as often as if it were new.
    let listed = rows(&home, &[FUNCTION]).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["state"], &listed[0]["result"]),
        (&id(&dead).into(), &"dead".into(), &"404".into())
    );
    assert_eq!(state(&home, "invocations").await, "warning");
    assert_eq!(calls(&home, "/status/404"), 2);
    let retried = corefn(&home, &["queue", "retry", FUNCTION]).await;
    assert!(retried.succeeded().contains("1 invocations"));
    wait_until("it is called again", PATIENCE, async || {
        calls(&home, "/status/404") == 3 && depth(&home).await == [0, 0, 0, 1]
    })
    .await;
    let fails = invoke(&home, "/status/500", "x").await;
    // (It would wait for ten seconds before the third call, and then for a minute.)
    wait_until("it has failed three times", PATIENCE, async || {
        let going = home.get(&fails).await.json();
        let has_failed = going["calls"].as_u64() >= Some(3);
        if going["state"] == "retrying" && !has_failed {
            let again = ["queue", "retry", FUNCTION, &id(&fails)];
            // (It may be in its queue by now.)
            corefn(&home, &again).await;
        }
        has_failed
    })
    .await;
    corefn(&home, &["queue", "retry", FUNCTION, &first])
        .await
        .failed(1, &["1 of the invocations were not called again"]);
    wait_until("it waits", PATIENCE, async || {
        depth(&home).await == [0, 0, 1, 1]
    })
    .await;
    let removed = corefn(
        &home,
        &["queue", "rm", FUNCTION, "--all", "--yes", "--json"],
    )
    .await;
    assert_eq!(removed.json()["removed"], 2);
    assert_eq!(depth(&home).await, [0; 4]);
    wait_until("no file is left", PATIENCE, async || kept(&home).is_empty()).await;
    corefn(&home, &["queue", "ls", "demo/other"])
        .await
        .failed(1, &["there is no function demo/other"]);
    assert!(dispatcher.stop().await.success());
}
