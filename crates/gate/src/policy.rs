//! What the router may have: what it needs for the functions that are deployed, and what is the installation's.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use bollard::errors::Error as Cause;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{InspectContainerOptions, InspectNetworkOptions};
use corefn_core::address::Subnet;
use corefn_core::config::Network;
use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_core::network::NetworkKind;
use corefn_engine::docker::{
    ContainerNetwork, Docker, DockerError, Joined, Placement, Purpose, deployment, instance_body,
    network_request,
};
use hyper::Method;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::ask::{Ask, ContainerLimits, DockerId, Refused};
use crate::json::difference;
use crate::upstream::Question;

/// Of how many containers it is remembered that they are the installation's. (What is forgotten is asked for again.)
const MOST_KNOWN: usize = 10_000;

/// Why a question is not asked.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It is nothing for a router.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Docker has said something else meanwhile.
    #[error("{1}")]
    Answered(u16, String),
    /// Docker can't be asked.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// What decides.
#[derive(Debug)]
pub struct Policy {
    docker: Docker,
    known: Mutex<HashMap<DockerId, Known>>,
}

/// A container of the installation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Whether it was made as a sandbox, and for which instance.
    sandbox: Option<InstanceId>,
}

impl Policy {
    /// For the installation that is asked about.
    pub fn new(docker: Docker) -> Self {
        Self {
            docker,
            known: Mutex::default(),
        }
    }

