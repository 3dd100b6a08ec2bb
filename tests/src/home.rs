//! An installation.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corefn_build::deploy::{start_first, switch};
use corefn_build::image::{Revision, from_executable};
use corefn_core::config::FunctionConfig;
use corefn_core::function::{Deployment, RevisionId};
use corefn_core::names::HOST_FILE;
use corefn_engine::docker::{Container, Docker};
use corefn_engine::store::Store;
use tokio::task::JoinSet;

use crate::access::{self, Access};
use crate::builder::{self, Builder};
use crate::cleaner::Cleaner;
use crate::client::{Answer, Client, Request};
use crate::docker;
use crate::events::Events;
use crate::folder::Folder;
use crate::nginx::{Conf, FAULT, Nginx};
use crate::probe;
use crate::proxy::Proxy;
use crate::redis::Redis;
use crate::wait::wait_for;

/// Within what time every worker knows of a deployment is a promise of its own, with a test of its
/// own. All other tests give it more, so that they fail for their own reasons only.
const SETTLE: Duration = Duration::from_millis(250);

/// How much of the logs is shown when a test fails.
const TAIL: usize = 40;

/// An installation: an nginx, a Redis and a namespace of Docker's. Dropping it takes all of it
/// away, also when the test panics.
pub struct Home {
    /// Its nginx.
    pub nginx: Nginx,
    /// Its Redis.
    pub redis: Redis,
    /// Its keys in Redis.
    pub store: Store,
    /// Its part of Docker, past the router.
    pub docker: Docker,
    /// What nginx was started with; change it and call [`Home::reload`].
    pub conf: Conf,
    /// Its folder.
    pub folder: Arc<Folder>,
    cleaner: Option<Cleaner>,
    proxy: Option<Proxy>,
    revisions: AtomicU32,
    alerts: bool,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.folder.path().display())
    }
}

