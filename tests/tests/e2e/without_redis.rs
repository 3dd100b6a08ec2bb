//! Cold starts while Redis is out of reach, in every way it can be: Docker alone must do.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use corefn_core::deployment::Deployment;
use corefn_core::instance::InstanceId;
use corefn_core::names;
use corefn_engine::docker::{Container, Joined, Placement, Purpose};
use corefn_engine::store::Store;
use corefn_tests::load::Load;
use corefn_tests::port::Port;
use corefn_tests::redis::Redis;
use corefn_tests::relay::Relay;
use corefn_tests::slow::Slow;
use corefn_tests::{Home, probe, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until Redis knows exactly one instance of each of these, all of which run.
pub async fn registered(home: &Home, functions: usize) {
    wait_until("Redis is told of what was started", PATIENCE, async || {
        let known = home.store.instances().await.unwrap_or_default();
        known.len() == functions && known.iter().all(|leased| leased.ready)
    })
    .await;
}

/// How often a text is in nginx's error log.
pub fn told(home: &Home, text: &str) -> usize {
    home.error_log().matches(text).count()
}

#[tokio::test]
async fn one_container_for_many_first_requests() {
    let mut home = Home::start("alone").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(30)).await;
    home.redis.kill().await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..60 {
        clients.spawn(home.get("/demo/hello/x").send());
    }
    for answer in clients.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(home.instances("demo/hello").await.len(), 1);
    assert_eq!(told(&home, "started instance"), 1);
    // Each of the four workers tells of the outage once.
    assert!((1..=4).contains(&told(&home, "going by Docker alone")));

    let held = tokio::spawn(home.get("/demo/hello/sleep/14000").send());
    home.redis.start().await;
    registered(&home, 1).await;
    // It is held for longer than it may be unregistered, and than the cleaner waits.
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.instances("demo/hello").await.len(), 1);
    assert_eq!(told(&home, "started instance"), 1);
    assert!((1..=4).contains(&told(&home, "Redis can be used again")));
}

#[tokio::test]
async fn first_requests_while_redis_hangs() {
    let mut home = Home::start("alonehang").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/warm", probe::idle(2)).await;
    home.deploy("demo/cold", probe::idle(30)).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    let warm = Load::start(home.client(), "/demo/warm/status/200", 2);
    home.redis.hang();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        clients.spawn(home.get("/demo/cold/x").send());
    }
    for answer in clients.join_all().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(home.instances("demo/cold").await.len(), 1);
    home.redis.resume();
    registered(&home, 2).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    warm.finish().await.assert_all_answered();
    assert_eq!(told(&home, "started instance"), 2);
}

#[tokio::test]
async fn redis_that_refuses_writes() {
    let mut home = Home::start("oom").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/warm", probe::idle(2)).await;
    home.deploy("demo/cold", probe::idle(30)).await;
    let events = home.events().await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    let warm = Load::start(home.client(), "/demo/warm/status/200", 2);
    let held = tokio::spawn(home.get("/demo/warm/sleep/20000").send());
    for (name, broken, whole) in [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")] {
        let _: String = home.redis.command(&["CONFIG", "SET", name, broken]).await;
        // Longer than the lease.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(home.get("/demo/cold/x").await.status, 200, "{name}");
        let _: String = home.redis.command(&["CONFIG", "SET", name, whole]).await;
        registered(&home, 2).await;
    }
    warm.finish().await.assert_all_answered();
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert_eq!(events.created("demo/warm").await, 1);
    assert_eq!(events.created("demo/cold").await, 1);
}

#[tokio::test]
async fn starter_that_was_killed_between_create_and_start() {
    let mut home = Home::start("lonelock").await;
    let deployment = home.deploy("demo/hello", probe::idle(30)).await;
    // As it leaves it: created, never started, under the name that there is once.
    let network = home
        .docker
        .network(deployment.config.network)
        .await
        .unwrap();
    let placement = Placement {
        id: InstanceId::from_random(1),
        ip: network.subnet.address(1),
    };
    let purpose = Purpose::ServeWithoutRedis;
    home.docker
        .create(&deployment, placement, Joined::Network(&network), purpose)
        .await
        .unwrap();
    let name = names::container_without_redis(
        home.namespace(),
        &deployment.function,
        &deployment.revision,
    );
    assert_eq!(home.instances("demo/hello").await[0].name, name);
    home.redis.kill().await;
    let begin = Instant::now();
    let answer = home.get("/demo/hello/x").patience(PATIENCE * 2).await;
    assert_eq!(answer.status, 200);
    assert!(
        begin.elapsed() > Duration::from_secs(8),
        "it was not waited for"
    );
    let instances = home.instances("demo/hello").await;
    assert!(instances.len() == 1 && instances[0].name == name && instances[0].running);
}

