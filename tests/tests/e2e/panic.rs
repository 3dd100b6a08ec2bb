//! A panic in any of the module's entry points costs one request at most: nginx goes on.
//!
//! The module is the one of `scripts/build-fault`; the names are those that `src/` gives its entry
//! points.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::KillContainerOptions;
use corefn_core::config::FunctionConfig;
use corefn_tests::client::Stream;
use corefn_tests::programs::workspace;
use corefn_tests::{Home, nginx, probe, process, wait_for, wait_until};

use crate::page::Told;

const LONG: Duration = Duration::from_secs(30);

/// A location that functions have no part in.
const PLAIN: &str = "location = /plain { return 200 plain; }";

/// An installation whose one worker meets all faults, with a function that is warm.
async fn home(name: &str) -> Home {
    let builder = Home::builder(name).workers(1).with_faults().server(PLAIN);
    let mut home = builder.start().await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        idle_ms: Some(4000),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    home
}

fn alerts(home: &Home, entry: &str) -> usize {
    let text = format!(" panic in {entry}: ");
    home.error_log()
        .lines()
        .filter(|line| line.contains("[alert]") && line.contains(&text))
        .count()
}

/// A request that is under way, and goes on until [`finish`].
async fn under_way(home: &Home) -> Stream {
    let stream = home.get("/demo/hello/stream/8/100").open().await.unwrap();
    assert_eq!(stream.status, 200);
    stream
}

async fn finish(mut stream: Stream) {
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    assert_eq!(String::from_utf8_lossy(&text).lines().count(), 8);
}

#[tokio::test]
async fn each_entry_point_of_a_request() {
    let home = home("panic").await;
    let worker = home.nginx.workers();
    for (entry, status) in [
        ("precontent", 500),
        ("get_uri", 500),
        ("get_prefix", 500),
        ("get_connection", 500),
        ("get_host", 500),
        ("get_request_id", 500),
        // Of an answer, which comes as the function said it.
        ("get_location_outside", 302),
        ("get_path_outside", 302),
        // For the log only, when all is done.
        ("get_function", 200),
        ("get_revision", 200),
        ("get_instance", 200),
        ("get_start", 200),
        ("get_wait", 200),
        ("peer_init", 500),
        ("peer_get", 500),
        ("peer_free", 200),
        ("request_body_filter", 200),
        ("header_filter", 200),
        ("body_filter", 200),
        ("finalize", 200),
        ("leave", 200),
        ("drop_context", 200),
        ("forget_context", 200),
    ] {
        let other = under_way(&home).await;
        home.fault(entry);
        let path = match entry {
            "get_location_outside" => "/demo/hello/answers/Location?/x",
            "get_path_outside" => "/demo/hello/answers/Set-Cookie?a=b;Path=/",
            _ => "/demo/hello/x",
        };
        let answer = home.client().post(path, "body").await;
        assert_eq!(answer.status, status, "{entry}: {answer:?}");
        if status == 302 {
            let said = ["location", "set-cookie"].map(|name| answer.header(name));
            assert!(
                matches!(said, [Some("/x"), None] | [None, Some("a=b; Path=/")]),
                "{answer:?}"
            );
        }
        wait_until(entry, LONG, async || alerts(&home, entry) == 1).await;
        assert!(!home.is_fault_due(), "{entry}");
        for path in ["/demo/hello/x", "/plain"] {
            assert_eq!(home.get(path).await.status, 200, "{path} after {entry}");
        }
        finish(other).await;
        assert_eq!(home.nginx.workers(), worker, "{entry} ended the worker");
    }
    nothing_is_left(&home).await;
}

#[tokio::test]
async fn each_entry_point_of_a_wait() {
    let home = home("panicwait").await;
    let worker = home.nginx.workers();
    for (number, (entry, statuses)) in [
        ("on_updates", &[200][..]),
        ("resume", &[500]),
        // Lost is whatever came first: the answer, or the news of the instance.
        ("update", &[200, 500]),
        // In the task that gets the instance, or in another.
        ("send", &[200, 500]),
        ("due", &[200, 500]),
    ]
    .into_iter()
    .enumerate()
    {
        let function = format!("demo/cold{number}");
        home.deploy(&function, probe::config()).await;
        let other = under_way(&home).await;
        home.fault(entry);
        let path = format!("/{function}/x");
        let answer = home.get(&path).await;
        assert!(statuses.contains(&answer.status), "{entry}: {answer:?}");
        wait_until("it has happened", LONG, async || !home.is_fault_due()).await;
        let again = format!("{path} is answered after {entry}");
        wait_until(&again, LONG, async || home.get(&path).await.status == 200).await;
        assert_eq!(home.get("/demo/hello/x").await.status, 200, "{entry}");
        finish(other).await;
        assert_eq!(home.nginx.workers(), worker, "{entry} ended the worker");
    }
    for entry in ["on_updates", "resume", "update"] {
        assert_eq!(alerts(&home, entry), 1, "{entry}");
    }
    let log = home.error_log();
    let starts_over = "the runtime thread starts over: ";
    assert!(log.contains(&format!("{starts_over}the event loop has lost track")));
    assert!(log.contains(&format!("{starts_over}it has panicked")));
    nothing_is_left(&home).await;
}

