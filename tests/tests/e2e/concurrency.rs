//! Instances that take only so many requests at once: the others wait in line, and more instances are started.

use std::collections::HashSet;
use std::future::IntoFuture as _;
use std::num::NonZeroU32;
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_tests::client::Answer;
use corefn_tests::{Home, probe, process, wait_until};
use rustix::process::Signal;
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(60);

/// A function whose instances take so many requests at once, and of which there may be so many.
fn config(concurrency: u32, instances: u32) -> FunctionConfig {
    FunctionConfig {
        concurrency: NonZeroU32::new(concurrency),
        max_instances: NonZeroU32::new(instances),
        ..probe::idle(60)
    }
}

/// What an instance has counted.
struct Seen {
    /// The most requests at once.
    most: u64,
    /// How many came before.
    before: u64,
    /// The host's name in the container, with which Docker's identifier of that begins.
    host: String,
}

fn seen(answer: &Answer) -> Seen {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json();
    Seen {
        most: seen["most"].as_u64().unwrap(),
        before: seen["before"].as_u64().unwrap(),
        host: seen["host"].as_str().unwrap().to_owned(),
    }
}

/// How many instances have answered, and the most requests that one of them had at once.
fn summary(answers: &[Answer]) -> (usize, u64) {
    let seen: Vec<_> = answers.iter().map(seen).collect();
    let instances: HashSet<_> = seen.iter().map(|seen| &seen.host).collect();
    (
        instances.len(),
        seen.iter().map(|seen| seen.most).max().unwrap(),
    )
}

#[tokio::test]
async fn no_instance_has_more_requests_than_it_takes() {
    let home = Home::start("concurrency").await;
    for (function, concurrency) in [("demo/one", 1), ("demo/three", 3)] {
        home.deploy(function, config(concurrency, 1)).await;
        let target = format!("/{function}/together/10");
        // From the first on: while it starts, and when it is warm.
        for _ in 0..2 {
            let answers = home.begin_on_several(&target, 40).await.join_all().await;
            assert_eq!(summary(&answers), (1, concurrency.into()), "{function}");
        }
    }
}

