//! What it costs that many functions are deployed: a worker's memory, a start and a reload of nginx, the last step of a push,
//! a route, and Redis' work; and that a million invocations wait.

mod instances;
mod queue;
mod starts;

use std::time::{Duration, Instant};

use corefn_core::config::{Export, FunctionConfig};
use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
use corefn_tests::nginx::STATUS;
use corefn_tests::{Home, process, wait_until};

const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];

const WORKERS: usize = 2;

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// How often each time is taken.
const TIMES: usize = 9;

/// The most bytes that a function may take of a worker.
const MOST_BYTES: usize = 600;

/// How much longer the last step of a push, or a route, may take with the most functions than with the fewest.
const MOST_GROWTH: f64 = 1.5;

/// The most commands of Redis' that ten seconds without a request may take, of all workers together.
const MOST_COMMANDS: u64 = 10;

/// A function as a push of one of the examples deploys it.
pub fn deployment(number: usize, revision: usize) -> Deployment {
    let exports = ["Add", "HelloWorld", "Multiply", "Now", "SayHello"].map(|name| Export {
        name: name.to_owned(),
        argument: Some("json".to_owned()),
        answer: Some("json".to_owned()),
        example: Some("{\"A\":1,\"B\":2}".to_owned()),
    });
    let function = format!("account-{}/function-{number}", number % 100);
    let revision = RevisionId(format!("20261126T110338-{revision:07}"));
    Deployment {
        image: format!("corefn/{function}:{revision}"),
        function: function.parse().unwrap(),
        revision,
        config: FunctionConfig {
            exports: Some(exports.into()),
            executable: Some("0123456789abcdef".repeat(4)),
            ..FunctionConfig::default()
        },
        releases: Vec::new(),
    }
}

pub async fn deploy(home: &Home, deployments: &[Deployment]) {
    for some in deployments.chunks(100) {
        let some: Vec<_> = some.iter().map(|deployment| (deployment, None)).collect();
        home.store.deploy(&some).await.unwrap();
    }
}

/// Waits until each worker has taken over so many functions since byte `begin` of the log.
async fn until_deployed(home: &Home, begin: usize, count: usize) {
    let text = format!(": {count} functions are deployed");
    wait_until("each worker has them", LONG, async || {
        home.error_log()[begin..].matches(&text).count() >= WORKERS
    })
    .await;
}

/// What was measured with a number of functions.
struct Row {
    functions: usize,
    /// Of each worker after a start, bytes.
    memory: usize,
    start: Duration,
    reload: Duration,
    /// One more deployment, in Redis.
    deploy: Duration,
    /// A request for an export that a function hasn't.
    route: Duration,
    /// What neither has to do with functions, at that time: a command of Redis', and a request for nginx's status.
    ping: Duration,
    status: Duration,
    /// Of Redis, in ten seconds.
    commands: u64,
}

/// The least that something takes: whatever else the machine does only adds to it.
async fn least(measure: impl AsyncFnMut(usize) -> Duration) -> Duration {
    least_of_both(measure, async || Duration::ZERO).await.0
}

/// The same of something, and of something else that is done in turn with it.
async fn least_of_both(
    mut one: impl AsyncFnMut(usize) -> Duration,
    mut other: impl AsyncFnMut() -> Duration,
) -> (Duration, Duration) {
    let mut least = (Duration::MAX, Duration::MAX);
    for number in 0..TIMES {
        least.0 = least.0.min(one(number).await);
        least.1 = least.1.min(other().await);
    }
    least
}

/// How many commands Redis is sent in ten seconds.
async fn commands(home: &Home) -> u64 {
    let count = async || {
        let about: String = home.redis.command(&["INFO", "stats"]).await;
        let mut lines = about.lines();
        let count = lines.find_map(|line| line.strip_prefix("total_commands_processed:"));
        count.unwrap().parse::<u64>().unwrap()
    };
    let before = count().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    count().await - before
}

