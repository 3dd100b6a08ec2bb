//! Instances that are gone when a request gets there: it is sent to another, if it may be.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptionsBuilder};
use bytes::Bytes;
use corefn_core::config::FunctionConfig;
use corefn_core::names::label;
use corefn_engine::docker::Container;
use corefn_tests::load::Load;
use corefn_tests::{Home, nginx, probe, wait_for, wait_until};
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);
const FUNCTION: &str = "demo/hello";

/// Leases that outlast the test: whoever is sent to a dead instance is sent there by one.
fn config() -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(60_000),
        ..probe::config()
    }
}

async fn container(home: &Home) -> Container {
    container_of(home, FUNCTION).await
}

/// The one container that runs; Docker may take a while to learn that the one before has ended.
async fn container_of(home: &Home, function: &str) -> Container {
    wait_for("one instance runs", LONG, async || {
        let mut running = home.instances(function).await;
        running.retain(|container| container.running);
        let last = running.pop()?;
        running.is_empty().then_some(last)
    })
    .await
}

async fn kill(home: &Home) {
    kill_of(home, FUNCTION).await;
}

async fn kill_of(home: &Home, function: &str) {
    let client = home.docker.client().await.unwrap();
    let container = container_of(home, function).await.id;
    let killed = client.kill_container(&container, None::<KillContainerOptions>);
    killed.await.unwrap();
}

async fn remove(home: &Home) {
    let client = home.docker.client().await.unwrap();
    let container = container(home).await.id;
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    client
        .remove_container(&container, Some(force))
        .await
        .unwrap();
}

/// Kills the process itself, so that Docker learns of it last.
async fn end_process(home: &Home) {
    let client = home.docker.client().await.unwrap();
    let container = container(home).await;
    let address: SocketAddr = container.labels[label::ADDRESS].parse().unwrap();
    let found = client.inspect_container(&container.id, None).await.unwrap();
    let number = found.state.unwrap().pid.unwrap();
    let pid = Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    // Its threads end one after the other, and what it listens on with the last.
    wait_until("the process ends", LONG, async || {
        let connecting = TcpStream::connect(address);
        !matches!(tokio::time::timeout(TICK, connecting).await, Ok(Ok(_)))
    })
    .await;
}

async fn end(home: &Home, how: &str) {
    match how {
        "kill" => kill(home).await,
        "remove" => remove(home).await,
        _ => end_process(home).await,
    }
}

