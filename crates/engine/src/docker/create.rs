//! A function's container: what it is made of and what it may.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    NetworkingConfig, ResourcesUlimits,
};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};

use corefn_core::config::Limits;
use corefn_core::deployment::Deployment;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, env, label};

use super::{ContainerNetwork, Docker, DockerError};

/// The writable part of a function's file system: `/tmp`, in memory.
const TMP_OPTIONS: &str = "rw,noexec,nosuid,nodev,size=16m";

/// The most of a function's output that is kept.
const LOG_SIZE: &str = "4m";

/// How many files a process may have open, connections included.
pub const OPEN_FILES: i64 = 16_384;

/// Which part of the processors a container gets when others want them too, next to what these have: Docker's `CpuShares`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// As much as any other.
    Normal,
    /// A hundredth of that: it yields to others.
    Low,
}

impl Priority {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Low];

    /// Docker's number for it. Where control groups are of the second version, the lower one is their smallest weight, 1.
    pub fn cpu_shares(self) -> i64 {
        match self {
            Self::Normal => 1024,
            Self::Low => 10,
        }
    }
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve requests.
    Serve,
    /// To serve requests, as the one of its revision that is started while Redis is out of reach.
    ServeWithoutRedis,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Serve, Self::ServeWithoutRedis];

    /// What the container is called of an instance with that.
    pub fn name(self, namespace: &str, deployment: &Deployment, instance: InstanceId) -> String {
        let function = &deployment.function;
        match self {
            Self::ServeWithoutRedis => {
                names::container_without_redis(namespace, function, &deployment.revision)
            }
            Self::Serve => names::container(namespace, function, instance),
        }
    }
}

/// Whose network a container is on.
#[derive(Debug, Clone, Copy)]
pub enum Joined<'a> {
    /// A network of the installation's.
    Network(&'a ContainerNetwork),
    /// That of another container, which has the address.
    Holder(&'a str),
}

/// Where a container gets placed.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    /// The instance it becomes.
    pub id: InstanceId,
    /// Its address on the function's network.
    pub ip: Ipv4Addr,
}

impl Placement {
    /// Where the function listens, if it does at its port.
    pub fn address(self) -> SocketAddr {
        (self.ip, names::PORT).into()
    }
}

impl Docker {
    /// Creates the container of an instance, without starting it, and returns its identifier.
    ///
    /// # Errors
    /// [`DockerError`]; a secret that can't be had is [`DockerError::Secret`], an absent image is [`DockerError::is_absent`], a second container that is
    /// alone in its revision [`DockerError::is_conflict`]. An address that another container has
    /// shows only when the container is started.
    pub async fn create(
        &self,
        deployment: &Deployment,
        placement: Placement,
        joined: Joined<'_>,
        purpose: Purpose,
    ) -> Result<String, DockerError> {
        let mut body = instance_body(self.namespace(), deployment, placement, joined);
        body.env
            .get_or_insert_default()
            .extend(self.secrets(deployment)?);
        let name = purpose.name(self.namespace(), deployment, placement.id);
        let options = CreateContainerOptions {
            name: Some(name),
            ..CreateContainerOptions::default()
        };
        let client = self.client().await?;
        let created = client
            .create_container(Some(options), body)
            .await
            .map_err(|cause| {
                self.failed(format!("create a container of {}", deployment.image), cause)
            })?;
        Ok(created.id)
    }

    /// Starts a container that was created.
    ///
    /// # Errors
    /// [`DockerError`]; Docker gives an address in use as status 403 or 500.
    pub async fn start(&self, container: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        client
            .start_container(container, None::<StartContainerOptions>)
            .await
            .map_err(|cause| self.failed("start the container", cause))
    }
}

/// The body of Docker's `POST /containers/create` for an instance, without the values of secrets, which follow the other
/// variables (Engine API 1.41 and later).
pub fn instance_body(
    namespace: &str,
    deployment: &Deployment,
    placement: Placement,
    joined: Joined<'_>,
) -> ContainerCreateBody {
    let config = &deployment.config;
    let mut labels = labels(namespace, deployment, placement);
    let (mode, networks) = match joined {
        Joined::Network(network) => (network.id.clone(), Some(at(placement.ip, network))),
        Joined::Holder(holder) => {
            labels.insert(label::HOLDER.to_owned(), holder.to_owned());
            (format!("{OF_CONTAINER}{holder}"), None)
        }
    };
    ContainerCreateBody {
        image: Some(deployment.image.clone()),
        user: Some(
            config
                .user
                .clone()
                .unwrap_or_else(|| names::USER.to_owned()),
        ),
        env: Some(environment(deployment, placement.id)),
        labels: Some(labels),
        host_config: Some(locked_down(&config.limits, mode)),
        networking_config: networks,
        ..ContainerCreateBody::default()
    }
}

