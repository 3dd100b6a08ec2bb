//! Redis and Docker in memory.

use std::collections::HashSet;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// Redis and Docker for one host, in memory.
pub(super) struct World {
    pub state: Mutex<State>,
    pub events: Sender<Event>,
    pub launches: AtomicU32,
    pub discarded: AtomicU32,
    pub thaws: AtomicU32,
}

#[derive(Default)]
pub(super) struct State {
    pub ready: Vec<Instance>,
    pub frozen: Vec<Instance>,
    /// What is thawed does not get ready.
    pub frozen_to_death: bool,
    pub locks: HashMap<String, (String, Instant)>,
    pub fails: Option<Failure>,
    /// Whose lock vanishes during a launch.
    pub robbed: bool,
    /// How many may be started at once, and who waits for that in turn.
    pub permits: usize,
    pub turns: Vec<Turn>,
    /// What is backed off.
    pub paused: Option<Failure>,
    /// Launches never end.
    pub hangs: bool,
    /// What isn't deployed any more.
    pub superseded: Vec<String>,
    /// In what order functions were launched, and how many at once at the most.
    pub launched: Vec<String>,
    pub most: usize,
    /// How many sandboxes wait, whose lock is without a permit, and what was started from one.
    pub sandboxes: usize,
    pub permitless: HashSet<String>,
    pub from_sandboxes: Vec<String>,
    /// It takes all the time there is to find that no sandbox waits.
    pub slow: bool,
}

/// Somebody who waits for a permit.
pub(super) struct Turn {
    pub name: String,
    /// Whether a sandbox would do.
    pub fits: bool,
}

impl State {
    /// How many starts hold a permit.
    fn with_permit(&self) -> usize {
        let permitless = &self.permitless;
        let held = self.locks.keys();
        held.filter(|name| !permitless.contains(*name)).count()
    }
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                permits: usize::MAX,
                ..State::default()
            }),
            events: broadcast::channel(64).0,
            launches: AtomicU32::new(0),
            discarded: AtomicU32::new(0),
            thaws: AtomicU32::new(0),
        })
    }

    pub async fn acquire(
        self: Arc<Self>,
        token: u32,
        timeout: Duration,
    ) -> Result<(Instance, Start), Failure> {
        self.acquire_for(deployment("r1"), token, timeout).await
    }

    pub async fn acquire_for(
        self: Arc<Self>,
        deployment: Deployment,
        token: u32,
        timeout: Duration,
    ) -> Result<(Instance, Start), Failure> {
        let mut events = self.events.subscribe();
        let order = Order {
            deployment: &deployment,
            token: &token.to_string(),
            idle: IDLE,
            timeout,
        };
        acquire(&*self, &*self, &mut events, order)
            .await
            .map_err(|refusal| refusal.failure)
    }
}

impl World {
    pub async fn one_more(
        self: Arc<Self>,
        most: u32,
        token: u32,
        timeout: Duration,
    ) -> Result<Option<Instance>, Failure> {
        let mut deployment = deployment("r1");
        deployment.config.max_instances = std::num::NonZeroU32::new(most);
        let need = Need::Requests;
        self.one_more_for(need, deployment, token, timeout).await
    }

    pub async fn one_more_for(
        self: Arc<Self>,
        need: Need,
        deployment: Deployment,
        token: u32,
        timeout: Duration,
    ) -> Result<Option<Instance>, Failure> {
        let mut events = self.events.subscribe();
        let order = Order {
            deployment: &deployment,
            token: &token.to_string(),
            idle: IDLE,
            timeout,
        };
        one_more(&*self, &*self, &mut events, order, need)
            .await
            .map_err(|refusal| refusal.failure)
    }

    fn next_turn(&self, state: &State) {
        if let Some(turn) = state.turns.first() {
            let (function, revision) = turn.name.split_once(':').unwrap();
            let _ = self.events.send(Event::Turn {
                function: function.parse().unwrap(),
                revision: RevisionId(revision.to_owned()),
            });
        }
    }
}

impl Ledger for World {
    async fn lease_any(
        &self,
        deployment: &Deployment,
        _: Duration,
    ) -> Result<Option<Instance>, Failure> {
        let state = self.state.lock().unwrap();
        Ok(state
            .ready
            .iter()
            .find(|i| i.function == deployment.function && i.revision == deployment.revision)
            .cloned())
    }

    async fn count(&self, deployment: &Deployment, need: Need) -> Result<u32, Failure> {
        let state = self.state.lock().unwrap();
        let frozen = state.frozen.iter().filter(|_| need == Need::Standby);
        let counted = state.ready.iter().chain(frozen);
        let count = counted
            .filter(|i| i.function == deployment.function && i.revision == deployment.revision)
            .count();
        Ok(u32::try_from(count).unwrap())
    }

