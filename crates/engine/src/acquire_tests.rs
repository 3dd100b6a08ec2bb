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

fn start_of(deployment: &Deployment) -> String {
    Keys::start(&deployment.function, &deployment.revision)
}

fn deployment(revision: &str) -> Deployment {
    Deployment {
        function: "demo/hello".parse().unwrap(),
        revision: RevisionId(revision.to_owned()),
        image: String::new(),
        config: FunctionConfig::default(),
        releases: Vec::new(),
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

#[path = "acquire_tests/freezing.rs"]
mod freezing;
#[path = "acquire_tests/revisions.rs"]
mod revisions;
#[path = "acquire_tests/several.rs"]
mod several;
#[path = "acquire_tests/turns.rs"]
mod turns;
#[path = "acquire_tests/world.rs"]
mod world;

use world::World;