/// The variables of an instance that are no secrets, `NAME=value` each.
pub fn environment(deployment: &Deployment, instance: InstanceId) -> Vec<String> {
    let own = deployment.config.environment();
    let own = own.into_iter();
    let mut environment: Vec<String> = own.map(|(name, value)| format!("{name}={value}")).collect();
    environment.extend([
        format!("{}={}", env::PORT, names::PORT),
        format!("{}={}", env::FUNCTION, deployment.function.plain_text()),
        format!("{}={}", env::REVISION, deployment.revision),
        format!("{}={instance}", env::INSTANCE),
    ]);
    environment
}

/// What a network mode begins with that is another container's network.
pub(super) const OF_CONTAINER: &str = "container:";

/// What a function's container may, and may use. The mode is a network, or another container.
pub(super) fn locked_down(limits: &Limits, network_mode: String) -> HostConfig {
    let memory = i64::try_from(limits.memory).unwrap_or(i64::MAX);
    let log = HashMap::from([
        ("max-size".to_owned(), LOG_SIZE.to_owned()),
        ("max-file".to_owned(), "1".to_owned()),
    ]);
    HostConfig {
        network_mode: Some(network_mode),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::try_from(limits.nano_cpus).unwrap_or(i64::MAX)),
        cpu_shares: Some(Priority::Normal.cpu_shares()),
        pids_limit: Some(i64::from(limits.pids)),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), TMP_OPTIONS.to_owned())])),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(OPEN_FILES),
            hard: Some(OPEN_FILES),
        }]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log),
        }),
        ..HostConfig::default()
    }
}

/// An address on a network.
pub(super) fn at(ip: Ipv4Addr, network: &ContainerNetwork) -> NetworkingConfig {
    let endpoint = EndpointSettings {
        // Docker keeps the name beside it, and would go by that.
        network_id: Some(network.id.clone()),
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(ip.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    NetworkingConfig {
        endpoints_config: Some(HashMap::from([(network.id.clone(), endpoint)])),
    }
}

fn labels(
    namespace: &str,
    deployment: &Deployment,
    placement: Placement,
) -> HashMap<String, String> {
    HashMap::from([
        (label::NAMESPACE.to_owned(), namespace.to_owned()),
        (label::FUNCTION.to_owned(), deployment.function.to_string()),
        (label::REVISION.to_owned(), deployment.revision.to_string()),
        (label::ADDRESS.to_owned(), placement.address().to_string()),
        (label::INSTANCE.to_owned(), placement.id.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::address::Subnet;
    use corefn_core::config::FunctionConfig;
    use corefn_core::function::RevisionId;

    fn body() -> ContainerCreateBody {
        body_of(None)
    }

    fn body_of(holder: Option<&str>) -> ContainerCreateBody {
        let deployment = Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r1".into()),
            image: "corefn/demo/hello:r1".into(),
            config: FunctionConfig {
                env: [("GREETING".to_owned(), "hi".to_owned())].into(),
                ..FunctionConfig::default()
            },
            releases: Vec::new(),
        };
        let placement = Placement {
            id: InstanceId::from_random(7),
            ip: Ipv4Addr::new(10, 200, 0, 9),
        };
        let network = ContainerNetwork {
            id: "n1".to_owned(),
            subnet: Subnet::candidates(&[]).usable[0],
        };
        let joined = holder.map_or(Joined::Network(&network), Joined::Holder);
        instance_body("corefn", &deployment, placement, joined)
    }

    #[test]
    fn locked_down_by_default() {
        let body = body();
        assert_eq!(body.user.as_deref(), Some("65534:65534"));
        let host = body.host_config.unwrap();
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!(host.memory, host.memory_swap);
        assert_eq!(host.ulimits.unwrap()[0].hard, Some(OPEN_FILES));
        assert!(host.memory.unwrap() > 0 && host.pids_limit.unwrap() > 0);
        assert!(host.binds.is_none() && host.port_bindings.is_none());
    }

    #[test]
    fn knows_itself() {
        let have = body().env.unwrap();
        for want in [
            "GREETING=hi".to_owned(),
            format!("{}=8080", env::PORT),
            format!("{}=demo/hello", env::FUNCTION),
            format!("{}=r1", env::REVISION),
            format!("{}=0000000000000007", env::INSTANCE),
        ] {
            assert!(have.contains(&want), "{want}");
        }
    }

    #[test]
    fn on_the_network_of_another() {
        let own = body();
        assert!(!own.labels.unwrap().contains_key(label::HOLDER));
        assert_eq!(own.host_config.unwrap().network_mode.unwrap(), "n1");
        assert!(own.networking_config.is_some());
        let joined = body_of(Some("c1"));
        assert_eq!(joined.labels.unwrap()[label::HOLDER], "c1");
        let mode = joined.host_config.unwrap().network_mode.unwrap();
        assert_eq!(mode, "container:c1");
        assert!(joined.networking_config.is_none(), "Docker refuses both");
    }

    #[test]
    fn says_which_instance_it_is() {
        let labels = body().labels.unwrap();
        assert_eq!(labels[label::INSTANCE], "0000000000000007");
        assert_eq!(labels[label::ADDRESS], "10.200.0.9:8080");
    }
}