    async fn claim(
        &self,
        deployment: &Deployment,
        token: &str,
        way: Way,
    ) -> Result<Claim, Failure> {
        let mut state = self.state.lock().unwrap();
        let name = start_of(deployment);
        let now = Instant::now();
        if state.superseded.contains(&name) {
            return Ok(Claim::Superseded);
        }
        if state
            .locks
            .get(&name)
            .is_some_and(|(holder, until)| holder != token && *until > now)
        {
            return Ok(Claim::Held);
        }
        if let Some(failure) = &state.paused {
            return Ok(Claim::BackedOff(failure.clone()));
        }
        state.locks.retain(|_, (_, until)| *until > now);
        let until = now + START_LOCK_TTL;
        let needs_none = match way {
            Way::Frozen => true,
            Way::Sandbox => !state.turns.iter().any(|turn| turn.fits),
            Way::Either | Way::Image => false,
        };
        if needs_none {
            state.permitless.insert(name.clone());
            state.locks.insert(name, (token.to_owned(), until));
            return Ok(Claim::GrantedLock);
        }
        state.permitless.remove(&name);
        state.locks.remove(&name);
        let free = state.permits.saturating_sub(state.with_permit());
        let turn = state.turns.iter().position(|turn| turn.name == name);
        if turn.unwrap_or(state.turns.len()) >= free {
            if turn.is_none() {
                let fits = way != Way::Image;
                state.turns.push(Turn { name, fits });
            }
            return Ok(Claim::Full);
        }
        state.turns.retain(|turn| turn.name != name);
        state.locks.insert(name, (token.to_owned(), until));
        state.most = state.most.max(state.with_permit());
        Ok(Claim::Granted)
    }

    async fn renew(&self, deployment: &Deployment, token: &str) {
        let mut state = self.state.lock().unwrap();
        let until = Instant::now() + START_LOCK_TTL;
        state
            .locks
            .insert(start_of(deployment), (token.to_owned(), until));
    }

    async fn take_frozen(
        &self,
        deployment: &Deployment,
        token: &str,
    ) -> Result<Option<Instance>, Failure> {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.locks[&start_of(deployment)].0, token);
        let of = |it: &Instance| it.function == deployment.function;
        let found = state.frozen.iter().position(of);
        Ok(found.map(|at| state.frozen.remove(at)))
    }

    async fn register(
        &self,
        instance: &Instance,
        token: &str,
        _: Duration,
        way: Way,
    ) -> Result<bool, Failure> {
        let mut state = self.state.lock().unwrap();
        let name = Keys::start(&instance.function, &instance.revision);
        let held = state
            .locks
            .get(&name)
            .is_some_and(|(holder, _)| holder == token);
        if !held || std::mem::take(&mut state.robbed) {
            return Ok(false);
        }
        state.locks.remove(&name);
        state.ready.push(instance.clone());
        let _ = self.events.send(Event::Ready {
            instance: instance.clone(),
            lease_ms: 60_000,
            thawed: way == Way::Frozen,
        });
        self.next_turn(&state);
        Ok(true)
    }

    async fn give_up(&self, deployment: &Deployment, token: &str, failure: Failure) -> Failure {
        let mut state = self.state.lock().unwrap();
        let name = start_of(deployment);
        if state
            .locks
            .get(&name)
            .is_some_and(|(holder, _)| holder == token)
        {
            state.locks.remove(&name);
        }
        let _ = self.events.send(Event::Failed {
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            failure: failure.clone(),
        });
        self.next_turn(&state);
        failure
    }
}

impl Launcher for World {
    async fn thaw(
        &self,
        _: &Deployment,
        frozen: Instance,
        _: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Option<Instance> {
        self.thaws.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            () = needless => return None,
        }
        let is_dead = self.state.lock().unwrap().frozen_to_death;
        (!is_dead).then_some(frozen)
    }

    fn fits_sandbox(&self, deployment: &Deployment) -> bool {
        deployment.config.executable.is_some()
    }

    async fn launch_in_sandbox(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Option<Instance>, Failure> {
        if self.state.lock().unwrap().slow {
            tokio::time::sleep(timeout).await;
        }
        {
            let mut state = self.state.lock().unwrap();
            let Some(left) = state.sandboxes.checked_sub(1) else {
                return Ok(None);
            };
            state.sandboxes = left;
            let name = deployment.function.to_string();
            state.from_sandboxes.push(name);
        }
        self.launch(deployment, timeout, needless).await.map(Some)
    }

    async fn launch(
        &self,
        deployment: &Deployment,
        _: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> Result<Instance, Failure> {
        let number = self.launches.fetch_add(1, Ordering::SeqCst) + 1;
        let hangs = {
            let mut state = self.state.lock().unwrap();
            state.launched.push(deployment.function.to_string());
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
            () = needless => return Err(Failure::new(ErrorCode::FunctionExited, "given up")),
        }
        if let Some(failure) = self.state.lock().unwrap().fails.clone() {
            return Err(failure);
        }
        Ok(Instance {
            id: InstanceId::from_random(number.into()),
            function: deployment.function.clone(),
            revision: deployment.revision.clone(),
            container: number.to_string(),
            address: "10.0.0.2:8080".parse().unwrap(),
        })
    }

    async fn discard(&self, _: &Instance) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }
}
