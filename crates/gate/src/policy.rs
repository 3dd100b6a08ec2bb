//! What each caller may have: what it needs for the functions that are deployed, and what is the installation's.

mod containers;
mod create;
mod images;
mod networks;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bollard::errors::Error as Cause;
use corefn_core::gate::Caller;
use corefn_core::host::Host;
use corefn_core::names::{self, label};
use corefn_core::network::NetworkName;
use corefn_engine::docker::{Docker, DockerError, cache_request};
use hyper::Method;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::ask::{Ask, DockerId, Listed, Log, Refused};
use crate::json::difference;
use crate::upstream::Question;

pub use containers::Made;

/// How many lines of a log a router may ask for.
const MOST_LINES: u64 = 10_000;

/// Why a question is not asked.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It is nothing for the caller.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Docker has said something else meanwhile.
    #[error("{1}")]
    Answered(u16, String),
    /// Docker can't be asked.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// What decides for a caller.
#[derive(Debug)]
pub struct Policy {
    caller: Caller,
    docker: Docker,
    sandboxes: Folder,
    /// Those of the settings.
    networks: Vec<NetworkName>,
    known: Mutex<HashMap<DockerId, Made>>,
}

/// The keeper's folder.
#[derive(Debug)]
struct Folder {
    here: PathBuf,
    /// As Docker's host knows it.
    on_host: PathBuf,
}

impl Policy {
    /// For the installation with these settings, whose home Docker's host knows as `home_on_host`.
    pub fn new(caller: Caller, host: &Host, home: &Path, home_on_host: &Path) -> Self {
        let sandboxes = host.sandboxes.clone().unwrap_or_default();
        Self {
            caller,
            docker: Docker::new(&host.docker, &host.namespace),
            sandboxes: Folder {
                here: home.join(&sandboxes.folder),
                on_host: home_on_host.join(&sandboxes.folder),
            },
            networks: host.networks.keys().copied().collect(),
            known: Mutex::default(),
        }
    }

    /// For whom.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Whether a caller ever asks so.
    fn may_ask(&self, ask: &Ask) -> bool {
        use Caller::{Builder, Cleaner, Keeper, Router};
        let callers: &[Caller] = match ask {
            Ask::Ping
            | Ask::Containers(_)
            | Ask::Inspect(..)
            | Ask::Remove(_)
            | Ask::Images(Listed::Labelled(_)) => &Caller::ALL,
            Ask::Create(..)
            | Ask::Start(_)
            | Ask::Wait(_)
            | Ask::Limit(..)
            | Ask::Rename(..)
            | Ask::Networks
            | Ask::CreateNetwork(_)
            | Ask::RemoveNetwork(_) => &[Router, Builder, Keeper],
            Ask::Unpause(_) => &[Router, Builder, Cleaner],
            Ask::Logs(..) | Ask::Events(..) => &[Router, Builder],
            Ask::Stop(..) => &[Builder, Cleaner],
            Ask::Pause(_) | Ask::Prioritize(..) => &[Cleaner],
            Ask::Version | Ask::Load | Ask::Download(..) => &[Builder, Keeper],
            Ask::InspectImage(_) => &[Builder, Keeper, Cleaner],
            Ask::Images(Listed::All)
            | Ask::Tag(..)
            | Ask::RemoveImage(_)
            | Ask::Info
            | Ask::Stats(_) => &[Builder, Cleaner],
            Ask::Images(Listed::Named(_) | Listed::Nameless)
            | Ask::History(_)
            | Ask::SaveImage(_)
            | Ask::Pull(_)
            | Ask::Build(_)
            | Ask::Attach(_)
            | Ask::Upload(..)
            | Ask::Kill(_)
            | Ask::LimitProcesses(..)
            | Ask::CreateVolume(_)
            | Ask::RemoveVolume(_) => &[Builder],
        };
        callers.contains(&self.caller)
    }

