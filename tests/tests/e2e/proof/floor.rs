//! What CoreFn adds to a warm request, beside nginx's plain `proxy_pass` to the same program with the same directives:
//! instructions, allocations, locks and system calls. They are counted, not timed, so that a busy machine doesn't matter.
//!
//! Each is counted for some requests and for more, and the difference is what the others have taken: what nginx
//! does at its start and end is in both.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
use corefn_core::instance::Instance;
use corefn_core::names::env;
use corefn_engine::start::random_id;
use corefn_tests::nginx::{PLAIN_VARIABLES, plain_proxy};
use corefn_tests::port::Port;
use corefn_tests::process::{self, Process};
use corefn_tests::{Home, probe, wait_until};
use rustix::process::Signal;
use tokio::net::TcpStream;

/// How long anything may take that valgrind slows down.
const LONG: Duration = Duration::from_secs(120);

/// How many requests are counted, and how many go before.
const BEFORE: u64 = 500;
const COUNTED: u64 = 2_000;

/// As long as each other, so that requests are too.
const WAYS: [&str; 2] = ["/demo/hello", "/plain/plain"];

/// The most instructions that CoreFn may add to a request.
const MOST_INSTRUCTIONS: f64 = 10_000.0;

/// What the runtime thread does meanwhile, and the worker's own timers, a request's part of it.
const SLACK: f64 = 0.15;

/// What is called for memory, and what for a lock.
const ALLOCATIONS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "free"];
const LOCKS: [&str; 2] = ["pthread_mutex_lock", "lll_lock_wait"];

/// An nginx that has a function's instance for ever: a process that no Docker knows of.
async fn with_instance() -> (Home, Process, Port) {
    let port = Port::reserve();
    let address = port.address();
    let home = Home::builder("floor")
        .workers(1)
        .docker_at("unix:///nonexistent/docker.sock")
        .http(PLAIN_VARIABLES)
        .http(&format!(
            "upstream plain {{ server {address}; keepalive 64; keepalive_requests 100000; }}"
        ))
        .server("location /plain/plain/ { proxy_pass http://plain/; include plain.conf; }")
        .server("access_log off; keepalive_requests 100000;")
        .without_nginx()
        .start()
        .await;
    home.folder.write("plain.conf", plain_proxy("/plain/plain"));
    let path = home.folder.write("probe", probe::executable());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    let mut program = Command::new(path);
    program.env(env::PORT, address.port().to_string());
    let program = Process::spawn(&home.folder, "probe", &mut program);
    let deployment = Deployment {
        function: "demo/hello".parse().unwrap(),
        revision: RevisionId("r1".to_owned()),
        image: String::new(),
        config: probe::idle(3_600),
        releases: Vec::new(),
    };
    home.store.deploy(&[(&deployment, None)]).await.unwrap();
    let instance = Instance {
        id: random_id().unwrap(),
        function: deployment.function,
        revision: deployment.revision,
        container: "none".to_owned(),
        address: address.into(),
    };
    let registered = home.store.register(&instance, None, LONG * 10);
    assert!(registered.await.unwrap());
    home.store.set_index("floor").await.unwrap();
    (home, program, port)
}

