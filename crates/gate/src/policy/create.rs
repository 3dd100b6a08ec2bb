//! What containers may be made.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::str::FromStr;

use bollard::models::ContainerCreateBody;
use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::gate::Caller;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_engine::docker::{
    BuildPurpose, Joined, Placement, Purpose, SandboxParts, SandboxRuntime, build_body, deployment,
    fetch_body, instance_body, sandbox_body,
};
use corefn_engine::sandboxes::{KEEPER, STARTER, STARTER_SOCKET, WAITING};
use serde_json::{Value, json};

use super::containers::Made;
use super::{Denied, Policy};
use crate::ask::{DockerId, Refused};
use crate::json::difference;

impl Policy {
    /// The body for a container, which is what is asked for in every detail, and what it is made as.
    pub(super) async fn creation(&self, name: &str, asked: Value) -> Result<(Value, Made), Denied> {
        let asked = Asked(asked);
        match (self.caller, asked.label(label::ROLE)) {
            (Caller::Router | Caller::Builder, None) => {
                let body = self.instance(name, &asked).await?;
                Ok((body, Made::Instance))
            }
            (Caller::Keeper, Some(label::ROLE_SANDBOX)) => self.new_sandbox(name, &asked).await,
            (Caller::Keeper, Some(label::ROLE_FETCH)) => {
                let body = self.fetch(name, &asked).await?;
                Ok((body, Made::Fetch))
            }
            (Caller::Builder, Some(label::ROLE_BUILD)) => {
                let body = self.new_build(name, &asked).await?;
                Ok((body, Made::Build))
            }
            (caller, _) => {
                Err(Refused::new(format!("a container that no {} makes", caller.word())).into())
            }
        }
    }

    /// The body for a sandbox.
    async fn new_sandbox(&self, name: &str, asked: &Asked) -> Result<(Value, Made), Denied> {
        let what = "a sandbox";
        let namespace = self.docker.namespace();
        let id: InstanceId = asked.read(what, label::INSTANCE)?;
        let image = asked.image(what)?;
        let runtime = match asked.label(label::RUNTIME) {
            None => {
                let digest = image.rsplit(':').next().unwrap_or_default();
                if image != names::sandbox_image(namespace, digest) {
                    return Err(wrong(what, "Image").into());
                }
                None
            }
            Some(_) => Some(self.own_entrypoint(image).await?),
        };
        let runtime = runtime.as_deref().map(|entrypoint| SandboxRuntime {
            entrypoint,
            init: STARTER,
            socket: STARTER_SOCKET,
        });
        let folder = self.waiting(id)?;
        let serving = asked.label(label::SOCKET);
        let parts = SandboxParts {
            image,
            runtime,
            version: asked.label(label::SANDBOX).unwrap_or_default(),
            folder: &folder,
            socket: KEEPER,
            serving: Path::new(serving.unwrap_or_default()),
        };
        let network = match asked.label(label::ADDRESS) {
            None => None,
            Some(_) => {
                let id = asked.network().parse()?;
                Some((self.any_network(&id).await?, asked.address(what)?))
            }
        };
        let network = network.as_ref().map(|(network, ip)| (network, *ip));
        let body = json!(sandbox_body(namespace, parts, id, network));
        let body = asked.same_as(what, body)?;
        match name == names::sandbox(namespace, id) {
            true => Ok((body, Made::Sandbox(id))),
            false => Err(wrong(what, "name").into()),
        }
    }

    /// The folder that a sandbox sees, as Docker's host knows it. It is one of the keeper's, and no other that a link leads to
    /// (until somebody puts one there: the folder is the keeper's own).
    fn waiting(&self, id: InstanceId) -> Result<String, Refused> {
        let no = || Refused::new("a sandbox whose folder is a link");
        let waiting = Path::new(WAITING);
        let own = waiting.join(id.to_string());
        for folder in [waiting, &own] {
            let found = fs::symlink_metadata(self.sandboxes.here.join(folder));
            if found.is_ok_and(|found| found.is_symlink()) {
                return Err(no());
            }
        }
        let folder = self.sandboxes.on_host.join(own);
        Ok(folder.to_str().ok_or_else(no)?.to_owned())
    }

    /// The body for what files of an image are taken out of.
    async fn fetch(&self, name: &str, asked: &Asked) -> Result<Value, Denied> {
        let what = "a look into an image";
        let image = asked.image(what)?;
        self.labels_of(image).await?;
        let body = json!(fetch_body(self.docker.namespace(), image));
        match name.is_empty() {
            true => Ok(asked.same_as(what, body)?),
            false => Err(wrong(what, "name").into()),
        }
    }

