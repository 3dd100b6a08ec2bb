//! Which containers are whose.

use std::sync::PoisonError;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::InspectContainerOptions;
use corefn_core::gate::Caller;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_engine::docker::Priority;
use serde_json::{Value, json};

use super::{Denied, Policy};
use crate::ask::{ContainerLimits, DockerId, Refused, Shown};

/// Of how many containers it is remembered that they are the installation's. (What is forgotten is asked for again.)
const MOST_KNOWN: usize = 10_000;

/// What a container of the installation's was made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// An instance.
    Instance,
    /// A sandbox, for this instance.
    Sandbox(InstanceId),
    /// What files are taken out of.
    Fetch,
    /// What builds.
    Build,
}

impl Made {
    /// Whether a caller has to do with such.
    fn is_for(self, caller: Caller) -> bool {
        match (caller, self) {
            (Caller::Cleaner, _) => true,
            (Caller::Router, Self::Instance | Self::Sandbox(_)) => true,
            (Caller::Keeper, Self::Sandbox(_) | Self::Fetch) => true,
            (Caller::Builder, Self::Instance | Self::Sandbox(_) | Self::Build) => true,
            (Caller::Router | Caller::Keeper | Caller::Builder, _) => false,
        }
    }
}

impl Policy {
    /// A container was made that was asked for.
    pub fn note(&self, id: DockerId, made: Made) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(id, made);
    }

    fn remembered(&self, id: &DockerId) -> Option<Made> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).copied()
    }

    /// What a container is that the caller has to do with.
    pub(super) async fn known(&self, id: &DockerId) -> Result<Made, Denied> {
        let made = match self.remembered(id) {
            Some(made) => made,
            None => self.look(id).await?,
        };
        match made.is_for(self.caller) {
            true => Ok(made),
            false => {
                let caller = self.caller.word();
                Err(Refused::new(format!("a container that no {caller} has to do with")).into())
            }
        }
    }

    /// Asks Docker what a container is.
    async fn look(&self, id: &DockerId) -> Result<Made, Denied> {
        let found = self.inspect(id.as_str()).await?;
        let labels = found.config.and_then(|config| config.labels);
        let labels = labels.unwrap_or_default();
        let label = |name| labels.get(name).map(String::as_str);
        if label(label::NAMESPACE) != Some(self.docker.namespace())
            || found.id.as_deref() != Some(id.as_str())
        {
            return Err(Refused::new("a container that is not the installation's").into());
        }
        let instance = label(label::INSTANCE).and_then(|id| id.parse().ok());
        let made = match (label(label::ROLE), instance) {
            (Some(label::ROLE_BUILD), _) => Made::Build,
            (Some(label::ROLE_FETCH), _) => Made::Fetch,
            (Some(label::ROLE_SANDBOX), Some(instance)) => Made::Sandbox(instance),
            _ => Made::Instance,
        };
        self.note(id.clone(), made);
        Ok(made)
    }

    async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse, Denied> {
        let client = self.docker.client().await?;
        let none = None::<InspectContainerOptions>;
        let found = client.inspect_container(container, none).await;
        found.map_err(|cause| self.denied("look at the container", cause))
    }

    /// The whole identifier of a container that the caller has to do with, or that runs a command for Docker's builder.
    pub(super) async fn shown(&self, shown: &Shown) -> Result<DockerId, Denied> {
        match (shown, self.caller) {
            (Shown::Whole(id), _) => self.known(id).await.map(|_| id.clone()),
            (Shown::Begin(begin), Caller::Builder) => self.command(begin).await,
            (Shown::Begin(begin), _) => {
                Err(Refused::new(format!("{begin:?} is no whole identifier")).into())
            }
        }
    }

    /// The whole identifier of a container that runs a command for Docker's builder.
    pub(super) async fn shown_command(&self, shown: &Shown) -> Result<DockerId, Denied> {
        match shown {
            Shown::Whole(id) => self.command(id.as_str()).await,
            Shown::Begin(begin) => self.command(begin).await,
        }
    }

    /// The same of one that is asked for so: it is on the network of builds.
    async fn command(&self, container: &str) -> Result<DockerId, Denied> {
        let no = || Refused::new("a container that is not of a build");
        let found = self.inspect(container).await?;
        let mode = found.host_config.and_then(|host| host.network_mode);
        let network: DockerId = mode.unwrap_or_default().parse().map_err(|_| no())?;
        self.build_network(&network).await?;
        Ok(found.id.unwrap_or_default().parse()?)
    }

    /// A container in which something is built.
    pub(super) async fn build(&self, id: &DockerId) -> Result<(), Denied> {
        match self.known(id).await? {
            Made::Build => Ok(()),
            _ => Err(Refused::new("a container in which nothing is built").into()),
        }
    }

    /// One that has not been started yet: what runs in it could lead what is written into it elsewhere.
    pub(super) async fn unstarted_build(&self, id: &DockerId) -> Result<(), Denied> {
        self.build(id).await?;
        let state = self.inspect(id.as_str()).await?.state.unwrap_or_default();
        match state.status {
            Some(ContainerStateStatusEnum::CREATED) => Ok(()),
            _ => Err(Refused::new("files for a container that was started").into()),
        }
    }

    /// A container whose files the caller takes.
    pub(super) async fn source(&self, id: &DockerId) -> Result<(), Denied> {
        match self.known(id).await? {
            Made::Build | Made::Fetch => Ok(()),
            _ => Err(Refused::new("files of a container that serves").into()),
        }
    }

    /// A container that may be started.
    pub(super) async fn startable(&self, id: &DockerId) -> Result<(), Denied> {
        match self.known(id).await? {
            Made::Fetch => Err(Refused::new("a container that is never started").into()),
            _ => Ok(()),
        }
    }

    /// The instance of a sandbox.
    pub(super) async fn sandbox(&self, id: &DockerId) -> Result<InstanceId, Denied> {
        match self.known(id).await? {
            Made::Sandbox(instance) => Ok(instance),
            _ => Err(Refused::new("a container that is no sandbox").into()),
        }
    }

    pub(super) async fn limits(
        &self,
        id: &DockerId,
        limits: ContainerLimits,
    ) -> Result<Value, Denied> {
        self.sandbox(id).await?;
        let ContainerLimits {
            memory,
            memory_swap,
            nano_cpus,
            pids_limit,
        } = limits;
        // (Docker takes 0 for no change.)
        if memory == 0 || nano_cpus == 0 || pids_limit == 0 || memory_swap != memory {
            return Err(Refused::new("a container without limits").into());
        }
        Ok(json!({
            "Memory": memory,
            "MemorySwap": memory_swap,
            "NanoCpus": nano_cpus,
            "PidsLimit": pids_limit,
        }))
    }

    /// The body for one of the priorities of what serves.
    pub(super) async fn priority(&self, id: &DockerId, shares: i64) -> Result<Value, Denied> {
        if !Priority::ALL.map(Priority::cpu_shares).contains(&shares) {
            return Err(Refused::new(format!("{shares} CpuShares, which are no priority")).into());
        }
        match self.known(id).await? {
            Made::Instance | Made::Sandbox(_) => Ok(json!({ "CpuShares": shares })),
            Made::Fetch | Made::Build => {
                Err(Refused::new("another priority for a container that serves nobody").into())
            }
        }
    }

    /// Checks that a sandbox may be called so: as what it can have become.
    pub(super) async fn check_name(&self, id: &DockerId, name: &str) -> Result<(), Denied> {
        let instance = self.sandbox(id).await?;
        let namespace = self.docker.namespace();
        let serves = names::without_socket(name).unwrap_or(name);
        let function = match names::in_holder(namespace, name, instance) {
            Some(function) => Some(function),
            None => names::in_sandbox(namespace, serves, instance).map(|(function, _)| function),
        };
        match function {
            Some(_) => Ok(()),
            None => Err(Refused::new(format!("{name:?} is no name of that sandbox")).into()),
        }
    }
}
