//! Functions that are called when their schedules say so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::config::FunctionConfig;
use corefn_core::schedule::{Calls, Line};
use corefn_tests::cli::{corefn, state};
use corefn_tests::clock::Clock;
use corefn_tests::dispatcher::Dispatcher;
use corefn_tests::{Home, probe, wait_for, wait_until};
use serde_json::Value;

const FUNCTION: &str = "demo/hello";

const PATIENCE: Duration = Duration::from_secs(60);

/// The midnight at which the dispatchers' clock begins: 1 January 2030, UTC.
const MIDNIGHT: i64 = 1_893_456_000;

const MINUTE: i64 = 60;

/// A clock that can be put to a time.
struct Time(Clock);

impl Time {
    fn new(home: &Home, time: i64) -> Self {
        let clock = Self(Clock::new(&home.folder));
        clock.put(time);
        clock
    }

    /// Puts it to so many seconds after midnight.
    fn put(&self, seconds: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        self.0.set(MIDNIGHT + seconds - now);
    }

    fn start(&self, home: &Home, log: &str) -> Dispatcher {
        Dispatcher::start(home, log, Some(&self.0))
    }
}

fn schedule(lines: &[&str]) -> FunctionConfig {
    FunctionConfig {
        schedule: lines.iter().map(|line| line.parse().unwrap()).collect(),
        ..probe::idle(30)
    }
}

async fn home(name: &str, lines: &[&str]) -> Home {
    let home = Home::start(name).await;
    home.set(&format!("router = 'http://{}'\n", home.nginx.address()));
    home.deploy(FUNCTION, schedule(lines)).await;
    home
}

fn line(text: &str) -> Line {
    Line {
        function: FUNCTION.parse().unwrap(),
        schedule: text.parse().unwrap(),
    }
}

/// What came of a line, once that is so.
async fn until(home: &Home, text: &str, what: &str, is: impl Fn(&Calls) -> bool) -> Calls {
    let line = line(text);
    wait_for(&format!("{text}: {what}"), PATIENCE, async || {
        let calls = home.store.calls(&line).await.unwrap();
        calls.filter(|calls| is(calls))
    })
    .await
}

async fn until_seen(home: &Home, text: &str) {
    until(home, text, "it is seen", |_| true).await;
}

/// Waits until so many calls of a line have ended.
async fn until_called(home: &Home, text: &str, count: u64) -> Calls {
    let what = format!("{count} calls have ended");
    until(home, text, &what, |calls| {
        calls.called == count && !calls.is_under_way()
    })
    .await
}

/// How often nginx was asked to call by this path.
fn asked(home: &Home, path: &str) -> usize {
    let first = format!("\"request\":\"POST /{FUNCTION}{path} HTTP/1.1\"");
    home.folder.read("log/access.log").matches(&first).count()
}

/// The row of a line in what `corefn schedules` prints.
async fn row(home: &Home, text: &str) -> Value {
    let printed = corefn(home, &["schedules", "--json"]).await.json();
    let mut rows = printed.as_array().unwrap().iter();
    rows.find(|row| row["schedule"] == text).unwrap().clone()
}

#[tokio::test]
async fn functions_are_called_when_they_are_due() {
    let (tick, fails) = (
        "*/5 * * * * Europe/Berlin /tick?a=b",
        "*/10 * * * * UTC /status/418",
    );
    let home = home("schedule", &[tick, fails, "0 0 1 7 * UTC"]).await;
    assert_eq!(state(&home, "dispatcher").await, "wrong");
    assert_eq!(row(&home, tick).await["called"], 0);
    let time = Time::new(&home, 5 * MINUTE - 2);
    let dispatcher = time.start(&home, "dispatch");
    let calls = until_called(&home, tick, 1).await;
    assert_eq!(
        (calls.settled, calls.missed, calls.failed),
        (MIDNIGHT + 5 * MINUTE, 0, 0)
    );
    let last = calls.last.unwrap();
    assert!((0..MINUTE).contains(&(last.began - last.due)), "{last:?}");
    assert_eq!(state(&home, "dispatcher").await, "ok");

    until_seen(&home, fails).await;
    time.put(10 * MINUTE);
    until_called(&home, tick, 2).await;
    let calls = until_called(&home, fails, 1).await;
    assert_eq!(calls.failed, 1);
    let shown = row(&home, fails).await;
    assert_eq!(
        (&shown["result"], &shown["failed"]),
        (&"418".into(), &1.into())
    );
    assert_eq!(shown["last"], "2030-01-01T00:10:00Z");
    let shown = row(&home, tick).await;
    assert_eq!(
        (&shown["result"], &shown["called"]),
        (&"200".into(), &2.into())
    );
    assert_eq!(
        (asked(&home, "/tick?a=b"), asked(&home, "/status/418")),
        (2, 1)
    );
    // What is not due has no effect.
    let calls = home.store.calls(&line("0 0 1 7 * UTC")).await.unwrap();
    assert_eq!(calls.unwrap().called, 0);
    // People see it as well.
    let printed = corefn(&home, &["schedules", FUNCTION]).await;
    assert!(
        printed
            .succeeded()
            .contains("*/5 * * * * Europe/Berlin /tick?a=b")
    );
    corefn(&home, &["schedules", "demo/other"])
        .await
        .failed(1, &["there is no function demo/other"]);
    assert!(dispatcher.stop().await.success());
    assert_eq!(state(&home, "dispatcher").await, "wrong");
}