/// An instance that nginx knows nothing of, and that ends in a second: it listens no more.
async fn dying(home: &Home, deployment: &Deployment, number: u64, purpose: Purpose) -> String {
    let network = home.docker.network(deployment.config.network);
    let network = network.await.unwrap();
    let placement = Placement {
        id: InstanceId::from_random(number),
        ip: network.subnet.address(number),
    };
    let created = home
        .docker
        .create(deployment, placement, Joined::Network(&network), purpose);
    let container = created.await.unwrap();
    home.docker.start(&container).await.unwrap();
    wait_until("it listens", PATIENCE, async || {
        TcpStream::connect(placement.address()).await.is_ok()
    })
    .await;
    let mut stream = TcpStream::connect(placement.address()).await.unwrap();
    let request = format!(
        "GET /dies/{}/0 HTTP/1.1\r\nHost: x\r\n\r\n",
        &container[..12]
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_until("it listens no more", PATIENCE, async || {
        TcpStream::connect(placement.address()).await.is_err()
    })
    .await;
    assert!(home.docker.is_running(&container).await.unwrap());
    container
}

#[tokio::test]
async fn instance_that_is_being_stopped_is_no_failure() {
    let mut home = Home::start("aloneend").await;
    let one = home.deploy("demo/one", probe::idle(30)).await;
    let other = home.deploy("demo/other", probe::idle(30)).await;
    home.redis.kill().await;
    // One that Redis was told of, and one that was started without it.
    for (number, deployment, purpose) in [
        (1, one, Purpose::Serve),
        (2, other, Purpose::ServeWithoutRedis),
    ] {
        let former = dying(&home, &deployment, number, purpose).await;
        let path = format!("/{}/x", deployment.function);
        let answer = home.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let instances = home.instances(&deployment.function.to_string()).await;
        let running = |instance: &&Container| instance.running && instance.id != former;
        assert_eq!(instances.iter().filter(running).count(), 1);
    }
    assert_eq!(told(&home, "started instance"), 2);
}

#[tokio::test]
async fn function_that_exits_is_not_started_by_each_who_waits() {
    let home = Home::start("aloneexit").await;
    home.deploy("demo/hello", probe::misbehaving("exit")).await;
    let events = home.events().await;
    let _: String = home
        .redis
        .command(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..60 {
        clients.spawn(home.get("/demo/hello/x").send());
    }
    for answer in clients.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.said(), (502, Some("function-exited")));
    }
    // No worker does it twice.
    let created = events.created("demo/hello").await;
    assert!((1..=4).contains(&created), "{created} containers");
    assert!(told(&home, "the probe exits on purpose") > 0);
}

