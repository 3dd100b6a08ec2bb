//! Sees to it that invocations are called.
//!
//! Each is called once at least. It stays in its queue until what came of the call is noted, and in the spool until it has
//! ended; so whatever dies in between, it is called again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corefn_core::function::FunctionName;
use corefn_core::invocation::{CALLS, InvocationId, Next, State, Tried};
use corefn_core::outcome::Outcome;
use corefn_core::throttle::may_log;
use corefn_engine::clock;
use corefn_engine::store::{Store, StoreError, Taken};
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::call::now;
use crate::dispatcher::{GRACE, lock};
use crate::replay::call;
use crate::router::{Asked, Router};
use crate::spool::{Found, Kept, Spool};

/// How often it is looked whether anything is to be called, where nobody says so.
const TICK: Duration = Duration::from_millis(250);

/// How many calls are under way at a time, in all and of one function. (What a function takes at a time is its own limit; more
/// than that wait in nginx, or are refused there and made again.)
const MOST: usize = 256;
const MOST_OF_A_FUNCTION: usize = 16;

/// How often it is looked whether somebody has removed any.
const TIDY_PAUSE: Duration = Duration::from_secs(1);

/// How long it is waited where Redis can't be told what came of a call.
const REDIS_PAUSE: Duration = Duration::from_secs(1);

/// How long Redis may take to say whether there is room, and to take an invocation, while a client waits for that. (What it does
/// not take in time is put into its queue later.)
const PATIENCE: Duration = Duration::from_millis(500);

/// How many invocations are put into a queue at once.
const BATCH: usize = 500;

/// What keeps invocations from being called.
#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the folder of invocations can't be read: {0}")]
    Spool(#[from] std::io::Error),
}

/// The invocations of all functions.
pub struct Queues {
    store: Arc<Store>,
    router: Arc<Router>,
    /// Where they are kept.
    pub spool: Spool,
    /// How many of one function may wait.
    most: u64,
    state: Mutex<Working>,
    wake: Notify,
    /// Held while the spool is listed to make queues of it. What is renamed meanwhile may not be found, and Redis may be emptied
    /// between the two.
    listing: RwLock<()>,
    tasks: Mutex<JoinSet<()>>,
    /// Whether Redis or the spool could not be used when they were last tried.
    is_failing: AtomicBool,
    /// When it was last told that an invocation can't be kept.
    not_kept_told: AtomicU64,
}

/// What is under way.
#[derive(Default)]
struct Working {
    /// What is being called, and its place in its queue.
    busy: HashMap<FunctionName, HashMap<InvocationId, String>>,
    /// The functions of which it is known what has been taken out of their queues.
    known: HashSet<FunctionName>,
    /// How many that are kept may be in no queue.
    unqueued: u64,
}

/// How an invocation goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Where it is.
    pub state: State,
    /// When it was accepted, in seconds since 1970.
    pub accepted: i64,
    /// What came of its calls, if there were any.
    pub tried: Option<Tried>,
}

impl Queues {
    /// Those of a spool, of which nobody else has the invocations called.
    pub fn new(store: Arc<Store>, router: Arc<Router>, spool: Spool, most: u64) -> Self {
        // What was kept when the last one ended may be in no queue.
        let state = Working {
            unqueued: 1,
            ..Working::default()
        };
        Self {
            store,
            router,
            spool,
            most,
            state: Mutex::new(state),
            wake: Notify::new(),
            listing: RwLock::default(),
            tasks: Mutex::default(),
            is_failing: AtomicBool::new(false),
            not_kept_told: AtomicU64::new(0),
        }
    }

    /// Whether as many invocations of a function wait as may.
    pub async fn is_full(&self, function: &FunctionName) -> bool {
        let depth = self.store.within(PATIENCE, self.store.depth(function));
        let waiting = match depth.await {
            Ok(depth) => depth.waiting + depth.calling + depth.retrying,
            // (They are in the spool, and counted here.)
            Err(_) => 0,
        };
        waiting + lock(&self.state).unqueued >= self.most
    }

    /// An invocation is kept from now on, and is to be called.
    pub async fn add(&self, function: &FunctionName, id: InvocationId) {
        let is_queued = self.try_enqueue(function, id).await;
        lock(&self.state).unqueued += u64::from(!is_queued);
        self.wake.notify_one();
    }

