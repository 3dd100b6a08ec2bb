//! Deploys lose nothing: the new revision is warm before it takes over, and the old one finishes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corefn_core::names::{env, label};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// A client's pause between two requests: the machine is to have time for the rest.
const PAUSE: Duration = Duration::from_millis(5);

/// How many pushes there are in a row.
const PUSHES: usize = 10;

/// A request that was answered.
pub(crate) struct Seen {
    pub(crate) sent: Instant,
    pub(crate) revision: String,
}

/// Clients that ask for the revision again and again, until they are told to stop.
pub(crate) struct Watchers {
    stop: Arc<AtomicBool>,
    last: Arc<Mutex<String>>,
    clients: JoinSet<Vec<Seen>>,
}

impl Watchers {
    pub(crate) fn start(home: &Home, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let last = Arc::<Mutex<String>>::default();
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let (client, stop, last) = (home.client(), stop.clone(), last.clone());
            clients.spawn(async move {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    let answer = client.get("/demo/hello/env").await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let revision = answer.json()[env::REVISION].as_str().unwrap().to_owned();
                    last.lock().unwrap().clone_from(&revision);
                    seen.push(Seen { sent, revision });
                    tokio::time::sleep(PAUSE).await;
                }
                seen
            });
        }
        Self {
            stop,
            last,
            clients,
        }
    }

    /// Waits until one of them has seen a revision.
    pub(crate) async fn see(&self, revision: &str) {
        wait_until(&format!("{revision} answers"), PATIENCE, async || {
            *self.last.lock().unwrap() == revision
        })
        .await;
    }

    pub(crate) async fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Checks that nobody saw a revision that was replaced when the request was sent. `pushes` are the
/// revisions, and when every worker had each.
fn assert_never_older(seen: &[Seen], pushes: &[(String, Instant)]) {
    for Seen { sent, revision } in seen {
        let at = pushes.iter().position(|(name, _)| name == revision);
        let at = at.unwrap_or_else(|| panic!("{revision} was never pushed"));
        if let Some((newer, known)) = pushes.get(at + 1) {
            assert!(
                sent < known,
                "{revision} answered {:?} after all workers had {newer}",
                *sent - *known
            );
        }
    }
}

/// Checks that no request had to wait for a start.
pub(crate) async fn assert_all_warm(home: &Home, count: usize) {
    let accesses = home.accesses(count).await;
    let cold = accesses.iter().filter(|access| access.start != "warm");
    assert_eq!(cold.count(), 0, "of {} requests", accesses.len());
}