/// Has an nginx under a tool serve so many requests, and waits for its end.
async fn serve(home: &Home, tool: &[String], way: &str, requests: u64) {
    let mut command = home.nginx.command_under(&home.conf, tool);
    let mut nginx = Process::spawn(&home.folder, "nginx", &mut command);
    wait_until("nginx listens", LONG, async || {
        TcpStream::connect(home.nginx.address()).await.is_ok()
    })
    .await;
    let request = format!("GET {way}/status/200 HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut connection = home.client().connect().await;
    for _ in 0..requests {
        connection.write(request.clone()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    drop(connection);
    let master = home.folder.read("run/nginx-master.pid");
    process::send(master.trim().parse().unwrap(), Signal::QUIT);
    nginx.ended(LONG).await;
}

/// What is counted of a process.
type Counts = BTreeMap<String, u64>;

/// What each request takes, on average.
type Each = BTreeMap<String, f64>;

/// Counts for each way what a request takes.
async fn each(
    home: &Home,
    tool: impl Fn(&str) -> Vec<String>,
    read: impl Fn(&Home, &str) -> Counts,
) -> [Each; 2] {
    let mut found = Vec::new();
    for way in WAYS {
        let mut counts = Vec::new();
        for requests in [BEFORE, BEFORE + COUNTED] {
            let name = format!("counted{}-{requests}", way.replace('/', "-"));
            serve(home, &tool(&name), way, requests).await;
            counts.push(read(home, &name));
        }
        let mut each = Each::new();
        for (what, count) in &counts[1] {
            let before = counts[0].get(what).copied().unwrap_or(0);
            each.insert(
                what.clone(),
                (*count as f64 - before as f64) / COUNTED as f64,
            );
        }
        found.push(each);
    }
    found.try_into().unwrap()
}

/// Reads what callgrind has written of the worker: of all processes, the one that has done the most.
fn read_callgrind(home: &Home, name: &str) -> Counts {
    let mut most = Counts::new();
    for entry in fs::read_dir(home.folder.path()).unwrap().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if !file.starts_with(&format!("{name}.")) {
            continue;
        }
        let counts = parse_callgrind(&fs::read_to_string(entry.path()).unwrap());
        let done = |counts: &Counts| counts.get("instructions").copied().unwrap_or(0);
        if done(&counts) > done(&most) {
            most = counts;
        }
    }
    most
}

/// Reads a file of callgrind's: the instructions in all, and how often functions for memory and locks were called. (The
/// format is in Valgrind's manual: names are written once, and then by their numbers.)
fn parse_callgrind(text: &str) -> Counts {
    let (mut counts, mut names, mut called) = (Counts::new(), HashMap::new(), None);
    let mut named = |text: &str| {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if !name.is_empty() {
            names.insert(number.to_owned(), name.to_owned());
        }
        names.get(number).cloned()
    };
    for line in text.lines() {
        if let Some(total) = line
            .strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
        {
            counts.insert("instructions".to_owned(), total.trim().parse().unwrap());
        } else if let Some(name) = line.strip_prefix("fn=") {
            named(name);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = named(name);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let times: u64 = calls.split(' ').next().unwrap().parse().unwrap();
            // (A name may have a version, and underscores before it.)
            let name = called.as_deref().unwrap_or_default();
            let name = name.split('@').next().unwrap_or_default();
            let is = |all: &[&str]| all.contains(&name.trim_start_matches('_'));
            let what = match () {
                () if is(&ALLOCATIONS) => "allocations",
                () if is(&LOCKS) => "locks",
                () => continue,
            };
            *counts.entry(what.to_owned()).or_default() += times;
        }
    }
    counts
}

/// Reads what strace has written: the system calls of the thread that takes connections.
fn read_strace(home: &Home, name: &str) -> Counts {
    let text = home.folder.read(name);
    let is_taker = |line: &&str| line.contains(" accept4(") && !line.contains("EAGAIN");
    let taker = text
        .lines()
        .find(is_taker)
        .expect("somebody takes connections");
    let thread = taker.split_whitespace().next().unwrap();
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some((number, call)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let call = call.trim_start();
        if number == thread
            && !call.starts_with("<...")
            && let Some((call, _)) = call.split_once('(')
        {
            *counts.entry(call.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[tokio::test]
async fn warm_request_does_little_more_than_a_plain_one() {
    let (home, _program, _port) = with_instance().await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let callgrind = |name: &str| -> Vec<String> {
        let out = home.folder.file(name);
        let out = format!("--callgrind-out-file={}.%p", out.display());
        let tool = ["valgrind", "--tool=callgrind", "--trace-children=yes", &out];
        words(&tool)
    };
    let [corefn, plain] = each(&home, callgrind, read_callgrind).await;
    let strace = |name: &str| -> Vec<String> {
        let out = home.folder.file(name);
        words(&["strace", "-f", "-o", &out.display().to_string()])
    };
    let calls = each(&home, strace, read_strace).await;
    println!("a request's {:<20} {:>10} {:>10}", "", "CoreFn", "plain");
    let of = |each: &Each, what: &str| each.get(what).copied().unwrap_or(0.0);
    let show = |what: &str, corefn: &Each, plain: &Each| {
        let (corefn, plain) = (of(corefn, what), of(plain, what));
        println!("{what:<32} {corefn:>10.2} {plain:>10.2}");
        (corefn, plain)
    };
    let (instructions, of_plain) = show("instructions", &corefn, &plain);
    let added = instructions - of_plain;
    println!("CoreFn adds {added:.0} instructions to {of_plain:.0}");
    let mut more = Vec::new();
    for what in ["allocations", "locks"] {
        let (corefn, plain) = show(what, &corefn, &plain);
        if corefn > plain + SLACK {
            more.push(format!("{:.2} {what}", corefn - plain));
        }
    }
    let [corefn, plain] = &calls;
    let taken = |call: &&String| of(corefn, call).max(of(plain, call)) > SLACK;
    for call in corefn.keys().filter(taken) {
        let (corefn, plain) = show(call, corefn, plain);
        if corefn > plain + SLACK {
            more.push(format!("{:.2} calls of {call}", corefn - plain));
        }
    }
    assert!(more.is_empty(), "CoreFn adds {more:?} to each request");
    assert!(added < MOST_INSTRUCTIONS, "{added:.0} instructions more");
}
