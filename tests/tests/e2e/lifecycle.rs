//! The life cycle as a model: any order of requests, deaths, lapses, deployments, rounds of the
//! cleaner, which freezes and stops, dead starters and an emptied Redis keeps the invariants.

mod docker;
mod world;

use std::time::Duration;

use corefn_core::instance::Instance;
use corefn_tests::wait_until;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use world::World;

const FUNCTIONS: [&str; 2] = ["demo/a", "demo/b"];

/// How many requests there are during a round of the cleaner, and how long after each.
const IN_A_ROW: usize = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A round is mostly over after so many milliseconds.
const LATEST: u64 = 60;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// So many requests at once.
    Requests(usize, usize),
    /// Some, one after the other, that begin so many milliseconds after the cleaner has begun a round.
    RequestsAndCleaner(usize, u64),
    /// A request ends.
    End(usize),
    /// A container dies, and the router hears of it or doesn't.
    Death(usize, bool),
    /// Leases and locks lapse, and with them what keeps frozen instances, or not.
    Lapse(bool),
    /// A new revision is deployed.
    Deploy(usize),
    /// A round of the cleaner.
    Clean,
    /// A starter dies in the middle.
    Crash(usize),
    /// Redis is emptied.
    Empty,
}

fn event() -> impl Strategy<Value = Event> {
    let function = 0..FUNCTIONS.len();
    prop_oneof![
        4 => (function.clone(), 1..4usize).prop_map(|(f, n)| Event::Requests(f, n)),
        3 => (function.clone(), 0..LATEST).prop_map(|(f, after)| Event::RequestsAndCleaner(f, after)),
        4 => any::<usize>().prop_map(Event::End),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, told)| Event::Death(n, told)),
        4 => any::<bool>().prop_map(Event::Lapse),
        2 => function.clone().prop_map(Event::Deploy),
        3 => Just(Event::Clean),
        1 => function.prop_map(Event::Crash),
        1 => Just(Event::Empty),
    ]
}

#[test]
fn any_order_of_events_keeps_the_invariants() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::make());
    let config = Config {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let events = proptest::collection::vec(event(), 1..16);
    let checked = TestRunner::new(config).run(&events, |events| {
        // A panic is a failure that is made smaller.
        runtime.block_on(live(&world, &events));
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

/// Nobody thaws what the cleaner may yet pause.
#[tokio::test]
async fn what_is_being_paused_is_not_thawed() {
    let world = World::make().await;
    world.reset().await;
    world.docker.state().pausing_takes = Duration::from_millis(500);
    world.deploy(FUNCTIONS[0], 2).await;
    world.clean().await;
    let old = world.request(FUNCTIONS[0]).await;
    end(&world, &mut vec![old.clone()], 0);
    world.lapse(true).await;
    let request = async {
        wait_until("it is being frozen", PATIENCE, async || {
            let known = world.store.instances().await.unwrap();
            known.iter().any(|leased| leased.kept)
        })
        .await;
        world.request(FUNCTIONS[0]).await
    };
    let (new, ()) = tokio::join!(request, world.clean());
    assert_ne!(new.id, old.id);
    world.check(&FUNCTIONS).await;
    let mut known = world.store.instances().await.unwrap();
    known.retain(|leased| leased.frozen);
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].instance, old);
}

async fn live(world: &World, events: &[Event]) {
    world.reset().await;
    let mut revisions = [1, 2];
    for (function, revision) in FUNCTIONS.into_iter().zip(revisions) {
        world.deploy(function, revision).await;
    }
    world.clean().await;
    let mut working: Vec<Instance> = Vec::new();
    for event in events {
        match event {
            Event::Requests(f, count) => working.extend(requests(world, *f, *count).await),
            Event::RequestsAndCleaner(f, after) => {
                let some = async {
                    tokio::time::sleep(Duration::from_millis(*after)).await;
                    let mut some = Vec::new();
                    for _ in 0..IN_A_ROW {
                        some.extend(requests(world, *f, 1).await);
                        tokio::time::sleep(PAUSE).await;
                    }
                    some
                };
                let both = tokio::join!(some, world.clean());
                working.extend(both.0);
            }
            Event::End(which) => end(world, &mut working, *which),
            Event::Death(which, told) => {
                let all = world.all();
                let Some(victim) = all.get(which % all.len().max(1)) else {
                    continue;
                };
                let instance = &victim.instance;
                world
                    .docker
                    .state()
                    .containers
                    .get_mut(&instance.container)
                    .unwrap()
                    .running = false;
                if *told {
                    world
                        .store
                        .forget(instance.id, &instance.function)
                        .await
                        .unwrap();
                }
            }
            Event::Lapse(kept) => world.lapse(*kept).await,
            Event::Deploy(f) => {
                revisions[*f] += 1;
                world.deploy(FUNCTIONS[*f], revisions[*f]).await;
            }
            Event::Clean => {
                let before = world.standing_by(&FUNCTIONS).await;
                world.clean().await;
                let after = world.standing_by(&FUNCTIONS).await;
                let stands = |name: &String| after.contains(name);
                assert!(before.iter().all(stands), "{before:?}, then {after:?}");
            }
            Event::Crash(f) => {
                world.crash(FUNCTIONS[*f]).await;
                // Who asks next would wait for the dead one's lock: it lapses.
                world.lapse(false).await;
            }
            Event::Empty => {
                world.empty().await;
                // Before a lease could have lapsed, the router has renewed those of what works.
                world.renew().await;
            }
        }
        world.check(&FUNCTIONS).await;
    }
    while !working.is_empty() {
        end(world, &mut working, 0);
    }
    // (None of these has one stand by.)
    for function in FUNCTIONS {
        world.deploy(function, 1000).await;
    }
    world.lapse(true).await;
    for _ in 0..2 {
        world.clean().await;
        world.lapse(true).await;
    }
    world.clean().await;
    world.check(&FUNCTIONS).await;
    world.check_empty(&FUNCTIONS).await;
}

async fn requests(world: &World, function: usize, count: usize) -> Vec<Instance> {
    join_all((0..count).map(|_| world.request(FUNCTIONS[function]))).await
}

/// A request ends, or has ended with its container.
fn end(world: &World, working: &mut Vec<Instance>, which: usize) {
    if working.is_empty() {
        return;
    }
    let instance = working.swap_remove(which % working.len());
    if let Some(container) = world.docker.state().containers.get_mut(&instance.container) {
        container.busy -= 1;
    }
}