#[tokio::test]
async fn line_is_in_the_order_of_arrival() {
    let home = Home::builder("line").workers(1).start().await;
    home.deploy("demo/hello", config(1, 1)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let first = tokio::spawn(home.get("/demo/hello/told").into_future());
    home.until_under_way(1).await;
    let mut waiting = Vec::new();
    for number in 0..10 {
        let request = home.get("/demo/hello/together/1").into_future();
        waiting.push(tokio::spawn(request));
        home.until_under_way(number + 2).await;
    }
    // Whoever goes away is passed over.
    for gone in [0, 4, 8] {
        waiting[gone].abort();
    }
    home.until_under_way(8).await;
    tell(&home).await;
    assert_eq!(first.await.unwrap().status, 200);
    let mut before = Vec::new();
    for request in waiting {
        if let Ok(answer) = request.await {
            before.push(seen(&answer).before);
        }
    }
    assert_eq!(before, (0..7).collect::<Vec<_>>());
}

/// Has the function's instance answer whoever is to be told.
async fn tell(home: &Home) {
    let instances = home.store.instances().await.unwrap();
    for leased in instances {
        let client = corefn_tests::Client::new(leased.instance.address.port().unwrap());
        assert_eq!(client.post("/upload/told", "now").await.status, 200);
    }
}

#[tokio::test]
async fn line_is_bounded() {
    let home = Home::builder("longline")
        .queue(2)
        .start_timeout("3s")
        .start()
        .await;
    // (A start may take longer than a request is to wait here.)
    let deployment = home.image("demo/hello", config(1, 1)).await;
    home.switch_warm(&deployment).await;
    home.knows("demo/hello", &deployment.revision.0).await;
    let first = tokio::spawn(home.get("/demo/hello/told").into_future());
    home.until_under_way(1).await;
    let waiting = home.begin("/demo/hello/together/1", 6);
    let answers = waiting.join_all().await;
    let of = |code: &str| {
        let answers = answers.iter();
        answers
            .filter(|answer| answer.said() == (503, Some(code)))
            .count()
    };
    assert_eq!(
        (of("queue-full"), of("queue-timeout")),
        (4, 2),
        "{answers:?}"
    );
    for answer in &answers {
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    tell(&home).await;
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(summary(&[home.get("/demo/hello/together/1").await]), (1, 1));
}

#[tokio::test]
async fn as_many_instances_as_are_needed_and_may_be() {
    let mut home = Home::start("several").await;
    home.start_cleaner(None);
    let several = FunctionConfig {
        idle_ms: Some(3000),
        ..config(2, 3)
    };
    home.deploy("demo/hello", several).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    // (nginx may have answered a request, and not be done with it.)
    home.until_under_way(0).await;
    // Two have room in the first.
    let answers = home.at_once("/demo/hello/together/200", 2).await;
    assert_eq!(summary(&answers), (1, 2));
    assert_eq!(home.instances("demo/hello").await.len(), 1);
    // A crowd gets all there may be, and each is full.
    let mut crowd = JoinSet::new();
    wait_until("all serve", LONG, async || {
        if crowd.len() < 20 {
            crowd.spawn(home.get("/demo/hello/together/500").into_future());
        }
        home.instances("demo/hello").await.len() == 3
    })
    .await;
    crowd.join_all().await;
    let answers = home.at_once("/demo/hello/together/200", 30).await;
    assert_eq!(summary(&answers), (3, 2));
    assert_eq!(home.instances("demo/hello").await.len(), 3);
    // Those that are not needed get nothing, and end; what is asked for all the time stays.
    wait_until("one is left", LONG, async || {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        home.instances("demo/hello").await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn those_in_line_outlive_what_they_wait_for() {
    let home = Home::start("lineends").await;
    home.deploy("demo/hello", config(1, 1)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let begin = async |count| {
        // (It is not sent again.)
        let first = home.client().post("/demo/hello/told", "");
        let first = tokio::spawn(first.into_future());
        home.until_under_way(1).await;
        let waiting = home.begin("/demo/hello/together/1", count);
        home.until_under_way(count + 1).await;
        (first, waiting)
    };
    // The instance is killed: another is started.
    let (first, waiting) = begin(5).await;
    let killed = home.instances("demo/hello").await;
    home.docker.remove(&killed[0].id).await.unwrap();
    let answers = waiting.join_all().await;
    assert_eq!(summary(&answers), (1, 1));
    assert_eq!(first.await.unwrap().error(), Some("function-died"));
    // Another revision is deployed: they get that, and the old one finishes.
    let (first, waiting) = begin(5).await;
    let before = home.store.instances().await.unwrap();
    home.deploy("demo/hello", config(2, 1)).await;
    let answers = waiting.join_all().await;
    let now = seen(&answers[0]).host;
    assert!(!before[0].instance.container.starts_with(&now));
    tell(&home).await;
    assert_eq!(first.await.unwrap().status, 200);
}

/// A worker that dies takes its requests along, and nobody else's.
#[tokio::test]
async fn worker_that_dies_holds_nobody_up() {
    let home = Home::builder("lineworker").with_alerts().start().await;
    home.deploy("demo/hello", config(1, 1)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let first = tokio::spawn(home.get("/demo/hello/together/3000").into_future());
    home.until_under_way(1).await;
    let mut waiting = home.begin_on_several("/demo/hello/together/1", 20).await;
    let worker = home.nginx.workers()[0];
    process::send(worker, Signal::KILL);
    drop(first);
    let mut answered = 0;
    while let Some(answer) = waiting.join_next().await {
        // (Those of the worker that was killed get no answer.)
        if let Ok(answer) = answer {
            assert_eq!(seen(&answer).most, 1);
            answered += 1;
        }
    }
    assert!(answered > 0);
    assert_eq!(summary(&[home.get("/demo/hello/together/1").await]).1, 1);
}
