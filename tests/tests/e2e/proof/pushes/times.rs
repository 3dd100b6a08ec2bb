//! How long pushes take.

use std::time::{Duration, Instant, SystemTime};

use corefn_tests::Home;
use corefn_tests::git_host::GitHost;
use corefn_tests::push::{Repository, keep_stack};

use crate::push_limits::script_stack;

/// How long a step of a push took, by what it says at its end: `time     check 0.1 s, compile 2.3 s`.
fn step(output: &str, name: &str) -> f64 {
    let times = output.lines().find(|line| line.contains("    time  "));
    let times = times.unwrap_or_else(|| panic!("no times:\n{output}"));
    let words: Vec<_> = times.split([' ', ',']).collect();
    let at = words.iter().position(|word| *word == name);
    let text = at.and_then(|at| words.get(at + 1));
    text.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no {name}: {times}"))
}

/// What has not changed takes at most 3 s from `git push` to its end, deployed.
#[tokio::test]
async fn unchanged_python_is_pushed_in_three_seconds() {
    const MOST: Duration = Duration::from_secs(3);
    let home = Home::start("unchanged").await;
    keep_stack(&home, "python").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("python").await;
    hello.push().await.accepted();
    let mut took = Vec::new();
    for _ in 0..5 {
        hello.commit("Again").await;
        let begin = Instant::now();
        hello.push().await.accepted();
        took.push(begin.elapsed());
    }
    took.sort();
    println!("an unchanged Python example: {took:?}");
    assert!(took[2] <= MOST, "{took:?}");
}

/// What was compiled for the account is used again: a changed example compiles in a quarter of the first's time.
#[tokio::test]
async fn second_push_of_rust_compiles_in_a_quarter_of_the_time() {
    let home = Home::start("again").await;
    keep_stack(&home, "rust").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("hello").await;
    let first = step(&hello.push().await.accepted().output, "compile");
    hello.replace("src/lib.rs", "Hello, {name}!", "Good day, {name}.");
    hello.commit("Politer").await;
    let second = step(&hello.push().await.accepted().output, "compile");
    println!(
        "compiling: {first} s, then {second} s, {:.2} of it",
        second / first
    );
    assert!(second <= first / 4.0, "{first} s, then {second} s");
}

/// Over ssh, a line of the compiler's is at the pusher's within 200 ms.
#[tokio::test]
async fn lines_arrive_in_200_ms() {
    const MOST: Duration = Duration::from_millis(200);
    let home = Home::builder("latency").without_nginx().start().await;
    script_stack(&home);
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let script = Repository::of(&home, &git_host, &alice, "alice/script").await;
    script.write(
        "build.sh",
        "for n in $(seq 20); do echo \"at $(date +%s%N)\"; sleep 0.2; done; exit 3\n",
    );
    script.commit("Times").await;
    let mut push = script.begin_push("main");
    let mut late = Vec::new();
    for _ in 0..20 {
        let line = push.until("at ").await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = line
            .rsplit(' ')
            .next()
            .and_then(|text| text.trim().parse().ok());
        let at = Duration::from_nanos(nanos.unwrap_or_else(|| panic!("no time: {line}")));
        late.push(now.unwrap().saturating_sub(at));
    }
    push.end().await.rejected(&["failed with status 3"]);
    late.sort();
    println!(
        "lines over ssh: {:?} in the middle, {:?} at most",
        late[10], late[19]
    );
    assert!(late[18] <= MOST, "{late:?}");
}

/// Whoever waits for a build that prints nothing is told that it goes on.
#[tokio::test]
async fn silent_builds_are_told_of() {
    let home = Home::builder("silent").without_nginx().start().await;
    script_stack(&home);
    let script = Repository::create(&home, "demo/script").await;
    script.write("build.sh", "sleep 22; exit 3\n");
    script.commit("Sleeps").await;
    let docker = Repository::create(&home, "demo/docker").await;
    docker.write(
        "Dockerfile",
        "FROM debian:bookworm-slim\nRUN sleep 23; exit 3\n",
    );
    docker.commit("Sleeps").await;
    for pushed in [script.push().await, docker.push().await] {
        pushed.rejected(&["    still under way; nothing was printed for 20.0 s", "3"]);
    }
}
