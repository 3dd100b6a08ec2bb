//! What a race for a start needs of the world.

use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::error::Failure;
use corefn_core::instance::Instance;

use crate::store::{Claim, Way};

/// What one more instance is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Requests, at whose instances there is no room. There may be as many as `scale.max` says.
    Requests,
    /// That there be as many as `scale.min` says, whether anybody asks for them or not. Those that are frozen count.
    Standby,
}

impl Need {
    /// How many instances are enough.
    pub fn enough(self, deployment: &Deployment) -> u32 {
        match self {
            Self::Requests => deployment.config.most_instances(),
            Self::Standby => deployment.config.least_instances(),
        }
    }
}

/// Where leases and the starter's lock are kept: Redis.
pub trait Ledger {
    /// Leases any ready instance of the deployment for `idle`.
    fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> impl Future<Output = Result<Option<Instance>, Failure>> + Send;
    /// How many instances of the deployment there are that count for this.
    fn count(
        &self,
        deployment: &Deployment,
        need: Need,
    ) -> impl Future<Output = Result<u32, Failure>> + Send;
    /// Asks for the starter's lock, and for a permit unless the way needs none.
    fn claim(
        &self,
        deployment: &Deployment,
        token: &str,
        way: Way,
    ) -> impl Future<Output = Result<Claim, Failure>> + Send;
    /// Renews the starter's lock.
    fn renew(&self, deployment: &Deployment, token: &str) -> impl Future<Output = ()> + Send;
    /// Takes an instance of the deployment that is frozen, for the token that holds the lock.
    fn take_frozen(
        &self,
        deployment: &Deployment,
        token: &str,
    ) -> impl Future<Output = Result<Option<Instance>, Failure>> + Send;
    /// Registers the instance, which was started in that way, if the token still holds the lock, and gives the lock back.
    fn register(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
        way: Way,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;
    /// Gives the lock back and tells everyone of the failure. Returns it, with how long the
    /// function is backed off because of it.
    fn give_up(
        &self,
        deployment: &Deployment,
        token: &str,
        failure: Failure,
    ) -> impl Future<Output = Failure> + Send;
}

/// What starts instances: Docker, and a host's sandboxes.
pub trait Launcher {
    /// Has a frozen instance go on, and waits until it is ready, or until it is known to be needless. Nothing if it can't,
    /// and then it is removed.
    fn thaw(
        &self,
        deployment: &Deployment,
        frozen: Instance,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Option<Instance>> + Send;
    /// Whether a sandbox could become an instance of the deployment, if one waits.
    fn fits_sandbox(&self, deployment: &Deployment) -> bool;
    /// As [`Launcher::launch`], from a sandbox alone; nothing if none has become an instance.
    fn launch_in_sandbox(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Option<Instance>, Failure>> + Send;
    /// Starts an instance and waits until it is ready, or until it is known to be needless; leaves
    /// nothing behind on failure that Docker lets it remove.
    fn launch(
        &self,
        deployment: &Deployment,
        timeout: Duration,
        needless: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Instance, Failure>> + Send;
    /// Removes an instance that nobody knows of.
    fn discard(&self, instance: &Instance) -> impl Future<Output = ()> + Send;
}
