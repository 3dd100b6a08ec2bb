//! What a worker remembers for those who look at what there is: which functions have changed of late, and which could
//! not be started.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use corefn_core::error::Failure;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::view::FailureView;

/// How many changes are remembered.
const CHANGES: usize = 256;

/// Of how many functions a failure is.
const FAILURES: usize = 256;

/// For how long a failure is shown at least, in milliseconds.
const SHOWN: u64 = 60_000;

/// What is remembered.
#[derive(Default)]
pub struct Recent {
    /// How many changes there were.
    count: Cell<u64>,
    /// The functions of the last of them.
    changed: RefCell<VecDeque<FunctionName>>,
    failures: RefCell<HashMap<FunctionName, (RevisionId, FailureView)>>,
}

impl Recent {
    /// What is deployed of a function has changed.
    pub fn on_changed(&self, function: &FunctionName) {
        self.count.set(self.count.get() + 1);
        let mut changed = self.changed.borrow_mut();
        changed.truncate(CHANGES - 1);
        changed.push_front(function.clone());
        self.failures.borrow_mut().remove(function);
    }

    /// Everything may have.
    pub fn on_all_changed(&self) {
        self.count.set(self.count.get() + 1);
        self.changed.take();
    }

    /// How often something has changed.
    pub fn changes(&self) -> u64 {
        self.count.get()
    }

    /// The functions that have since it had so often; nothing if that is not known any more.
    pub fn changed_since(&self, changes: u64) -> Option<Vec<FunctionName>> {
        let count = usize::try_from(self.count.get().checked_sub(changes)?).ok()?;
        let changed = self.changed.borrow();
        (count <= changed.len()).then(|| changed.iter().take(count).cloned().collect())
    }

    /// A revision could not be started, and is not for as long as the failure says, if it does.
    pub fn on_failure(&self, function: &FunctionName, revision: &RevisionId, failure: Failure) {
        let time = time();
        let view = FailureView {
            code: failure.code,
            detail: failure.detail,
            at: time,
            until: failure.retry_ms.map(|pause| time + pause),
        };
        let mut failures = self.failures.borrow_mut();
        failures.retain(|_, (_, view)| is_recent(view, time));
        if failures.len() < FAILURES {
            failures.insert(function.clone(), (revision.clone(), view));
        }
    }

    /// It was started after all.
    pub fn on_started(&self, function: &FunctionName) {
        let mut failures = self.failures.borrow_mut();
        if !failures.is_empty() {
            failures.remove(function);
        }
    }

    /// The functions that could not be started of late, or are not, with the revisions.
    pub fn failures(&self) -> HashMap<FunctionName, (RevisionId, FailureView)> {
        let time = time();
        let mut failures = self.failures.borrow().clone();
        failures.retain(|_, (_, view)| is_recent(view, time));
        failures
    }
}

/// Whether a failure still matters.
fn is_recent(failure: &FailureView, time: u64) -> bool {
    failure.at + SHOWN > time || failure.until.is_some_and(|until| until > time)
}

/// The time, in milliseconds since 1970.
pub fn time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
