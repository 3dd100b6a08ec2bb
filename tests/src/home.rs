//! An installation.

mod builder;

use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corefn_build::deploy::{start_first, switch};
use corefn_build::image::{Revision, from_executable};
use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::gate::Caller;
use corefn_core::names::HOST_FILE;
use corefn_engine::docker::{Container, Docker};
use corefn_engine::store::{Store, StoreError};
use tokio::task::JoinSet;

use crate::access::{self, Access};
use crate::cleaner::Cleaner;
use crate::client::{Answer, Client, Request};
use crate::docker;
use crate::engine::Engine;
use crate::events::Events;
use crate::folder::Folder;
use crate::gate::Gate;
use crate::nginx::{Conf, FAULT, Nginx, STATUS};
use crate::probe;
use crate::process;
use crate::proxy::Proxy;
use crate::redis::Redis;
use crate::slow::Slow;
use crate::wait::{wait_for, wait_until};

pub use builder::Builder;

/// Variables that name a file of certificates, where the machine was told to trust one of its own.
const CA_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE"];

/// How long a router may take to hear of something on a machine that is busy. How fast it is on
/// one that isn't, other tests say.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Its Docker engine, if it has one of its own.
    engine: Option<Engine>,
    docker_url: String,
    cleaner: Option<Cleaner>,
    proxy: Option<Proxy>,
    gate: Option<Gate>,
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
        let mut engine = builder.engine.then(|| Engine::new(&folder));
        let socket = match &mut engine {
            None => PathBuf::from(docker::SOCKET),
            Some(engine) => {
                engine.start().await;
                engine.socket()
            }
        };
        let docker_url = format!("unix://{}", socket.display());
        let proxy = match builder.access {
            builder::Access::Direct | builder::Access::Gated => None,
            builder::Access::Proxied => Some(Proxy::open(&folder, &socket)),
        };
        let (path, namespace) = (folder.path().display(), folder.name());
        let host = format!(
            "namespace = '{namespace}'\nredis = '{}'\ndocker = '{docker_url}'\nurl = 'http://localhost'\n\
             stacks = '{}'\nprojects = '{path}/projects'\n",
            redis.url(),
            crate::programs::workspace().join("stacks").display()
        );
        folder.write(HOST_FILE, host);
        let gate = match builder.access {
            builder::Access::Gated => Some(Gate::start(&folder).await),
            _ => None,
        };
        if conf.docker.is_empty() {
            let proxied = proxy.as_ref().map(Proxy::url);
            let gated = gate.as_ref().map(|gate| gate.url(Caller::Router));
            conf.docker = proxied.or(gated).unwrap_or(docker_url.clone());
        }
        if builder.invocations {
            let directive = format!("corefn_invocations {path}/invocations;\n");
            conf.http.push_str(&directive);
        }
        let mut home = Self {
            nginx: Nginx::new(&folder),
            store: Store::new(&redis.url(), namespace).expect("the harness's URL is one"),
            docker: Docker::new(&docker_url, namespace),
            redis,
            conf,
            folder,
            engine,
            docker_url,
            cleaner: None,
            proxy,
            gate,
            revisions: AtomicU32::new(0),
            alerts: builder.alerts,
        };
        if let Some(engine) = &home.engine {
            engine.make_networks(&home.docker).await;
        }
        if builder.invocations {
            let router = home.nginx.address();
            home.set(&format!(
                "router = 'http://{router}'\ninvocations = 'invocations'\n"
            ));
        }
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
    /// `src/ngx/fault.rs` has the rules.
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

    /// From now on, programs that begin talk to Redis by way of a socket that can keep answers, and has each come later by so much:
    /// all but nginx and the test itself.
    pub fn slow_programs(&self, delay: Duration) -> Slow {
        let slow = Slow::open(&self.folder, self.redis.socket(), delay);
        let settings = self.folder.read(HOST_FILE);
        let settings = settings.replace(&self.redis.url(), &slow.url());
        self.folder.write(HOST_FILE, settings);
        slow
    }

    /// From now on, programs that begin talk to Docker by way of a socket that can be shut: all but nginx and the test itself.
    pub fn proxy_programs(&self) -> Proxy {
        let socket = self.docker_url.trim_start_matches("unix://");
        let proxy = Proxy::open(&self.folder, Path::new(socket));
        let settings = self.folder.read(HOST_FILE);
        let settings = settings.replace(&self.docker_url, &proxy.url());
        self.folder.write(HOST_FILE, settings);
        // (By way of the gate they would not.)
        for caller in [Caller::Builder, Caller::Keeper, Caller::Cleaner] {
            let socket = caller.socket(&self.folder.file("gate"));
            let _ = std::fs::remove_file(socket);
        }
        proxy
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

    /// The gate between router and Docker.
    ///
    /// # Panics
    /// When the test has not asked for it, by [`Builder::gated`].
    pub fn gate(&self) -> &Gate {
        self.gate
            .as_ref()
            .expect("the builder was asked for a gate")
    }

    /// Takes the gate, to end it.
    ///
    /// # Panics
    /// When none runs.
    pub fn take_gate(&mut self) -> Gate {
        self.gate.take().expect("a gate runs")
    }

    /// Its own Docker engine.
    ///
    /// # Panics
    /// When the test has not asked for one, by [`Builder::own_engine`].
    pub fn engine(&mut self) -> &mut Engine {
        self.engine
            .as_mut()
            .expect("the builder was asked for an engine")
    }

    /// How many requests nginx works on: from their whole header to the end of their answer, those
    /// that wait included.
    ///
    /// # Panics
    /// When nginx doesn't say.
    pub async fn under_way(&self) -> usize {
        let mut connection = self.client().connect().await;
        let ask = format!("GET {STATUS} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        connection.write(ask).await;
        let text = connection.answer().await.text();
        // nginx closes a connection after it is done with the request: whoever asks next, and gets
        // another worker, does not count this one.
        assert!(connection.is_at_end().await, "more than the status");
        let number = text.split("Writing: ").nth(1);
        let number = number.and_then(|text| text.split(' ').next()?.parse::<usize>().ok());
        // The request that asks is one of them.
        number.unwrap_or_else(|| panic!("no status: {text}")) - 1
    }

    /// Waits until nginx works on so many requests. Where it has one worker, each of them that has to
    /// wait for a start has its place in the queue by then; of several, one may be on its way there.
    ///
    /// # Panics
    /// When it doesn't come to that.
    pub async fn until_under_way(&self, count: usize) {
        let what = format!("{count} requests are under way");
        wait_until(&what, PATIENCE, async || self.under_way().await == count).await;
    }

    /// Waits until every worker knows that an instance gets no more work.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until_withdrawn(&self, instance: &str) {
        self.until_withdrawn_since(0, instance).await;
    }

    /// The same of one that may have been thawed: since byte `begin` of the log.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until_withdrawn_since(&self, begin: usize, instance: &str) {
        let text = format!("instance {instance} gets no more requests");
        let workers = self.ready_workers().await;
        self.wait_for_workers(&workers, begin, &text).await;
    }

    /// What sends requests to nginx.
    pub fn client(&self) -> Client {
        Client::new(self.nginx.address())
    }

    /// A GET; await it for the answer.
    pub fn get(&self, target: &str) -> Request {
        self.client().get(target)
    }

    /// Adds lines to the installation's settings, outside of any table.
    pub fn set(&self, lines: &str) {
        let host = self.folder.read(HOST_FILE);
        self.folder.write(HOST_FILE, lines.to_owned() + &host);
    }

    /// Has builds trust the certificates that this machine was told to trust.
    pub(crate) fn trust_as_this_machine(&self) {
        let host = self.folder.read(HOST_FILE);
        let bundle = CA_VARIABLES.iter().filter_map(std::env::var_os).next();
        if let Some(bundle) = bundle.filter(|_| !host.contains("ca_bundle")) {
            self.set(&format!("ca_bundle = '{}'\n", bundle.display()));
        }
    }

    /// Makes an image of the probe for a new revision of a function, without deploying it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn image(&self, function: &str, config: FunctionConfig) -> Deployment {
        self.image_of(&self.next_revision(function), config).await
    }

    /// The same for a revision that is known.
    ///
    /// # Panics
    /// When that fails.
    pub async fn image_of(&self, revision: &Revision, config: FunctionConfig) -> Deployment {
        let made = from_executable(&self.docker, revision, &config, &probe::executable()).await;
        made.unwrap_or_else(|error| panic!("no image of the probe: {error}"));
        revision.deployment(self.namespace(), config)
    }

    /// A new revision of a function.
    pub(crate) fn next_revision(&self, function: &str) -> Revision {
        revision(function, self.revisions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Deploys the probe as a new revision of a function, and waits until every worker has it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn deploy(&self, function: &str, config: FunctionConfig) -> Deployment {
        let deployment = self.image(function, config).await;
        self.deploy_image(&deployment).await;
        deployment
    }

    /// Deploys what there is an image of, and waits until every worker has it.
    pub(crate) async fn deploy_image(&self, deployment: &Deployment) {
        let workers = self.ready_workers().await;
        let begin = self.error_log().len();
        self.switch(deployment).await;
        let Deployment {
            function, revision, ..
        } = deployment;
        let text = format!("{function} is at revision {revision}");
        self.wait_for_workers(&workers, begin, &text).await;
    }

    /// Waits until every worker has a revision that was deployed.
    pub async fn knows(&self, function: &str, revision: &str) {
        self.knows_since(0, function, revision).await;
    }

    /// The same of one that has been deployed since byte `begin` of nginx's log, and perhaps before.
    pub async fn knows_since(&self, begin: usize, function: &str, revision: &str) {
        let text = format!("{function} is at revision {revision}");
        let workers = self.ready_workers().await;
        self.wait_for_workers(&workers, begin, &text).await;
    }

    /// Removes a function, and waits until every worker knows.
    ///
    /// # Panics
    /// When that fails.
    pub async fn undeploy(&self, deployment: &Deployment) {
        let workers = self.ready_workers().await;
        let begin = self.error_log().len();
        let function = &deployment.function;
        let removed = self.store.remove(function).await;
        assert!(removed.expect("Redis answers"), "{function} was deployed");
        let text = format!("{function} is removed");
        self.wait_for_workers(&workers, begin, &text).await;
    }

    /// The workers that serve functions, once they know which there are: from then on they hear of
    /// each change by itself.
    pub async fn ready_workers(&self) -> Vec<u32> {
        if !(self.conf.module && self.conf.functions) {
            return Vec::new();
        }
        let workers = self.nginx.workers();
        self.wait_for_workers(&workers, 0, "functions are deployed")
            .await;
        workers
    }

    /// Waits until each of these workers that is still there has logged a text behind byte `begin`
    /// of the log.
    async fn wait_for_workers(&self, workers: &[u32], begin: usize, text: &str) {
        let line_end = format!("{text}\n");
        wait_until(
            &format!("each worker says {text:?}"),
            PATIENCE,
            async || {
                let log = self.error_log();
                let lines = log[begin..].split_inclusive('\n');
                let lines: Vec<_> = lines.filter(|line| line.ends_with(&line_end)).collect();
                workers.iter().all(|id| {
                    let mark = format!(" {id}#{id}: ");
                    lines.iter().any(|line| line.contains(&mark)) || !process::is_alive(*id)
                })
            },
        )
        .await;
    }

    /// Makes a deployment the current one, as a push does in its last step.
    ///
    /// # Panics
    /// When that fails.
    pub async fn switch(&self, deployment: &Deployment) {
        let switched = switch(&self.docker, &self.store, &[(deployment, None)]).await;
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
            switch(&self.docker, &store, &[(deployment, Some(&first.instance))]).await
        };
        switched.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Whether the deployed revision of a function is being started.
    ///
    /// # Panics
    /// When Redis fails.
    pub async fn is_starting(&self, function: &str) -> bool {
        let starting = self.try_is_starting(function).await;
        starting.expect("Redis answers")
    }

    /// The same where Redis may fail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_is_starting(&self, function: &str) -> Result<bool, StoreError> {
        let deployments = self.store.deployments().await?;
        let mut deployed = deployments.iter();
        match deployed.find(|deployed| deployed.function.as_str() == function) {
            Some(Deployment {
                function, revision, ..
            }) => self.store.is_starting(function, revision).await,
            None => Ok(false),
        }
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
        self.begin(target, count).join_all().await
    }

    /// Begins so many GETs, whose answers are to be waited for.
    pub fn begin(&self, target: &str, count: usize) -> JoinSet<Answer> {
        (0..count).map(|_| self.get(target).into_future()).collect()
    }

    /// Begins so many GETs, and then more until two workers at least have some of them. What a busy machine
    /// accepts at once may all go to one.
    ///
    /// # Panics
    /// When it doesn't come to that.
    pub async fn begin_on_several(&self, target: &str, count: usize) -> JoinSet<Answer> {
        // Connections to Redis and Docker, which come and go.
        const OTHERS: usize = 4;
        let sockets = |worker: u32| {
            let files = process::open_files(worker);
            files.iter().filter(|file| *file == "socket").count()
        };
        self.nginx.until_connections_are_closed().await;
        let workers = self.nginx.workers();
        let before: Vec<_> = workers.iter().map(|id| (*id, sockets(*id))).collect();
        let mut requests = self.begin(target, count);
        wait_until("several workers have requests", PATIENCE, async || {
            let busy = before
                .iter()
                .filter(|(id, count)| sockets(*id) > count + OTHERS);
            let are_several = busy.count() > 1;
            if !are_several {
                for _ in 0..=OTHERS {
                    requests.spawn(self.get(target).into_future());
                }
            }
            are_several
        })
        .await;
        requests
    }

    /// A deployment whose image isn't there: any start of it fails at once.
    ///
    /// # Panics
    /// When the name is none.
    pub fn without_image(&self, function: &str, config: FunctionConfig) -> Deployment {
        Deployment {
            function: function.parse().expect("a function's name"),
            revision: RevisionId("r1".to_owned()),
            image: format!("{}/absent:r1", self.namespace()),
            config,
            releases: Vec::new(),
        }
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
        wait_for(&what, Duration::from_secs(30), async || {
            let log = self.folder.read("log/access.log");
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let accesses = access::parse(whole);
            (accesses.len() >= count).then_some(accesses)
        })
        .await
    }

    /// Removes all that the namespace has in Docker. The installation may be dropped within a
    /// runtime, which can't be waited in: so a thread with one of its own does it.
    fn clean_docker(&self) -> Result<(), String> {
        let docker = Docker::new(&self.docker_url, self.namespace());
        let cleaning = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made")
                .block_on(docker::remove_all(&docker))
                .map_err(|error| error.to_string())
        });
        cleaning
            .join()
            .unwrap_or_else(|_| Err("cleaning panicked".to_owned()))
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
        if let Some(engine) = &mut self.engine {
            engine.revive();
        }
        let cleaned = self.clean_docker();
        self.engine = None;
        let mut wrong = Vec::new();
        if let Err(error) = cleaned {
            wrong.push(format!("{} can't be cleaned: {error}", self.namespace()));
        }
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
            wrong.push(format!("nginx has logged alerts:\n{}", alerts.join("\n")));
        }
        if wrong.is_empty() {
            return;
        }
        let wrong = wrong.join("\n");
        // A test that fails already keeps its own reason.
        assert!(std::thread::panicking(), "{wrong}");
        eprintln!("{wrong}");
    }
}

/// A revision of a function, `r<number>`.
///
/// # Panics
/// When the function's name is none.
pub fn revision(function: &str, number: u32) -> Revision {
    let function: FunctionName = function.parse().expect("a function's name");
    Revision {
        repository: function.clone().into(),
        function,
        id: RevisionId(format!("r{number}")),
        commit: format!("{number:040x}"),
        account: None,
        pending: false,
    }
}
