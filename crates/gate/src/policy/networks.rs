//! The installation's networks.

use bollard::query_parameters::InspectNetworkOptions;
use corefn_core::address::Subnet;
use corefn_core::gate::Caller;
use corefn_core::names::{self, label};
use corefn_core::network::{Network, NetworkKind};
use corefn_engine::docker::{ContainerNetwork, network_request};
use serde_json::{Value, json};

use super::{Denied, Policy};
use crate::ask::{DockerId, Refused};
use crate::json::difference;

impl Policy {
    /// The networks that a caller may make.
    fn kinds(&self) -> impl Iterator<Item = NetworkKind> {
        let may_build = self.caller == Caller::Builder;
        let always = NetworkKind::ALWAYS.into_iter();
        let named = self.networks.iter();
        always
            .filter(move |kind| may_build || *kind != NetworkKind::Build)
            .chain(named.map(|name| NetworkKind::Of(Network::Named(*name))))
    }

    /// The network of functions of that kind, if it is this.
    pub(super) async fn network_of(
        &self,
        id: &DockerId,
        kind: Network,
    ) -> Result<ContainerNetwork, Denied> {
        let (name, subnet) = self.network_name(id).await?;
        if name != names::network(self.docker.namespace(), NetworkKind::Of(kind)) {
            return Err(
                Refused::new(format!("the network {name}, which is not the function's")).into(),
            );
        }
        let no = || Refused::new(format!("the network {name}, which has no subnet"));
        Ok(ContainerNetwork {
            id: id.as_str().to_owned(),
            subnet: subnet.ok_or_else(no)?,
        })
    }

    /// A network of functions.
    pub(super) async fn any_network(&self, id: &DockerId) -> Result<ContainerNetwork, Denied> {
        let (name, subnet) = self.network_name(id).await?;
        let namespace = self.docker.namespace();
        let mut of_functions = self.kinds().filter(|kind| *kind != NetworkKind::Build);
        match subnet.filter(|_| of_functions.any(|kind| names::network(namespace, kind) == name)) {
            Some(subnet) => Ok(ContainerNetwork {
                id: id.as_str().to_owned(),
                subnet,
            }),
            None => {
                Err(Refused::new(format!("the network {name}, which is not of functions")).into())
            }
        }
    }

    /// Checks that a network is that of builds.
    pub(super) async fn build_network(&self, id: &DockerId) -> Result<(), Denied> {
        let (name, _) = self.network_name(id).await?;
        match name == names::network(self.docker.namespace(), NetworkKind::Build) {
            true => Ok(()),
            false => {
                Err(Refused::new(format!("the network {name}, which is not that of builds")).into())
            }
        }
    }

    /// The name of a network of the installation's, and its subnet.
    pub(super) async fn network_name(
        &self,
        id: &DockerId,
    ) -> Result<(String, Option<Subnet>), Denied> {
        let client = self.docker.client().await?;
        let none = None::<InspectNetworkOptions>;
        let found = client.inspect_network(id.as_str(), none).await;
        let found = found.map_err(|cause| self.denied("look at the network", cause))?;
        let namespace = found.labels.unwrap_or_default().remove(label::NAMESPACE);
        if namespace.as_deref() != Some(self.docker.namespace()) {
            return Err(Refused::new("a network that is not the installation's").into());
        }
        let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let mut subnets = ranges.into_iter().filter_map(|range| range.subnet);
        let subnet = subnets.find_map(|text| Subnet::parse(&text));
        Ok((found.name.unwrap_or_default(), subnet))
    }

    /// The body for a network of the installation's, which is what is asked for in every detail.
    pub(super) fn network(&self, asked: &Value) -> Result<Value, Refused> {
        let wrong = |what: &str| {
            Refused::new(format!(
                "a network whose {what} is not that of the installation's"
            ))
        };
        let subnet = asked
            .pointer("/IPAM/Config/0/Subnet")
            .and_then(Value::as_str);
        let subnet = subnet
            .and_then(Subnet::parse)
            .ok_or_else(|| wrong("IPAM"))?;
        let namespace = self.docker.namespace();
        let candidates = Subnet::candidates(&[]).usable;
        if !candidates.contains(&subnet) {
            return Err(wrong("IPAM"));
        }
        let mut bodies = self
            .kinds()
            .map(|kind| json!(network_request(namespace, kind, subnet)));
        let name = asked.get("Name");
        let body = bodies.find(|body| body.get("Name") == name);
        let body = body.ok_or_else(|| wrong("Name"))?;
        match difference(asked, &body) {
            None => Ok(body),
            Some(what) => Err(wrong(&what)),
        }
    }
}
