//! A router and a cleaner on a real Redis, with a Docker in memory.
//!
//! The decisions are the real ones: `acquire`, the scripts in Redis, and `corefn-clean` itself. The
//! model stands for nginx (who has how many requests) and for time (what has lapsed).

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::Instance;
use corefn_engine::acquire::{Launcher, Ledger, Need, Order, acquire};
use corefn_engine::start::random_id;
use corefn_engine::store::{Claim, Renewed, Store, Way};
use corefn_tests::folder::Folder;
use corefn_tests::programs::program;
use corefn_tests::redis::Redis;
use futures_util::StreamExt;
use tokio::process::Command;
use tokio::sync::broadcast::{self, Sender};
use tokio::task::JoinSet;

use super::docker::{Container, Docker};

const IDLE: Duration = Duration::from_secs(60);

/// Everything.
pub struct World {
    /// Docker.
    pub docker: Docker,
    /// The keys.
    pub store: Store,
    redis: Redis,
    home: PathBuf,
    news: Sender<Event>,
    starts: AtomicU32,
    most_starts: AtomicU32,
    /// Starts hang for ever, and one does.
    hangs: AtomicBool,
    hung: AtomicBool,
    _tasks: JoinSet<()>,
    _docker: JoinSet<()>,
}

impl World {
    /// Makes one, which takes the seconds that Redis must have been up.
    pub async fn make() -> Arc<Self> {
        let folder = Arc::new(Folder::create("lifecycle"));
        let mut redis = Redis::new(&folder);
        redis.start().await;
        let docker = Docker::default();
        docker.state().namespace = folder.name().to_owned();
        let socket = folder.file("docker.sock");
        let serving = docker.open(&socket);
        folder.write(
            corefn_core::names::HOST_FILE,
            format!(
                "namespace = '{}'\nredis = '{}'\ndocker = 'unix://{}'\nurl = 'http://localhost'\n\
                 stacks = '/'\nprojects = '/'\n",
                folder.name(),
                redis.url(),
                socket.display()
            ),
        );
        let store = Store::new(&redis.url(), folder.name()).unwrap();
        let (news, mut tasks) = (broadcast::channel(256).0, JoinSet::new());
        let (mut events, sink) = (Box::pin(store.events().await.unwrap()), news.clone());
        tasks.spawn(async move {
            while let Some(event) = events.next().await {
                let _ = sink.send(event);
            }
        });
        // Right after a start of Redis, leases may be missing that were not renewed yet.
        while store.run().await.unwrap().1 < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let home = folder.path().to_owned();
        Arc::new(Self {
            docker,
            store,
            redis,
            home,
            news,
            starts: AtomicU32::new(0),
            most_starts: AtomicU32::new(0),
            hangs: false.into(),
            hung: false.into(),
            _tasks: tasks,
            _docker: serving,
        })
    }

    /// Makes a revision the one that is deployed, image first. Whether its instances are frozen changes from one to the next,
    /// and of every third revision one is to stand by.
    pub async fn deploy(&self, function: &str, revision: u32) {
        let freeze = Duration::from_secs(10).as_millis() as u64;
        let deployment = Deployment {
            function: function.parse().unwrap(),
            revision: RevisionId(format!("r{revision}")),
            image: format!("{function}:r{revision}"),
            config: FunctionConfig {
                freeze_ms: revision.is_multiple_of(2).then_some(freeze),
                min_instances: NonZeroU32::new(revision.is_multiple_of(3).into()),
                ..FunctionConfig::default()
            },
            releases: Vec::new(),
        };
        let image = (function.to_owned(), deployment.clone());
        self.docker.state().deployed.extend([image]);
        self.store.deploy(&[(&deployment, None)]).await.unwrap();
    }

    /// What is deployed.
    pub fn deployed(&self, function: &str) -> Deployment {
        self.docker.state().deployed[function].clone()
    }

    /// One request: it gets an instance that runs, of the current revision, and is at work there
    /// when this returns. As a router does, it tells of one that it finds dead, and asks again.
    pub async fn request(&self, function: &str) -> Instance {
        let deployment = self.deployed(function);
        loop {
            let instance = self.acquire(&deployment).await.unwrap();
            assert_eq!(
                instance.revision, deployment.revision,
                "an old revision got new work"
            );
            if self.docker.state().begin_work(&instance.container) {
                return instance;
            }
            self.store
                .forget(instance.id, &instance.function)
                .await
                .unwrap();
        }
    }

    async fn acquire(&self, deployment: &Deployment) -> Result<Instance, Failure> {
        let mut news = self.news.subscribe();
        let token = random_id().unwrap().to_string();
        let order = Order {
            deployment,
            token: &token,
            idle: IDLE,
            timeout: Duration::from_secs(20),
        };
        let got = acquire(self, self, &mut news, order).await;
        got.map(|(instance, _)| instance)
            .map_err(|refusal| refusal.failure)
    }