#[tokio::test]
async fn several_dispatchers_make_each_call_once() {
    const LINES: usize = 5;
    const MINUTES: i64 = 4;
    let lines: Vec<_> = (0..LINES)
        .map(|at| format!("* * * * * UTC /{at}"))
        .collect();
    let texts: Vec<_> = lines.iter().map(String::as_str).collect();
    let home = home("several", &texts).await;
    // None hears what another has noted before it notes anything itself.
    let _slow = home.slow_programs(Duration::from_millis(400));
    let time = Time::new(&home, 1);
    let first = time.start(&home, "first");
    let second = time.start(&home, "second");
    let third = time.start(&home, "third");
    for text in &texts {
        until_seen(&home, text).await;
    }
    let mut first = Some(first);
    for minute in 1..=MINUTES {
        time.put(minute * MINUTE);
        for text in &texts {
            until_called(&home, text, minute.unsigned_abs()).await;
        }
        // One that dies between calls is not missed.
        if minute == 2 {
            first.take().unwrap().kill().await;
        }
    }
    for (at, text) in texts.iter().enumerate() {
        let calls = home.store.calls(&line(text)).await.unwrap().unwrap();
        assert_eq!((calls.missed, calls.failed), (0, 0));
        assert_eq!(asked(&home, &format!("/{at}")), MINUTES as usize);
    }
    assert!(second.stop().await.success());
    assert!(third.stop().await.success());
}

#[tokio::test]
async fn call_that_was_claimed_unanswered_is_made() {
    let text = "* * * * * UTC /tick";
    let home = home("unanswered", &[text]).await;
    let slow = home.slow_programs(Duration::ZERO);
    let time = Time::new(&home, 1);
    let dispatcher = time.start(&home, "dispatch");
    until_seen(&home, text).await;
    slow.withhold("began");
    time.put(MINUTE);
    until(&home, text, "it is claimed", |calls| calls.called == 1).await;
    let log = || home.folder.read("log/dispatch.log");
    wait_until("that it was is not known", PATIENCE, async || {
        log().contains("nothing is called until it is back")
    })
    .await;
    assert_eq!(asked(&home, "/tick"), 0);
    slow.release();
    let calls = until_called(&home, text, 1).await;
    assert_eq!(
        (calls.failed, calls.missed, asked(&home, "/tick")),
        (0, 0, 1)
    );
    assert!(dispatcher.stop().await.success());
}

#[tokio::test]
async fn call_of_a_dispatcher_that_is_killed_is_broken_off() {
    let text = "* * * * * UTC /told";
    let home = home("killed", &[text]).await;
    let time = Time::new(&home, 1);
    let dispatcher = time.start(&home, "first");
    until_seen(&home, text).await;
    time.put(MINUTE);
    home.until_under_way(1).await;
    dispatcher.kill().await;
    // As far as anybody knows it is under way, until the next one finds out.
    let second = time.start(&home, "second");
    let calls = until(&home, text, "it is broken off", |calls| {
        !calls.is_under_way()
    })
    .await;
    assert_eq!((calls.called, calls.failed, calls.missed), (1, 1, 0));
    assert_eq!(row(&home, text).await["result"], "broken off");
    time.put(2 * MINUTE);
    until(&home, text, "it is called again", |calls| calls.called == 2).await;
    // Who is asked to end finishes what is under way.
    home.until_under_way(1).await;
    // (That of the first one may still wait to be told, too.)
    let line = line(text);
    let telling = wait_until("the call has ended", PATIENCE, async || {
        let told = home.client().post("/demo/hello/upload/told", "x").await;
        let calls = home.store.calls(&line).await.unwrap();
        told.status == 200 && calls.is_some_and(|calls| !calls.is_under_way())
    });
    let (stopped, ()) = tokio::join!(second.stop(), telling);
    assert!(stopped.success());
    let calls = home.store.calls(&line).await.unwrap().unwrap();
    assert_eq!((calls.called, calls.failed), (2, 1));
    assert!(!calls.is_under_way());
}

