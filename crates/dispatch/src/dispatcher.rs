//! Sees to it that what is due is called.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::event::Event;
use corefn_core::keys::DISPATCHER_RENEWAL;
use corefn_core::schedule::{Calls, LATEST, Step};
use corefn_engine::store::{Store, StoreError};
use futures_util::StreamExt as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::call::{self, now};
use crate::known::{Lines, Look};
use crate::router::Router;

/// How often it is looked whether anything is due.
const TICK: Duration = Duration::from_millis(250);

/// How long it is waited where Redis can't be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// How long calls that are under way may take when the dispatcher is to end; then they are broken off.
pub const GRACE: Duration = Duration::from_secs(30);

/// Calls functions as their schedules say. Of several, each call is made by one.
pub struct Dispatcher {
    store: Arc<Store>,
    router: Arc<Router>,
    /// Which one it is.
    token: String,
    lines: Mutex<Lines>,
    tasks: Mutex<JoinSet<()>>,
    /// Which index the lines are from.
    epoch: Mutex<Option<String>>,
    /// Whether Redis could not be used when it was last tried.
    is_failing: AtomicBool,
}

impl Dispatcher {
    /// One that calls by this router. The token is its own.
    pub fn new(store: Arc<Store>, router: Arc<Router>, token: String) -> Self {
        Self {
            store,
            router,
            token,
            lines: Mutex::default(),
            tasks: Mutex::default(),
            epoch: Mutex::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Follows what is deployed, and says that it is at work, for as long as it is polled.
    pub async fn follow(&self) {
        loop {
            let followed = self.follow_once().await;
            self.tell(&followed);
            sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), StoreError> {
        let mut events = pin!(self.store.events().await?);
        // What was deployed while nobody listened is read anew.
        *lock(&self.epoch) = None;
        let mut renewal = interval(DISPATCHER_RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Deployed { deployment }) => {
                        let gone = self.take(&deployment);
                        self.store.forget_calls(&gone).await?;
                    }
                    Some(Event::Removed { function }) => {
                        let gone = lock(&self.lines).remove(&function);
                        self.store.forget_calls(&gone).await?;
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = renewal.tick() => {
                    self.store.begin_dispatching(&self.token).await?;
                    self.read().await?;
                }
            }
        }
    }

    /// Takes what is deployed. Gives the lines that are no more.
    fn take(&self, deployment: &Deployment) -> Vec<String> {
        let changed = lock(&self.lines).take(deployment, now());
        for (line, why) in changed.wrong {
            let function = line.function;
            error!("{function}: a line of its schedule has no effect: {why}");
        }
        changed.gone
    }

    /// Reads what is deployed, unless that is known. While Redis is empty, what was deployed is.
    async fn read(&self) -> Result<(), StoreError> {
        let epoch = self.store.epoch().await?;
        if epoch.is_none() || epoch == *lock(&self.epoch) {
            return Ok(());
        }
        let mut scheduled = HashSet::new();
        let take = |deployment: Deployment| {
            if !deployment.config.schedule.is_empty() {
                self.take(&deployment);
                scheduled.insert(deployment.function);
            }
        };
        self.store.each_deployment(take).await?;
        let known = {
            let mut lines = lock(&self.lines);
            lines.keep(&scheduled);
            lines.names()
        };
        let noted = self.store.all_calls().await?.into_keys();
        let gone: Vec<_> = noted.filter(|line| !known.contains(line)).collect();
        self.store.forget_calls(&gone).await?;
        *lock(&self.epoch) = epoch;
        Ok(())
    }

    /// Looks again and again what is due, for as long as it is polled.
    pub async fn work(self: &Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looks = lock(&self.lines).due(now());
            let mut tasks = lock(&self.tasks);
            for look in looks {
                let me = self.clone();
                tasks.spawn(async move { me.see_to(look).await });
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Waits for the calls that are under way, for some time, and says that it is at work no more, as its follower has said
    /// until then.
    pub async fn end(&self, follower: JoinHandle<()>) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            let count = tasks.len();
            warn!("{count} calls have not ended after {GRACE:?}: they are broken off");
        }
        follower.abort();
        if let Err(error) = self.store.end_dispatching(&self.token).await {
            error!("{error}");
        }
    }

    /// Does what is to be done about a line.
    async fn see_to(&self, look: Look) {
        let step = self.step(&look).await;
        self.tell(&step);
        let line = &look.line;
        match step {
            Ok(Some(due)) => {
                let outcome = call::make(&self.router, line, due).await;
                if !outcome.is_good() {
                    let (function, schedule) = (&line.function, &line.schedule);
                    warn!(
                        "{function}: the call of its schedule {schedule:?} has failed: {outcome}"
                    );
                }
                call::note(&self.store, line, due, &self.token, outcome).await;
                lock(&self.lines).looked(line, due, false, now());
            }
            Ok(None) => {}
            Err(_) => lock(&self.lines).failed(line, now()),
        }
    }

    /// Notes what is to be known of a line. Gives the time for which its function is to be called, if it is.
    async fn step(&self, look: &Look) -> Result<Option<i64>, StoreError> {
        let (line, now) = (&look.line, now());
        let (function, schedule) = (&line.function, line.schedule.to_string());
        let noted = self.store.calls(line).await?;
        // What was due before may have been called by somebody else, whose note was lost when Redis was emptied.
        let mut calls = noted.clone().unwrap_or_else(|| Calls::since(now));
        if calls.is_ahead(now) {
            warn!("{function}: the clock was put back, so its schedule {schedule:?} begins anew");
            calls.settled = now;
        }
        let is_alive = match calls.last.as_ref().filter(|call| call.end.is_none()) {
            // Who makes a call is busy with it. So this one was claimed, but Redis' answer was lost: nobody has made it.
            Some(call) if call.by == self.token && now - call.due <= LATEST => {
                return Ok(Some(call.due));
            }
            Some(call) if call.by == self.token => false,
            Some(call) => self.store.is_dispatching(&call.by).await?,
            None => true,
        };
        let due = look.times.due(calls.settled, now);
        let (next, is_call) = match calls.step(due, now, is_alive, &self.token) {
            Step::Wait => (calls.clone(), false),
            Step::Note(next) => (next, false),
            Step::Call(next) => (next, true),
        };
        let is_noted = noted.as_ref() == Some(&next)
            || self.store.swap_calls(line, noted.as_ref(), &next).await?;
        if !is_noted {
            // Somebody else was faster.
            lock(&self.lines).failed(line, now);
            return Ok(None);
        }
        let missed = next.missed - calls.missed;
        if missed > 0 {
            warn!("{function}: {missed} calls of its schedule {schedule:?} were missed");
        }
        if is_call {
            return Ok(Some(next.settled));
        }
        let is_pending = next.is_under_way();
        lock(&self.lines).looked(line, next.settled, is_pending, now);
        Ok(None)
    }

    /// Tells once that Redis can't be used, and once that it can.
    fn tell<T>(&self, result: &Result<T, StoreError>) {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => error!("{error}; nothing is called until it is back"),
            Ok(_) if was_failing => info!("back to work"),
            _ => {}
        }
    }
}

/// Locks it, whoever has panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