async fn measure(home: &mut Home, functions: usize) -> Row {
    let begin = home.error_log().len();
    let start = Instant::now();
    home.start_nginx().await;
    until_deployed(home, begin, functions).await;
    let start = start.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory: usize = home
        .nginx
        .workers()
        .into_iter()
        .map(process::resident)
        .sum();

    let commands = commands(home).await;
    let deploy = async |revision| {
        let deployment = deployment(functions / 2, revision + 1);
        let begin = Instant::now();
        home.store.deploy(&[(&deployment, None)]).await.unwrap();
        begin.elapsed()
    };
    let ping = async || {
        let begin = Instant::now();
        for _ in 0..10 {
            home.redis.command::<String>(&["PING"]).await;
        }
        begin.elapsed() / 10
    };
    let (deploy, ping) = least_of_both(deploy, ping).await;
    let route = async |number| {
        let number = number * (functions - 1) / (TIMES - 1);
        let path = format!("/account-{}/function-{number}/no", number % 100);
        // (The first makes a connection.)
        let mut connection = home.client().connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        connection.write(request.clone()).await;
        assert_eq!(connection.answer().await.error(), Some("unknown-export"));
        let begin = Instant::now();
        for _ in 0..100 {
            connection.write(request.clone()).await;
            connection.answer().await;
        }
        begin.elapsed() / 100
    };
    let mut connection = home.client().connect().await;
    let status = async || {
        let begin = Instant::now();
        for _ in 0..100 {
            let request = format!("GET {STATUS} HTTP/1.1\r\nHost: h\r\n\r\n");
            connection.write(request).await;
            assert_eq!(connection.answer().await.status, 200);
        }
        begin.elapsed() / 100
    };
    let (route, status) = least_of_both(route, status).await;
    drop(connection);
    let begin = home.error_log().len();
    let reload = Instant::now();
    home.reload().await;
    until_deployed(home, begin, functions).await;
    let reload = reload.elapsed();
    home.nginx.stop().await;
    Row {
        functions,
        memory: memory / WORKERS,
        start,
        reload,
        deploy,
        route,
        ping,
        status,
        commands,
    }
}

#[tokio::test]
async fn functions_that_are_deployed() {
    let mut home = Home::builder("scale").workers(WORKERS as u32).start().await;
    // (One that was stopped before would keep the next from filling Redis for a while.)
    until_deployed(&home, 0, 0).await;
    home.nginx.stop().await;
    let mut rows = vec![];
    let mut deployed = 0;
    for functions in COUNTS {
        let more: Vec<_> = (deployed..functions).map(|n| deployment(n, 0)).collect();
        deploy(&home, &more).await;
        deployed = functions;
        rows.push(measure(&mut home, functions).await);
    }
    println!(
        "functions  KiB a worker  start ms  reload ms  deploy us (PING)  route us (status)  Redis commands in 10 s"
    );
    for row in &rows {
        println!(
            "{:>9} {:>13} {:>9} {:>10} {:>10} ({:>4}) {:>9} ({:>6}) {:>9}",
            row.functions,
            row.memory >> 10,
            row.start.as_millis(),
            row.reload.as_millis(),
            row.deploy.as_micros(),
            row.ping.as_micros(),
            row.route.as_micros(),
            row.status.as_micros(),
            row.commands
        );
    }
    let (fewest, most) = (&rows[0], &rows[COUNTS.len() - 1]);
    let bytes = (most.memory - fewest.memory) / (most.functions - fewest.functions);
    println!("{bytes} bytes a function");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes a function");
    // (Against what is the same with any number: the machine may be slower just then.)
    type Time = fn(&Row) -> Duration;
    let times: [(Time, Time); 2] = [
        (|row| row.deploy, |row| row.ping),
        (|row| row.route, |row| row.status),
    ];
    for (time, same) in times {
        let cost = |row: &Row| time(row).as_secs_f64() / same(row).as_secs_f64();
        let growth = cost(most) / cost(fewest);
        assert!(growth <= MOST_GROWTH, "it takes {growth:.2} times as long");
    }
    assert!(most.commands <= MOST_COMMANDS, "{} commands", most.commands);
}
