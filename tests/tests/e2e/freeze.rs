//! Instances that are frozen when they are idle, and thawed when they are needed.

use std::time::Duration;

use bollard::query_parameters::KillContainerOptions;
use corefn_core::config::FunctionConfig;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_engine::docker::{Condition, Container};
use corefn_engine::store::{Fenced, Leased};
use corefn_tests::{Home, probe, wait_for, wait_until};

use crate::idle::gone;
use crate::sandbox_starts::{SETTINGS, executable, with_router};

const PATIENCE: Duration = Duration::from_secs(60);

const FUNCTION: &str = "demo/hello";

const PATH: &str = "/demo/hello/status/200";

/// The shortest time without work after which an instance may be frozen.
const FREEZE: u64 = 2;

/// A function whose instances are frozen, and stopped when they have been idle for so many seconds.
fn freezing(idle: u64) -> FunctionConfig {
    FunctionConfig {
        freeze_ms: Some(FREEZE * 1000),
        ..probe::idle(idle)
    }
}

/// One whose cleaner does a round a second, with a function that is frozen for as long as the test lasts.
async fn with_cleaner(name: &str) -> Home {
    let mut home = Home::start(name).await;
    home.start_cleaner(Some(1));
    home.deploy(FUNCTION, freezing(600)).await;
    home
}

/// What Redis says of the only instance.
async fn only(home: &Home) -> Leased {
    let mut instances = home.store.instances().await.unwrap();
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances.remove(0)
}

/// Waits until the only instance is frozen, and no router sends anything there.
async fn frozen(home: &Home) -> Container {
    wait_until("it is frozen", PATIENCE, async || only(home).await.frozen).await;
    let Leased {
        instance, ready, ..
    } = only(home).await;
    assert!(!ready);
    home.until_withdrawn(&instance.id.to_string()).await;
    let container = home.instances(FUNCTION).await.remove(0);
    assert_eq!(container.id, instance.container);
    assert!(container.paused);
    container
}

/// How requests of the last lines of the log came by their instance.
async fn starts(home: &Home, count: usize, last: usize) -> Vec<String> {
    let accesses = home.accesses(count).await;
    let last = accesses[count - last..].iter();
    last.map(|access| access.start.clone()).collect()
}

#[tokio::test]
async fn frozen_again_and_again_it_is_the_same_instance() {
    const TIMES: usize = 3;
    const AT_ONCE: usize = 8;
    let home = with_cleaner("frozen").await;
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(starts(&home, 1, 1).await, ["cold"]);
    let container = frozen(&home).await.id;
    for time in 1..=TIMES {
        for answer in home.at_once(PATH, AT_ONCE).await {
            assert_eq!(answer.status, 200);
        }
        // (Each has waited, unless it came when it was thawed already.)
        let starts = starts(&home, 1 + AT_ONCE * time, AT_ONCE).await;
        assert!(starts.contains(&"thawed".to_owned()), "{starts:?}");
        assert!(!starts.contains(&"cold".to_owned()), "{starts:?}");
        assert_eq!(home.error_log().matches("thawed instance").count(), time);
        assert_eq!(frozen(&home).await.id, container);
    }
    assert_eq!(home.error_log().matches("started instance").count(), 1);
    assert_eq!(home.error_log().matches("was paused").count(), 0);
}

/// What has become of a sandbox is frozen as what was started from an image is.
#[tokio::test]
async fn what_was_a_sandbox_is_frozen_too() {
    let (mut home, _keeper) = with_router("frozenbox", SETTINGS).await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        freeze_ms: Some(FREEZE * 1000),
        ..executable()
    };
    home.deploy(FUNCTION, config).await;
    for started in 1..=2 {
        // (The first has the executable fetched; it is the next that a sandbox becomes.)
        wait_until("it is started as it should be", PATIENCE, async || {
            assert_eq!(home.get(PATH).await.status, 200);
            let from = ["its image", "a sandbox"][started - 1];
            if home.error_log().contains(&format!(" ms from {from}")) {
                return true;
            }
            let container = home.instances(FUNCTION).await.remove(0).id;
            home.docker.remove(&container).await.unwrap();
            gone(&home, FUNCTION).await;
            false
        })
        .await;
        let container = frozen(&home).await.id;
        assert_eq!(home.get(PATH).await.status, 200);
        assert_eq!(home.error_log().matches("thawed instance").count(), started);
        assert_eq!(only(&home).await.instance.container, container);
        home.docker.remove(&container).await.unwrap();
        gone(&home, FUNCTION).await;
    }
}

