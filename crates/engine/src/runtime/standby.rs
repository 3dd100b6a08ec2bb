//! Has as many instances of a function as its `scale.min` says, whether anybody asks for them or not.
//!
//! It is looked whenever that may have changed, and now and then for what nobody tells of: the end of a pause after failures,
//! or a starter that has died. Other hosts do the same; the starter's lock has one of them start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use corefn_core::deployment::Deployment;
use corefn_core::event::Event;
use corefn_core::function::FunctionName;
use corefn_core::lease::{DEFAULT_IDLE, DEFAULT_START_TIMEOUT};

use super::starts::Starts;
use crate::acquire::Need;

/// How often it is looked in any case.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

/// The functions that want instances to stand by.
pub(super) struct Standby {
    starts: Arc<Starts>,
    functions: Mutex<HashMap<FunctionName, Wanted>>,
}

/// What a function wants.
struct Wanted {
    deployment: Arc<Deployment>,
    /// There as long as somebody is at it.
    at_hand: Weak<()>,
    /// Whether something has happened since.
    again: bool,
}

impl Standby {
    /// No function is known yet.
    pub fn new(starts: Arc<Starts>) -> Self {
        Self {
            starts,
            functions: Mutex::default(),
        }
    }

    /// What is deployed, as far as it wants any ([`is_wanted`]): it replaces what was known.
    pub fn on_snapshot(self: &Arc<Self>, wanted: Vec<Deployment>) {
        let names: Vec<_> = wanted.iter().map(|it| it.function.clone()).collect();
        self.functions().retain(|name, _| names.contains(name));
        for deployment in wanted {
            self.set(deployment);
        }
        self.look_at_all();
    }

    /// Something has happened that may change how many there are, or are wanted.
    pub fn on_event(self: &Arc<Self>, event: &Event) {
        match event {
            Event::Deployed { deployment } if is_wanted(deployment) => {
                self.set(Deployment::clone(deployment));
                self.look_at(&deployment.function);
            }
            Event::Deployed { deployment } => {
                self.functions().remove(&deployment.function);
            }
            Event::Removed { function } => {
                self.functions().remove(function);
            }
            Event::Gone { function, .. } => self.look_at(function),
            // (Somebody else has started one, and it may not be the last that is missing.)
            Event::Ready { instance, .. } => self.look_at(&instance.function),
            Event::Failed { .. } | Event::Turn { .. } => {}
        }
    }

    fn set(&self, deployment: Deployment) {
        let mut functions = self.functions();
        let deployment = Arc::new(deployment);
        let entry = functions.entry(deployment.function.clone());
        let wanted = entry.or_insert_with(|| Wanted {
            deployment: deployment.clone(),
            at_hand: Weak::new(),
            again: false,
        });
        wanted.deployment = deployment;
    }

    fn look_at_all(self: &Arc<Self>) {
        let names: Vec<_> = self.functions().keys().cloned().collect();
        for name in names {
            self.look_at(&name);
        }
    }

    /// Starts what is missing, in a task of its own, unless one is at it, which then looks again.
    fn look_at(self: &Arc<Self>, name: &FunctionName) {
        let mut functions = self.functions();
        let Some(wanted) = functions.get_mut(name) else {
            return;
        };
        wanted.again = true;
        if wanted.at_hand.strong_count() > 0 {
            return;
        }
        let held = Arc::new(());
        wanted.at_hand = Arc::downgrade(&held);
        let (standby, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            while let Some(deployment) = standby.next(&name) {
                standby.fill(&deployment).await;
            }
            drop(held);
        });
    }

    /// What is to be looked at once more, if anything has happened.
    fn next(&self, name: &FunctionName) -> Option<Arc<Deployment>> {
        let mut functions = self.functions();
        let wanted = functions.get_mut(name)?;
        if std::mem::take(&mut wanted.again) {
            return Some(wanted.deployment.clone());
        }
        wanted.at_hand = Weak::new();
        None
    }

    async fn fill(&self, deployment: &Deployment) {
        // (Redis is asked only if there may be too few, as far as is known here: which ones are frozen is not.)
        let known = self.starts.instances.known.of(deployment).len();
        if known >= deployment.config.least_instances() as usize {
            return;
        }
        let idle = deployment.config.lease(DEFAULT_IDLE);
        let more = || {
            let need = Need::Standby;
            self.starts
                .one_more(deployment, need, idle, DEFAULT_START_TIMEOUT)
        };
        while more().await {}
    }

    fn functions(&self) -> MutexGuard<'_, HashMap<FunctionName, Wanted>> {
        self.functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a function wants instances to stand by.
pub(super) fn is_wanted(deployment: &Deployment) -> bool {
    deployment.config.least_instances() > 0
}

/// Runs for as long as the thread does.
pub(super) async fn stand_by(standby: Arc<Standby>) {
    let mut ticks = tokio::time::interval(NOW_AND_THEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        standby.look_at_all();
    }
}