impl Home {
    /// Starts an installation as [`Builder::new`] has it. The name is part of its folder's.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(name: &str) -> Self {
        Self::builder(name).start().await
    }

    /// An installation that is to be started.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    pub(crate) async fn build(builder: Builder) -> Self {
        let folder = Arc::new(Folder::create(&builder.name));
        let mut conf = builder.conf;
        let mut redis = Redis::new(&folder);
        conf.redis = redis.url();
        redis.start().await;
        let proxy = match builder.access {
            builder::Access::Direct => None,
            builder::Access::Proxied => Some(Proxy::open(&folder)),
        };
        if let Some(proxy) = &proxy {
            conf.docker = proxy.url();
        }
        let (path, namespace) = (folder.path().display(), folder.name());
        let host = format!(
            "namespace = '{namespace}'\nredis = '{}'\ndocker = '{}'\nurl = 'http://localhost'\n\
             stacks = '{}'\nprojects = '{path}/projects'\n",
            redis.url(),
            docker::URL,
            crate::programs::workspace().join("stacks").display()
        );
        folder.write(HOST_FILE, host);
        let mut home = Self {
            nginx: Nginx::new(&folder),
            store: Store::new(&redis.url(), namespace).expect("the harness's URL is one"),
            docker: Docker::new(docker::URL, namespace),
            redis,
            conf,
            folder,
            cleaner: None,
            proxy,
            revisions: AtomicU32::new(0),
            alerts: builder.alerts,
        };
        if builder.nginx {
            home.start_nginx().await;
        }
        home
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.folder.name()
    }

    /// The next call of that entry point of the module panics; with a `!` behind the name, each.
    /// `src/fault.rs` has the rules.
    pub fn fault(&self, name: &str) {
        // It is read at any time, so it must be whole.
        let path = self.folder.write("fault.new", name);
        std::fs::rename(path, self.folder.file(FAULT)).expect("the folder can be written to");
    }

    /// Whether the fault that was asked for is still to happen.
    pub fn is_fault_due(&self) -> bool {
        self.folder.file(FAULT).exists()
    }

    /// Starts nginx, with what [`Home::conf`] says now.
    pub async fn start_nginx(&mut self) {
        self.nginx.start(&self.conf).await;
    }

    /// Reloads nginx, with what [`Home::conf`] says now; returns the numbers of the old workers.
    pub async fn reload(&mut self) -> Vec<u32> {
        self.nginx.reload(&self.conf).await
    }

    /// Starts the cleaner, with `every` seconds between its rounds; its own default without. It goes
    /// by the same clock as Redis.
    ///
    /// # Panics
    /// When it runs already.
    pub fn start_cleaner(&mut self, every: Option<u64>) {
        assert!(self.cleaner.is_none(), "the cleaner runs already");
        self.cleaner = Some(Cleaner::start(
            &self.folder,
            every,
            self.redis.clock.as_ref(),
        ));
    }

    /// Takes the cleaner, to end it.
    ///
    /// # Panics
    /// When none runs.
    pub fn take_cleaner(&mut self) -> Cleaner {
        self.cleaner.take().expect("a cleaner runs")
    }

    /// The counting socket between router and Docker.
    ///
    /// # Panics
    /// When the test has not asked for it, by [`Builder::docker_proxy`].
    pub fn proxy(&self) -> &Proxy {
        self.proxy
            .as_ref()
            .expect("the builder was asked for a proxy")
    }

    /// What sends requests to nginx.
    pub fn client(&self) -> Client {
        Client::new(self.nginx.address())
    }

    /// A GET; await it for the answer.
    pub fn get(&self, target: &str) -> Request {
        self.client().get(target)
    }

    /// Makes an image of the probe for a new revision of a function, without deploying it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn image(&self, function: &str, config: FunctionConfig) -> Deployment {
        let number = self.revisions.fetch_add(1, Ordering::Relaxed) + 1;
        let revision = Revision {
            function: function.parse().expect("a function's name"),
            id: RevisionId(format!("r{number}")),
            commit: format!("{number:040x}"),
        };
        let made = from_executable(&self.docker, &revision, &config, &probe::executable()).await;
        made.unwrap_or_else(|error| panic!("no image of the probe: {error}"));
        revision.deployment(self.namespace(), config)
    }

    /// Deploys the probe as a new revision of a function, and gives the router the time to hear of
    /// it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn deploy(&self, function: &str, config: FunctionConfig) -> Deployment {
        let deployment = self.image(function, config).await;
        self.switch(&deployment).await;
        tokio::time::sleep(SETTLE).await;
        deployment
    }

    /// Makes a deployment the current one, as a push does in its last step.
    ///
    /// # Panics
    /// When that fails.
    pub async fn switch(&self, deployment: &Deployment) {
        let switched = switch(&self.docker, &self.store, deployment, None).await;
        switched.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The same with a first instance, warm when the deployment becomes the current one: all that a
    /// push does once it has an image.
    ///
    /// # Panics
    /// When that fails.
    pub async fn switch_warm(&self, deployment: &Deployment) {
        let store = Store::new(&self.redis.url(), self.namespace());
        let store = Arc::new(store.expect("the harness's URL is one"));
        let switched = async {
            let first = start_first(&self.docker, &store, deployment).await?;
            switch(&self.docker, &store, deployment, Some(&first.instance)).await
        };
        switched.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Forgets a function's failures in a row, as time would.
    ///
    /// # Panics
    /// When Redis fails.
    pub async fn forgive(&self, function: &str) {
        let function = function.parse().expect("a function's name");
        let keys = self.store.keys();
        let (failures, pause) = (keys.failures(&function), keys.pause(&function));
        let _: i64 = self.redis.command(&["DEL", &failures, &pause]).await;
    }

    /// The containers of a function's instances, running or not.
    pub async fn instances(&self, function: &str) -> Vec<Container> {
        docker::instances(&self.docker, function).await
    }

    /// So many GETs at once; their answers.
    ///
    /// # Panics
    /// When one is not answered.
    pub async fn at_once(&self, target: &str, count: usize) -> Vec<Answer> {
        let requests: JoinSet<Answer> =
            (0..count).map(|_| self.get(target).into_future()).collect();
        requests.join_all().await
    }

    /// Begins to record what Docker tells of this installation's containers.
    pub async fn events(&self) -> Events<'_> {
        Events::record(&self.docker).await
    }

    /// nginx's error log.
    pub fn error_log(&self) -> String {
        self.folder.read("log/error.log")
    }

    /// What the cleaner has printed.
    pub fn cleaner_log(&self) -> String {
        self.folder.read("log/corefn-clean.log")
    }

    /// The first `count` requests of nginx's access log. nginx writes a line after it has sent the
    /// answer, so it may have to be waited for.
    pub async fn accesses(&self, count: usize) -> Vec<Access> {
        let what = format!("nginx logs {count} requests");
        wait_for(&what, Duration::from_secs(10), async || {
            let log = self.folder.read("log/access.log");
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let accesses = access::parse(whole);
            (accesses.len() >= count).then_some(accesses)
        })
        .await
    }

    /// Removes all that the namespace has in Docker. The installation may be dropped within a
    /// runtime, which can't be waited in: so a thread with one of its own does it.
    fn clean_docker(&self) {
        let docker = Docker::new(docker::URL, self.namespace());
        let cleaning = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made")
                .block_on(docker::remove_all(&docker))
                .map_err(|error| error.to_string())
        });
        match cleaning.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("{} is not clean: {error}", self.namespace()),
            Err(_) => eprintln!("{} is not clean", self.namespace()),
        }
    }

    fn show_logs(&self) {
        for (name, log) in [
            ("nginx's error log", self.error_log()),
            ("the cleaner's log", self.cleaner_log()),
        ] {
            let lines: Vec<&str> = log.lines().collect();
            if !lines.is_empty() {
                eprintln!("the end of {name}:");
            }
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("    {line}");
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        // First those that start containers.
        self.nginx.end();
        self.cleaner = None;
        self.clean_docker();
        let log = self.error_log();
        let alerts: Vec<&str> = log
            .lines()
            .filter(|line| {
                ["[alert]", "[emerg]", "panic"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .collect();
        if !self.alerts && !alerts.is_empty() {
            if std::thread::panicking() {
                eprintln!("nginx has logged alerts");
            } else {
                panic!("nginx has logged alerts:\n{}", alerts.join("\n"));
            }
        }
    }
}
