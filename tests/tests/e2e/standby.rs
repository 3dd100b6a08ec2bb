//! Instances that are there though nobody asks for them.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::event::Event;
use corefn_core::instance::InstanceId;
use corefn_engine::store::Leased;
use corefn_tests::{Home, probe, wait_for, wait_until};
use futures_util::StreamExt;

use crate::idle::gone;

const LONG: Duration = Duration::from_secs(60);

const FUNCTION: &str = "demo/hello";

/// A function of which there are so many instances at least, and at most three, each for one request at a time.
fn config(least: u32) -> FunctionConfig {
    FunctionConfig {
        min_instances: NonZeroU32::new(least),
        max_instances: NonZeroU32::new(3),
        concurrency: NonZeroU32::new(1),
        ..probe::config()
    }
}

async fn list(home: &Home) -> Vec<Leased> {
    home.store.instances().await.unwrap()
}

fn started(home: &Home) -> usize {
    home.error_log().matches("started instance").count()
}

/// Waits until so many instances of a revision are ready, and nothing else runs.
async fn standing_by(home: &Home, revision: &str, count: usize) -> BTreeSet<InstanceId> {
    let what = format!("{count} of {revision} stand by");
    wait_for(&what, LONG, async || {
        let all = list(home).await;
        let fit = |it: &Leased| it.ready && it.instance.revision.0 == revision;
        let alone = all.len() == count && home.instances(FUNCTION).await.len() == count;
        (alone && all.iter().all(fit)).then(|| all.iter().map(|it| it.instance.id).collect())
    })
    .await
}

#[tokio::test]
async fn they_outlive_their_idle_time_and_those_that_requests_needed_do_not() {
    let mut home = Home::start("standby").await;
    home.start_cleaner(Some(1));
    let mut events = Box::pin(home.store.events().await.unwrap());
    let revision = home.deploy(FUNCTION, config(2)).await.revision.0;
    standing_by(&home, &revision, 2).await;
    // All there are get requests, and one more is started for a third.
    let crowd = home.begin("/demo/hello/together/3000", 3);
    wait_until("there are three", LONG, async || {
        list(&home).await.len() == 3
    })
    .await;
    for answer in crowd.join_all().await {
        assert_eq!(answer.status, 200);
    }
    let stay = standing_by(&home, &revision, 2).await;
    // Each is leased again, and that again lapses, without a request.
    let mut leased: HashMap<InstanceId, u32> = HashMap::new();
    while stay.iter().any(|id| leased.get(id) < Some(&3)) {
        let event = tokio::time::timeout(LONG, events.next()).await;
        if let Event::Ready { instance, .. } = event.unwrap().unwrap() {
            *leased.entry(instance.id).or_default() += 1;
        }
    }
    assert_eq!(standing_by(&home, &revision, 2).await, stay);
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.accesses(4).await[3].start, "warm");
    assert_eq!(started(&home), 3);
}

#[tokio::test]
async fn those_that_are_missing_are_started() {
    let mut home = Home::start("standbyagain").await;
    home.start_cleaner(Some(1));
    let first = home.deploy(FUNCTION, config(2)).await;
    let before = standing_by(&home, &first.revision.0, 2).await;
    // One is killed; another worker is the first, and one more is killed.
    for _ in 0..2 {
        let killed = list(&home).await.remove(0).instance;
        home.docker.remove(&killed.container).await.unwrap();
        wait_until("it is forgotten", LONG, async || {
            let all = list(&home).await;
            all.iter().all(|leased| leased.instance.id != killed.id)
        })
        .await;
        standing_by(&home, &first.revision.0, 2).await;
        home.reload().await;
        // (One that finds Redis empty when it begins fills it.)
        home.ready_workers().await;
    }
    let kept = standing_by(&home, &first.revision.0, 2).await;
    assert_ne!(kept, before);
    // A Redis that forgets all, and that nobody fills for a while: of those that it doesn't know none is missing.
    home.take_cleaner().stop().await;
    let killed = list(&home).await.remove(0).instance;
    let before = started(&home);
    let mut monitor = home.redis.monitor().await;
    home.redis.command::<String>(&["FLUSHALL"]).await;
    home.docker.remove(&killed.container).await.unwrap();
    let mut looks = 0;
    wait_until("it is looked what runs, and again", LONG, async || {
        let commands = monitor.commands(&home.redis).await;
        let pairs = commands.windows(2);
        let is_look = |pair: &&[String]| {
            pair[0].starts_with("\"EXISTS\"") && pair[1].starts_with("\"HVALS\"")
        };
        looks += pairs.filter(is_look).count();
        looks >= 3
    })
    .await;
    drop(monitor);
    assert_eq!(started(&home), before);
    home.start_cleaner(Some(1));
    let now = standing_by(&home, &first.revision.0, 2).await;
    let survivor = kept.iter().find(|id| **id != killed.id).unwrap();
    assert!(now.contains(survivor) && !now.contains(&killed.id));
    assert_eq!(started(&home), before + 1);
    // Another revision, which wants fewer: the old one's go.
    let second = home.deploy(FUNCTION, config(1)).await;
    standing_by(&home, &second.revision.0, 1).await;
    // No function, no instances.
    home.undeploy(&second).await;
    gone(&home, FUNCTION).await;
}

#[tokio::test]
async fn they_may_be_frozen() {
    let mut home = Home::start("standbyfrozen").await;
    home.start_cleaner(Some(1));
    let freezing = FunctionConfig {
        freeze_ms: Some(2000),
        idle_ms: Some(4000),
        ..config(2)
    };
    home.deploy(FUNCTION, freezing).await;
    wait_until("both are frozen", LONG, async || {
        let all = list(&home).await;
        all.len() == 2 && all.iter().all(|leased| leased.frozen)
    })
    .await;
    // They are kept for longer than that, twice.
    let until = home.store.keys().kept(list(&home).await[0].instance.id);
    let mut last = i64::MAX;
    let mut kept = 0;
    wait_until("they are kept again", LONG, async || {
        let left: i64 = home.redis.command(&["PTTL", &until]).await;
        kept += usize::from(left > last);
        last = left;
        kept == 2
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.accesses(1).await[0].start, "thawed");
    assert_eq!(started(&home), 2, "{}", home.error_log());
    assert_eq!(home.instances(FUNCTION).await.len(), 2);
}

/// It is started again and again, but not at once, and a push mends it.
#[tokio::test]
async fn function_that_fails_is_not_started_all_the_time() {
    let home = Home::start("standbyfails").await;
    let events = home.events().await;
    let failing = FunctionConfig {
        min_instances: NonZeroU32::new(1),
        ..probe::misbehaving("exit")
    };
    home.deploy(FUNCTION, failing).await;
    wait_until("it was tried three times", LONG, async || {
        events.created(FUNCTION).await == 3
    })
    .await;
    let created = events.all().await;
    let times: Vec<i64> = created
        .iter()
        .filter(|event| event.action == "create")
        .map(|event| event.time)
        .collect();
    let second = Duration::from_secs(1).as_nanos() as i64;
    assert!(times[2] - times[1] >= second, "{times:?}");
    let mended = home.deploy(FUNCTION, config(1)).await;
    standing_by(&home, &mended.revision.0, 1).await;
}
