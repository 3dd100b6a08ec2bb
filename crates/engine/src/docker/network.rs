//! The networks of functions: one that reaches out, one that doesn't.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::InspectNetworkOptions;
use tokio::sync::OnceCell;

use corefn_core::address::Subnet;
use corefn_core::config::Network;
use corefn_core::names::{self, label};

use super::{Docker, DockerError};

/// The subnets of the two networks, once they are known.
#[derive(Debug, Default)]
pub(super) struct Subnets {
    outbound: OnceCell<Subnet>,
    none: OnceCell<Subnet>,
}

impl Docker {
    /// The subnet that containers of `kind` get their addresses from. The network is created if it
    /// isn't there: with a subnet of ours, for Docker takes explicit addresses only then, and
    /// without traffic between its containers.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say or no candidate subnet is free.
    pub async fn subnet(&self, kind: Network) -> Result<Subnet, DockerError> {
        let (cell, outbound) = match kind {
            Network::Outbound => (&self.subnets.outbound, true),
            Network::None => (&self.subnets.none, false),
        };
        let name = names::network(self.namespace(), outbound);
        cell.get_or_try_init(|| async {
            for candidate in Subnet::candidates() {
                if let Some(subnet) = self.inspect_subnet(&name).await? {
                    return Ok(subnet);
                }
                self.create_network(&name, candidate, !outbound).await?;
            }
            Err(DockerError::NoSubnet(name.clone()))
        })
        .await
        .copied()
    }

    async fn inspect_subnet(&self, name: &str) -> Result<Option<Subnet>, DockerError> {
        let client = self.client().await?;
        let found = client
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
            .map_err(|cause| self.failed(format!("look at the network {name}"), cause));
        match found {
            Ok(network) => Ok(network
                .ipam
                .and_then(|ipam| ipam.config)
                .unwrap_or_default()
                .iter()
                .find_map(|config| Subnet::parse(config.subnet.as_deref()?))),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the network. An overlapping subnet (403) and a network that somebody else has just
    /// created (409) are no errors: the caller looks again.
    async fn create_network(
        &self,
        name: &str,
        subnet: String,
        internal: bool,
    ) -> Result<(), DockerError> {
        let options = HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        )]);
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(internal),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            options: Some(options),
            labels: Some(HashMap::from([(
                label::NAMESPACE.to_owned(),
                self.namespace().to_owned(),
            )])),
            ..NetworkCreateRequest::default()
        };
        let client = self.client().await?;
        match client.create_network(request).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                let error = self.failed(format!("create the network {name}"), cause);
                match error.status() {
                    Some(403 | 409) => Ok(()),
                    _ => Err(error),
                }
            }
        }
    }
}
