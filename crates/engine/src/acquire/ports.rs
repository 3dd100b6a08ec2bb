//! What a race for a start needs of the world.

use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::error::Failure;
use corefn_core::instance::Instance;

use crate::store::{Claim, Way};

/// Where leases and the starter's lock are kept: Redis.
pub trait Ledger {
    /// Leases any ready instance of the deployment for `idle`.
    fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> impl Future<Output = Result<Option<Instance>, Failure>> + Send;
    /// How many instances of the deployment may get work.
    fn count(&self, deployment: &Deployment) -> impl Future<Output = Result<u32, Failure>> + Send;
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