    /// Docker's question for what is asked.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn question(&self, ask: Ask) -> Result<Question, Denied> {
        let question = |method, target| Question {
            method,
            target,
            body: None,
        };
        let get = |target| question(Method::GET, target);
        let post = |target| question(Method::POST, target);
        let delete = |target| question(Method::DELETE, target);
        Ok(match ask {
            Ask::Ping => get("/_ping".to_owned()),
            Ask::Containers(labels) => {
                let filters = self.filters(labels, BTreeMap::new())?;
                get(target(
                    "/containers/json",
                    &[("all", "true"), filters.pair()],
                ))
            }
            Ask::Images(labels) => {
                let filters = self.filters(labels, BTreeMap::new())?;
                get(target("/images/json", &[filters.pair()]))
            }
            Ask::Events(kinds, labels) => {
                let kinds = [("type", vec!["container".to_owned()]), ("event", kinds)];
                let filters = self.filters(labels, kinds.into())?;
                get(target("/events", &[filters.pair()]))
            }
            Ask::Networks => get("/networks".to_owned()),
            Ask::Inspect(id) => {
                self.known(&id).await?;
                get(format!("/containers/{id}/json"))
            }
            Ask::Start(id) => {
                self.known(&id).await?;
                post(format!("/containers/{id}/start"))
            }
            Ask::Unpause(id) => {
                self.known(&id).await?;
                post(format!("/containers/{id}/unpause"))
            }
            Ask::Wait(id) => {
                self.known(&id).await?;
                post(format!("/containers/{id}/wait"))
            }
            Ask::Remove(id) => {
                self.known(&id).await?;
                delete(format!("/containers/{id}?force=true&v=true"))
            }
            Ask::Logs(id, lines) => {
                self.known(&id).await?;
                get(format!(
                    "/containers/{id}/logs?stdout=true&stderr=true&tail={lines}"
                ))
            }
            Ask::Limit(id, limits) => Question {
                body: Some(self.limits(&id, limits).await?),
                ..post(format!("/containers/{id}/update"))
            },
            Ask::Rename(id, name) => {
                self.check_name(&id, &name).await?;
                let target = target(&format!("/containers/{id}/rename"), &[("name", &name)]);
                post(target)
            }
            Ask::Create(name, body) => {
                let body = self.instance(&name, body).await?;
                Question {
                    body: Some(body),
                    ..post(target("/containers/create", &[("name", &name)]))
                }
            }
            Ask::CreateNetwork(body) => Question {
                body: Some(self.network(&body)?),
                ..post("/networks/create".to_owned())
            },
            Ask::RemoveNetwork(id) => {
                self.network_name(&id).await?;
                delete(format!("/networks/{id}"))
            }
        })
    }

    /// A container was made that was asked for.
    pub fn made(&self, id: DockerId) {
        self.note(id, Known { sandbox: None });
    }

    fn note(&self, id: DockerId, known: Known) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(id, known);
    }

    fn remembered(&self, id: &DockerId) -> Option<Known> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).copied()
    }

    /// What a container is, if it is the installation's.
    async fn known(&self, id: &DockerId) -> Result<Known, Denied> {
        if let Some(known) = self.remembered(id) {
            return Ok(known);
        }
        let client = self.docker.client().await?;
        let none = None::<InspectContainerOptions>;
        let found = client.inspect_container(id.as_str(), none).await;
        let found = found.map_err(|cause| self.denied("look at the container", cause))?;
        let labels = found.config.and_then(|config| config.labels);
        let labels = labels.unwrap_or_default();
        let is = |name, value: &str| labels.get(name).is_some_and(|found| found == value);
        if !is(label::NAMESPACE, self.docker.namespace())
            || found.id.as_deref() != Some(id.as_str())
        {
            return Err(Refused::new("a container that is not the installation's").into());
        }
        // (Builds are nothing that serves requests, and the router has no part in them.)
        if [label::ROLE_BUILD, label::ROLE_FETCH]
            .iter()
            .any(|role| is(label::ROLE, role))
        {
            return Err(Refused::new("a container of a build").into());
        }
        let instance = labels.get(label::INSTANCE).and_then(|id| id.parse().ok());
        let known = Known {
            sandbox: instance.filter(|_| is(label::ROLE, label::ROLE_SANDBOX)),
        };
        self.note(id.clone(), known);
        Ok(known)
    }

    /// The instance of a sandbox.
    async fn sandbox(&self, id: &DockerId) -> Result<InstanceId, Denied> {
        let known = self.known(id).await?;
        let no = || Refused::new("a container that is no sandbox").into();
        known.sandbox.ok_or_else(no)
    }

    /// Filters by labels that leave what is the installation's alone, and by others.
    fn filters(
        &self,
        labels: Vec<String>,
        mut others: BTreeMap<&str, Vec<String>>,
    ) -> Result<Filters, Refused> {
        let ours = format!("{}={}", label::NAMESPACE, self.docker.namespace());
        if !labels.contains(&ours) {
            return Err(Refused::new("what is not the installation's"));
        }
        others.insert("label", labels);
        Ok(Filters(json!(others).to_string()))
    }

    async fn limits(&self, id: &DockerId, limits: ContainerLimits) -> Result<Value, Denied> {
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

    /// Checks that a sandbox may be called so: as what it can have become.
    async fn check_name(&self, id: &DockerId, name: &str) -> Result<(), Denied> {
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

    /// The body for an instance of what is deployed, which is what is asked for in every detail.
    async fn instance(&self, name: &str, asked: Value) -> Result<Value, Denied> {
        let wrong = |what: &str| {
            Refused::new(format!(
                "a container whose {what} is not that of an instance"
            ))
        };
        let text = |at: &str| asked.pointer(at).and_then(Value::as_str);
        let label = |name: &str| {
            let labels = asked.get("Labels");
            labels.and_then(|labels| labels.get(name)?.as_str())
        };
        let image = text("/Image").ok_or_else(|| wrong("Image"))?;
        let function = label(label::FUNCTION).and_then(|text| FunctionName::read(text).ok());
        let function = function.ok_or_else(|| wrong(label::FUNCTION))?;
        let id = label(label::INSTANCE).and_then(|text| text.parse().ok());
        let id: InstanceId = id.ok_or_else(|| wrong(label::INSTANCE))?;
        let address = label(label::ADDRESS).and_then(|text| text.parse().ok());
        let Some(SocketAddr::V4(address)) = address else {
            return Err(wrong(label::ADDRESS).into());
        };

        let deployed = self.deployed(&function, image).await?;
        let placement = Placement {
            id,
            ip: *address.ip(),
        };
        let mode = text("/HostConfig/NetworkMode").unwrap_or_default();
        let network;
        let joined = match label(label::HOLDER) {
            Some(holder) => {
                self.sandbox(&holder.parse()?).await?;
                Joined::Holder(holder)
            }
            None => {
                network = self
                    .network_of(&mode.parse()?, deployed.config.network)
                    .await?;
                Joined::Network(&network)
            }
        };
        let namespace = self.docker.namespace();
        let mut body = instance_body(namespace, &deployed, placement, joined);
        add_secrets(&mut body, &deployed, &asked)?;
        let body = json!(body);
        if let Some(what) = difference(&asked, &body) {
            return Err(wrong(&what).into());
        }
        let is_its_name = |purpose: &Purpose| purpose.name(namespace, &deployed, id) == name;
        if !Purpose::ALL.iter().any(is_its_name) {
            return Err(wrong("name").into());
        }
        Ok(body)
    }

    /// What an image deploys, as that function's.
    async fn deployed(&self, function: &FunctionName, image: &str) -> Result<Deployment, Denied> {
        let no = || Refused::new(format!("{image:?} is no image of {function}"));
        let namespace = self.docker.namespace();
        // (It is asked for by its name, which must be one: the function's, and a tag.)
        let repository = names::image(namespace, &function.plain());
        let is_tag = |tag: &str| tag.parse::<corefn_core::function::RevisionId>().is_ok();
        let tag = image
            .strip_prefix(&*repository)
            .and_then(|rest| rest.strip_prefix(':'));
        if !tag.is_some_and(is_tag) {
            return Err(no().into());
        }
        let client = self.docker.client().await?;
        let found = client.inspect_image(image).await;
        let found = found.map_err(|cause| self.denied("look at the image", cause))?;
        let labels = found.config.and_then(|config| config.labels);
        let labels = labels.unwrap_or_default();
        if labels.get(label::NAMESPACE).map(String::as_str) != Some(namespace) {
            return Err(no().into());
        }
        let mut deployed = deployment(namespace, &labels).ok_or_else(no)?;
        let is_of = [
            deployed.function.clone(),
            deployed.function.at(&deployed.revision),
        ]
        .contains(function);
        if !is_of || deployed.image != image {
            return Err(no().into());
        }
        deployed.function = function.clone();
        Ok(deployed)
    }

    /// The network of functions of that kind, if it is this.
    async fn network_of(&self, id: &DockerId, kind: Network) -> Result<ContainerNetwork, Denied> {
        let (name, subnet) = self.network_name(id).await?;
        if name != names::network(self.docker.namespace(), kind.into()) {
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

    /// The name of a network of the installation's, and its subnet.
    async fn network_name(&self, id: &DockerId) -> Result<(String, Option<Subnet>), Denied> {
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

    /// The body for a network of functions, which is what is asked for in every detail.
    fn network(&self, asked: &Value) -> Result<Value, Refused> {
        let wrong = |what: &str| {
            Refused::new(format!(
                "a network whose {what} is not that of a network of functions"
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
        let kinds = [Network::Outbound, Network::None].map(NetworkKind::from);
        let bodies = kinds.map(|kind| json!(network_request(namespace, kind, subnet)));
        let name = asked.get("Name");
        let body = bodies.into_iter().find(|body| body.get("Name") == name);
        let body = body.ok_or_else(|| wrong("Name"))?;
        match difference(asked, &body) {
            None => Ok(body),
            Some(what) => Err(wrong(&what)),
        }
    }

    /// What Docker has said is said to whoever asks.
    fn denied(&self, what: &str, cause: Cause) -> Denied {
        match cause {
            Cause::DockerResponseServerError {
                status_code,
                message,
            } => Denied::Answered(status_code, message),
            cause => self.docker.failed(what, cause).into(),
        }
    }
}

/// Adds the values of secrets that are asked for to the variables: those of the secrets that the function has, each once.
fn add_secrets(
    body: &mut ContainerCreateBody,
    deployed: &Deployment,
    asked: &Value,
) -> Result<(), Refused> {
    let all = body.env.get_or_insert_default();
    let asked = asked.get("Env").and_then(Value::as_array);
    let secrets = asked.into_iter().flatten().skip(all.len());
    let mut names: Vec<_> = deployed.config.secrets.keys().collect();
    for secret in secrets.filter_map(Value::as_str) {
        let name = secret.split_once('=').map(|(name, _)| name);
        let place = names.iter().position(|known| Some(known.as_str()) == name);
        let no = || Refused::new("a variable that the function does not have");
        names.remove(place.ok_or_else(no)?);
        all.push(secret.to_owned());
    }
    Ok(())
}

/// Filters, as Docker takes them.
struct Filters(String);

impl Filters {
    fn pair(&self) -> (&str, &str) {
        ("filters", &self.0)
    }
}

fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        query.append_pair(name, value);
    }
    format!("{path}?{}", query.finish())
}
