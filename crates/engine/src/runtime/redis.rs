//! Redis, as far as it can be reached.

use tokio::sync::watch;
use tracing::error;

use corefn_core::error::{ErrorCode, Failure};

use crate::store::{Store, StoreError};

/// Redis. While it is known to be out of reach, nobody asks it but who waits for its return.
pub(super) struct Redis {
    pub store: Store,
    is_out: watch::Sender<bool>,
}

impl Redis {
    /// It is taken to be in reach.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            is_out: watch::Sender::new(false),
        }
    }

    /// Does something with it.
    ///
    /// # Errors
    /// [`ErrorCode::RedisUnavailable`] when it is out of reach, or turns out to be.
    pub async fn ask<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failure> {
        let mut is_out = self.is_out.subscribe();
        tokio::select! {
            biased;
            _ = is_out.wait_for(|out| *out) => Err(Failure::new(
                ErrorCode::RedisUnavailable,
                "Redis is out of reach",
            )),
            done = work => done.map_err(|error| self.on_failure(&error)),
        }
    }

    /// Does something with it that nothing goes by: if it fails, nothing comes of it, and nothing else follows.
    pub async fn look<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let mut is_out = self.is_out.subscribe();
        tokio::select! {
            biased;
            _ = is_out.wait_for(|out| *out) => None,
            done = work => done.ok(),
        }
    }

    /// It has failed. That it is out of reach is logged once for each outage, however many ask.
    pub fn on_failure(&self, error: &StoreError) -> Failure {
        let failure = Failure::new(ErrorCode::RedisUnavailable, error.to_string());
        if !matches!(error, StoreError::Failed { .. }) {
            error!("{}", failure.detail);
        } else if !self.is_out.send_replace(true) {
            error!("{}; going by Docker alone", failure.detail);
        }
        failure
    }

    /// Returns when it is out of reach.
    pub async fn outage(&self) {
        // The sender is here, so it is not gone.
        let _ = self.is_out.subscribe().wait_for(|out| *out).await;
    }

    /// It can be reached again.
    pub fn on_return(&self) {
        self.is_out.send_replace(false);
    }
}
