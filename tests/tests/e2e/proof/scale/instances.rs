//! What it costs that many instances run: a round of the cleaner, a warm request, a worker's memory and the gate's, and Redis' work.

use std::num::NonZeroU32;
use std::process::Stdio;
use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_tests::{Home, probe, process, programs, wait_until};
use tokio::process::Command;

use super::{TIMES, commands, least};

/// How many there are, one step after the other.
const COUNTS: [u32; 4] = [1, 10, 100, 200];

/// The most instances of a function.
const MOST: u32 = 10;

/// How long their starts may take on a busy machine.
const LONG: Duration = Duration::from_secs(300);

/// How long the cleaner may take for a round, its start and end included, when most run.
const ROUND: Duration = Duration::from_millis(100);

/// How many bytes the gate may have had, files that are shared included, when most run.
const GATE: u64 = 10 << 20;

/// What was measured with a number of instances.
struct Row {
    instances: u32,
    /// Of the cleaner, which is started for that alone.
    round: Duration,
    /// A warm request.
    request: Duration,
    /// Of each worker, bytes.
    memory: usize,
    /// Of Redis, in ten seconds.
    commands: u64,
}

/// Deploys a function of which so many instances are there though nobody asks.
async fn deploy(home: &Home, number: usize, instances: u32) {
    let config = FunctionConfig {
        min_instances: NonZeroU32::new(instances),
        max_instances: NonZeroU32::new(instances),
        concurrency: NonZeroU32::new(100),
        ..probe::idle(3600)
    };
    home.deploy(&format!("demo/f{number}"), config).await;
}

async fn measure(home: &Home, instances: u32) -> Row {
    let round = least(async |_| {
        let mut command = Command::new(programs::program("corefn-clean"));
        command.arg("--once").arg("--home").arg(home.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let begin = Instant::now();
        let output = command.output().await.unwrap();
        let took = begin.elapsed();
        assert!(output.status.success(), "{output:?}");
        took
    })
    .await;
    let mut connection = home.client().connect().await;
    let request = "GET /demo/f0/status/200 HTTP/1.1\r\nHost: h\r\n\r\n";
    let request = least(async |_| {
        let begin = Instant::now();
        for _ in 0..100 {
            connection.write(request.to_owned()).await;
            assert_eq!(connection.answer().await.status, 200);
        }
        begin.elapsed() / 100
    })
    .await;
    let workers = home.nginx.workers();
    let count = workers.len();
    let memory: usize = workers.into_iter().map(process::resident).sum();
    Row {
        instances,
        round,
        request,
        memory: memory / count,
        commands: commands(home).await,
    }
}

#[tokio::test]
async fn instances_that_run() {
    let home = Home::builder("scalerun").workers(2).gated().start().await;
    let mut rows: Vec<Row> = Vec::new();
    let (mut running, mut functions) = (0, 0);
    for count in COUNTS {
        while running < count {
            let more = (count - running).min(MOST);
            deploy(&home, functions, more).await;
            functions += 1;
            running += more;
        }
        wait_until(&format!("{count} instances stand by"), LONG, async || {
            let known = home.store.instances().await.unwrap();
            known.len() == count as usize
        })
        .await;
        rows.push(measure(&home, count).await);
    }
    println!("instances  round ms  request us  KiB a worker  Redis commands in 10 s");
    for row in &rows {
        println!(
            "{:>9} {:>9} {:>11} {:>13} {:>9}",
            row.instances,
            row.round.as_millis(),
            row.request.as_micros(),
            row.memory >> 10,
            row.commands
        );
    }
    let most = &rows[COUNTS.len() - 1];
    println!(
        "{} ms a round of {} instances",
        most.round.as_millis(),
        most.instances
    );
    let gate = process::peak_memory(home.gate().id());
    println!("{} KB of the gate", gate >> 10);
    assert!(gate <= GATE, "{gate} bytes");
    assert!(
        most.round <= ROUND,
        "{:?}, of {TIMES} the least",
        most.round
    );
}
