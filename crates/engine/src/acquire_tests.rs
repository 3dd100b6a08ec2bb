//! The race for one start, with everything in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast::{self, Sender};

use corefn_core::config::FunctionConfig;
use corefn_core::function::RevisionId;
use corefn_core::instance::InstanceId;
use corefn_core::keys::{Keys, START_LOCK_TTL};

use super::*;

/// Redis and Docker for one host, in memory.
struct World {
    state: Mutex<State>,
    events: Sender<Event>,
    launches: AtomicU32,
    discarded: AtomicU32,
}

#[derive(Default)]
struct State {
    ready: Vec<Instance>,
    locks: HashMap<String, (String, Instant)>,
    fails: Option<Failure>,
    /// Whose lock vanishes during a launch.
    robbed: bool,
    /// How many may be started at once, and who waits for that in turn.
    permits: usize,
    turns: Vec<String>,
    /// What is backed off.
    paused: Option<Failure>,
    /// Launches never end.
    hangs: bool,
    /// What isn't deployed any more.
    superseded: Vec<String>,
    /// In what order functions were launched, and how many at once at the most.
    launched: Vec<String>,
    most: usize,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                permits: usize::MAX,
                ..State::default()
            }),
            events: broadcast::channel(64).0,
            launches: AtomicU32::new(0),
            discarded: AtomicU32::new(0),
        })
    }

    async fn acquire(
        self: Arc<Self>,
        token: u32,
        timeout: Duration,
    ) -> Result<(Instance, Start), Failure> {
        self.acquire_for(deployment("r1"), token, timeout).await
    }

    async fn acquire_for(
        self: Arc<Self>,
        deployment: Deployment,
        token: u32,
        timeout: Duration,
    ) -> Result<(Instance, Start), Failure> {
        let mut events = self.events.subscribe();
        let idle = Duration::from_secs(60);
        acquire(
            &*self,
            &*self,
            &mut events,
            &deployment,
            &token.to_string(),
            idle,
            timeout,
        )
        .await
        .map_err(|refusal| refusal.failure)
    }
}

impl World {
    fn next_turn(&self, state: &State) {
        if let Some(name) = state.turns.first() {
            let (function, revision) = name.split_once(':').unwrap();
            let _ = self.events.send(Event::Turn {
                function: function.parse().unwrap(),
                revision: RevisionId(revision.to_owned()),
            });
        }
    }
}

impl Ledger for World {
    async fn lease_any(
        &self,
        deployment: &Deployment,
        _: Duration,
    ) -> Result<Option<Instance>, Failure> {
        let state = self.state.lock().unwrap();
        Ok(state
            .ready
            .iter()
            .find(|i| i.function == deployment.function && i.revision == deployment.revision)
            .cloned())
    }

    async fn claim(&self, deployment: &Deployment, token: &str) -> Result<Claim, Failure> {
        let mut state = self.state.lock().unwrap();
        let name = start_of(deployment);
        let now = Instant::now();
        if state.superseded.contains(&name) {
            return Ok(Claim::Superseded);
        }
        if state
            .locks
            .get(&name)
            .is_some_and(|(holder, until)| holder != token && *until > now)
        {
            return Ok(Claim::Held);
        }
        if let Some(failure) = &state.paused {
            return Ok(Claim::BackedOff(failure.clone()));
        }
        state.locks.retain(|_, (_, until)| *until > now);
        let free = state.permits.saturating_sub(state.locks.len());
        let turn = state.turns.iter().position(|turn| *turn == name);
        if turn.unwrap_or(state.turns.len()) >= free {
            if turn.is_none() {
                state.turns.push(name);
            }
            return Ok(Claim::Full);
        }
        state.turns.retain(|turn| *turn != name);
        state
            .locks
            .insert(name, (token.to_owned(), now + START_LOCK_TTL));
        state.most = state.most.max(state.locks.len());
        Ok(Claim::Granted)
    }

    async fn renew(&self, deployment: &Deployment, token: &str) {
        let mut state = self.state.lock().unwrap();
        let until = Instant::now() + START_LOCK_TTL;
        state
            .locks
            .insert(start_of(deployment), (token.to_owned(), until));
    }

    async fn register(
        &self,
        instance: &Instance,
        token: &str,
        _: Duration,
    ) -> Result<bool, Failure> {
        let mut state = self.state.lock().unwrap();
        let name = Keys::start(&instance.function, &instance.revision);
        let held = state
            .locks
            .get(&name)
            .is_some_and(|(holder, _)| holder == token);
        if !held || std::mem::take(&mut state.robbed) {
            return Ok(false);
        }
        state.locks.remove(&name);
        state.ready.push(instance.clone());
        let _ = self.events.send(Event::Ready {
            instance: instance.clone(),
            lease_ms: 60_000,
        });
        self.next_turn(&state);
        Ok(true)
    }