#[tokio::test]
async fn begin_and_end_of_a_worker() {
    let mut home = home("panicworker").await;
    for entry in ["exit_process", "init_process", "begin"] {
        home.fault(entry);
        let old = home.reload().await;
        wait_until("the old worker ends", LONG, async || {
            !old.iter().any(|&id| process::is_alive(id))
        })
        .await;
        wait_until(entry, LONG, async || alerts(&home, entry) == 1).await;
        assert_eq!(home.get("/demo/hello/x").await.status, 200, "{entry}");
    }
    assert!(!home.error_log().contains("open socket"));
    // A worker that can't serve functions serves all the rest.
    home.fault("init_process!");
    let old = home.reload().await;
    wait_until("the old worker ends", LONG, async || {
        !old.iter().any(|&id| process::is_alive(id))
    })
    .await;
    let answer = home.get("/demo/hello/x").await;
    assert_eq!((answer.status, answer.error()), (500, Some("internal")));
    assert_eq!(home.get("/plain").await.status, 200);
}

#[tokio::test]
async fn timer_of_a_request_that_waits() {
    let builder = Home::builder("panictimer").workers(1).with_faults();
    let home = builder.server(PLAIN).start_timeout("1s").start().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/other/x").await.status, 404);
    // Nothing comes from the runtime thread any more, so that only the timer ends the wait.
    home.fault("lose! too_late");
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.error(), Some("start-timeout"), "{}", answer.text());
    assert_eq!(alerts(&home, "too_late"), 1);
    assert_eq!(home.get("/plain").await.status, 200);
}