#[tokio::test]
async fn lock_is_given_back_in_an_outage() {
    let home = Home::builder("alonelock").workers(1).start().await;
    let deployment = home
        .deploy("demo/hello", probe::misbehaving("never-listen"))
        .await;
    home.deploy("demo/other", probe::idle(30)).await;
    let client = tokio::spawn(home.get("/demo/hello/x").send());
    wait_until("it is being started", PATIENCE, async || {
        let instances = home.instances("demo/hello").await;
        instances.iter().any(|container| container.running)
    })
    .await;
    let _: String = home
        .redis
        .command(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    assert_eq!(home.get("/demo/other/x").await.status, 200);
    assert_eq!(told(&home, "going by Docker alone"), 1);
    let instances = home.instances("demo/hello").await;
    home.docker.remove(&instances[0].id).await.unwrap();
    let answer = client.await.unwrap().unwrap();
    assert_eq!(answer.said(), (502, Some("function-exited")));
    // Sooner than it ends by itself: it was renewed three seconds ago at most.
    let lock = home
        .store
        .keys()
        .start_lock(&deployment.function, &deployment.revision);
    wait_until("the lock is free", Duration::from_secs(5), async || {
        let locks: u64 = home.redis.command(&["EXISTS", &lock]).await;
        locks == 0
    })
    .await;
}

#[tokio::test]
async fn reload_while_redis_is_away() {
    let mut home = Home::start("alonereload").await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(30)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    home.redis.kill().await;
    let load = Load::start(home.client(), "/demo/hello/status/200", 2);
    for _ in 0..2 {
        home.reload().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    home.redis.start().await;
    registered(&home, 1).await;
    load.finish().await.assert_all_answered();
    assert_eq!(told(&home, "started instance"), 1);
}

#[tokio::test]
async fn slow_redis() {
    let mut home = Home::builder("slowredis").without_nginx().start().await;
    let delay = Duration::from_millis(200);
    let slow = Slow::open(&home.folder, home.redis.socket(), delay);
    home.conf.redis = slow.url();
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(2)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let load = Load::start(home.client(), "/demo/hello/status/200", 4);
    tokio::time::sleep(Duration::from_secs(6)).await;
    load.finish().await.assert_all_answered();
    assert_eq!(told(&home, "started instance"), 1);
    assert_eq!(told(&home, "going by Docker alone"), 0);
    wait_until("it is stopped when it is idle", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}

/// An installation whose Redis has a replica that does not know anything yet, with nginx and the cleaner; and the port of the
/// master.
pub async fn with_replica(name: &str) -> (Home, Redis, Port) {
    let mut home = Home::builder(name).without_nginx().start().await;
    let port = Port::reserve();
    let number = port.address().port().to_string();
    let _: String = home
        .redis
        .command(&["CONFIG", "SET", "port", &number])
        .await;
    let mut other = Redis::named(&home.folder, "other");
    other.start().await;
    let _: String = other.command(&["REPLICAOF", "127.0.0.1", &number]).await;
    // The replica is named first: it is not a master.
    home.conf.redis = format!("{} {}", other.url(), home.redis.url());
    let settings = home.folder.read("host.toml");
    let (one, several) = (
        format!("redis = '{}'", home.redis.url()),
        format!("redis = ['{}', '{}']", other.url(), home.redis.url()),
    );
    assert!(settings.contains(&one));
    home.folder
        .write("host.toml", settings.replace(&one, &several));
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    (home, other, port)
}

/// Waits until the replica knows what its master does.
pub async fn until_replicated(replica: &Redis) {
    wait_until("the replica has caught up", PATIENCE, async || {
        let role: String = replica.command(&["INFO", "replication"]).await;
        role.contains("master_link_status:up")
    })
    .await;
}

#[tokio::test]
async fn redis_that_fails_over() {
    let (mut home, other, _port) = with_replica("failover").await;
    home.deploy("demo/warm", probe::idle(2)).await;
    home.deploy("demo/cold", probe::idle(30)).await;
    home.deploy("demo/meanwhile", probe::idle(30)).await;
    assert_eq!(home.get("/demo/warm/x").await.status, 200);
    assert_eq!(told(&home, "going by Docker alone"), 0);
    until_replicated(&other).await;

    let load = Load::start(home.client(), "/demo/warm/status/200", 4);
    home.redis.kill().await;
    assert_eq!(home.get("/demo/meanwhile/x").await.status, 200);
    let _: String = other.command(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(home.get("/demo/cold/x").await.status, 200);
    let store = Store::new(&other.url(), home.namespace()).unwrap();
    wait_until("the new master knows all three", PATIENCE, async || {
        let known = store.instances().await.unwrap();
        known.iter().filter(|leased| leased.ready).count() == 3
    })
    .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    load.finish().await.assert_all_answered();
    assert_eq!(told(&home, "started instance"), 3);
    // What is leased there ends there.
    wait_until("the cleaner follows", PATIENCE, async || {
        home.instances("demo/warm").await.is_empty()
    })
    .await;
}

/// As when the machine of Redis loses its power: what is sent there is not refused, it is lost.
#[tokio::test]
async fn connections_that_vanish_are_made_anew() {
    let mut home = Home::builder("vanish").without_nginx().start().await;
    let relay = Relay::open(home.redis.socket()).await;
    home.conf.redis = relay.url();
    home.start_nginx().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let _vanished = relay.vanish(&home.folder);
    // The workers are told of it by connections that there are not yet.
    home.deploy("demo/hello", probe::idle(30)).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
}