    async fn give_up(&self, deployment: &Deployment, token: &str, failure: Failure) -> Failure {
        let mut state = self.state.lock().unwrap();
        let name = start_of(deployment);
        if state
            .locks
            .get(&name)
            .is_some_and(|(holder, _)| holder == token)
        {
            state.locks.remove(&name);
        }
        let _ = self.events.send(Event::Failed {
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            failure: failure.clone(),
        });
        self.next_turn(&state);
        failure
    }
}

impl Launcher for World {
    async fn launch(
        &self,
        deployment: &Deployment,
        _: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Instance, Failure> {
        let number = self.launches.fetch_add(1, Ordering::SeqCst) + 1;
        let hangs = {
            let mut state = self.state.lock().unwrap();
            state.launched.push(deployment.function.to_string());
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
            () = needless => return Err(Failure::new(ErrorCode::FunctionExited, "given up")),
        }
        if let Some(failure) = self.state.lock().unwrap().fails.clone() {
            return Err(failure);
        }
        Ok(Instance {
            id: InstanceId::from_random(number.into()),
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            container: number.to_string(),
            address: ([10, 0, 0, 2], 8080).into(),
        })
    }

    async fn discard(&self, _: &Instance) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }
}

fn start_of(deployment: &Deployment) -> String {
    Keys::start(&deployment.function, &deployment.revision)
}

fn deployment(revision: &str) -> Deployment {
    Deployment {
        function: "demo/hello".parse().unwrap(),
        revision: RevisionId(revision.to_owned()),
        image: String::new(),
        config: FunctionConfig::default(),
    }
}

async fn all(
    world: &Arc<World>,
    count: u32,
    timeout: Duration,
) -> Vec<Result<(Instance, Start), Failure>> {
    let tasks: Vec<_> = (0..count)
        .map(|n| tokio::spawn(world.clone().acquire(n, timeout)))
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_start() {
    let world = World::new();
    let results = all(&world, 50, Duration::from_secs(30)).await;
    assert_eq!(world.launches.load(Ordering::SeqCst), 1);
    assert!(
        results
            .iter()
            .all(|r| r.as_ref().is_ok_and(|(_, start)| *start == Start::Cold))
    );
    let (_, start) = world.acquire(99, Duration::from_secs(30)).await.unwrap();
    assert_eq!(start, Start::Warm);
}

#[tokio::test(start_paused = true)]
async fn a_failure_fails_all_at_once() {
    let world = World::new();
    let failure = Failure::new(ErrorCode::FunctionExited, "code 1");
    world.state.lock().unwrap().fails = Some(failure.clone());
    let begin = Instant::now();
    let results = all(&world, 20, Duration::from_secs(30)).await;
    assert!(results.into_iter().all(|r| r == Err(failure.clone())));
    assert_eq!(world.launches.load(Ordering::SeqCst), 1);
    assert!(begin.elapsed() < Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn a_dead_starter_is_replaced() {
    let world = World::new();
    let dead = tokio::spawn(world.clone().acquire(1, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    dead.abort();
    let begin = Instant::now();
    let (_, start) = world
        .clone()
        .acquire(2, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(start, Start::Cold);
    assert_eq!(world.launches.load(Ordering::SeqCst), 2);
    assert!(begin.elapsed() < START_LOCK_TTL + Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lock_discards_what_it_started_and_begins_anew() {
    let world = World::new();
    world.state.lock().unwrap().robbed = true;
    let (_, start) = world
        .clone()
        .acquire(1, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(start, Start::Cold);
    assert_eq!(world.launches.load(Ordering::SeqCst), 2);
    assert_eq!(world.discarded.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends() {
    let world = World::new();
    let starter = tokio::spawn(world.clone().acquire(1, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = world
        .clone()
        .acquire(2, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::StartTimeout);
    assert!(starter.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_revision_does_not_count() {
    let world = World::new();
    let (instance, _) = world
        .clone()
        .acquire(1, Duration::from_secs(60))
        .await
        .unwrap();
    let old = Instance {
        revision: RevisionId("r0".to_owned()),
        ..instance
    };
    world.state.lock().unwrap().ready = vec![old];
    world
        .clone()
        .acquire(2, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(world.launches.load(Ordering::SeqCst), 2);
}

#[path = "acquire_tests/revisions.rs"]
mod revisions;
#[path = "acquire_tests/turns.rs"]
mod turns;
