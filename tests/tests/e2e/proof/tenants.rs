//! Functions of several accounts that have all in common but who they are: none ever answers for another.
//!
//! They come and go all the time, their instances, their keeper and nginx's workers are killed, and addresses are given out again as soon as
//! they are free. `COREFN_TENANTS` is how many seconds it takes; 60 by default.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::names::{env, label};
use corefn_core::network::Network;
use corefn_engine::docker::Container;
use corefn_tests::home::revision;
use corefn_tests::keeper::Keeper;
use corefn_tests::{Client, Home, probe};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use crate::sandbox_sockets::with_socket;
use crate::sandbox_starts::{started_from, with_default_limits};

/// The variable by which an instance shows whose it is.
const TENANT: &str = "TENANT";

/// How many ask at once.
const CLIENTS: usize = 6;

/// Between two faults, at most in milliseconds.
const PAUSE: u64 = 150;

/// Within how many the count of addresses goes round: some more than there are containers.
const ADDRESSES: u64 = 48;

/// Between two deployments of all functions under the same name of a revision.
const DEPLOY: Duration = Duration::from_secs(15);

/// The functions: the same executable from sandboxes with a port, with a socket and without a network, and from images.
fn functions() -> Vec<(String, FunctionConfig)> {
    let alone = FunctionConfig {
        network: Network::None,
        ..with_socket()
    };
    let frozen = FunctionConfig {
        freeze_ms: Some(300),
        ..with_default_limits()
    };
    let kinds = [
        ("port", with_default_limits()),
        ("frozen", frozen),
        ("socket", with_socket()),
        ("alone", alone),
        ("image", probe::config()),
    ];
    let accounts = ["alice", "bob", "carol"];
    let all = kinds.into_iter().flat_map(|(name, config)| {
        accounts.map(|account| {
            let function = format!("{account}/{name}");
            let config = FunctionConfig {
                idle_ms: Some(1_000),
                env: [(TENANT.to_owned(), function.clone())].into(),
                ..config.clone()
            };
            (function, config)
        })
    });
    all.collect()
}

/// Deploys all of them under one name of a revision.
async fn deploy(home: &Home, number: u32) {
    for (function, config) in functions() {
        let revision = revision(&function, number);
        home.switch(&home.image_of(&revision, config).await).await;
    }
}

/// What came of the requests.
#[derive(Default)]
struct Count {
    answers: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Answers of another function.
    wrong: AtomicU64,
}

async fn ask(client: Client, count: Arc<Count>, ends: Arc<AtomicBool>) {
    let functions: Vec<_> = functions()
        .into_iter()
        .map(|(function, _)| function)
        .collect();
    while !ends.load(Ordering::Relaxed) {
        let at = getrandom::u32().unwrap() as usize % functions.len();
        let function = &functions[at];
        let answer = client.get(&format!("/{function}/env")).send().await;
        let answer = match answer {
            Ok(answer) if answer.status == 200 => answer,
            failed => {
                // (A worker that is killed breaks connections off.)
                let code = failed
                    .as_ref()
                    .map_or(Some("connection"), |answer| answer.error());
                let code = code.unwrap_or("an error without a code").to_owned();
                *count.errors.lock().unwrap().entry(code).or_default() += 1;
                continue;
            }
        };
        count.answers.fetch_add(1, Ordering::Relaxed);
        let environment = answer.json();
        let of = (&environment[TENANT], &environment[env::FUNCTION]);
        if of != (&(*function).clone().into(), &(*function).clone().into()) {
            eprintln!("{function} was answered by {of:?}");
            count.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_for_another() {
    let variable = format!("{}TENANTS", env::RESERVED_PREFIX);
    let seconds = std::env::var(variable).map_or(60, |count| count.parse().unwrap());
    let builder = Home::builder("tenants").without_nginx().gated();
    let mut home = builder.with_alerts().start().await;
    let keeper = Keeper::start_with_nginx(&mut home, "floor = 4").await;
    home.start_cleaner(Some(1));
    deploy(&home, 1).await;
    let (count, ends) = (Arc::new(Count::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(home.client(), count.clone(), ends.clone()));
    }

    let begin = Instant::now();
    let (mut keeper, mut deployed, mut last) = (Some(keeper), 1, Instant::now());
    let (mut kills, mut back, mut keepers, mut workers) = (0, 0, 0, 0);
    let addresses = home.store.keys().addresses();
    let first: u64 = home.redis.command(&["HGET", &addresses, "count"]).await;
    while begin.elapsed() < Duration::from_secs(seconds) {
        let random = u64::from(getrandom::u32().unwrap());
        tokio::time::sleep(Duration::from_millis(random % PAUSE)).await;
        if last.elapsed() > DEPLOY {
            (deployed, last) = (deployed + 1, Instant::now());
            deploy(&home, deployed).await;
        }
        match random / PAUSE % 50 {
            0 => {
                let former: Keeper = keeper.take().unwrap();
                former.kill().await;
                keeper = Some(Keeper::start_again(&home));
                keepers += 1;
            }
            1 => {
                let all = home.nginx.workers();
                let pid = Pid::from_raw(all[random as usize % all.len()] as i32).unwrap();
                workers += u32::from(kill_process(pid, Signal::KILL).is_ok());
            }
            2..=11 => {
                let set = (first + random % ADDRESSES).to_string();
                home.redis
                    .command::<()>(&["HSET", &addresses, "count", &set])
                    .await;
                back += 1;
            }
            _ => {
                let all = home.docker.containers().await.unwrap();
                // (A sandbox that has become an instance is known by its name.)
                let is_instance = |it: &Container| {
                    it.name.contains("--") || it.labels.contains_key(label::INSTANCE)
                };
                let all: Vec<_> = all.into_iter().filter(is_instance).collect();
                if let Some(one) = all.get(random as usize % all.len().max(1)) {
                    kills += u32::from(home.docker.remove(&one.id).await.is_ok());
                }
            }
        }
    }
    ends.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let [answers, wrong] = [&count.answers, &count.wrong].map(|it| it.load(Ordering::Relaxed));
    let errors = count.errors.lock().unwrap().clone();

    // Whether it was hard: who has served at each address.
    let log = home.folder.read("log/access.log");
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for access in corefn_tests::access::parse(&log) {
        if access.status == "200" {
            of.entry(access.upstream)
                .or_default()
                .insert(access.function);
        }
    }
    let shared = of.values().filter(|functions| functions.len() > 1).count();
    let (sandboxes, images) = (
        started_from(&home, "a sandbox"),
        started_from(&home, "its image"),
    );
    eprintln!(
        "{answers} answers, {wrong} of another; errors: {errors:?}; {kills} instances, {keepers} keepers and {workers} workers killed, addresses \
         set back {back} times, {shared} of {} served for several functions; {sandboxes} starts from sandboxes, {images} from images",
        of.len()
    );
    assert_eq!(wrong, 0);
    assert!(shared > 0 && kills > 0 && keepers > 0, "it was too easy");
    assert!(answers > errors.values().sum(), "{errors:?}");
}
