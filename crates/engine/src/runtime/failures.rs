//! Failures of functions: counted, reported once, and remembered for as long as they matter.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::error;

use corefn_core::backoff::{QUICK, Rows, is_own_fault};
use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::throttle;

use super::redis::Redis;
use crate::clock;
use crate::store::millis;

/// What one router keeps of failures by itself.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Failures in a row that Redis could not count.
    rows: Mutex<Rows>,
    /// When it was last logged that Docker can't start anything.
    reported: AtomicU64,
}

impl Failures {
    /// Counts a failed start while Redis can't; returns for how long this router doesn't start the
    /// function again.
    pub fn count(&self, deployment: &Deployment, code: ErrorCode) -> Duration {
        if !is_own_fault(code) {
            return Duration::ZERO;
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.on_failure(deployment, clock::now())
    }

    /// An instance of a function got ready.
    pub fn on_success(&self, function: &FunctionName) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.on_success(function);
    }

    /// Whether a failure is to be logged. That Docker can't be used fails each start at once, in a
    /// storm of requests hundreds a second.
    fn is_due(&self, code: ErrorCode) -> bool {
        code != ErrorCode::DockerUnavailable || throttle::may_log(&self.reported, clock::now())
    }

    /// Logs a failure, and for how long the function isn't started again.
    pub fn report(&self, function: &FunctionName, failure: &Failure) {
        if !self.is_due(failure.code) {
            return;
        }
        let pause = failure.retry_ms.map_or_else(String::new, |millis| {
            let pause = Duration::from_millis(millis);
            format!("; it isn't started again for {pause:?}, or until it is pushed again")
        });
        error!("function {function}: {failure}{pause}");
    }

    /// An instance has ended by itself: if that is a failure of its function, it is counted, once
    /// for all who hear of it.
    pub async fn on_death(&self, redis: &Redis, id: InstanceId, function: &FunctionName) {
        let mut failure = Failure::new(
            ErrorCode::FunctionExited,
            format!(
                "instance {id} died within {QUICK:?} of getting ready, and so did those before \
                 it: its output says why"
            ),
        );
        let pause = redis.ask(redis.store.died(id, function, &failure)).await;
        failure.retry_ms = pause.ok().and_then(some_millis);
        if failure.retry_ms.is_some() {
            self.report(function, &failure);
        }
    }
}

/// A time in milliseconds; none if there is none.
pub(super) fn some_millis(duration: Duration) -> Option<u64> {
    Some(millis(duration)).filter(|millis| *millis > 0)
}
