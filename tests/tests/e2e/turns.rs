//! Starts beyond what a host takes at once, and how long a request waits for one.

use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_engine::store::{Claim, Way};
use corefn_tests::client::ClientError;
use corefn_tests::{Answer, Home, probe, wait_for, wait_until};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::{JoinHandle, JoinSet};

const LONG: Duration = Duration::from_secs(30);

fn kill(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).unwrap();
    kill_process(id, Signal::KILL).unwrap();
}

#[tokio::test]
async fn starts_take_turns() {
    let home = Home::builder("turns")
        .http("corefn_max_starts 2;")
        .start()
        .await;
    let functions: Vec<String> = (0..7).map(|number| format!("demo/f{number}")).collect();
    for function in &functions {
        home.deploy(function, probe::misbehaving("slow-start:700"))
            .await;
    }
    let events = home.events().await;
    let mut requests = JoinSet::new();
    for function in &functions {
        for _ in 0..3 {
            let request = home.get(&format!("/{function}/x"));
            requests.spawn(async move { request.await });
        }
    }
    let (keys, mut most) = (home.store.keys(), 0);
    while !requests.is_empty() {
        let starting: u32 = home.redis.command(&["SCARD", &keys.starting()]).await;
        most = most.max(starting);
        while let Some(answer) = requests.try_join_next() {
            assert_eq!(answer.unwrap().status, 200);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most, 2);
    for function in &functions {
        assert_eq!(events.created(function).await, 1);
    }
    for key in [keys.starting(), keys.waiting()] {
        assert_eq!(
            home.redis.command::<u32>(&["EXISTS", &key]).await,
            0,
            "{key}"
        );
    }
}

#[tokio::test]
async fn turns_are_in_order_and_end() {
    let home = Home::builder("order").without_nginx().start().await;
    let names: Vec<FunctionName> = (0..8)
        .map(|n| format!("demo/f{n}").parse().unwrap())
        .collect();
    let deployment = |number: usize| Deployment {
        function: names[number].clone(),
        revision: RevisionId("r1".to_owned()),
        image: String::new(),
        config: FunctionConfig::default(),
        releases: Vec::new(),
    };
    let claim_by = async |number: usize, way: Way| {
        let token = format!("token {number}");
        let deployment = deployment(number);
        let claim = home.store.claim(&deployment, &token, 2, way);
        claim.await.unwrap()
    };
    let claim = async |number: usize| claim_by(number, Way::Image).await;
    let give_back = async |number: usize| {
        let deployment = deployment(number);
        let failure = Failure::new(ErrorCode::DockerUnavailable, "");
        let token = format!("token {number}");
        let unlocked = home.store.unlock(&deployment, &token, &failure).await;
        assert_eq!(unlocked.unwrap(), Duration::ZERO);
    };
    let mut events = std::pin::pin!(home.store.events().await.unwrap());
    for (number, got) in [
        (0, Claim::Granted),
        (1, Claim::Granted),
        (1, Claim::Granted),
        (2, Claim::Full),
        (3, Claim::Full),
        (4, Claim::Full),
    ] {
        assert_eq!(claim(number).await, got, "{number}");
    }
    assert_eq!(
        home.store
            .claim(&deployment(0), "another", 2, Way::Image)
            .await
            .unwrap(),
        Claim::Held
    );
    // A start from a sandbox needs no permit, and waits for one when it turns out that none is there.
    assert_eq!(claim_by(6, Way::Sandbox).await, Claim::GrantedLock);
    assert_eq!(claim_by(6, Way::Sandbox).await, Claim::GrantedLock);
    assert_eq!(claim_by(6, Way::Either).await, Claim::Full);
    // From then on no sandbox is taken before it is its turn.
    assert_eq!(claim_by(7, Way::Sandbox).await, Claim::Full);
    assert_eq!(claim_by(6, Way::Sandbox).await, Claim::Full);
    // A thaw goes ahead in any case.
    assert_eq!(claim_by(7, Way::Frozen).await, Claim::GrantedLock);
    assert_eq!(claim_by(7, Way::Sandbox).await, Claim::Full);
    give_back(0).await;
    let turn = wait_for("somebody's turn", LONG, async || {
        match events.next().await {
            Some(Event::Turn { function, .. }) => Some(function),
            _ => None,
        }
    })
    .await;
    assert_eq!(turn, names[2]);
    // The others don't go ahead, and who comes last goes to the end.
    for number in [4, 5, 3] {
        assert_eq!(claim(number).await, Claim::Full, "{number}");
    }
    assert_eq!(claim(2).await, Claim::Granted);
    give_back(1).await;
    // Nobody waits for the next one any more: it is passed over, and so are all before the last.
    wait_until("the turns of who is gone end", LONG, async || {
        claim(5).await == Claim::Granted
    })
    .await;
    assert_eq!(claim(4).await, Claim::Full);
    // A permit lasts as long as its lock.
    let lock = home
        .store
        .keys()
        .start_lock(&names[2], &RevisionId("r1".to_owned()));
    home.redis.command::<u32>(&["DEL", &lock]).await;
    assert_eq!(claim(4).await, Claim::Granted);
}

/// Deploys a function that is being started for as long as may be, and one that is not.
async fn takes_the_permit(home: &Home) -> JoinHandle<Result<Answer, ClientError>> {
    home.deploy("demo/never", probe::misbehaving("never-listen"))
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let never = tokio::spawn(home.get("/demo/never/x").send());
    wait_until("it is being started", LONG, async || {
        home.is_starting("demo/never").await
    })
    .await;
    never
}

#[tokio::test]
async fn permit_of_a_killed_starter_comes_back() {
    let home = Home::builder("permit")
        .workers(1)
        .http("corefn_max_starts 1;")
        .with_alerts()
        .start()
        .await;
    let never = takes_the_permit(&home).await;
    for worker in home.nginx.workers() {
        kill(worker);
    }
    assert!(never.await.unwrap().is_err(), "its worker is gone");
    wait_until("there is another worker", LONG, async || {
        home.get("/demo/hello/x")
            .send()
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// A location for functions in which a request waits for an instance for so long.
fn location(place: &str, time: &str) -> String {
    format!(
        "location {place} {{ corefn on; corefn_start_timeout {time}; \
         proxy_pass http://functions$corefn_uri; include corefn/proxy.conf; }}"
    )
}

#[tokio::test]
async fn waiting_for_a_turn_ends_in_time() {
    let home = Home::builder("noturn")
        .http("corefn_max_starts 1;")
        .server(&location("/demo/never", "8s"))
        .early("2s")
        .start()
        .await;
    let never = takes_the_permit(&home).await;
    let events = home.events().await;
    let answer = home.get("/demo/hello/early").await;
    assert_eq!(answer.said(), (504, Some("start-timeout")));
    assert_eq!(events.created("demo/hello").await, 0);
    let answer = never.await.unwrap().unwrap();
    assert_eq!(answer.said(), (504, Some("function-not-listening")));
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

#[tokio::test]
async fn who_joins_late_waits_for_its_own_time() {
    let home = Home::builder("late")
        .workers(1)
        .http("corefn_max_starts 1;")
        .server(&location("/demo/never", "12s"))
        .server(&location("/demo/hello/late", "60s"))
        .start_timeout("3s")
        .start()
        .await;
    let never = takes_the_permit(&home).await;
    let early = tokio::spawn(home.get("/demo/hello/early").send());
    home.until_under_way(2).await;
    let late = tokio::spawn(home.get("/demo/hello/late").send());
    home.until_under_way(3).await;
    let answer = early.await.unwrap().unwrap();
    assert_eq!(answer.said(), (504, Some("start-timeout")));
    let answer = late.await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    never.await.unwrap().unwrap();
}