#[tokio::test]
async fn busy_instance_is_not_frozen() {
    let home = with_cleaner("unfrozen").await;
    home.deploy("demo/idle", freezing(600)).await;
    let held = tokio::spawn(home.get("/demo/hello/told").send());
    wait_until("it runs", PATIENCE, async || {
        home.error_log().contains("started instance")
    })
    .await;
    assert_eq!(home.get("/demo/idle/x").await.status, 200);
    // It is busy for longer than the other is idle, and for some rounds more.
    wait_until("the other is frozen", PATIENCE, async || {
        let instances = home.store.instances().await.unwrap();
        instances.iter().any(|leased| leased.frozen)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let container = home.instances(FUNCTION).await.remove(0);
    let condition = home.docker.condition(&container.id).await.unwrap();
    assert_eq!(condition, Condition::Runs);
    let answer = home.client().post("/demo/hello/upload/told", "x").await;
    assert_eq!(answer.status, 200);
    assert_eq!(held.await.unwrap().unwrap().text(), "told\n");
    wait_until("it is frozen in its turn", PATIENCE, async || {
        let instances = home.store.instances().await.unwrap();
        instances.iter().all(|leased| leased.frozen)
    })
    .await;
}

/// It gets the time to end well, as one that is stopped without having been frozen.
#[tokio::test]
async fn frozen_instance_is_stopped_when_it_has_been_idle() {
    let mut home = Home::start("frozenend").await;
    home.start_cleaner(Some(1));
    home.deploy(FUNCTION, freezing(6)).await;
    let events = home.events().await;
    assert_eq!(home.get(PATH).await.status, 200);
    gone(&home, FUNCTION).await;
    let known = home.store.instances().await.unwrap();
    assert!(known.is_empty(), "{known:?}");
    let events = events.all().await.into_iter();
    let told: Vec<_> = events
        .filter(|event| event.function == FUNCTION)
        .map(|event| (event.action, event.signal))
        .filter(|(action, _)| ["pause", "kill", "die"].contains(&action.as_str()))
        .map(|(action, signal)| format!("{action}{signal}"))
        .collect();
    assert_eq!(told, ["pause", "kill15", "die"]);
    let log = home.cleaner_log();
    assert!(log.contains("it was frozen, and is idle"), "{log}");
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(starts(&home, 2, 1).await, ["cold"]);
}

/// Whoever kills, thaws or pauses it, the next request is answered.
#[tokio::test]
async fn frozen_instance_that_is_meddled_with() {
    let home = with_cleaner("frozenodd").await;
    let client = home.docker.client().await.unwrap().clone();
    assert_eq!(home.get(PATH).await.status, 200);

    // Thawed by hand: it serves on.
    let first = frozen(&home).await.id;
    home.docker.unpause(&first).await.unwrap();
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(only(&home).await.instance.container, first);

    // Killed while it is frozen: another is started.
    assert_eq!(frozen(&home).await.id, first);
    client
        .kill_container(&first, None::<KillContainerOptions>)
        .await
        .unwrap();
    assert_eq!(home.get(PATH).await.status, 200);
    wait_until("what is left of it is removed", PATIENCE, async || {
        let instances = home.instances(FUNCTION).await;
        instances.len() == 1 && instances[0].id != first
    })
    .await;

    // Paused by hand while it may get work, as it does for as long as it has some: it gets none any more.
    let held = tokio::spawn(home.get("/demo/hello/told").send());
    home.until_under_way(1).await;
    let second = wait_for("it runs, and is not frozen", PATIENCE, async || {
        // (While it is thawed there is none.)
        let mut known = home.store.instances().await.unwrap();
        known.retain(|leased| leased.ready);
        known.pop().map(|leased| leased.instance)
    })
    .await;
    let begin = home.error_log().len();
    home.docker.pause(&second.container).await.unwrap();
    home.until_withdrawn_since(begin, &second.id.to_string())
        .await;
    assert_eq!(home.get(PATH).await.status, 200);
    held.abort();
    let third = wait_for("the paused one is removed", PATIENCE, async || {
        let mut instances = home.instances(FUNCTION).await;
        let known = home.store.instances().await.unwrap();
        (instances.len() == 1 && known.len() == 1).then(|| instances.remove(0))
    })
    .await;
    assert_eq!(frozen(&home).await.id, third.id);
    assert_eq!(home.error_log().matches("started instance").count(), 3);
}

/// Docker says what is frozen when Redis has forgotten it.
#[tokio::test]
async fn frozen_instance_outlives_the_index() {
    let home = with_cleaner("frozenredis").await;
    assert_eq!(home.get(PATH).await.status, 200);
    let container = frozen(&home).await.id;
    home.redis.command::<String>(&["FLUSHALL"]).await;
    wait_until("it is known again", PATIENCE, async || {
        let known = home.store.instances().await.unwrap();
        known.iter().any(|leased| leased.frozen && leased.kept)
    })
    .await;
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(only(&home).await.instance.container, container);
    assert_eq!(home.error_log().matches("started instance").count(), 1);
}

/// Why the kernel can't freeze a process at once is a matter of luck, so the engine's answer is made up.
#[tokio::test]
async fn what_can_not_be_frozen_at_once() {
    const TRIES: usize = 4;
    let mut home = Home::start("freezelater").await;
    let proxy = home.proxy_programs();
    proxy.refuse("/pause", TRIES - 1);
    home.start_cleaner(Some(1));
    home.deploy(FUNCTION, freezing(600)).await;
    assert_eq!(home.get(PATH).await.status, 200);
    frozen(&home).await;
    assert_eq!(proxy.count("/pause"), TRIES);

    // One that can't be frozen at all is stopped.
    proxy.refuse("/pause", TRIES);
    assert_eq!(home.get(PATH).await.status, 200);
    gone(&home, FUNCTION).await;
    assert_eq!(proxy.count("/pause"), 2 * TRIES);
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(starts(&home, 3, 3).await, ["cold", "thawed", "cold"]);
}

/// A cleaner that is killed when nobody may send the instance work any more, and before it is paused.
#[tokio::test]
async fn cleaner_that_dies_before_it_has_frozen() {
    let mut home = Home::start("unkept").await;
    let deployment = home.deploy(FUNCTION, freezing(5)).await;
    assert_eq!(home.get(PATH).await.status, 200);
    let old = only(&home).await.instance;
    let fenced = wait_for("its lease has ended", PATIENCE, async || {
        home.store.begin_watch("me").await.unwrap();
        let fence = home.store.fence_needless(&old, "me", DEFAULT_IDLE);
        let fenced = fence.await.unwrap();
        (fenced != Fenced::Leased).then_some(fenced)
    })
    .await;
    assert_eq!(fenced, Fenced::ForFreezing);
    home.until_withdrawn(&old.id.to_string()).await;
    let mut leased = only(&home).await;
    assert_eq!(
        (leased.ready, leased.frozen, leased.kept),
        (false, false, true)
    );
    // Nobody may thaw what may yet be paused.
    let (function, revision) = (&deployment.function, &deployment.revision);
    assert!(home.store.lock(function, revision, "me").await.unwrap());
    let taken = home.store.take_frozen(&deployment, "me").await.unwrap();
    assert_eq!(taken, None);
    let lock = home.store.keys().start_lock(function, revision);
    home.redis.command::<i64>(&["DEL", &lock]).await;
    assert_eq!(home.get(PATH).await.status, 200);
    assert_eq!(home.error_log().matches("started instance").count(), 2);

    home.start_cleaner(Some(1));
    wait_until("it is stopped", PATIENCE, async || {
        let known = home.store.instances().await.unwrap();
        known.iter().all(|leased| leased.instance.id != old.id)
    })
    .await;
    gone(&home, FUNCTION).await;
    // By then it can't be made thawable any more.
    leased.instance = old;
    assert!(!home.store.keep(&leased.instance).await.unwrap());
}
