//! A Docker in memory, which the cleaner talks to on a socket of its own: the few calls that it
//! makes, one a connection.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corefn_core::deployment::Deployment;
use corefn_core::instance::Instance;
use corefn_core::names::{CURRENT_TAG, image, label};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// The version of the protocol that it speaks.
const VERSION: &str = "1.41";

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// The instance in it.
    pub instance: Instance,
    /// Whether its process runs.
    pub running: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// How many requests it has.
    pub busy: u32,
}

/// What it has.
#[derive(Debug, Default)]
pub struct State {
    /// The installation's namespace.
    pub namespace: String,
    /// Containers by identifier.
    pub containers: BTreeMap<String, Container>,
    /// What is deployed, as images tell.
    pub deployed: BTreeMap<String, Deployment>,
    /// How long it takes to pause a container.
    pub pausing_takes: Duration,
    /// Busy containers that were stopped, paused or removed while they ran, and those that got work while they were paused.
    pub harmed: Vec<String>,
}

/// The socket.
#[derive(Debug, Clone, Default)]
pub struct Docker(Arc<Mutex<State>>);

impl Docker {
    /// Opens it; it is served for as long as the tasks are kept.
    pub fn open(&self, path: &Path) -> JoinSet<()> {
        let listener = UnixListener::bind(path).unwrap();
        let docker = self.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(docker.clone().serve(stream));
            }
        });
        tasks
    }

    /// What it has.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // One case that panics must not fail all that are tried to make it smaller.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, mut stream: UnixStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let path = target.split('?').next().unwrap();
        let path = path.strip_prefix(&format!("/v{VERSION}")).unwrap_or(path);
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        if parts.last() == Some(&"pause") {
            let takes = self.state().pausing_takes;
            tokio::time::sleep(takes).await;
        }
        let (status, body) = self.state().answer(method, &parts);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = format!(
            "HTTP/1.1 {status} Told\r\nApi-Version: {VERSION}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

impl State {
    /// Gives a container a request, if it runs.
    pub fn begin_work(&mut self, container: &str) -> bool {
        match self.containers.get_mut(container) {
            Some(container) if container.running => {
                if container.paused {
                    self.harmed.push(container.instance.container.clone());
                }
                container.busy += 1;
                true
            }
            _ => false,
        }
    }

    fn answer(&mut self, method: &str, parts: &[&str]) -> (u16, Value) {
        match (method, parts) {
            ("GET", ["_ping"]) => (200, Value::Null),
            ("GET", ["containers", "json"]) => {
                let all = self.containers.values();
                (200, all.map(|container| self.summary(container)).collect())
            }
            ("GET", ["images", "json"]) => {
                let all = self.deployed.values();
                (200, all.map(|deployment| self.image(deployment)).collect())
            }
            ("GET", ["containers", id, "json"]) => match self.containers.get(*id) {
                Some(container) => (
                    200,
                    json!({
                        "Id": id,
                        "State": { "Running": container.running, "Paused": container.paused },
                    }),
                ),
                None => (404, json!({ "message": "no such container" })),
            },
            ("POST", ["containers", id, "pause"]) => match self.containers.get_mut(*id) {
                Some(container) if container.running && !container.paused => {
                    if container.busy > 0 {
                        self.harmed.push((*id).to_owned());
                    }
                    container.paused = true;
                    (204, Value::Null)
                }
                _ => (409, json!({ "message": "it does not run" })),
            },
            ("POST", ["containers", id, "stop"]) => match self.containers.get_mut(*id) {
                Some(container) => {
                    if container.running && container.busy > 0 {
                        self.harmed.push((*id).to_owned());
                    }
                    container.running = false;
                    (204, Value::Null)
                }
                None => (404, json!({ "message": "no such container" })),
            },
            ("DELETE", ["containers", id]) => match self.containers.remove(*id) {
                Some(container) => {
                    if container.running && container.busy > 0 {
                        self.harmed.push((*id).to_owned());
                    }
                    (204, Value::Null)
                }
                None => (404, json!({ "message": "no such container" })),
            },
            _ => panic!("the cleaner asks for {method} {parts:?}"),
        }
    }

    /// It is as old as any: only locks keep the cleaner from one that is being started.
    fn summary(&self, container: &Container) -> Value {
        let instance = &container.instance;
        let labels = HashMap::from([
            (label::NAMESPACE, self.namespace.clone()),
            (label::FUNCTION, instance.function.to_string()),
            (label::REVISION, instance.revision.to_string()),
            (label::INSTANCE, instance.id.to_string()),
            (label::ADDRESS, instance.address.to_string()),
        ]);
        let state = match container.running {
            true if container.paused => "paused",
            true => "running",
            false => "exited",
        };
        json!({
            "Id": instance.container, "Names": [format!("/{}", instance.container)],
            "Labels": labels, "State": state, "Created": 1,
        })
    }

    fn image(&self, deployment: &Deployment) -> Value {
        let labels = HashMap::from([
            (label::NAMESPACE, self.namespace.clone()),
            (label::FUNCTION, deployment.function.to_string()),
            (label::REVISION, deployment.revision.to_string()),
            (
                label::CONFIG,
                serde_json::to_string(&deployment.config).unwrap(),
            ),
        ]);
        let name = image(&self.namespace, &deployment.function);
        json!({
            "Id": deployment.image, "ParentId": "", "RepoTags": [format!("{name}:{CURRENT_TAG}")],
            "RepoDigests": [], "Created": 0, "Size": 0, "SharedSize": -1, "Labels": labels,
            "Containers": -1,
        })
    }
}