#[tokio::test]
async fn ten_in_a_row_under_load_lose_nothing() {
    let mut home = Home::start("ten").await;
    home.start_cleaner(Some(1));
    let mut pushes = Vec::new();
    let first = home.image("demo/hello", probe::idle(2)).await;
    home.switch_warm(&first).await;
    home.knows("demo/hello", &first.revision.0).await;
    pushes.push((first.revision.0, Instant::now()));

    let mut socket = home.client().websocket("/demo/hello/ws").await;
    let mut stream = home
        .get("/demo/hello/stream/1000/200")
        .open()
        .await
        .unwrap();
    let watchers = Watchers::start(&home, 8);
    for _ in 1..PUSHES {
        let deployment = home.image("demo/hello", probe::idle(2)).await;
        home.switch_warm(&deployment).await;
        home.knows("demo/hello", &deployment.revision.0).await;
        pushes.push((deployment.revision.0, Instant::now()));
    }
    watchers.see(&pushes[PUSHES - 1].0).await;
    let seen = watchers.finish().await;

    assert_never_older(&seen, &pushes);
    assert_all_warm(&home, seen.len()).await;
    for (revision, _) in &pushes {
        let count = seen.iter().filter(|seen| seen.revision == *revision);
        assert!(count.count() > 0, "{revision} has answered nothing");
    }
    // What the first revision began before nine others came, it finishes.
    wait_until("the idle ones are stopped", PATIENCE, async || {
        home.instances("demo/hello").await.len() == 1
    })
    .await;
    assert!(stream.next().await.unwrap().is_some());
    socket.write("still there").await;
    assert_eq!(socket.read(11).await, b"still there");
    let left = home.instances("demo/hello").await.remove(0);
    assert_eq!(left.labels[label::REVISION], pushes[0].0);
    drop((stream, socket));
    wait_until("the last one is stopped", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

/// A repository whose function is the probe.
async fn repository(home: &Home, manifest: &str) -> Repository {
    let repository = Repository::create(home, "demo/hello").await;
    repository.probe(manifest);
    repository.commit("The probe").await;
    repository
}

const MANIFEST: &str = "[function]\nlimits = { pids = 1024 }\nscale = { idle = '2s' }\n";

#[tokio::test]
async fn real_pushes_are_warm_at_once() {
    let mut home = Home::start("pushes").await;
    home.start_cleaner(Some(1));
    let repository = repository(&home, MANIFEST).await;
    let pushed = repository.push().await.accepted().says(&[", warm"]);
    home.knows("demo/hello", &pushed.revision()).await;
    let mut pushes = vec![(pushed.revision(), Instant::now())];
    let watchers = Watchers::start(&home, 8);
    for number in 1..3 {
        repository.commit(&format!("Number {number}")).await;
        let pushed = repository.push().await.accepted();
        home.knows("demo/hello", &pushed.revision()).await;
        pushes.push((pushed.revision(), Instant::now()));
    }
    watchers.see(&pushes[2].0).await;
    let seen = watchers.finish().await;
    assert_never_older(&seen, &pushes);
    assert_all_warm(&home, seen.len()).await;
    assert_eq!(home.error_log().matches("started instance").count(), 0);
}

#[tokio::test]
async fn first_instance_of_a_push_that_takes_long_is_left_alone() {
    let mut home = Home::start("pushslow").await;
    home.start_cleaner(Some(1));
    // Longer than what nobody claims is left.
    let manifest = format!("{MANIFEST}env = {{ MODE = 'slow-start:14000' }}\n");
    let repository = repository(&home, &manifest).await;
    let pushed = repository.push().await.accepted();
    home.knows("demo/hello", &pushed.revision()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_all_warm(&home, 1).await;
    assert!(!home.cleaner_log().contains("its maker is gone"));
}

#[tokio::test]
async fn first_instance_of_a_rejected_push_is_removed() {
    let home = Home::start("pushrejected").await;
    let manifest = format!("{MANIFEST}env = {{ MODE = 'exit' }}\n");
    let repository = repository(&home, &manifest).await;
    let pushed = repository.push().await;
    pushed.rejected(&["the new revision does not start"]);
    assert!(home.docker.containers().await.unwrap().is_empty());
}

#[tokio::test]
async fn first_instance_of_a_push_that_is_broken_off_is_removed() {
    let mut home = Home::start("pushbroken").await;
    let manifest = format!("{MANIFEST}env = {{ MODE = 'never-listen' }}\n");
    let repository = repository(&home, &manifest).await;
    let started = async || {
        wait_until("its instance is there", PATIENCE, async || {
            !home.instances("demo/hello").await.is_empty()
        })
        .await;
    };
    let mut push = repository.begin_push("main");
    push.until("==> starting its first instance").await;
    started().await;
    push.interrupt();
    push.end().await.rejected(&[]);
    wait_until("the builder removes it", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;

    // A builder that is killed can't: the cleaner does.
    let mut push = repository.begin_push("main");
    push.until("==> starting its first instance").await;
    started().await;
    drop(push);
    home.start_cleaner(Some(1));
    wait_until("the cleaner removes it", PATIENCE, async || {
        home.docker.containers().await.unwrap().is_empty()
    })
    .await;
}
