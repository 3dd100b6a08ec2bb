//! What it costs that a million invocations of a function wait.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use corefn_core::invocation::{Invocation, InvocationId};
use corefn_tests::cli::corefn;
use corefn_tests::dispatcher::Dispatcher;
use corefn_tests::{Home, probe, process, wait_until};

use super::LONG;

const FUNCTION: &str = "demo/hello";

const COUNT: u64 = 1_000_000;

/// How many files may be one: ext4 allows 65,000.
const LINKS: u64 = 50_000;

/// How long all of them may take on a busy machine.
const LONGEST: Duration = Duration::from_secs(600);

/// The most memory that the dispatcher may ever have had, bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// Writes the files of so many invocations.
fn keep(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mut of = None;
    for number in 0..COUNT {
        let id = InvocationId::from_random([1, number]);
        let path = folder.join(id.to_string());
        if number % LINKS != 0 {
            fs::hard_link(of.as_ref().unwrap(), path).unwrap();
            continue;
        }
        let invocation = Invocation {
            id,
            function: FUNCTION.parse().unwrap(),
            accepted: 0,
            method: "POST".to_owned(),
            target: "/told".to_owned(),
            headers: Vec::new(),
        };
        let line = serde_json::to_string(&invocation).unwrap() + "\n";
        fs::write(&path, line).unwrap();
        of = Some(path);
    }
}

/// How many wait or are being called.
async fn depth(home: &Home) -> u64 {
    let depth = home.store.depth(&FUNCTION.parse().unwrap()).await.unwrap();
    depth.waiting + depth.calling
}

#[tokio::test]
async fn million_invocations_wait() {
    let home = Home::builder("million").invocations().start().await;
    home.set(&format!("max_invocations = {COUNT}\n"));
    home.deploy(FUNCTION, probe::idle(600)).await;
    let kept = home.folder.file("invocations/requests").join(FUNCTION);
    keep(&kept);
    let before: u64 = memory(&home).await;

    let begin = Instant::now();
    let first = Dispatcher::start(&home, "first", None);
    wait_until("all are in their queue", LONGEST, async || {
        depth(&home).await == COUNT
    })
    .await;
    let filled = begin.elapsed();
    wait_until("some are called", LONG, async || {
        home.under_way().await == 16
    })
    .await;
    let most = process::peak_memory(first.id());
    let each = (memory(&home).await - before) / COUNT;
    println!(
        "{COUNT} invocations in their queue after {filled:.1?}: {} MB of the dispatcher, {each} bytes of Redis each",
        most >> 20
    );
    assert!(most < MOST_MEMORY, "{most} bytes");
    // There is room for no other.
    let target = format!("/{FUNCTION}/x");
    let request = home.client().post(&target, "x");
    let answer = request.header("Prefer", "respond-async").await;
    assert_eq!(answer.said(), (503, Some("queue-full")));
    let begin = Instant::now();
    let listed = corefn(&home, &["queue", "ls", FUNCTION]).await;
    assert!(listed.errors.contains("more"), "{}", listed.errors);
    println!("listed after {:.1?}", begin.elapsed());

    // The next dispatcher goes on at once, and puts nothing into the queue twice.
    first.kill().await;
    let begin = Instant::now();
    let second = Dispatcher::start(&home, "second", None);
    wait_until("they are called again", LONG, async || {
        home.under_way().await == 16
    })
    .await;
    println!("called again after {:.1?}", begin.elapsed());
    assert_eq!(depth(&home).await, COUNT);

    let begin = Instant::now();
    corefn(&home, &["queue", "rm", FUNCTION, "--all", "--yes"])
        .await
        .succeeded();
    println!("removed after {:.1?}", begin.elapsed());
    assert_eq!(depth(&home).await, 16);
    wait_until("their files are removed", LONGEST, async || {
        fs::read_dir(&kept).unwrap().count() == 16
    })
    .await;
    println!("their files after {:.1?}", begin.elapsed());
    second.kill().await;
}

/// How many bytes Redis has in use.
async fn memory(home: &Home) -> u64 {
    let text: String = home.redis.command(&["INFO", "memory"]).await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}