/// Every kind of request that the function can't have seen.
async fn requests(home: &Home) {
    for (number, how) in ["kill", "remove", "process"].into_iter().enumerate() {
        for method in ["GET", "POST", "stream", "upgrade"] {
            // A connection that stays open.
            assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
            home.forgive(FUNCTION).await;
            end(home, how).await;
            let what = format!("{method} after {how} {number}");
            let begin = Instant::now();
            match method {
                "GET" => {
                    let answer = home.get("/demo/hello/x").await;
                    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                }
                "POST" => {
                    let answer = home.client().post("/demo/hello/upload/a", "small").await;
                    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                    assert_eq!(answer.json()["length"], 5, "{what}");
                }
                "stream" => {
                    let body = Bytes::from(vec![b'x'; 5 << 20]);
                    let answer = home.client().post("/demo/hello/upload/b", body).await;
                    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                    assert_eq!(answer.json()["length"], 5 << 20, "{what}");
                }
                _ => {
                    let mut connection = home.client().connect().await;
                    connection
                        .write("GET /demo/hello/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                        .await;
                    assert_eq!(connection.head().await.status, 101, "{what}");
                    connection.write("ping").await;
                    assert_eq!(connection.read(4).await, b"ping", "{what}");
                }
            }
            assert!(begin.elapsed() < LONG, "{what}: {:?}", begin.elapsed());
        }
    }
}

#[tokio::test]
async fn kept_alive_connections_to_dead_instances() {
    let home = Home::builder("stale").workers(1).start().await;
    home.deploy(FUNCTION, config()).await;
    requests(&home).await;
}

#[tokio::test]
async fn connection_that_ends_while_the_request_is_sent() {
    let home = Home::builder("race").workers(1).start().await;
    home.deploy(FUNCTION, config()).await;
    let body = "x".repeat(1000);
    let rest = "y".repeat(5 << 20);
    for (method, more) in [
        ("GET", ""),
        ("POST", ""),
        ("PATCH", ""),
        ("POST", rest.as_str()),
    ] {
        assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
        let mut connection = home.client().connect().await;
        connection
            .write("GET /demo/hello/x HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        assert_eq!(connection.answer().await.status, 200);
        // The worker learns of the request, and then of the end of the connection it sends it on.
        let worker = Pid::from_raw(i32::try_from(home.nginx.workers()[0]).unwrap()).unwrap();
        kill_process(worker, Signal::STOP).unwrap();
        let length = body.len() + more.len();
        connection
            .write(format!(
                "{method} /demo/hello/upload/x HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        kill(&home).await;
        kill_process(worker, Signal::CONT).unwrap();
        connection.write(more).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        assert_eq!(answer.json()["length"], length, "{method}");
    }
}

#[tokio::test]
async fn nobody_tells_that_the_instance_is_dead() {
    // Redis and Docker's events are cut off, so that only the attempt itself shows it.
    let home = Home::builder("untold").docker_proxy().start().await;
    home.deploy(FUNCTION, config()).await;
    // Every worker knows of the instance.
    for _ in 0..8 {
        assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    }
    home.proxy().mute_events();
    kill(&home).await;
    for method in ["GET", "POST"] {
        let mut requests = Vec::new();
        for number in 0..16 {
            let request = match method {
                "GET" => home.get("/demo/hello/x"),
                _ => home
                    .client()
                    .post(&format!("/demo/hello/upload/{number}"), "body"),
            };
            requests.push(tokio::spawn(request.send()));
        }
        for request in requests {
            let answer = request.await.unwrap().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        kill(&home).await;
    }
}

/// A copy of `corefn/proxy.conf` for a location of its own, with other lines for the next upstream.
fn proxy_conf(home: &Home, name: &str, lines: &str) {
    let text = nginx::proxy_conf(&home.folder.file("corefn"));
    let ours = "proxy_next_upstream error timeout non_idempotent;";
    assert!(text.contains(ours), "{text}");
    let text = text.replace(ours, lines);
    let connect = "proxy_connect_timeout 3s;";
    assert!(text.contains(connect), "{text}");
    let text = text.replace(connect, "proxy_connect_timeout 1s;");
    home.folder.write(&format!("corefn/{name}.conf"), text);
}

#[tokio::test]
async fn operators_own_rules_for_the_next_upstream() {
    let location = |name: &str| {
        format!(
            "location /demo/{name}/ {{ corefn on; proxy_pass http://functions$corefn_uri; \
             include corefn/{name}.conf; }}"
        )
    };
    let mut home = Home::builder("nextupstream")
        .server(&location("timeouts"))
        .server(&location("limited"))
        .docker_proxy()
        .without_nginx()
        .start()
        .await;
    proxy_conf(&home, "timeouts", "proxy_next_upstream timeout;");
    let limited = "proxy_next_upstream error timeout; proxy_next_upstream_timeout 8s;";
    proxy_conf(&home, "limited", limited);
    home.start_nginx().await;
    for name in ["timeouts", "limited"] {
        // A start takes longer than attempts may.
        let slow = FunctionConfig {
            env: probe::misbehaving("slow-start:10000").env,
            ..config()
        };
        home.deploy(&format!("demo/{name}"), slow).await;
    }
    let both = async || {
        let [timeouts, limited] =
            ["timeouts", "limited"].map(|name| home.get(&format!("/demo/{name}/status/200")));
        let (timeouts, limited) = tokio::join!(timeouts.into_future(), limited.into_future());
        for answer in [timeouts, limited] {
            assert_eq!(answer.status, 200, "{:?}", answer.said());
        }
    };
    both().await;
    // Only the attempt shows that they are dead: it times out.
    home.proxy().mute_events();
    for name in ["timeouts", "limited"] {
        kill_of(&home, &format!("demo/{name}")).await;
    }
    both().await;
}

#[tokio::test]
async fn request_that_may_have_been_seen_is_not_sent_twice() {
    let home = Home::start("once").await;
    home.deploy(FUNCTION, config()).await;
    let events = home.events().await;
    for number in 1..=3 {
        assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
        assert_eq!(events.created(FUNCTION).await, number);
        let answer = home.client().post("/demo/hello/exit", "body").await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(events.created(FUNCTION).await, number, "it was sent again");
    }
    // One that may be seen twice is sent twice, but no more.
    home.forgive(FUNCTION).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    assert_eq!(home.get("/demo/hello/exit").await.status, 502);
    assert_eq!(events.created(FUNCTION).await, 5);
}

#[tokio::test]
async fn docker_is_away_when_another_is_needed() {
    let home = Home::builder("replayless")
        .docker_proxy()
        .workers(1)
        .start()
        .await;
    home.deploy(FUNCTION, config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    home.proxy().shut();
    kill(&home).await;
    for _ in 0..2 {
        let answer = home.get("/demo/hello/x").await;
        assert_eq!(answer.said(), (503, Some("docker-unavailable")));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json()["function"], FUNCTION);
    }
    home.proxy().reopen();
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn error_page_for_a_replay_that_fails() {
    let home = Home::builder("replaypage")
        .docker_proxy()
        .location("error_page 503 /sorry;")
        .server("location = /sorry { return 503 \"sorry\"; }")
        .start()
        .await;
    home.deploy(FUNCTION, config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    home.proxy().shut();
    kill(&home).await;
    let answer = home.client().post("/demo/hello/upload/x", "body").await;
    assert_eq!(answer.said(), (503, Some("docker-unavailable")));
    assert_eq!(answer.text(), "sorry");
    home.proxy().reopen();
}

fn descriptors(home: &Home) -> usize {
    let count = |id| std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    home.nginx.workers().into_iter().map(count).sum()
}

#[tokio::test]
async fn clients_that_go_away_while_a_replay_waits() {
    let home = Home::builder("replayaway")
        .workers(1)
        .queue(64)
        .start()
        .await;
    let slow = FunctionConfig {
        env: probe::misbehaving("slow-start:3000").env,
        ..config()
    };
    home.deploy(FUNCTION, slow).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let before = descriptors(&home);
    for method in [Method::GET, Method::POST] {
        kill(&home).await;
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let request = home
                .client()
                .request(method.clone(), "/demo/hello/upload/x");
            waiting.push(tokio::spawn(request.body("body").send()));
        }
        wait_until("another instance is started", LONG, async || {
            home.is_starting(FUNCTION).await
        })
        .await;
        for request in waiting {
            request.abort();
        }
        // Nobody is in the queue of 64, nor anywhere else.
        let mut waiting = Vec::new();
        for _ in 0..60 {
            waiting.push(tokio::spawn(home.get("/demo/hello/status/200").send()));
        }
        for request in waiting {
            let answer = request.await.unwrap().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    wait_until("all descriptors are closed", LONG, async || {
        // The connections to the instance are kept: at most 64.
        descriptors(&home) <= before + 64
    })
    .await;
}

/// Waits until another than these instances serves.
async fn another(home: &Home, than: &BTreeSet<String>) -> String {
    wait_for("an instance serves", LONG, async || {
        let mut accesses = home.accesses(0).await.into_iter();
        let serving =
            accesses.find(|access| access.status == "200" && !than.contains(&access.instance));
        serving.map(|access| access.instance)
    })
    .await
}

/// The system closes the connections of a process that is killed first, and what it listens on last: meanwhile it
/// accepts for a process that is no more.
#[tokio::test]
async fn process_whose_port_outlives_its_connections() {
    let home = Home::start("port-last").await;
    home.deploy(FUNCTION, config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    // It is looked at once before the request is sent again, which may be too soon to tell. With 0 it is: by then
    // connections are refused.
    for connections in [0, 1, 2] {
        let id = container(&home).await.id;
        let path = format!("/demo/hello/dies/{}/{connections}", &id[..12]);
        let answer = home.get(&path).await;
        let want = (200, "another\n");
        assert_eq!((answer.status, &*answer.text()), want, "{connections}");
    }
}

#[tokio::test]
async fn many_clients_while_instances_die() {
    let home = Home::start("dying").await;
    home.deploy(FUNCTION, config()).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    let load = Load::start(home.client(), "/demo/hello/status/200", 32);
    let mut ended = BTreeSet::new();
    for how in ["kill", "remove", "process"] {
        let id = another(&home, &ended).await;
        // A request may meet one that dies, and not two.
        for id in &ended {
            home.until_withdrawn(id).await;
        }
        load.turn_over().await;
        end(&home, how).await;
        ended.insert(id);
    }
    another(&home, &ended).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    load.finish().await.assert_all_answered();
}