    /// Puts a new invocation into its queue, if that can be done now.
    async fn try_enqueue(&self, function: &FunctionName, id: InvocationId) -> bool {
        let Ok(_may_rename) = self.listing.try_read() else {
            return false;
        };
        let ids = [id];
        let enqueued = self.store.enqueue(function, &ids);
        let enqueued = self.store.within(PATIENCE, enqueued).await;
        enqueued.is_ok() && self.spool.confirm(function, id).await.is_ok()
    }

    /// Tells, once in a while, that an invocation can't be kept.
    pub fn tell_not_kept(&self, function: &FunctionName, why: &std::io::Error) {
        if may_log(&self.not_kept_told, clock::now()) {
            error!(
                "{function}: an invocation can't be kept: {why}: see to the folder of invocations; others get 507"
            );
        }
    }

    /// How an invocation goes; none if it is not known, or not any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn going(
        &self,
        function: &FunctionName,
        id: InvocationId,
    ) -> Result<Option<Going>, StoreError> {
        let came_of = self.store.came_of(function, id).await?;
        let is_busy = lock(&self.state)
            .busy
            .get(function)
            .is_some_and(|busy| busy.contains_key(&id));
        let state = match (is_busy, &came_of) {
            (true, _) => State::Calling,
            (false, Some((_, state))) => *state,
            (false, None) => State::Waiting,
        };
        let tried = came_of.map(|(tried, _)| tried);
        let accepted = match &tried {
            Some(tried) => tried.accepted,
            None => match self.spool.read(function, id).await {
                Ok(Some(content)) => content.invocation.accepted,
                _ => return Ok(None),
            },
        };
        Ok(Some(Going {
            state,
            accepted,
            tried,
        }))
    }

    /// Has invocations called, and removes what people have removed, for as long as it is polled.
    pub async fn work(self: &Arc<Self>) {
        tokio::join!(self.call(), self.tidy());
    }

    async fn call(self: &Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.wake.notified() => {}
            }
            let looked = self.look().await;
            self.tell(&looked);
            if looked.is_err() {
                sleep(REDIS_PAUSE).await;
            }
            while lock(&self.tasks).try_join_next().is_some() {}
        }
    }

    /// Waits for the calls that are under way, for some time. What is broken off then is called again by the next one.
    pub async fn end(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            let count = tasks.len();
            warn!(
                "{count} calls of invocations have not ended after {GRACE:?}: they are made again by the next dispatcher"
            );
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), QueueError> {
        let (complete, is_complete) = self.store.queues_of(self.spool.name()).await?;
        if !is_complete && !self.fill(&complete).await? {
            // Redis was emptied meanwhile.
            self.wake.notify_one();
            return Ok(());
        }
        if lock(&self.state).unqueued > 0 {
            self.add_new().await?;
        }
        for function in self.store.queues().await? {
            self.take(&function).await?;
        }
        Ok(())
    }

    /// Puts what may be in no queue into one.
    async fn add_new(&self) -> Result<(), QueueError> {
        let unqueued = std::mem::take(&mut lock(&self.state).unqueued);
        let added = async {
            for (function, found) in self.spool.list(true).await? {
                let found: Vec<_> = found.iter().collect();
                self.enqueue(&function, &found).await?;
            }
            Ok(())
        };
        let added = added.await;
        if added.is_err() {
            lock(&self.state).unqueued += unqueued;
        }
        added
    }

    /// Puts all that is kept into queues, but for what Redis has; returns whether they are complete then, for Redis may have been
    /// emptied meanwhile. That they are what is complete is said last of all.
    async fn fill(&self, complete: &str) -> Result<bool, QueueError> {
        // What is kept from now on, and can't be put into a queue, counts anew.
        let unqueued = std::mem::take(&mut lock(&self.state).unqueued);
        let filled = self.fill_all(complete).await;
        if !matches!(filled, Ok(true)) {
            lock(&self.state).unqueued += unqueued;
        }
        filled
    }

    async fn fill_all(&self, complete: &str) -> Result<bool, QueueError> {
        let listing = self.listing.write().await;
        self.store.begin_queues().await?;
        let mut all = self.spool.list(false).await?;
        drop(listing);
        lock(&self.state).known.clear();
        for function in self.store.invoked_functions().await? {
            all.entry(function).or_default();
        }
        let mut count = 0;
        for (function, found) in all {
            count += self.fill_one(&function, &found).await?;
        }
        let is_complete = self.store.complete_queues(complete).await?;
        if is_complete && count > 0 {
            info!("Redis lacked invocations: {count} are in their queues again");
        }
        Ok(is_complete)
    }

    /// The same for one function; returns how many were put into its queue.
    async fn fill_one(
        &self,
        function: &FunctionName,
        found: &[Found],
    ) -> Result<usize, QueueError> {
        let known = self.store.known_invocations(function).await?;
        let is_queued = |it: &&Found| known.queued.contains(&it.id);
        let (queued, others): (Vec<&Found>, Vec<&Found>) = found.iter().partition(is_queued);
        for new in queued.iter().filter(|found| found.kept == Kept::New) {
            self.spool.confirm(function, new.id).await?;
        }
        let lacking = others.into_iter().filter(|it| !known.dead.contains(&it.id));
        let (dead, waiting): (Vec<&Found>, Vec<&Found>) =
            lacking.partition(|it| it.kept == Kept::Dead);
        self.enqueue(function, &waiting).await?;
        for batch in dead.chunks(BATCH) {
            let batch: Vec<_> = batch.iter().map(|dead| (dead.id, forgotten())).collect();
            self.store.restore_dead(function, &batch).await?;
        }
        // Those without a file have ended, or were removed: they are dropped as soon as they are taken.
        let kept: HashSet<_> = found.iter().map(|found| found.id).collect();
        let ended: Vec<_> = known.dead.difference(&kept).copied().collect();
        for batch in ended.chunks(BATCH) {
            self.store.retry_invocations(function, batch).await?;
        }
        Ok(waiting.len())
    }

    /// Puts invocations into their function's queue.
    async fn enqueue(&self, function: &FunctionName, found: &[&Found]) -> Result<(), QueueError> {
        for batch in found.chunks(BATCH) {
            let ids: Vec<_> = batch.iter().map(|found| found.id).collect();
            self.store.enqueue(function, &ids).await?;
            for new in batch.iter().filter(|found| found.kept == Kept::New) {
                self.spool.confirm(function, new.id).await?;
            }
        }
        Ok(())
    }

    /// Has invocations of a function called, as many as may be.
    async fn take(self: &Arc<Self>, function: &FunctionName) -> Result<(), QueueError> {
        let room = self.room(function);
        if room == 0 {
            return Ok(());
        }
        if !lock(&self.state).known.contains(function) {
            // What was taken and has not been called: by the one before, or because Redis' answer was lost.
            let most = MOST_OF_A_FUNCTION + room;
            let taken = self.store.taken(function, most).await?;
            let is_all = taken.len() < most;
            self.begin(function, taken);
            if is_all {
                lock(&self.state).known.insert(function.clone());
            }
        }
        let room = self.room(function);
        if room == 0 {
            return Ok(());
        }
        let taken = self.store.take_invocations(function, now(), room).await;
        let taken = taken.inspect_err(|_| {
            lock(&self.state).known.remove(function);
        })?;
        self.begin(function, taken);
        Ok(())
    }

    /// Removes the files of invocations that somebody has removed, for as long as it is polled.
    async fn tidy(&self) {
        loop {
            // (What it can't do now it does later; that Redis is away, others tell.)
            if self.remove().await.is_ok_and(|count| count > 0) {
                continue;
            }
            sleep(TIDY_PAUSE).await;
        }
    }

    /// Removes some of them; returns how many.
    async fn remove(&self) -> Result<usize, QueueError> {
        let removed = self.store.removed_invocations().await?;
        if !removed.is_empty() {
            self.spool.remove_all(&removed).await?;
            self.store.forget_removed(&removed).await?;
        }
        Ok(removed.len())
    }

    /// How many more of a function may be called now.
    fn room(&self, function: &FunctionName) -> usize {
        let state = lock(&self.state);
        let all: usize = state.busy.values().map(HashMap::len).sum();
        let busy = state.busy.get(function).map_or(0, HashMap::len);
        MOST_OF_A_FUNCTION
            .saturating_sub(busy)
            .min(MOST.saturating_sub(all))
    }

    fn begin(self: &Arc<Self>, function: &FunctionName, taken: Vec<Taken>) {
        let mut state = lock(&self.state);
        let busy = state.busy.entry(function.clone()).or_default();
        let mut tasks = lock(&self.tasks);
        for taken in taken {
            let (me, function) = (self.clone(), function.clone());
            match busy.insert(taken.id, taken.place.clone()) {
                None => {
                    tasks.spawn(async move { me.see_to(&function, taken).await });
                }
                Some(place) if place == taken.place => {}
                // It was put into the queue again; what comes of the call is noted there.
                Some(place) => {
                    let before = Taken { place, ..taken };
                    tasks.spawn(async move { me.drop_taken(&function, &before).await });
                }
            }
        }
    }

    /// An invocation is not called any more; unless it is at another place in its queue by now, which is returned.
    fn ended(&self, function: &FunctionName, taken: &Taken) -> Option<String> {
        let mut state = lock(&self.state);
        if let Some(busy) = state.busy.get_mut(function) {
            if let Some(place) = busy.get(&taken.id).filter(|place| **place != taken.place) {
                return Some(place.clone());
            }
            busy.remove(&taken.id);
            if busy.is_empty() {
                state.busy.remove(function);
            }
        }
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Calls an invocation, and notes what came of it.
    async fn see_to(&self, function: &FunctionName, taken: Taken) {
        let before = taken.tried.as_ref();
        let begin = now();
        let (accepted, asked) = match self.spool.read(function, taken.id).await {
            Ok(None) => return self.finish(function, taken, None).await,
            Ok(Some(content)) => {
                let accepted = content.invocation.accepted;
                let asked = match call(content) {
                    Ok(call) => self.router.call(call).await,
                    Err(why) => Asked::Ended(Outcome::Failed { why }),
                };
                (accepted, asked)
            }
            Err(error) => {
                let why = format!("it can't be read: {error}");
                error!("{function}: invocation {}: {why}", taken.id);
                let accepted = before.map_or(begin, |tried| tried.accepted);
                (accepted, Asked::Refused(Outcome::Failed { why }))
            }
        };
        let (outcome, is_refused) = match asked {
            Asked::Ended(outcome) => (outcome, false),
            Asked::Refused(outcome) => (outcome, true),
        };
        let tried = Tried::after(before, accepted, outcome, is_refused, now());
        let next = tried.next();
        // The spool comes first: what Redis does not know of is called again.
        let kept = match next {
            Next::Done => self.spool.remove(function, taken.id).await,
            Next::Again(_) => Ok(()),
            Next::Dead => {
                let (id, calls, outcome) = (taken.id, tried.calls, &tried.outcome);
                warn!(
                    "{function}: invocation {id} is not called again after {calls} calls: {outcome}"
                );
                self.spool.bury(function, id).await
            }
        };
        if let Err(error) = kept {
            error!(
                "{function}: the file of invocation {} stays as it is: {error}",
                taken.id
            );
        }
        self.finish(function, taken, Some((&tried, next))).await;
    }

    /// Notes what came of a call, or that there is nothing to be called, where the invocation is in its queue.
    async fn finish(
        &self,
        function: &FunctionName,
        mut taken: Taken,
        came: Option<(&Tried, Next)>,
    ) {
        loop {
            match came {
                None => self.drop_taken(function, &taken).await,
                Some((tried, next)) => {
                    while let Err(error) = self.store.settle(function, &taken, tried, next).await {
                        self.tell(&Err(error.into()));
                        sleep(REDIS_PAUSE).await;
                    }
                }
            }
            match self.ended(function, &taken) {
                Some(place) => taken.place = place,
                None => return,
            }
        }
    }

    async fn drop_taken(&self, function: &FunctionName, taken: &Taken) {
        while let Err(error) = self.store.drop_taken(function, taken).await {
            self.tell(&Err(error.into()));
            sleep(REDIS_PAUSE).await;
        }
    }

    /// Tells once that Redis or the spool can't be used, and once that they can.
    fn tell(&self, result: &Result<(), QueueError>) {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => error!("{error}; invocations wait until it is back"),
            Ok(()) if was_failing => info!("invocations are called again"),
            _ => {}
        }
    }
}

/// What is said of an invocation that is not called again, where Redis has lost why.
fn forgotten() -> Tried {
    Tried {
        accepted: now(),
        calls: CALLS,
        refused: 0,
        at: now(),
        outcome: Outcome::Failed {
            why: "what came of its calls was lost with Redis".to_owned(),
        },
    }
}
