//! After many requests of every kind a worker has no more memory and no more open files than
//! before.
//!
//! `COREFN_SOAK` is how many requests; 20,000 by default, `make soak` sends a million.

use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::names::env;
use corefn_tests::{Client, Home, probe, process, wait_until};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(60);

/// How many send at once.
const CLIENTS: usize = 16;

/// How many times it is measured.
const ROUNDS: usize = 10;

/// How much memory may come with time without being a leak, in KiB: allocators and the kernel take
/// in pages, and tables grow to their largest.
const GROWTH: u64 = 2048;

const UPGRADE: &str =
    "GET /demo/hello/x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// Sends one request; the kinds come in turn.
async fn one(client: Client, number: usize) {
    match number % 10 {
        0 => assert_eq!(client.get("/demo/unknown/x").await.status, 404),
        1 => assert_eq!(client.get("/demo/hello/stream/3/1").await.status, 200),
        2 => {
            let mut connection = client.connect().await;
            connection.write(UPGRADE).await;
            assert_eq!(connection.head().await.status, 101);
            connection.write("ping").await;
            assert_eq!(connection.read(4).await, b"ping");
        }
        // It leaves within the header, the body, the answer.
        3 => client.connect().await.write("GET /demo/hello/x HT").await,
        4 => {
            let head =
                "POST /demo/hello/upload/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12";
            client.connect().await.write(head).await;
        }
        5 => drop(
            client
                .get("/demo/hello/download/200000")
                .open()
                .await
                .unwrap(),
        ),
        6 => {
            let answer = client
                .post("/demo/hello/upload/y", vec![b'x'; 20_000])
                .await;
            assert_eq!(answer.status, 200);
        }
        7 => assert_eq!(client.get("//demo/hello/x").await.status, 400),
        // Now and then one waits for a start, which fails.
        8 if number % 5_000 == 8 => assert_eq!(client.get("/demo/exits/x").await.status / 100, 5),
        _ => assert_eq!(client.get("/demo/hello/status/200").await.status, 200),
    }
}

async fn send(home: &Home, count: usize) {
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let client = home.client();
        clients.spawn(async move {
            for number in (first..count).step_by(CLIENTS) {
                one(client, number).await;
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test]
async fn memory_and_files_stay_as_they_are() {
    let variable = format!("{}SOAK", env::RESERVED_PREFIX);
    let count = std::env::var(variable).map_or(20_000, |count| count.parse().unwrap());
    let home = Home::builder("soak").workers(1).start().await;
    let config = FunctionConfig {
        idle_ms: Some(60_000),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    home.deploy("demo/exits", probe::misbehaving("exit")).await;
    let worker = home.nginx.workers()[0];
    let mut measured = Vec::new();
    println!("{:>9} {:>9} {:>6}", "requests", "KiB", "files");
    for round in 0..ROUNDS {
        send(&home, count / ROUNDS).await;
        // Connections that are kept alive come and go; all others must be closed.
        wait_until("connections are closed", LONG, async || {
            process::open_files(worker).len() < 64 + 40
        })
        .await;
        let (memory, files) = (process::memory(worker), process::open_files(worker).len());
        println!("{:>9} {memory:>9} {files:>6}", (round + 1) * count / ROUNDS);
        measured.push(memory);
    }
    assert_eq!(home.nginx.workers(), [worker]);
    // What it needs at all, it has after the first rounds.
    let (settled, last) = (measured[ROUNDS / 3], measured[ROUNDS - 1]);
    assert!(last <= settled + GROWTH, "{settled} KiB became {last}");
}
