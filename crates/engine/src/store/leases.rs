//! The right to send work to an instance.

use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::lease::DRAINING_LEASE;

use super::{Store, StoreError, millis, read};

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The lease lasts for the time asked for.
    Yes,
    /// The instance is draining: it must not get work any more. What it holds it may finish.
    Draining,
    /// Redis doesn't know the instance.
    Unknown,
}

impl Store {
    /// Leases any ready instance of a deployment for `idle`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> Result<Option<Instance>, StoreError> {
        let key = self.keys.instances();
        let mut script = self.scripts.lease_any.prepare_invoke();
        script
            .key(self.keys.ready(&deployment.function))
            .key(&key)
            .arg(&deployment.revision.0)
            .arg(millis(idle))
            .arg(self.keys.lease_prefix());
        let found: Option<String> = self.invoke(&script).await?;
        found.map(|text| read(&key, &text)).transpose()
    }

    /// Renews leases, each for its own time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew(
        &self,
        renewals: &[(InstanceId, FunctionName, Duration)],
    ) -> Result<Vec<Renewed>, StoreError> {
        let mut script = self.scripts.renew.prepare_invoke();
        script
            .key(self.keys.instances())
            .arg(millis(DRAINING_LEASE));
        for (id, function, ttl) in renewals {
            script
                .key(self.keys.ready(function))
                .key(self.keys.lease(*id))
                .arg(id.to_string())
                .arg(millis(*ttl));
        }
        let answers: Vec<i64> = self.invoke(&script).await?;
        Ok(answers
            .into_iter()
            .map(|answer| match answer {
                1 => Renewed::Yes,
                0 => Renewed::Draining,
                _ => Renewed::Unknown,
            })
            .collect())
    }
}