#[tokio::test]
async fn entry_points_of_the_configuration() {
    let mut home = home("panicconf").await;
    for entry in [
        "create_main_conf",
        "create_loc_conf",
        "merge_loc_conf",
        "preconfiguration",
        "directive",
        "postconfiguration",
        "init_upstream",
        "zone_init",
    ] {
        home.fault(entry);
        let text = home.conf.text(&home.folder, home.nginx.address());
        let checked = nginx::check(&home.folder, &text);
        assert!(!checked.accepted, "{entry}: {}", checked.output);
        assert!(checked.output.contains(&format!("panic in {entry}: ")));
        assert!(!home.is_fault_due(), "{entry}");
    }
    // A reload that meets one leaves everything as it is.
    let workers = home.nginx.workers();
    home.fault("merge_loc_conf");
    home.nginx.signal(rustix::process::Signal::HUP);
    wait_until("it is refused", LONG, async || {
        alerts(&home, "merge_loc_conf") > 0 && !home.is_fault_due()
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.nginx.workers(), workers);
    home.reload().await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn what_follows_a_panic() {
    let home = home("panicagain").await;
    let worker = home.nginx.workers();
    // A function must not be sent what a panic has left empty.
    home.fault("get_uri! revoke");
    let answer = home.client().post("/demo/hello/x", "body").await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!((alerts(&home, "get_uri"), alerts(&home, "revoke")), (1, 1));
    // Nor may a request wait for what a panic has lost.
    home.deploy("demo/cold", probe::config()).await;
    home.fault("update! give_up");
    let answer = home.get("/demo/cold/x").await;
    assert!([200, 500].contains(&answer.status), "{}", answer.text());
    wait_until("it has happened", LONG, async || !home.is_fault_due()).await;
    wait_until("it is answered again", LONG, async || {
        home.get("/demo/cold/x").await.status == 200
    })
    .await;
    assert_eq!(alerts(&home, "give_up"), 1);
    assert_eq!(home.nginx.workers(), worker);
    nothing_is_left(&home).await;
}

#[tokio::test]
async fn request_that_waits_for_another_instance() {
    let builder = Home::builder("panicsettle").workers(1).with_faults();
    let home = builder.docker_proxy().start().await;
    // Longer than nginx itself would wait.
    let slow = FunctionConfig {
        idle_ms: Some(60_000),
        env: probe::misbehaving("slow-start:5000").env,
        ..probe::config()
    };
    home.deploy("demo/hello", slow).await;
    assert_eq!(home.get("/demo/hello/status/200").await.status, 200);
    // It is found out by a request.
    home.proxy().mute_events();
    kill(&home).await;
    home.fault("settle");
    let answer = home.get("/demo/hello/status/200").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until("it is reported", LONG, async || {
        alerts(&home, "settle") == 1
    })
    .await;
    // One that ends instead.
    home.proxy().shut();
    kill(&home).await;
    home.fault("settle");
    let begin = Instant::now();
    let answer = home.get("/demo/hello/status/200").await;
    assert_eq!(answer.error(), Some("docker-unavailable"));
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert_eq!(alerts(&home, "settle"), 2);
    home.proxy().reopen();
}

#[tokio::test]
async fn timer_of_an_answer() {
    let home = home("panicoverdue").await;
    let mut config = FunctionConfig {
        idle_ms: Some(4000),
        ..probe::config()
    };
    config.limits.timeout_ms = Some(1000);
    home.deploy("demo/short", config).await;
    home.fault("overdue");
    let answer = home.get("/demo/short/sleep/60000").await;
    assert_eq!(answer.said(), (504, Some("function-timeout")));
    assert_eq!(alerts(&home, "overdue"), 1);
    nothing_is_left(&home).await;
}

#[tokio::test]
async fn timer_and_room_of_a_page() {
    let slow = "location = /slow { corefn_status; limit_rate 500; }";
    let builder = Home::builder("panicpage").workers(1).with_faults();
    let home = builder.server(slow).start().await;
    let worker = home.nginx.workers();
    let mut told = Told::open(&home, "/slow").await;
    for entry in ["on_time", "go_on"] {
        home.fault(entry);
        let after = wait_for("it has happened", LONG, async || {
            let message = told.next().await.unwrap();
            (!home.is_fault_due()).then_some(message)
        });
        let after = after.await["time"].as_u64().unwrap();
        let next = told.next().await.unwrap();
        assert!(next["time"].as_u64().unwrap() > after, "{entry}");
        assert_eq!(alerts(&home, entry), 1, "{entry}");
    }
    assert_eq!(home.nginx.workers(), worker);
}

#[test]
fn each_entry_point_has_a_row() {
    let mut missing = Vec::new();
    let mut count = 0;
    for (file, text) in sources(&workspace().join("src")) {
        for call in ["guard::", "variable!(", "const NAME: &'static str = "] {
            for (at, _) in text.match_indices(call) {
                let rest = &text[at + call.len()..];
                let name = match call {
                    "variable!(" => {
                        let mut words = rest.split([' ', ',', ')']);
                        words.find(|word| word.starts_with("get_")).unwrap()
                    }
                    _ if rest.starts_with('"') => rest.split('"').nth(1).unwrap(),
                    _ if !rest.split('(').next().unwrap().bytes().all(is_of_a_name) => continue,
                    _ => match rest
                        .split_once('(')
                        .unwrap()
                        .1
                        .trim_start()
                        .strip_prefix('"')
                    {
                        Some(name) => name.split('"').next().unwrap(),
                        None => continue,
                    },
                };
                count += 1;
                let rows = include_str!("panic.rs");
                let is_in_one = ["\"", " ", "! "].iter().any(|before| {
                    ["\"", "!"]
                        .iter()
                        .any(|after| rows.contains(&format!("{before}{name}{after}")))
                });
                if !is_in_one {
                    missing.push(format!("{name} of {file}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(count > 35, "{count} entry points");
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

/// The Rust files of a folder and of those in it, with their text.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push((
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
    found
}

async fn kill(home: &Home) {
    let client = home.docker.client().await.unwrap();
    let instances = home.instances("demo/hello").await;
    for container in instances.iter().filter(|container| container.running) {
        let killed = client.kill_container(&container.id, None::<KillContainerOptions>);
        killed.await.unwrap();
    }
}

/// Every count was given back: instances are idle, and go.
async fn nothing_is_left(home: &Home) {
    wait_until("instances are stopped when idle", LONG * 2, async || {
        home.store.instances().await.unwrap().is_empty()
    })
    .await;
}
