//! Ten thousand requests that wait in one worker: all are answered, and they cost little memory. And ten thousand
//! strangers at the git host.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_tests::git_host::GitHost;
use corefn_tests::{Home, probe, process, wait_until};
use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const CROWD: usize = 10_000;

/// What a request may cost while it waits. nginx's own part of it is a connection, its events, a
/// pool and a buffer for the header: some 6 KB.
const MOST_BYTES: usize = 12 << 10;

const LONG: Duration = Duration::from_secs(120);

/// Lets this process have as many sockets.
fn allow_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return;
    }
    let maximum = maximum.map(|maximum| maximum.max(count));
    let limit = Rlimit {
        current: Some(count),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("root may raise its limits");
}

/// Connects from one of two hundred addresses.
async fn connect(to: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let from = Ipv4Addr::new(127, 0, 1, (number % 200) as u8 + 1);
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Sends requests for targets, each on a connection of its own, and returns when all are sent.
/// They come from several addresses: one has too few ports for them and those before.
async fn send(to: SocketAddr, targets: Vec<String>) -> Vec<TcpStream> {
    let requests = targets
        .into_iter()
        .enumerate()
        .map(|(number, target)| async move {
            let mut stream = connect(to, number).await.unwrap();
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        });
    stream::iter(requests).buffer_unordered(200).collect().await
}

/// Reads an answer to its end; returns its status line and the code of the error.
async fn read(mut stream: TcpStream) -> (String, String) {
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer))
        .await
        .expect("an answer comes")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let name = format!("{}: ", corefn_core::names::header::ERROR);
    let field = |prefix: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_default().to_owned()
    };
    (field("HTTP/1.1 "), field(&name))
}

async fn read_all(streams: Vec<TcpStream>) -> Vec<(String, String)> {
    stream::iter(streams.into_iter().map(read))
        .buffer_unordered(CROWD)
        .collect()
        .await
}

#[tokio::test]
async fn ten_thousand_wait_for_one_start() {
    allow_files(CROWD as u64 + 2_000);
    let home = Home::builder("crowd")
        .workers(1)
        .connections(CROWD as u32 + 1_000)
        .queue(CROWD as u32)
        .start_timeout("5m")
        .start()
        .await;
    home.deploy("demo/hello", probe::misbehaving("never-listen"))
        .await;
    let worker = home.nginx.workers()[0];
    let before = process::resident(worker);
    let mut peaks = Vec::new();
    for round in 1..=3 {
        let target = "/demo/hello/x".to_owned();
        let streams = send(home.nginx.address(), vec![target; CROWD]).await;
        wait_until("all of them wait", LONG, async || {
            let waits = home.get("/demo/hello/x").patience(Duration::from_secs(1));
            waits
                .send()
                .await
                .is_ok_and(|answer| answer.error() == Some("queue-full"))
        })
        .await;
        let peak = process::resident(worker);
        let containers = home.instances("demo/hello").await;
        assert_eq!(containers.len(), 1, "they wait for one");
        home.docker.remove(&containers[0].id).await.unwrap();
        let answers = read_all(streams).await;
        assert_eq!(answers.len(), CROWD);
        for (status, code) in answers {
            assert_eq!((&status[..3], code.as_str()), ("502", "function-exited"));
        }
        let after = process::resident(worker);
        eprintln!(
            "round {round}: {} KB before, {} KB with {CROWD} waiting ({} bytes each), {} KB after",
            before >> 10,
            peak >> 10,
            peak.saturating_sub(before) / CROWD,
            after >> 10
        );
        peaks.push(peak);
        // It is backed off, from the second failure on.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    let grown = peaks[0].saturating_sub(before);
    assert!(grown / CROWD <= MOST_BYTES, "{} bytes each", grown / CROWD);
    assert!(
        peaks[2] <= peaks[0] + grown / 10,
        "it grows from round to round: {peaks:?}"
    );
    let lines = home.error_log().lines().count();
    assert!(
        lines < 100,
        "{lines} lines for the failures of three starts"
    );
}

#[tokio::test]
async fn a_thousand_functions_wait_for_their_turns() {
    const FUNCTIONS: usize = 1_000;
    allow_files(CROWD as u64 + 2_000);
    let home = Home::builder("manyfunctions")
        .workers(1)
        .connections(2 * FUNCTIONS as u32 + 1_000)
        .start_timeout("5m")
        .start()
        .await;
    for number in 0..FUNCTIONS {
        let deployment = home.without_image(&format!("demo/f{number}"), FunctionConfig::default());
        home.store.deploy(&[(&deployment, None)]).await.unwrap();
    }
    let last = format!("/demo/f{}/x", FUNCTIONS - 1);
    wait_until("the router knows them", LONG, async || {
        home.get(&last).await.error() == Some("image-missing")
    })
    .await;
    let worker = home.nginx.workers()[0];
    let before = process::resident(worker);
    // Two of each, and as many for functions that there aren't.
    let targets = (0..2 * FUNCTIONS).map(|n| format!("/demo/f{}/x", n % FUNCTIONS));
    let streams = send(home.nginx.address(), targets.collect()).await;
    let unknown = (0..FUNCTIONS).map(|n| format!("/demo/unknown{n}/x"));
    let unknown = send(home.nginx.address(), unknown.collect()).await;
    for (status, _) in read_all(unknown).await {
        assert_eq!(&status[..3], "404", "it needn't wait for others");
    }
    for (status, code) in read_all(streams).await {
        assert_eq!((&status[..3], code.as_str()), ("502", "image-missing"));
    }
    let grown = process::resident(worker).saturating_sub(before);
    eprintln!(
        "{FUNCTIONS} functions at once: {} bytes each",
        grown / FUNCTIONS
    );
    assert!(
        grown / FUNCTIONS < 64 << 10,
        "{} bytes each",
        grown / FUNCTIONS
    );
    let waiting = home.store.keys().waiting();
    assert_eq!(home.redis.command::<u32>(&["EXISTS", &waiting]).await, 0);
}

/// sshd has as many processes for those who haven't shown a key as its configuration allows, and whoever has one
/// comes in again when they have gone.
#[tokio::test]
async fn ten_thousand_connect_to_the_git_host() {
    let home = Home::builder("strangers").without_nginx().start().await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    allow_files(CROWD as u64 + 1000);
    let address = git_host.address();
    let mut most = 0;
    let strangers: Vec<_> = stream::iter((0..CROWD).map(|number| connect(address, number)))
        .buffer_unordered(200)
        .inspect(|_| most = most.max(git_host.sessions()))
        .collect()
        .await;
    let connected = strangers
        .iter()
        .filter(|connected| connected.is_ok())
        .count();
    println!("{connected} of {CROWD} were connected; sshd had {most} processes at most");
    assert!(connected > CROWD * 9 / 10, "{connected}");
    assert!((1..=70).contains(&most), "{most}");
    drop(strangers);
    wait_until("those who have a key come in again", LONG, async || {
        alice.ssh("ls").await.code == 0
    })
    .await;
}