    /// Docker's question for what is asked, and what is made by it.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn question(&self, ask: Ask) -> Result<(Question, Option<Made>), Denied> {
        if !self.may_ask(&ask) {
            let caller = self.caller.word();
            return Err(Refused::new(format!("nothing that a {caller} asks for")).into());
        }
        let mut made = None;
        let question = match ask {
            Ask::Ping => get("/_ping".to_owned()),
            Ask::Version => get("/version".to_owned()),
            Ask::Info => get("/info".to_owned()),
            Ask::Containers(labels) => {
                let filters = self.filters(labels, BTreeMap::new())?;
                get(target(
                    "/containers/json",
                    &[("all", "true"), filters.pair()],
                ))
            }
            Ask::Images(listed) => {
                let filters = self.listed(listed)?;
                let filters: Vec<_> = filters.iter().map(Filters::pair).collect();
                get(target("/images/json", &filters))
            }
            Ask::Events(kinds, labels) => {
                let kinds = [("type", vec!["container".to_owned()]), ("event", kinds)];
                let filters = self.filters(labels, kinds.into())?;
                get(target("/events", &[filters.pair()]))
            }
            Ask::Networks => get("/networks".to_owned()),
            Ask::Inspect(container, with_size) => {
                // (Docker reads all that the container has written.)
                if with_size && self.caller != Caller::Builder {
                    return Err(Refused::new("how much a container has written").into());
                }
                let id = self.shown(&container).await?;
                get(match with_size {
                    true => format!("/containers/{id}/json?size=true"),
                    false => format!("/containers/{id}/json"),
                })
            }
            Ask::Start(id) => {
                self.startable(&id).await?;
                post(format!("/containers/{id}/start"))
            }
            Ask::Stop(id, seconds) => {
                self.known(&id).await?;
                post(format!("/containers/{id}/stop?t={seconds}"))
            }
            Ask::Pause(id) => {
                self.known(&id).await?;
                post(format!("/containers/{id}/pause"))
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
            Ask::Logs(id, log) => {
                self.known(&id).await?;
                get(self.log(&id, log)?)
            }
            Ask::Stats(id) => {
                self.known(&id).await?;
                get(format!("/containers/{id}/stats?stream=false&one-shot=true"))
            }
            Ask::Limit(id, limits) => {
                let body = self.limits(&id, limits).await?;
                post(format!("/containers/{id}/update")).with(body)
            }
            Ask::Prioritize(id, shares) => {
                let body = self.priority(&id, shares).await?;
                post(format!("/containers/{id}/update")).with(body)
            }
            Ask::Rename(id, name) => {
                self.check_name(&id, &name).await?;
                let target = target(&format!("/containers/{id}/rename"), &[("name", &name)]);
                post(target)
            }
            Ask::Kill(container) => {
                let id = self.shown_command(&container).await?;
                post(format!("/containers/{id}/kill?signal=SIGKILL"))
            }
            Ask::LimitProcesses(container, most) => {
                let id = self.shown_command(&container).await?;
                if most == 0 {
                    return Err(Refused::new("a container without limits").into());
                }
                post(format!("/containers/{id}/update")).with(json!({ "PidsLimit": most }))
            }
            Ask::Attach(id) => {
                self.build(&id).await?;
                let target = format!("/containers/{id}/attach?stream=true&stdout=true&stderr=true");
                post(target).upgraded()
            }
            Ask::Upload(id, path) => {
                self.unstarted_build(&id).await?;
                let files = format!("/containers/{id}/archive");
                question(Method::PUT, target(&files, &[("path", &path)]))
            }
            Ask::Download(id, path) => {
                self.source(&id).await?;
                let files = format!("/containers/{id}/archive");
                get(target(&files, &[("path", &path)]))
            }
            Ask::Create(name, body) => {
                let (body, as_what) = self.creation(&name, body).await?;
                made = Some(as_what);
                let name = Some(("name", &*name)).filter(|(_, name)| !name.is_empty());
                post(target("/containers/create", name.as_slice())).with(body)
            }
            Ask::InspectImage(name) => get(format!("/images/{name}/json")),
            Ask::History(name) => get(format!("/images/{name}/history")),
            Ask::SaveImage(name) => {
                self.labels_of(&name).await?;
                get(format!("/images/{name}/get"))
            }
            Ask::Pull(image) => {
                if image.is_of(self.docker.namespace()) {
                    return Err(
                        Refused::new("in the place of an image of the installation's").into(),
                    );
                }
                let parameters = [("fromImage", &*image.name()), ("tag", image.version())];
                post(target("/images/create", &parameters))
            }
            Ask::Tag(image, name) => {
                self.check_name_of_image(&name)?;
                let (repository, tag) = name.rsplit_once(':').unwrap_or((&name, ""));
                let path = format!("/images/{image}/tag");
                post(target(&path, &[("repo", repository), ("tag", tag)]))
            }
            Ask::RemoveImage(name) => {
                let name = self.removable(name).await?;
                delete(format!("/images/{name}"))
            }
            Ask::Load => post("/images/load?quiet=true".to_owned()),
            Ask::Build(build) => post(self.build_target(*build).await?),
            Ask::CreateNetwork(body) => {
                let body = self.network(&body)?;
                post("/networks/create".to_owned()).with(body)
            }
            Ask::RemoveNetwork(id) => {
                self.network_name(&id).await?;
                delete(format!("/networks/{id}"))
            }
            Ask::CreateVolume(body) => {
                let body = self.volume(&body)?;
                post("/volumes/create".to_owned()).with(body)
            }
            Ask::RemoveVolume(name) => {
                self.account_of(&name)?;
                delete(format!("/volumes/{name}"))
            }
        };
        Ok((question, made))
    }

    /// What is asked for of a container's log. A router has its last lines alone.
    fn log(&self, id: &DockerId, log: Log) -> Result<String, Refused> {
        let Log {
            lines,
            since,
            until,
            follow,
            timestamps,
        } = log;
        let is_short = lines.is_some_and(|lines| lines <= MOST_LINES);
        let is_last = is_short && !follow && !timestamps && (since, until) == (0, 0);
        if self.caller == Caller::Router && !is_last {
            return Err(Refused::new(format!(
                "more than the last {MOST_LINES} lines of a log"
            )));
        }
        let lines = lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        Ok(format!(
            "/containers/{id}/logs?stdout=true&stderr=true&tail={lines}&since={since}&until={until}&follow={follow}\
             &timestamps={timestamps}"
        ))
    }

    /// The body for the cache of an account, which is what is asked for in every detail.
    fn volume(&self, asked: &Value) -> Result<Value, Refused> {
        let name = asked.get("Name").and_then(Value::as_str);
        let account = self.account_of(name.unwrap_or_default())?;
        let body = json!(cache_request(self.docker.namespace(), account));
        match difference(asked, &body) {
            None => Ok(body),
            Some(what) => Err(Refused::new(format!(
                "a volume whose {what} is not that of a cache"
            ))),
        }
    }

    /// The account whose cache a volume is.
    fn account_of<'a>(&self, volume: &'a str) -> Result<&'a str, Refused> {
        let account = names::in_cache_volume(self.docker.namespace(), volume);
        account.ok_or_else(|| Refused::new(format!("{volume:?} is no account's cache")))
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

fn question(method: Method, target: String) -> Question {
    Question {
        method,
        target,
        body: None,
        is_upgraded: false,
    }
}

fn get(target: String) -> Question {
    question(Method::GET, target)
}

fn post(target: String) -> Question {
    question(Method::POST, target)
}

fn delete(target: String) -> Question {
    question(Method::DELETE, target)
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
