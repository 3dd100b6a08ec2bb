//! What breaks, what the client is told of it, and that it passes.

use std::time::{Duration, Instant};

use bollard::query_parameters::RemoveImageOptionsBuilder;
use corefn_tests::{Home, probe, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(30);

/// The containers that are left of a function, once a failed start has been tidied up.
async fn nothing_left(home: &Home, function: &str) {
    wait_until("the failed container is removed", LONG, async || {
        home.instances(function).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn function_that_exits_fails_all_who_wait_at_once() {
    // (Of several workers one may be so late that it begins another start.)
    let home = Home::builder("exits")
        .workers(1)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    let events = home.events().await;
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/x", 20);
    home.until_under_way(20).await;
    let begin = Instant::now();
    home.proxy().release();
    for answer in requests.join_all().await {
        assert_eq!(
            answer.said(),
            (502, Some("function-exited")),
            "{}",
            answer.text()
        );
    }
    // Not when the time for a start is over.
    let start_timeout = Duration::from_secs(30);
    assert!(begin.elapsed() < start_timeout, "{:?}", begin.elapsed());
    assert_eq!(events.created("demo/hello").await, 1);
    nothing_left(&home, "demo/hello").await;
    let log = home.error_log();
    assert!(log.contains("exited with code 3"), "{log}");
    assert_eq!(
        log.matches("the probe exits on purpose").count(),
        1,
        "its output is told once"
    );
}

#[tokio::test]
async fn function_that_does_not_listen_is_given_up() {
    // Enough for a container to be started on a busy machine.
    let home = Home::builder("deaf").start_timeout("8s").start().await;
    let modes = ["never-listen", "wrong-port", "loopback"];
    for mode in modes {
        home.deploy(&format!("demo/{mode}"), probe::misbehaving(mode))
            .await;
    }
    let mut requests = JoinSet::new();
    for mode in modes {
        let request = home.get(&format!("/demo/{mode}/x"));
        requests.spawn(async move {
            let begin = Instant::now();
            (mode, request.await, begin.elapsed())
        });
    }
    for (mode, answer, took) in requests.join_all().await {
        assert_eq!(
            answer.said(),
            (504, Some("function-not-listening")),
            "{mode}"
        );
        assert!(took >= Duration::from_secs(8), "{mode}: {took:?}");
        nothing_left(&home, &format!("demo/{mode}")).await;
    }
    let log = home.error_log();
    assert!(
        log.contains("listen on 0.0.0.0 and the port in $PORT"),
        "{log}"
    );
    assert!(log.contains("the probe will not listen"), "{log}");
}

#[tokio::test]
async fn full_queue_refuses() {
    // (On several workers, two that come at the same moment may both be refused the last place.)
    let home = Home::builder("queue")
        .workers(1)
        .queue(3)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/x", 20);
    // All have come: what is not waiting was answered.
    home.accesses(17).await;
    home.until_under_way(3).await;
    home.proxy().release();
    let answers = requests.join_all().await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        assert_eq!(
            answer.said(),
            (503, Some("queue-full")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!((served.len(), refused.len()), (3, 17));
    // Warm, nobody waits.
    let answers = home.at_once("/demo/hello/x", 20).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

/// On several workers two that come at the same moment may both be refused the last place, and never
/// do both get it.
#[tokio::test]
async fn full_queue_of_several_workers_takes_no_more() {
    let home = Home::builder("queues")
        .queue(3)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/x", 20);
    home.accesses(17).await;
    home.proxy().release();
    let answers = requests.join_all().await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert!((1..=3).contains(&served.len()), "{}", served.len());
    for answer in &refused {
        assert_eq!(answer.said(), (503, Some("queue-full")));
    }
}

/// A worker that is late may begin a start of its own, and no worker begins two.
#[tokio::test]
async fn function_that_exits_fails_all_who_wait_on_several_workers() {
    let home = Home::builder("exitsall").docker_proxy().start().await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    let events = home.events().await;
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/x", 20);
    home.until_under_way(20).await;
    home.proxy().release();
    for answer in requests.join_all().await {
        let said = answer.said();
        assert_eq!(said, (502, Some("function-exited")), "{}", answer.text());
    }
    let workers = home.nginx.workers().len();
    let created = events.created("demo/hello").await;
    assert!((1..=workers).contains(&created), "{created}");
    nothing_left(&home, "demo/hello").await;
}

#[tokio::test]
async fn client_that_goes_away_while_it_waits_leaves_its_place() {
    let home = Home::builder("leaves")
        .workers(1)
        .queue(1)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().delay("/start");
    let waits = tokio::spawn(home.get("/demo/hello/x").send());
    home.until_under_way(1).await;
    assert_eq!(
        home.get("/demo/hello/x").await.said(),
        (503, Some("queue-full"))
    );
    waits.abort();
    home.until_under_way(0).await;
    // The start is still under way, and the next one gets the place.
    let next = tokio::spawn(home.get("/demo/hello/x").send());
    home.until_under_way(1).await;
    home.proxy().release();
    let answer = next.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn client_that_has_gone_before_it_waits_takes_no_place() {
    let home = Home::builder("gonebefore")
        .workers(1)
        .queue(1)
        .docker_proxy()
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    home.proxy().delay("/start");
    // The worker gets the request and the end of its connection at once.
    let worker = Pid::from_raw(i32::try_from(home.nginx.workers()[0]).unwrap()).unwrap();
    kill_process(worker, Signal::STOP).unwrap();
    let mut connection = home.client().connect().await;
    connection
        .write("GET /demo/hello/x HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    drop(connection);
    kill_process(worker, Signal::CONT).unwrap();
    wait_until("it has been asked for", LONG, async || {
        home.is_starting("demo/hello").await
    })
    .await;
    let next = tokio::spawn(home.get("/demo/hello/x").send());
    home.until_under_way(1).await;
    home.proxy().release();
    let answer = next.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn start_goes_on_when_the_client_has_gone() {
    let home = Home::start("gone").await;
    home.deploy("demo/hello", probe::misbehaving("slow-start:1500"))
        .await;
    let events = home.events().await;
    let request = tokio::spawn(home.get("/demo/hello/x").send());
    home.until_under_way(1).await;
    request.abort();
    home.until_under_way(0).await;
    wait_until("the instance gets ready all the same", LONG, async || {
        !home.store.instances().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(events.created("demo/hello").await, 1);
}

#[tokio::test]
async fn missing_image() {
    let home = Home::start("image").await;
    let deployment = home.deploy("demo/hello", probe::config()).await;
    let force = RemoveImageOptionsBuilder::default().force(true).build();
    let client = home.docker.client().await.unwrap();
    let id = client
        .inspect_image(&deployment.image)
        .await
        .unwrap()
        .id
        .unwrap();
    client.remove_image(&id, Some(force), None).await.unwrap();
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.said(), (502, Some("image-missing")));
    let log = home.error_log();
    assert!(
        log.contains(&deployment.image) && log.contains("push the repository again"),
        "{log}"
    );
}

#[tokio::test]
async fn clients_that_go_away_while_they_send_and_wait() {
    let home = Home::builder("sendaway").queue(4).start().await;
    home.deploy("demo/hello", probe::misbehaving("slow-start:1500"))
        .await;
    for _ in 0..20 {
        let mut connection = home.client().connect().await;
        connection
            .write(
                "POST /demo/hello/upload/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nhalf",
            )
            .await;
    }
    // All of them have left: the queue of four has room.
    wait_until("their places are free", LONG, async || {
        home.get("/demo/hello/x").await.status == 200
    })
    .await;
    // The news may have come here before whoever has started it tells of it.
    let started = || home.error_log().matches("started instance").count();
    wait_until("the start is told of", LONG, async || started() > 0).await;
    assert_eq!(started(), 1, "it was started again");
}
