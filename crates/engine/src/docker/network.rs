//! The networks of an installation: of functions that reach out, of those that don't, and of builds.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use tokio::sync::Mutex;

use corefn_core::address::{Route, Subnet};
use corefn_core::names::{self, label};
use corefn_core::network::{Network, NetworkKind};

use super::{Docker, DockerError};

/// How often, and how far apart, Docker is asked for a network that somebody else is creating.
const SHOWN_LOOKS: u32 = 20;
const SHOWN_PAUSE: Duration = Duration::from_millis(50);

/// The options of Docker's bridge driver that say whether containers reach each other, whether what they send gets the
/// host's address, and what the bridge is called
/// (docs.docker.com, "Bridge network driver").
const BETWEEN_CONTAINERS: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const BRIDGE: &str = "com.docker.network.bridge.name";

/// A network of the installation's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// Docker's identifier. There may be a second network of the same name, for a moment or for longer.
    pub id: String,
    /// Where its containers get their addresses from.
    pub subnet: Subnet,
}

/// The networks of functions, once they are known.
#[derive(Debug, Default)]
pub(super) struct Networks(std::sync::Mutex<HashMap<Network, Known>>);

/// A network, once it is known. It is locked while it is looked for.
type Known = Arc<Mutex<Option<ContainerNetwork>>>;

impl Networks {
    fn of(&self, network: Network) -> Known {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(network).or_default().clone()
    }
}

impl Docker {
    /// The network of functions of `kind`. It is created if it isn't there: with a subnet of ours, for Docker takes
    /// explicit addresses only then, without traffic between its containers, and with a bridge by whose name a
    /// firewall knows it.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say or no candidate subnet is free.
    pub async fn network(&self, kind: Network) -> Result<ContainerNetwork, DockerError> {
        let known = self.networks.of(kind);
        let mut known = known.lock().await;
        if let Some(network) = &*known {
            return Ok(network.clone());
        }
        let network = self.ensure(NetworkKind::Of(kind)).await?;
        *known = Some(network.clone());
        Ok(network)
    }

    /// The identifier of the network of builds. Docker is asked for it each time: whoever has Docker remove unused networks
    /// has it remove this one as well, and builds are rare.
    ///
    /// # Errors
    /// As of [`Docker::network`].
    pub async fn build_network(&self) -> Result<String, DockerError> {
        Ok(self.ensure(NetworkKind::Build).await?.id)
    }

    /// Forgets a network that is gone: somebody has removed it.
    pub async fn forget_network(&self, kind: Network, network: &ContainerNetwork) {
        let known = self.networks.of(kind);
        let mut known = known.lock().await;
        if known.as_ref() == Some(network) {
            *known = None;
        }
    }

    /// Several may find the network missing at once, and Docker of before 1.44 doesn't refuse a
    /// second one of the same name. But no two get the same subnet: since all try the subnets in
    /// the same order, whoever is refused one that nobody shows yet waits for it to be shown. So
    /// does who finds a route to one.
    async fn ensure(&self, kind: NetworkKind) -> Result<ContainerNetwork, DockerError> {
        let name = &names::network(self.namespace(), kind);
        let candidates = Subnet::candidates(&host_routes());
        let networks = self.list_networks().await?;
        if let Some(network) = self.only(name, &networks).await? {
            return Ok(network);
        }
        let unexplained = |subnet| !is_taken(subnet, &networks);
        if candidates.routed.into_iter().any(unexplained)
            && let Some(network) = self.shown(name).await?
        {
            return Ok(network);
        }
        for candidate in candidates.usable {
            let networks = self.list_networks().await?;
            if let Some(network) = self.only(name, &networks).await? {
                return Ok(network);
            }
            if is_taken(candidate, &networks) || self.create_network(kind, name, candidate).await? {
                continue;
            }
            if let Some(network) = self.shown(name).await? {
                return Ok(network);
            }
        }
        let networks = self.list_networks().await?;
        let found = self.only(name, &networks).await?;
        found.ok_or_else(|| DockerError::NoSubnet(name.to_owned()))
    }

