//! More requests than the host, a function or Docker can take.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use corefn_core::config::{FunctionConfig, Limits};
use corefn_tests::{Home, probe, wait_until};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn queue_of_the_host_is_bounded() {
    let home = Home::builder("hostqueue")
        .http("corefn_host_queue 3;")
        .docker_proxy()
        .start()
        .await;
    let functions = ["demo/a", "demo/b", "demo/c", "demo/d"];
    for function in functions {
        home.deploy(function, probe::config()).await;
    }
    home.proxy().delay("/start");
    let mut waiting = JoinSet::new();
    for function in &functions[..3] {
        waiting.spawn(home.get(&format!("/{function}/x")).send());
        wait_until("it is being started", LONG, async || {
            home.is_starting(function).await
        })
        .await;
    }
    // Three wait, each for another function: on whichever worker, there is no place for a fourth.
    for _ in 0..8 {
        let answer = home.get("/demo/d/x").await;
        assert_eq!(
            answer.said(),
            (503, Some("queue-full")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    home.proxy().release();
    for answer in waiting.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Who is served doesn't wait, and all places are free again.
    assert_eq!(home.get("/demo/d/x").await.status, 200);
    let log = home.error_log();
    assert_eq!(
        log.matches("wait on this host").count(),
        1,
        "told once for all who were refused: {log}"
    );
}

#[tokio::test]
async fn function_takes_as_many_requests_as_it_says() {
    let home = Home::builder("requests").docker_proxy().start().await;
    let config = FunctionConfig {
        limits: Limits {
            requests: Some(5),
            ..probe::config().limits
        },
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    home.deploy("demo/other", probe::config()).await;
    // Those that wait for the start count. On several workers, two that come at the same moment may
    // both be refused the last place; never do both get it.
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/x", 20);
    // nginx logs what it has answered.
    home.accesses(15).await;
    home.proxy().release();
    let answers = requests.join_all().await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        assert_eq!(answer.said(), (429, Some("too-many-requests")));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!((1..=5).contains(&served.len()), "{}", served.len());
    home.until_under_way(0).await;
    // Those that are served count.
    let mut streams = Vec::new();
    for _ in 0..5 {
        let stream = home.get("/demo/hello/stream/600/100").open().await.unwrap();
        assert_eq!(stream.status, 200, "its place is free again");
        streams.push(stream);
    }
    let refused = async || home.get("/demo/hello/x").await.status == 429;
    for _ in 0..8 {
        assert!(refused().await, "there are five on other workers");
    }
    assert_eq!(home.get("/demo/other/x").await.status, 200);
    streams.pop();
    wait_until("the place of who left is free", LONG, async || {
        !refused().await
    })
    .await;
}

#[tokio::test]
async fn full_zone_is_told_from_a_full_queue() {
    // More functions than the smallest zone has slots.
    const FUNCTIONS: usize = 600;
    let home = Home::builder("zonefull")
        .zone("256k")
        .docker_proxy()
        .start()
        .await;
    // (A first list of functions would have no line for the last.)
    home.ready_workers().await;
    for number in 0..FUNCTIONS {
        let config = FunctionConfig {
            limits: Limits {
                requests: (number % 2 == 0).then_some(5),
                ..Limits::default()
            },
            ..FunctionConfig::default()
        };
        let deployment = home.without_image(&format!("demo/f{number}"), config);
        home.store.deploy(&[(&deployment, None)]).await.unwrap();
    }
    home.knows(&format!("demo/f{}", FUNCTIONS - 1), "r1").await;
    // None of them is started before the last has come.
    home.proxy().delay("/containers/create");
    let requests: JoinSet<_> = (0..FUNCTIONS)
        .map(|number| home.get(&format!("/demo/f{number}/x")).into_future())
        .collect();
    let patience = LONG;
    wait_until("some are refused", patience, async || {
        home.error_log().contains("the shared memory is full")
    })
    .await;
    wait_until("all others wait", patience, async || {
        let answered = home.folder.read("log/access.log").lines().count();
        answered + home.under_way().await == FUNCTIONS
    })
    .await;
    home.proxy().release();
    let answers = requests.join_all().await;
    let (refused, others): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 503);
    assert!(!refused.is_empty() && !others.is_empty());
    for answer in refused {
        assert_eq!(answer.said(), (503, Some("zone-full")));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    for answer in others {
        assert_eq!(answer.said(), (502, Some("image-missing")));
    }
    let log = home.error_log();
    let told = log.matches("the shared memory is full: raise").count();
    assert!((1..=4).contains(&told), "once a worker: {told}");
    assert!(!log.contains("corefn_queue") && !log.contains("corefn_host_queue"));
}

#[tokio::test]
async fn request_gets_its_504_though_docker_hangs() {
    let home = Home::builder("dockerhangs")
        .docker_proxy()
        .early("2s")
        .start()
        .await;
    home.deploy("demo/warm", probe::config()).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    for call in ["/containers/create", "/start"] {
        let function = format!("demo/cold{}", call.len());
        home.deploy(&function, probe::config()).await;
        home.proxy().hold(call);
        let begin = Instant::now();
        for answer in home.at_once(&format!("/{function}/early"), 10).await {
            assert_eq!(answer.said(), (504, Some("start-timeout")), "{call}");
        }
        // Nobody waits for Docker's own time limit, a minute.
        assert!(begin.elapsed() < Duration::from_secs(30), "{call}");
        assert_eq!(home.get("/demo/warm/x").await.status, 200);
        home.proxy().release();
        assert_eq!(
            home.get(&format!("/{function}/x")).await.status,
            200,
            "{call}"
        );
    }
    assert!(home.error_log().contains("Docker did not create and start"));
}

#[tokio::test]
async fn slow_loris_starts_one_container_and_holds_nothing_else() {
    let mut home = Home::builder("loris")
        .http("corefn_max_starts 1;")
        .start()
        .await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::config()).await;
    home.deploy("demo/other", probe::config()).await;
    let events = home.events().await;
    let mut dribbling = Vec::new();
    for _ in 0..50 {
        let mut connection = home.client().connect().await;
        connection
            .write("POST /demo/hello/upload/x HTTP/1.1\r\nHos")
            .await;
        dribbling.push(connection);
    }
    assert_eq!(home.get("/demo/other/x").await.status, 200);
    assert_eq!(
        events.created("demo/hello").await,
        0,
        "the headers are not there"
    );
    for connection in &mut dribbling {
        connection
            .write("t: h\r\nContent-Length: 1000\r\n\r\n")
            .await;
    }
    // For longer than the idle time, each sends a byte now and then. Everybody else is served, by
    // the same instance, and by others that are started meanwhile.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        for connection in &mut dribbling {
            connection.write("x").await;
        }
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        assert_eq!(home.get("/demo/other/x").await.status, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(events.created("demo/hello").await, 1);
    let starting = home.store.keys().starting();
    assert_eq!(home.redis.command::<u32>(&["EXISTS", &starting]).await, 0);
    drop(dribbling);
    wait_until("it is given back", LONG, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}
