//! More requests than the host, a function or nginx may take.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::function::{Deployment, FunctionName, RevisionId};
use corefn_engine::store::Claim;
use corefn_tests::{Answer, Home, probe, wait_for, wait_until};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(30);

fn said(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.error())
}

fn kill(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).unwrap();
    kill_process(id, Signal::KILL).unwrap();
}

async fn at_once(home: &Home, target: &str, count: usize) -> Vec<Answer> {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let request = home.get(target);
        requests.spawn(async move { request.await });
    }
    requests.join_all().await
}

#[tokio::test]
async fn queue_of_the_host_is_bounded() {
    let home = Home::builder("hostqueue")
        .http("corefn_host_queue 3;")
        .start()
        .await;
    let functions = ["demo/a", "demo/b", "demo/c", "demo/d"];
    for function in functions {
        home.deploy(function, probe::misbehaving("slow-start:3000"))
            .await;
    }
    let mut waiting = JoinSet::new();
    for function in &functions[..3] {
        let name = function.parse().unwrap();
        waiting.spawn(home.get(&format!("/{function}/x")).send());
        wait_until("it is being started", LONG, async || {
            home.store.is_starting(&name).await.unwrap()
        })
        .await;
    }
    // Three wait, each for another function: on whichever worker, there is no place for a fourth.
    for _ in 0..8 {
        let answer = home.get("/demo/d/x").await;
        assert_eq!(
            said(&answer),
            (503, Some("queue-full")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
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
    let home = Home::start("requests").await;
    let config = FunctionConfig {
        limits: Limits {
            requests: Some(5),
            ..probe::config().limits
        },
        ..probe::misbehaving("slow-start:1000")
    };
    home.deploy("demo/hello", config).await;
    home.deploy("demo/other", probe::config()).await;
    // Those that wait for the start count. On several workers, two that come at the same moment may
    // both be refused the last place; never do both get it.
    let answers = at_once(&home, "/demo/hello/sleep/500", 20).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        assert_eq!(said(answer), (429, Some("too-many-requests")));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!((1..=5).contains(&served.len()), "{}", served.len());
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
async fn function_that_crashes_at_its_start_is_backed_off() {
    let home = Home::start("crashloop").await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    home.deploy("demo/other", probe::config()).await;
    let events = home.events().await;
    let fails = async || {
        let answer = home.get("/demo/hello/x").await;
        assert_eq!(said(&answer), (502, Some("function-exited")));
        answer.header("retry-after").map(str::to_owned)
    };
    assert_eq!(fails().await, None, "the first failure costs nothing");
    let mut monitor = home.redis.monitor().await;
    assert_eq!(fails().await.as_deref(), Some("1"));
    wait_until("all workers know", LONG, async || {
        monitor.commands(&home.redis).await;
        for answer in at_once(&home, "/demo/hello/x", 40).await {
            assert_eq!(answer.status, 502);
        }
        monitor.commands(&home.redis).await.is_empty()
    })
    .await;
    assert_eq!(home.get("/demo/other/x").await.status, 200, "others serve");
    // Each time it is tried again, once, and then not for twice as long.
    for (starts, seconds) in [(3, "2"), (4, "4")] {
        wait_until("it is tried again", LONG, async || {
            fails().await.as_deref() == Some(seconds)
        })
        .await;
        assert_eq!(events.created("demo/hello").await, starts);
    }
    let log = home.error_log();
    assert_eq!(
        log.matches("the probe exits on purpose").count(),
        4,
        "{log}"
    );
    assert_eq!(log.matches("it isn't started again for 4s").count(), 1);
    // A new deployment is started at once.
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn only_instances_that_die_soon_again_and_again_are_backed_off() {
    let home = Home::start("diesoon").await;
    home.deploy("demo/hello", probe::config()).await;
    let poison = async || {
        let ended = home.error_log().matches("has ended").count();
        home.get("/demo/hello/exit").await;
        wait_until("all workers know that it has ended", LONG, async || {
            home.error_log().matches("has ended").count() > ended
                && home
                    .instances("demo/hello")
                    .await
                    .iter()
                    .all(|c| !c.running)
        })
        .await;
        home.get("/demo/hello/x").await
    };
    // Somebody who stops it is no failure of the function.
    for _ in 0..3 {
        assert_eq!(home.get("/demo/hello/x").await.status, 200);
        for container in home.instances("demo/hello").await {
            home.docker.remove(&container.id).await.unwrap();
        }
        wait_until("it is forgotten", LONG, async || {
            home.store.instances().await.unwrap().is_empty()
        })
        .await;
    }
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    // One poisonous request costs the others nothing. Of those that follow each costs more, so that
    // sooner or later even a slow test sees it.
    let answer = poison().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut pauses = 0;
    let answer = loop {
        pauses += 1;
        let answer = poison().await;
        if answer.status != 200 || pauses == 5 {
            break answer;
        }
    };
    assert_eq!(said(&answer), (502, Some("function-exited")));
    assert!(answer.header("retry-after").is_some());
    wait_until("it is started again", LONG, async || {
        home.get("/demo/hello/x").await.status == 200
    })
    .await;
    // An instance that lives ends the row.
    let key = home.store.keys().failures(&"demo/hello".parse().unwrap());
    wait_until("the failures are forgotten", LONG, async || {
        home.get("/demo/hello/x").await;
        home.redis.command::<u32>(&["EXISTS", &key]).await == 0
    })
    .await;
    let answer = poison().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = home.error_log();
    let told = log.matches("died within 10s of getting ready").count();
    assert_eq!(told, pauses, "by one worker, for each pause: {log}");
}

#[tokio::test]
async fn starts_take_turns() {
    let home = Home::builder("turns")
        .http("corefn_starts 2;")
        .start()
        .await;
    let functions: Vec<String> = (0..7).map(|number| format!("demo/f{number}")).collect();
    for function in &functions {
        home.deploy(function, probe::misbehaving("slow-start:700"))
            .await;
    }
    let events = home.events().await;
    let mut requests = JoinSet::new();
    for function in &functions {
        for _ in 0..3 {
            let request = home.get(&format!("/{function}/x"));
            requests.spawn(async move { request.await });
        }
    }
    let (keys, mut most) = (home.store.keys(), 0);
    while !requests.is_empty() {
        let starting: u32 = home.redis.command(&["SCARD", &keys.starting()]).await;
        most = most.max(starting);
        while let Some(answer) = requests.try_join_next() {
            assert_eq!(answer.unwrap().status, 200);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most, 2);
    for function in &functions {
        assert_eq!(events.created(function).await, 1);
    }
    for key in [keys.starting(), keys.waiting()] {
        assert_eq!(
            home.redis.command::<u32>(&["EXISTS", &key]).await,
            0,
            "{key}"
        );
    }
}

#[tokio::test]
async fn permit_of_a_killed_starter_comes_back() {
    let home = Home::builder("permit")
        .workers(1)
        .http("corefn_starts 1;")
        .with_alerts()
        .start()
        .await;
    home.deploy("demo/never", probe::misbehaving("never-listen"))
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let never = tokio::spawn(home.get("/demo/never/x").send());
    let name = "demo/never".parse().unwrap();
    wait_until("it is being started", LONG, async || {
        home.store.is_starting(&name).await.unwrap()
    })
    .await;
    for worker in home.nginx.workers() {
        kill(worker);
    }
    assert!(never.await.unwrap().is_err(), "its worker is gone");
    wait_until("there is another worker", LONG, async || {
        home.get("/demo/hello/x")
            .send()
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn request_gets_its_504_though_docker_hangs() {
    let home = Home::builder("dockerhangs")
        .docker_proxy()
        .start_timeout("2s")
        .start()
        .await;
    home.deploy("demo/warm", probe::config()).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    for call in ["/containers/create", "/start"] {
        let function = format!("demo/cold{}", call.len());
        home.deploy(&function, probe::config()).await;
        home.proxy().hold(call);
        let begin = Instant::now();
        for answer in at_once(&home, &format!("/{function}/x"), 10).await {
            assert_eq!(said(&answer), (504, Some("start-timeout")), "{call}");
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
async fn waiting_for_a_turn_ends_in_time() {
    let patient = "location /demo/never { corefn on; corefn_start_timeout 8s; \
                   proxy_pass http://functions$corefn_uri; include corefn/proxy.conf; }";
    let home = Home::builder("noturn")
        .http("corefn_starts 1;")
        .server(patient)
        .start_timeout("2s")
        .start()
        .await;
    home.deploy("demo/never", probe::misbehaving("never-listen"))
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let events = home.events().await;
    let never = tokio::spawn(home.get("/demo/never/x").send());
    let name = "demo/never".parse().unwrap();
    wait_until("it is being started", LONG, async || {
        home.store.is_starting(&name).await.unwrap()
    })
    .await;
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(said(&answer), (504, Some("start-timeout")));
    assert_eq!(events.created("demo/hello").await, 0);
    let answer = never.await.unwrap().unwrap();
    assert_eq!(said(&answer), (504, Some("function-not-listening")));
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn slow_loris_starts_one_container_and_holds_nothing_else() {
    let mut home = Home::builder("loris")
        .http("corefn_starts 1;")
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

#[tokio::test]
async fn who_joins_late_waits_for_its_own_time() {
    let patient = "location /demo/never { corefn on; corefn_start_timeout 9s; \
                   proxy_pass http://functions$corefn_uri; include corefn/proxy.conf; }";
    let home = Home::builder("late")
        .workers(1)
        .http("corefn_starts 1;")
        .server(patient)
        .start_timeout("6s")
        .start()
        .await;
    home.deploy("demo/never", probe::misbehaving("never-listen"))
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let never = tokio::spawn(home.get("/demo/never/x").send());
    let name = "demo/never".parse().unwrap();
    wait_until("it is being started", LONG, async || {
        home.store.is_starting(&name).await.unwrap()
    })
    .await;
    let early = tokio::spawn(home.get("/demo/hello/x").send());
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let late = tokio::spawn(home.get("/demo/hello/x").send());
    let answer = early.await.unwrap().unwrap();
    assert_eq!(said(&answer), (504, Some("start-timeout")));
    let answer = late.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    never.await.unwrap().unwrap();
}

#[tokio::test]
async fn turns_are_in_order_and_end() {
    let home = Home::builder("order").without_nginx().start().await;
    let names: Vec<FunctionName> = (0..6)
        .map(|n| format!("demo/f{n}").parse().unwrap())
        .collect();
    let claim = async |number: usize| {
        let token = format!("token {number}");
        home.store.claim(&names[number], &token, 2).await.unwrap()
    };
    let give_back = async |number: usize| {
        let deployment = Deployment {
            function: names[number].clone(),
            revision: RevisionId("r1".to_owned()),
            image: String::new(),
            config: FunctionConfig::default(),
        };
        let failure = Failure::new(ErrorCode::DockerUnavailable, "");
        let token = format!("token {number}");
        let unlocked = home.store.unlock(&deployment, &token, &failure).await;
        assert_eq!(unlocked.unwrap(), Duration::ZERO);
    };
    let mut events = std::pin::pin!(home.store.events().await.unwrap());
    for (number, got) in [
        (0, Claim::Granted),
        (1, Claim::Granted),
        (1, Claim::Granted),
        (2, Claim::Full),
        (3, Claim::Full),
        (4, Claim::Full),
    ] {
        assert_eq!(claim(number).await, got, "{number}");
    }
    assert_eq!(
        home.store.claim(&names[0], "another", 2).await.unwrap(),
        Claim::Held
    );
    give_back(0).await;
    let turn = wait_for("somebody's turn", LONG, async || {
        match events.next().await {
            Some(Event::Turn { function }) => Some(function),
            _ => None,
        }
    })
    .await;
    assert_eq!(turn, names[2]);
    // The others don't go ahead, and who comes last goes to the end.
    for number in [4, 5, 3] {
        assert_eq!(claim(number).await, Claim::Full, "{number}");
    }
    assert_eq!(claim(2).await, Claim::Granted);
    give_back(1).await;
    // Nobody waits for the next one any more: it is passed over, and so are all before the last.
    wait_until("the turns of who is gone end", LONG, async || {
        claim(5).await == Claim::Granted
    })
    .await;
    assert_eq!(claim(4).await, Claim::Full);
    // A permit lasts as long as its lock.
    let lock = home.store.keys().start_lock(&names[2]);
    home.redis.command::<u32>(&["DEL", &lock]).await;
    assert_eq!(claim(4).await, Claim::Granted);
}
