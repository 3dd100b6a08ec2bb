//! One run, from an installation of its own to what is left of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_engine::docker::Docker;
use corefn_tests::events::Events;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::Repository;
use corefn_tests::room::Room;
use corefn_tests::{Home, docker, probe, runtime};

use crate::ask::{INSTANCE, Sender};
use crate::deploys::Deploys;
use crate::faults::{Breaker, ROUNDS};
use crate::history::{History, Recorder};
use crate::invocations::Invocations;
use crate::pages::{Pages, STATUS};
use crate::plan::plan;
use crate::report::Report;
use crate::schedules::Schedules;
use crate::traffic::{NARROW, RUNTIME, Traffic, functions, of_runtime, simple};

/// The function that is pushed.
const PUSHED: &str = "chaos/pushed";

/// How many bytes the keeper may keep: more than it does.
const ROOM: u64 = 256 << 20;

/// Within what time of the last request nothing may be left: the longest idle time, the age at
/// which a dead starter's container counts as left over, and some rounds of the cleaner.
const TIDY: Duration = Duration::from_secs(60);

/// Runs it.
pub async fn run(seed: u64, total: Duration) -> Report {
    let mut breaker = set_up().await;
    let (recorder, sender) = (breaker.recorder.clone(), breaker.sender.clone());
    let namespace = breaker.home.namespace().to_owned();
    let observer = Docker::new(docker::URL, &namespace);
    let events = Events::record(&observer).await;
    let traffic = Traffic::start(&sender, seed);
    let invocations = Invocations::start(breaker.home.client(), seed);
    let redis = breaker.home.redis.url();
    let pages = Pages::start(breaker.home.client());
    let deploys = Deploys::start(&namespace, &redis, recorder.clone(), seed);
    for step in plan(seed, total) {
        let begin = Instant::now();
        breaker.step(&step).await;
        println!(
            "{:8.3} s: {}, {:.1} s",
            recorder.second(begin),
            step.fault.name(),
            begin.elapsed().as_secs_f64()
        );
        tokio::time::sleep(step.calm).await;
    }
    for wrong in invocations.finish(&breaker.home).await {
        recorder.complain(wrong);
    }
    for wrong in breaker.schedules.finish(&breaker.home).await {
        recorder.complain(wrong);
    }
    deploys.finish().await;
    traffic.finish().await;
    for (function, _) in functions() {
        sender.send(simple("afterwards", function)).await;
    }
    if let Err(missing) = end_standby(&breaker.home).await {
        recorder.complain(missing);
    }
    let left = left_over(&breaker.home).await;
    for wrong in pages.finish().await {
        recorder.complain(wrong);
    }
    let log = breaker.home.error_log();
    for line in log.lines().filter(|line| is_alarming(line)) {
        recorder.complain(line);
    }
    let history = recorder.history().clone();
    let busy = stopped_while_busy(&recorder, &history, &events).await;
    let report = Report::new(&recorder, &history, busy, left);
    if !report.wrong.is_empty() {
        keep_logs(&breaker.home);
    }
    report
}

async fn set_up() -> Breaker {
    let mut home = Home::builder("chaos")
        .workers(3)
        .server(STATUS)
        .location(&format!("add_header {INSTANCE} $corefn_instance always;"))
        .docker_proxy()
        .with_alerts()
        .invocations()
        .without_nginx()
        .start()
        .await;
    let room = Room::make(&home.folder, "sandboxes", ROOM);
    let keeper = Keeper::start_with_nginx(&mut home, "floor = 2\nceiling = 6").await;
    home.start_cleaner(Some(ROUNDS));
    for (function, config) in functions() {
        home.deploy(function, config).await;
    }
    runtime::deploy(&home, RUNTIME, of_runtime()).await;
    let repository = Repository::create(&home, PUSHED).await;
    let path = home.folder.write("probe", probe::executable());
    repository
        .run(&format!("cp '{}' probe", path.display()))
        .await;
    repository.run("chmod 755 probe").await;
    repository.write(
        "Dockerfile",
        "FROM scratch\nCOPY probe /probe\nCMD [\"/probe\"]\n",
    );
    repository.commit("The probe").await;
    repository.push().await.accepted();
    let schedules = Schedules::start(&home).await;
    let recorder = Arc::new(Recorder::new());
    let sender = Sender {
        client: home.client(),
        recorder: recorder.clone(),
    };
    Breaker {
        home,
        room,
        keeper: Some(keeper),
        schedules,
        recorder,
        repository,
        sender,
    }
}

