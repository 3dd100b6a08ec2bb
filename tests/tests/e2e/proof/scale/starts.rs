//! How long nginx takes to start and to reload, with the module and ten thousand functions, and without. What it is compared with
//! proxies as well, by the same directives, a path of variables like ours; how long an nginx takes that proxies nothing is printed.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use corefn_tests::nginx::{Conf, plain_proxy};
use corefn_tests::{Home, process};
use rustix::process::Signal;

use super::{COUNTS, LONG, deploy, deployment, until_deployed};

/// How many workers there are in turn.
const WORKERS: [u32; 3] = [2, 4, 8];

/// How many functions there are.
const FUNCTIONS: usize = COUNTS[COUNTS.len() - 1];

/// How often each is measured, one after the other in turns.
const ROUNDS: usize = 15;

/// How much longer it may take with the module. (Two milliseconds are a fifth of a start; what is measured is printed.)
const MOST: f64 = 1.6;

/// How long the workers are left alone before a reload: what they do at first, each on its own, is no part of that.
const CALM: Duration = Duration::from_millis(250);

/// What [`plain_proxy`] needs, at no cost: the maps that are the module's variables by nginx's own means would take nginx longer.
const VARIABLES: &str = r#"
    set $plain_connection "";
    set $plain_host $http_host;
    set $plain_request_id $request_id;
"#;

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_micros(100);

/// The system calls that a worker waits for events with: `epoll_wait`, and `epoll_pwait` on x86-64 and on Arm.
const WAITS: [&str; 3] = ["232", "281", "22"];

/// How many events it asks for, nginx's default of `epoll_events`. (At its start it asks for one, to try it out.)
const EVENTS: &str = "0x200";

/// Whether a worker waits for events in its loop, so is there for requests.
fn is_ready(worker: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{worker}/syscall")).unwrap_or_default();
    let mut fields = call.split(' ');
    let number = fields.next();
    number.is_some_and(|it| WAITS.contains(&it)) && fields.nth(2) == Some(EVENTS)
}

/// The workers of a master.
fn workers(nginx: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", nginx.id());
    let children = fs::read_to_string(path).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|it| it.parse().ok())
        .collect()
}

/// Waits until as many workers as there shall be are ready, beside `former`, which may have gone. Returns the new ones.
fn until_ready(nginx: &Child, count: u32, former: &[u32]) -> Vec<u32> {
    let begin = Instant::now();
    loop {
        let mut workers = workers(nginx);
        workers.retain(|worker| !former.contains(worker));
        if workers.len() == count as usize && workers.iter().all(|&worker| is_ready(worker)) {
            return workers;
        }
        assert!(begin.elapsed() < LONG, "{workers:?}, not {count}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until each worker has all functions.
fn until_told(home: &Home, workers: &[u32]) {
    let text = format!(": {FUNCTIONS} functions are deployed");
    let begin = Instant::now();
    let is_told = |log: &str, worker: &u32| {
        let worker = format!(" {worker}#");
        log.lines()
            .any(|line| line.contains(&worker) && line.contains(&text))
    };
    while !{
        let log = home.error_log();
        workers.iter().all(|worker| is_told(&log, worker))
    } {
        assert!(begin.elapsed() < LONG, "not all of {workers:?} have them");
        std::thread::sleep(PAUSE * 100);
    }
}

/// Starts nginx, reloads it, and ends it. Returns how long it took until all workers were ready, after the start and the reload.
fn measure(home: &Home, conf: &Conf) -> (Duration, Duration) {
    let mut command = home.nginx.command_under(conf, &["/usr/bin/env".to_owned()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut nginx = command.spawn().expect("nginx is installed");
    let former = until_ready(&nginx, conf.workers, &[]);
    let start = begin.elapsed();
    if conf.module {
        until_told(home, &former);
    }
    std::thread::sleep(CALM);
    let begin = Instant::now();
    process::signal(nginx.id(), Signal::HUP);
    until_ready(&nginx, conf.workers, &former);
    let reload = begin.elapsed();
    process::signal(nginx.id(), Signal::TERM);
    nginx.wait().expect("it is waited for");
    (start, reload)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn starts_and_reloads_about_as_soon_as_plain_nginx() {
    let mut home = Home::builder("starts")
        .workers(super::WORKERS as u32)
        .start()
        .await;
    until_deployed(&home, 0, 0).await;
    home.nginx.stop().await;
    let all: Vec<_> = (0..FUNCTIONS).map(|number| deployment(number, 0)).collect();
    deploy(&home, &all).await;
    home.folder.write("plain.conf", plain_proxy("/plain"));
    println!("ms:      start (plain, proxies nothing)  reload (plain, proxies nothing)");
    let mut ratios = Vec::new();
    for workers in WORKERS {
        let ours = Conf {
            workers,
            ..home.conf.clone()
        };
        let nothing = Conf {
            module: false,
            functions: false,
            ..ours.clone()
        };
        let plain = Conf {
            server: format!(
                "{}\n{VARIABLES}\nlocation / {{ proxy_pass http://plain$request_uri; include plain.conf; }}",
                nothing.server
            ),
            http: format!(
                "{}\nupstream plain {{ server 127.0.0.1:1; keepalive 64; keepalive_requests 100000; }}",
                nothing.http
            ),
            ..nothing.clone()
        };
        let mut starts = [vec![], vec![], vec![]];
        let mut reloads = starts.clone();
        for _ in 0..ROUNDS {
            for (way, conf) in [&ours, &plain, &nothing].into_iter().enumerate() {
                let (start, reload) = measure(&home, conf);
                starts[way].push(start);
                reloads[way].push(reload);
            }
        }
        let medians = |times: [Vec<Duration>; 3]| times.map(|it| median(it).as_secs_f64() * 1e3);
        let (start, reload) = (medians(starts), medians(reloads));
        println!(
            "{workers} workers {:>7.1} ({:>5.1}, {:>5.1}) {:>24.1} ({:>5.1}, {:>5.1})",
            start[0], start[1], start[2], reload[0], reload[1], reload[2]
        );
        ratios.push((workers, "start", start[0] / start[1]));
        ratios.push((workers, "reload", reload[0] / reload[1]));
    }
    for (workers, what, ratio) in &ratios {
        println!("{workers} workers, {what}: {ratio:.2} of plain nginx's");
    }
    assert!(
        ratios.iter().all(|(_, _, ratio)| *ratio <= MOST),
        "{ratios:?}"
    );
}