#[tokio::test]
async fn calls_that_are_missed_are_counted() {
    let text = "*/5 * * * * UTC /tick";
    let home = home("missed", &[text]).await;
    let time = Time::new(&home, MINUTE);
    let dispatcher = time.start(&home, "first");
    until_seen(&home, text).await;
    assert!(dispatcher.stop().await.success());
    // An hour later, a call is due since two minutes and a half, and eleven before it.
    time.put(62 * MINUTE + 30);
    let dispatcher = time.start(&home, "second");
    let calls = until(&home, text, "they are missed", |calls| calls.missed > 0).await;
    assert_eq!((calls.missed, calls.called), (12, 0));
    assert_eq!(calls.settled, MIDNIGHT + 60 * MINUTE);
    let log = home.folder.read("log/second.log");
    assert!(
        log.contains("demo/hello: 12 calls of its schedule"),
        "{log}"
    );
    // What is late by less than a minute is made, but one alone.
    time.put(75 * MINUTE + 20);
    let calls = until_called(&home, text, 1).await;
    assert_eq!((calls.missed, calls.settled), (14, MIDNIGHT + 75 * MINUTE));
    assert_eq!(asked(&home, "/tick"), 1);
    // A clock that was wrong by a year stops nothing.
    time.put(-365 * 24 * 60 * MINUTE - 2);
    until(&home, text, "it begins anew", |calls| {
        calls.settled < MIDNIGHT
    })
    .await;
    until_called(&home, text, 2).await;
    assert_eq!(row(&home, text).await["missed"], 14);
    assert!(dispatcher.stop().await.success());
}

#[tokio::test]
async fn schedule_goes_with_the_revision() {
    let (one, other) = ("* * * * * UTC /one", "* * * * * UTC /other");
    let home = home("goes", &[one]).await;
    let time = Time::new(&home, 1);
    let dispatcher = time.start(&home, "dispatch");
    until_seen(&home, one).await;
    home.deploy(FUNCTION, schedule(&[other])).await;
    until_seen(&home, other).await;
    wait_until("the other line is forgotten", PATIENCE, async || {
        home.store.all_calls().await.unwrap().len() == 1
    })
    .await;
    time.put(MINUTE);
    until_called(&home, other, 1).await;
    assert_eq!((asked(&home, "/one"), asked(&home, "/other")), (0, 1));
    // Back again it begins anew, and owes nothing.
    time.put(30 * MINUTE);
    assert_eq!(until_called(&home, other, 2).await.missed, 28);
    corefn(&home, &["rollback", FUNCTION]).await.succeeded();
    let calls = until(&home, one, "it is seen", |_| true).await;
    assert_eq!((calls.called, calls.missed), (0, 0));
    corefn(&home, &["rm", FUNCTION, "--yes"]).await.succeeded();
    wait_until("nothing is left", PATIENCE, async || {
        home.store.all_calls().await.unwrap().is_empty()
    })
    .await;
    assert!(dispatcher.stop().await.success());
}

#[tokio::test]
async fn calls_outlive_nginx_and_redis() {
    let text = "* * * * * UTC /tick";
    let mut home = home("outlive", &[text]).await;
    let time = Time::new(&home, 1);
    let dispatcher = time.start(&home, "dispatch");
    until_seen(&home, text).await;
    // nginx is away when it is due.
    home.nginx.stop().await;
    time.put(MINUTE);
    until(&home, text, "it is begun", |calls| calls.is_under_way()).await;
    home.start_nginx().await;
    let calls = until_called(&home, text, 1).await;
    assert_eq!((calls.failed, asked(&home, "/tick")), (0, 1));
    // So is Redis, which comes back empty: nobody knows whether that call was made. It is filled again, and the line begins anew.
    home.redis.stop().await;
    time.put(2 * MINUTE);
    wait_until("it is told", PATIENCE, async || {
        home.folder
            .read("log/dispatch.log")
            .contains("nothing is called until it is back")
    })
    .await;
    home.redis.start().await;
    home.start_cleaner(Some(1));
    let calls = until(&home, text, "it is seen again", |_| true).await;
    assert_eq!((calls.called, calls.missed), (0, 0));
    time.put(3 * MINUTE);
    until_called(&home, text, 1).await;
    assert_eq!(asked(&home, "/tick"), 2);
    assert!(dispatcher.stop().await.success());
}