/// Removes the function that has an instance though nobody asks for anything, when it has just that.
async fn end_standby(home: &Home) -> Result<(), String> {
    let begin = Instant::now();
    let mut count = 0;
    while count != 1 {
        if begin.elapsed() > TIDY {
            return Err(format!("{count} instances of {NARROW} stand by, and not 1"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        count = home.instances(NARROW).await.len();
    }
    let function = NARROW.parse().map_err(|error| format!("{error}"))?;
    let removed = home.store.remove(&function).await;
    removed.map(|_| ()).map_err(|error| error.to_string())
}

/// What is still there though nobody asks for anything. What a killed builder leaves is the
/// cleaner's when it is half an hour old.
async fn left_over(home: &Home) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let left = remains(home).await;
        if left.is_empty() || begin.elapsed() > TIDY {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn remains(home: &Home) -> Vec<String> {
    let mut left = Vec::new();
    let containers = home.docker.containers().await.unwrap_or_default();
    for container in &containers {
        let is_holder = container.has(label::ROLE, label::ROLE_HOLDER);
        if is_holder || !container.labels.contains_key(label::ROLE) {
            left.push(format!("container {}", container.name));
        }
    }
    // Of those that wait, each has a folder; nobody knows of others.
    let mut sandboxes: Vec<_> = containers
        .iter()
        .filter(|found| found.has(label::ROLE, label::ROLE_SANDBOX))
        .map(|found| found.name.rsplit('-').next().unwrap_or_default().to_owned())
        .collect();
    let folders = std::fs::read_dir(home.folder.file("sandboxes/waiting"));
    let mut waiting: Vec<_> = folders
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    sandboxes.sort();
    waiting.sort();
    if sandboxes != waiting {
        left.push(format!(
            "sandboxes {sandboxes:?}, of which {waiting:?} wait"
        ));
    }
    match home.store.instances().await {
        Ok(instances) => left.extend(
            instances
                .iter()
                .map(|leased| format!("instance {} in Redis", leased.instance.id)),
        ),
        Err(error) => left.push(error.to_string()),
    }
    for (function, _) in functions() {
        if home.try_is_starting(function).await.unwrap_or(true) {
            left.push(format!("the lock of the start of {function}"));
        }
    }
    left
}

/// Instances that somebody else than this run has stopped or frozen while they had a request.
async fn stopped_while_busy(
    recorder: &Recorder,
    history: &History,
    events: &Events<'_>,
) -> Vec<String> {
    let mut stopped = Vec::new();
    for event in events.all().await {
        let at = recorder.instant(event.time);
        let harmed = |id: &str| history.harms.iter().any(|harm| harm.instance == id);
        let is_end = ["kill", "pause"].contains(&event.action.as_str());
        if !is_end || event.instance.is_empty() || harmed(&event.instance) {
            continue;
        }
        if let Some(record) = history.was_busy(&event.instance, at) {
            stopped.push(format!(
                "{:8.3} s: instance {} of {} got a {} {} while it had {}, {:.3} s to {:.3} s",
                recorder.second(at),
                event.instance,
                event.function,
                event.action,
                event.signal,
                record.what,
                recorder.second(record.begin),
                recorder.second(record.end)
            ));
        }
    }
    stopped
}

/// Whether a line of nginx's error log says that something is wrong with it or with the module. That
/// a worker was killed is what we wanted.
fn is_alarming(line: &str) -> bool {
    let alarms = ["[alert]", "[emerg]", "panic"];
    alarms.iter().any(|word| line.contains(word)) && !line.contains("exited on signal 9")
}

/// Keeps the logs of what failed where they outlive the installation.
fn keep_logs(home: &Home) {
    let folder = corefn_tests::programs::target().join("chaos");
    let _ = std::fs::create_dir_all(&folder);
    for (name, text) in [
        ("error.log", home.error_log()),
        ("access.log", home.folder.read("log/access.log")),
        ("corefn-clean.log", home.cleaner_log()),
        ("keep.log", home.folder.read("log/keep.log")),
        ("dispatch.log", home.folder.read("log/dispatch.log")),
    ] {
        let _ = std::fs::write(folder.join(name), text);
    }
    eprintln!("the logs are in {}", folder.display());
}