    /// Waits a moment for a network that somebody else may be creating.
    async fn shown(&self, name: &str) -> Result<Option<ContainerNetwork>, DockerError> {
        for _ in 0..SHOWN_LOOKS {
            let networks = self.list_networks().await?;
            if let Some(network) = self.only(name, &networks).await? {
                return Ok(Some(network));
            }
            tokio::time::sleep(SHOWN_PAUSE).await;
        }
        Ok(None)
    }

    /// The network of that name. Of several, all but the one with the first subnet are removed.
    async fn only(
        &self,
        name: &str,
        networks: &[Shown],
    ) -> Result<Option<ContainerNetwork>, DockerError> {
        let mut ours: Vec<&Shown> = networks.iter().filter(|shown| shown.name == name).collect();
        ours.sort_by_key(|shown| &shown.subnets);
        let Some((first, others)) = ours.split_first() else {
            return Ok(None);
        };
        for other in others {
            let removed = self.client().await?.remove_network(&other.id).await;
            // One that is in use stays until it isn't, and nobody new is put on it.
            drop(removed);
        }
        let subnet = first.subnets.iter().find_map(|text| Subnet::parse(text));
        let id = first.id.clone();
        Ok(subnet.map(|subnet| ContainerNetwork { id, subnet }))
    }

    async fn list_networks(&self) -> Result<Vec<Shown>, DockerError> {
        let client = self.client().await?;
        let list = client
            .list_networks(None::<ListNetworksOptions>)
            .await
            .map_err(|cause| self.failed("list networks", cause))?;
        Ok(list
            .into_iter()
            .map(|network| Shown {
                id: network.id.unwrap_or_default(),
                name: network.name.unwrap_or_default(),
                subnets: network
                    .ipam
                    .and_then(|ipam| ipam.config)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|config| config.subnet)
                    .collect(),
            })
            .collect())
    }

    /// Creates the network; false if its subnet or its bridge is another's (403), or somebody else has just
    /// created it (409).
    async fn create_network(
        &self,
        kind: NetworkKind,
        name: &str,
        subnet: Subnet,
    ) -> Result<bool, DockerError> {
        let request = network_request(self.namespace(), kind, subnet);
        let client = self.client().await?;
        match client.create_network(request).await {
            Ok(_) => Ok(true),
            Err(cause) => {
                let error = self.failed(format!("create the network {name}"), cause);
                match error.status() {
                    Some(403 | 409) => Ok(false),
                    _ => Err(error),
                }
            }
        }
    }
}

/// The body of Docker's `POST /networks/create` for a network of an installation.
pub fn network_request(namespace: &str, kind: NetworkKind, subnet: Subnet) -> NetworkCreateRequest {
    let mut options = HashMap::from([
        (BETWEEN_CONTAINERS.to_owned(), "false".to_owned()),
        (BRIDGE.to_owned(), names::bridge(namespace, kind)),
    ]);
    if !kind.is_masqueraded() {
        options.insert(MASQUERADE.to_owned(), "false".to_owned());
    }
    NetworkCreateRequest {
        name: names::network(namespace, kind),
        driver: Some("bridge".to_owned()),
        internal: Some(kind.is_internal()),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        options: Some(options),
        labels: Some(HashMap::from([(
            label::NAMESPACE.to_owned(),
            namespace.to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    }
}

/// Whether one of these networks has the subnet.
fn is_taken(subnet: Subnet, networks: &[Shown]) -> bool {
    let text = subnet.to_string();
    let mut taken = networks.iter().flat_map(|network| &network.subnets);
    taken.any(|subnet| *subnet == text)
}

/// The routes of the host that this process runs on.
fn host_routes() -> Vec<Route> {
    // Without IPv4, or where it can't be read, Docker alone says what is free.
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    Route::parse_all(&table)
}

/// A network as Docker lists it.
struct Shown {
    id: String,
    name: String,
    subnets: Vec<String>,
}
