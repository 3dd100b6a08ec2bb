//! How long nginx takes to start and to reload, with the module and ten thousand functions, and without.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use corefn_tests::nginx::Conf;
use corefn_tests::{Home, process};
use rustix::process::Signal;

use super::{COUNTS, LONG, deploy, deployment, until_deployed};

/// How many workers there are in turn.
const WORKERS: [u32; 3] = [2, 4, 8];

/// How often each is measured, one after the other in turns.
const ROUNDS: usize = 15;

/// How much longer it may take with the module.
const MOST: f64 = 1.2;

/// How long to wait between two attempts to connect.
const PAUSE: Duration = Duration::from_micros(100);

/// Where nginx says which worker answers.
const PATH: &str = "/-/worker";

/// The worker that answers a request on a connection of its own; none if nobody does.
fn worker(address: SocketAddr) -> Option<u32> {
    let mut connection = TcpStream::connect(address).ok()?;
    write!(connection, "GET {PATH} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    answer.rsplit("\r\n\r\n").next()?.trim().parse().ok()
}

/// Waits until a worker answers that is none of `former`.
fn until_answered(address: SocketAddr, former: &[u32]) {
    let begin = Instant::now();
    while worker(address).is_none_or(|worker| former.contains(&worker)) {
        assert!(begin.elapsed() < LONG, "nobody answers");
        std::thread::sleep(PAUSE);
    }
}

/// Starts nginx, reloads it, and ends it. Returns how long it took until it answered, after the start and the reload.
fn measure(home: &Home, conf: &Conf) -> (Duration, Duration) {
    let address = home.nginx.address();
    let mut command = home.nginx.command_under(conf, &["/usr/bin/env".to_owned()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut nginx = command.spawn().expect("nginx is installed");
    until_answered(address, &[]);
    let start = begin.elapsed();
    let workers = until_there(&nginx, conf.workers, &[]);
    let begin = Instant::now();
    process::signal(nginx.id(), Signal::HUP);
    until_answered(address, &workers);
    let reload = begin.elapsed();
    until_there(&nginx, conf.workers, &workers);
    process::signal(nginx.id(), Signal::TERM);
    nginx.wait().expect("it is waited for");
    (start, reload)
}

/// Waits until as many workers are there beside `former`, and these are gone.
fn until_there(nginx: &Child, count: u32, former: &[u32]) -> Vec<u32> {
    let begin = Instant::now();
    loop {
        let workers = process::children(nginx.id());
        if workers.len() == count as usize && workers.iter().all(|it| !former.contains(it)) {
            return workers;
        }
        assert!(begin.elapsed() < LONG, "{workers:?}, not {count}");
        std::thread::sleep(PAUSE);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn starts_and_reloads_as_soon_as_plain_nginx() {
    let mut home = Home::builder("starts")
        .workers(super::WORKERS as u32)
        .server(&format!("location = {PATH} {{ return 200 $pid; }}"))
        .start()
        .await;
    until_deployed(&home, 0, 0).await;
    home.nginx.stop().await;
    let functions = COUNTS[COUNTS.len() - 1];
    let all: Vec<_> = (0..functions).map(|number| deployment(number, 0)).collect();
    deploy(&home, &all).await;
    println!("workers  start ms (plain)  reload ms (plain)");
    let mut ratios = Vec::new();
    for workers in WORKERS {
        let ours = Conf {
            workers,
            ..home.conf.clone()
        };
        let plain = Conf {
            module: false,
            functions: false,
            ..ours.clone()
        };
        let mut times = [vec![], vec![], vec![], vec![]];
        for _ in 0..ROUNDS {
            let (start, reload) = measure(&home, &ours);
            let (plain_start, plain_reload) = measure(&home, &plain);
            let measured = [start, plain_start, reload, plain_reload];
            for (times, measured) in times.iter_mut().zip(measured) {
                times.push(measured);
            }
        }
        let [start, plain_start, reload, plain_reload] = times.map(median);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{workers:>7} {:>9.1} ({:>5.1}) {:>10.1} ({:>5.1})",
            ms(start),
            ms(plain_start),
            ms(reload),
            ms(plain_reload)
        );
        ratios.push((workers, "start", ms(start) / ms(plain_start)));
        ratios.push((workers, "reload", ms(reload) / ms(plain_reload)));
    }
    for (workers, what, ratio) in &ratios {
        println!("{workers} workers, {what}: {ratio:.2} of plain nginx's");
    }
    assert!(
        ratios.iter().all(|(_, _, ratio)| *ratio <= MOST),
        "{ratios:?}"
    );
}