    /// A starter that dies when its container is there, started or thawed, and nobody knows of it.
    pub async fn crash(&self, function: &str) {
        let deployment = self.deployed(function);
        self.hangs.store(true, Ordering::SeqCst);
        tokio::select! {
            _ = self.acquire(&deployment) => {}
            () = async {
                while !self.hung.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        self.hangs.store(false, Ordering::SeqCst);
        self.hung.store(false, Ordering::SeqCst);
        self.starts.store(0, Ordering::SeqCst);
    }

    /// Where starts hang, this one does.
    async fn hang(&self) {
        if self.hangs.load(Ordering::SeqCst) {
            self.hung.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    }

    /// As much time passes as leases and locks last, and if so wanted the time for which frozen instances are kept. The
    /// leases of what is at work are renewed.
    pub async fn lapse(&self, kept: bool) {
        self.renew().await;
        let busy: HashSet<String> = self
            .all()
            .into_iter()
            .filter(|c| c.busy > 0)
            .map(|c| self.store.keys().lease(c.instance.id))
            .collect();
        let patterns = ["lease:*", "start*", "kept:*"];
        for pattern in &patterns[..if kept { 3 } else { 2 }] {
            let pattern = format!("{}:{pattern}", self.store.keys().namespace());
            let mut keys: Vec<String> = self.redis.command(&["KEYS", &pattern]).await;
            keys.retain(|key| !busy.contains(key));
            for key in keys {
                self.redis.command::<i64>(&["DEL", &key]).await;
            }
        }
    }

    /// The router renews the leases of what is at work, as it does each second. What Redis doesn't
    /// know is registered again.
    pub async fn renew(&self) {
        for container in self.all().into_iter().filter(|c| c.busy > 0 && c.running) {
            let Container { instance, .. } = container;
            let one = [(instance.id, instance.function.clone(), IDLE)];
            match self.store.renew(&one).await.unwrap()[0] {
                Renewed::Yes => {}
                Renewed::Unknown => {
                    assert!(self.store.register(&instance, None, IDLE).await.unwrap());
                }
                other => panic!("{instance:?} is at work and {other:?}"),
            }
        }
    }

    /// One round of the cleaner, to its end.
    pub async fn clean(&self) {
        let mut command = Command::new(program("corefn-clean"));
        let command = command.arg("--once").arg("--home").arg(&self.home);
        let output = command.kill_on_drop(true).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
    }

    /// The functions of which as many instances as should stand by, and could get work at once or be thawed.
    pub async fn standing_by(&self, functions: &[&str]) -> Vec<String> {
        let mut standing = Vec::new();
        let known = self.store.instances().await.unwrap();
        for function in functions {
            let deployment = self.deployed(function);
            let fits = known.iter().filter(|leased| {
                let Instance {
                    function,
                    revision,
                    container,
                    ..
                } = &leased.instance;
                let state = self.docker.state();
                let runs = state.containers.get(container).is_some_and(|c| c.running);
                (leased.ready || leased.frozen)
                    && runs
                    && (function, revision) == (&deployment.function, &deployment.revision)
            });
            let least = deployment.config.least_instances() as usize;
            if least > 0 && fits.count() >= least {
                standing.push((*function).to_owned());
            }
        }
        standing
    }

    /// Redis is empty.
    pub async fn empty(&self) {
        self.redis.command::<String>(&["FLUSHALL"]).await;
    }

    /// All containers.
    pub fn all(&self) -> Vec<Container> {
        self.docker.state().containers.values().cloned().collect()
    }

    /// Checks what must hold at any time.
    pub async fn check(&self, functions: &[&str]) {
        assert_eq!(
            self.docker.state().harmed,
            Vec::<String>::new(),
            "stopped while busy"
        );
        assert!(
            self.most_starts.load(Ordering::SeqCst) <= 1,
            "two starts at once"
        );
        let keys = self.store.keys();
        let known: HashSet<String> = self.members(&["HKEYS", &keys.instances()]).await;
        for function in functions {
            let function: FunctionName = function.parse().unwrap();
            let ready = self.members(&["SMEMBERS", &keys.ready(&function)]).await;
            assert!(ready.is_subset(&known), "ready, but not known: {ready:?}");
            let frozen = self.members(&["SMEMBERS", &keys.frozen(&function)]).await;
            assert!(frozen.is_subset(&known), "frozen, not known: {frozen:?}");
            assert!(frozen.is_disjoint(&ready), "ready and frozen: {frozen:?}");
            for container in self.all().iter().filter(|container| container.running) {
                let id = container.instance.id.to_string();
                let wrong = match container.paused {
                    true => &ready,
                    false => &frozen,
                };
                assert!(!wrong.contains(&id), "{container:?}");
            }
            let locks = format!("{}{function}:*", keys.start_lock_prefix());
            let locks: Vec<String> = self.redis.command(&["KEYS", &locks]).await;
            for lock in locks {
                let left: i64 = self.redis.command(&["PTTL", &lock]).await;
                assert_ne!(left, -1, "a lock without end");
            }
        }
    }

    /// Checks that nothing is left.
    pub async fn check_empty(&self, functions: &[&str]) {
        assert_eq!(self.all().len(), 0, "{:?}", self.all());
        let keys = self.store.keys();
        assert!(self.members(&["HKEYS", &keys.instances()]).await.is_empty());
        for function in functions {
            let function = function.parse().unwrap();
            for set in [keys.ready(&function), keys.frozen(&function)] {
                assert!(self.members(&["SMEMBERS", &set]).await.is_empty());
            }
        }
    }

    /// Begins anew.
    pub async fn reset(&self) {
        self.empty().await;
        let mut state = self.docker.state();
        state.containers.clear();
        state.deployed.clear();
        state.harmed.clear();
        self.starts.store(0, Ordering::SeqCst);
        self.most_starts.store(0, Ordering::SeqCst);
    }

    async fn members(&self, words: &[&str]) -> HashSet<String> {
        self.redis
            .command::<Vec<String>>(words)
            .await
            .into_iter()
            .collect()
    }
}

fn failed(error: impl ToString) -> Failure {
    Failure::new(ErrorCode::RedisUnavailable, error.to_string())
}

impl Ledger for World {
    async fn lease_any(&self, d: &Deployment, idle: Duration) -> Result<Option<Instance>, Failure> {
        self.store.lease_any(d, idle).await.map_err(failed)
    }

    async fn count(&self, d: &Deployment, need: Need) -> Result<u32, Failure> {
        let count = match need {
            Need::Requests => self.store.count(d).await,
            Need::Standby => self
                .store
                .count_standing(d)
                .await
                .map(Option::unwrap_or_default),
        };
        count.map_err(failed)
    }

    async fn claim(&self, d: &Deployment, token: &str, way: Way) -> Result<Claim, Failure> {
        let claim = self.store.claim(d, token, 100, way);
        claim.await.map_err(failed)
    }

    async fn renew(&self, d: &Deployment, token: &str) {
        let lock = self.store.lock(&d.function, &d.revision, token);
        lock.await.unwrap();
    }

    async fn take_frozen(&self, d: &Deployment, token: &str) -> Result<Option<Instance>, Failure> {
        self.store.take_frozen(d, token).await.map_err(failed)
    }

    async fn register(
        &self,
        i: &Instance,
        token: &str,
        idle: Duration,
        way: Way,
    ) -> Result<bool, Failure> {
        let registered = match way {
            Way::Frozen => self.store.register_thawed(i, token, idle).await,
            _ => self.store.register(i, Some(token), idle).await,
        };
        registered.map_err(failed)
    }

    async fn give_up(&self, d: &Deployment, token: &str, failure: Failure) -> Failure {
        self.store.unlock(d, token, &failure).await.unwrap();
        failure
    }
}

impl Launcher for World {
    async fn thaw(
        &self,
        _: &Deployment,
        frozen: Instance,
        _: Duration,
        _: impl Future<Output = ()> + Send,
    ) -> Option<Instance> {
        let under_way = self.starts.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_starts.fetch_max(under_way, Ordering::SeqCst);
        let goes_on = match self.docker.state().containers.get_mut(&frozen.container) {
            Some(container) if container.running => {
                assert!(container.paused, "{container:?} was thawed");
                container.paused = false;
                true
            }
            _ => false,
        };
        self.hang().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.starts.fetch_sub(1, Ordering::SeqCst);
        goes_on.then_some(frozen)
    }

    fn fits_sandbox(&self, _: &Deployment) -> bool {
        false
    }

    async fn launch_in_sandbox(
        &self,
        _: &Deployment,
        _: Duration,
        _: impl Future<Output = ()> + Send,
    ) -> Result<Option<Instance>, Failure> {
        Ok(None)
    }

    async fn launch(
        &self,
        deployment: &Deployment,
        _: Duration,
        _: impl Future<Output = ()> + Send,
    ) -> Result<Instance, Failure> {
        let under_way = self.starts.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_starts.fetch_max(under_way, Ordering::SeqCst);
        let id = random_id()?;
        let instance = Instance {
            id,
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            container: format!("c{id}"),
            address: "10.0.0.2:8080".parse().unwrap(),
        };
        let container = Container {
            instance: instance.clone(),
            running: true,
            paused: false,
            busy: 0,
        };
        self.docker
            .state()
            .containers
            .insert(instance.container.clone(), container);
        self.hang().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.starts.fetch_sub(1, Ordering::SeqCst);
        Ok(instance)
    }

    async fn discard(&self, instance: &Instance) {
        self.docker.state().containers.remove(&instance.container);
    }
}
