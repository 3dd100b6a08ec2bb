//! Redis with a user for CoreFn, which has what CoreFn needs and nothing else. (The programs of all tests are that user.)

use std::time::Duration;

use corefn_core::keys::Keys;
use corefn_core::metrics::JSON;
use corefn_tests::cli::corefn;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn user_may_nothing_else() {
    let home = Home::builder("user").without_nginx().start().await;
    home.redis.command::<()>(&["SET", "other", "1"]).await;
    let namespace = home.namespace();
    let own = |rest: &str| format!("{namespace}:{rest}");
    let client = redis::Client::open(home.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (known, unknown) = (own("epoch"), own("unknown"));
    let read = format!("return redis.call('GET', '{unknown}')");
    for words in [
        &["GET", "other"][..],
        &["SET", "other", "2"],
        &["DEL", "other"],
        &["GET", &unknown],
        &["SET", &own("epoch:more"), "1"],
        &["HGETALL", &Keys::new("other").functions()],
        &["SUNION", &own("queues"), "other"],
        &["EVAL", "return 1", "0"],
        &["EVAL", &read, "0"],
        &["SCRIPT", "FLUSH"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["CONFIG", "GET", "dir"],
        &["CONFIG", "SET", "dir", "/etc"],
        &["SAVE"],
        &["SHUTDOWN"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["ACL", "LIST"],
        &["ACL", "SETUSER", "me", "on", "nopass", "~*", "+@all"],
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["MONITOR"],
        &["PUBLISH", "other", "x"],
        &["SUBSCRIBE", "other"],
        &["PSUBSCRIBE", "*"],
        &["PUBSUB", "CHANNELS"],
        &["MIGRATE", "127.0.0.1", "1", &known, "0", "1"],
        &["RENAME", &known, "other"],
        &["OBJECT", "ENCODING", &known],
        &["MEMORY", "USAGE", &known],
    ] {
        let mut command = redis::Cmd::new();
        command.arg(words);
        let answer: redis::RedisResult<redis::Value> = command.query_async(&mut connection).await;
        let error = answer.err().unwrap_or_else(|| panic!("{words:?} is done"));
        assert_eq!(error.code(), Some("NOPERM"), "{words:?}: {error}");
    }
    // A script that is loaded may no more than who calls it.
    let mut command = redis::cmd("SCRIPT");
    let digest = command.arg("LOAD").arg(&read);
    let digest: String = digest.query_async(&mut connection).await.unwrap();
    let mut command = redis::cmd("EVALSHA");
    let called = command.arg(digest).arg(0);
    let called: redis::RedisResult<redis::Value> = called.query_async(&mut connection).await;
    let error = called.unwrap_err().to_string();
    assert!(
        error.contains("can't access at least one of the keys"),
        "{error}"
    );
    let other: String = home.redis.command(&["GET", "other"]).await;
    assert_eq!(other, "1");
    // What has another user or password can't begin.
    for (from, to) in [("pass=", "pass=not"), ("user=corefn", "user=nobody")] {
        let url = home.redis.url().replace(from, to);
        let client = redis::Client::open(url).unwrap();
        assert!(client.get_multiplexed_async_connection().await.is_err());
    }
}

#[tokio::test]
async fn password_is_not_shown() {
    let mut home = Home::builder("unseen").start().await;
    let url = home.redis.url();
    let (_, secret) = url.split_once("pass=").unwrap();
    home.redis.stop().await;
    let ran = corefn(&home, &["ls"]).await;
    assert!(ran.code != 0 && ran.errors.contains("pass=***"), "{ran:?}");
    assert!(!ran.errors.contains(secret), "{ran:?}");
    home.start_cleaner(Some(1));
    wait_until("both tell of it", PATIENCE, async || {
        let logs = [home.error_log(), home.cleaner_log()];
        logs.iter().all(|log| log.contains("pass=***"))
    })
    .await;
    for log in [home.error_log(), home.cleaner_log()] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// A user that an older version has printed may not write what is only shown. All else goes on.
#[tokio::test]
async fn what_is_only_shown_may_be_refused() {
    let status = "location = /corefn/status { corefn_status; }";
    let home = Home::builder("older").server(status).start().await;
    home.redis
        .command::<()>(&[
            "ACL", "SETUSER", "corefn", "-lpush", "-ltrim", "-lrange", "-hkeys",
        ])
        .await;
    home.deploy("demo/hello", probe::idle(60)).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let told = home
        .get("/corefn/status")
        .header("Accept", JSON)
        .await
        .json();
    assert_eq!(
        (&told["redis"], &told["builds"]),
        (&true.into(), &Value::Null)
    );
    let hello = Repository::create(&home, "demo/pushed").await;
    hello.probe("");
    hello.commit("First").await;
    hello.push().await.accepted();
    assert!(!home.error_log().contains("going by Docker alone"));
}