    /// The body for a build.
    async fn new_build(&self, name: &str, asked: &Asked) -> Result<Value, Denied> {
        let what = "a build";
        let namespace = self.docker.namespace();
        let image = asked.image(what)?;
        if !names::is_own_image(namespace, image) {
            return Err(wrong(what, "Image").into());
        }
        let function = asked.label(label::FUNCTION).map(FunctionName::read);
        let Some(Ok(function)) = function else {
            return Err(wrong(what, label::FUNCTION).into());
        };
        let purpose = match asked.0.get("Entrypoint").is_none_or(Value::is_null) {
            false => BuildPurpose::Measure,
            true => {
                let network: DockerId = asked.network().parse()?;
                self.build_network(&network).await?;
                let limit = |name: &str| {
                    let value = asked.0.pointer(&format!("/HostConfig/{name}"));
                    let value = value.and_then(Value::as_i64).filter(|value| *value > 0);
                    value.ok_or_else(|| wrong(what, name))
                };
                let environment = asked.0.get("Env").cloned().unwrap_or_default();
                BuildPurpose::Compile {
                    environment: serde_json::from_value(environment)
                        .map_err(|_| wrong(what, "Env"))?,
                    network: network.as_str().to_owned(),
                    memory: limit("Memory")?,
                    nano_cpus: limit("NanoCpus")?,
                    pids: limit("PidsLimit")?,
                }
            }
        };
        let body = json!(build_body(namespace, &function, image, purpose));
        let id = name.rsplit('-').next().and_then(|id| id.parse().ok());
        match id.is_some_and(|id| names::container(namespace, &function, id) == name) {
            true => Ok(asked.same_as(what, body)?),
            false => Err(wrong(what, "name").into()),
        }
    }

    /// The body for an instance of what is deployed.
    async fn instance(&self, name: &str, asked: &Asked) -> Result<Value, Denied> {
        let what = "an instance";
        let image = asked.image(what)?;
        let function = asked.label(label::FUNCTION).map(FunctionName::read);
        let Some(Ok(function)) = function else {
            return Err(wrong(what, label::FUNCTION).into());
        };
        let id: InstanceId = asked.read(what, label::INSTANCE)?;
        let ip = asked.address(what)?;

        let deployed = self.deployed(&function, image).await?;
        let placement = Placement { id, ip };
        let network;
        let joined = match asked.label(label::HOLDER) {
            Some(holder) => {
                self.sandbox(&holder.parse()?).await?;
                Joined::Holder(holder)
            }
            None => {
                network = self
                    .network_of(&asked.network().parse()?, deployed.config.network)
                    .await?;
                Joined::Network(&network)
            }
        };
        let namespace = self.docker.namespace();
        let mut body = instance_body(namespace, &deployed, placement, joined);
        add_secrets(&mut body, &deployed, &asked.0)?;
        let body = asked.same_as(what, json!(body))?;
        let is_its_name = |purpose: &Purpose| purpose.name(namespace, &deployed, id) == name;
        if !Purpose::ALL.iter().any(is_its_name) {
            return Err(wrong(what, "name").into());
        }
        Ok(body)
    }

    /// What an image deploys, as that function's.
    async fn deployed(&self, function: &FunctionName, image: &str) -> Result<Deployment, Denied> {
        let no = || Refused::new(format!("{image:?} is no image of {function}"));
        let namespace = self.docker.namespace();
        // (It is asked for by its name, which must be one: the function's, and a tag.)
        let repository = names::image(namespace, &function.plain());
        let tag = image
            .strip_prefix(&*repository)
            .and_then(|rest| rest.strip_prefix(':'));
        if tag.is_none() || !names::is_own_image(namespace, image) {
            return Err(no().into());
        }
        let labels = self.labels_of(image).await?;
        let mut deployed = deployment(namespace, &labels).ok_or_else(no)?;
        let is_of = [
            deployed.function.clone(),
            deployed.function.at(&deployed.revision),
        ]
        .contains(function);
        // (A builder tries one before it is deployed.)
        let pending = names::pending_tag(&deployed.revision);
        let is_tried = self.caller == Caller::Builder && tag == Some(&pending);
        if !is_of || !(is_tried || deployed.image == image) {
            return Err(no().into());
        }
        deployed.image = image.to_owned();
        deployed.function = function.clone();
        Ok(deployed)
    }
}

/// A container as it is asked for.
struct Asked(Value);

impl Asked {
    fn label(&self, name: &str) -> Option<&str> {
        self.0.get("Labels")?.get(name)?.as_str()
    }

    fn read<T: FromStr>(&self, what: &str, name: &str) -> Result<T, Refused> {
        let text = self.label(name);
        let value = text.and_then(|text| text.parse().ok());
        value.ok_or_else(|| wrong(what, name))
    }

    fn image(&self, what: &str) -> Result<&str, Refused> {
        let image = self.0.get("Image").and_then(Value::as_str);
        image.ok_or_else(|| wrong(what, "Image"))
    }

    fn network(&self) -> &str {
        let mode = self.0.pointer("/HostConfig/NetworkMode");
        mode.and_then(Value::as_str).unwrap_or_default()
    }

    fn address(&self, what: &str) -> Result<Ipv4Addr, Refused> {
        let address: SocketAddrV4 = self.read(what, label::ADDRESS)?;
        Ok(*address.ip())
    }

    /// What it must be, if it is.
    fn same_as(&self, what: &str, body: Value) -> Result<Value, Refused> {
        match difference(&self.0, &body) {
            None => Ok(body),
            Some(detail) => Err(wrong(what, &detail)),
        }
    }
}

/// That a container is not as such a one is.
fn wrong(what: &str, detail: &str) -> Refused {
    Refused::new(format!("a container whose {detail} is not that of {what}"))
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
