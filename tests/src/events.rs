//! A record of what Docker tells of the installation's containers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{EventsOptions, RemoveVolumeOptions};
use corefn_core::names::label;
use corefn_engine::docker::Docker;
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::wait::wait_until;

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `create`, `start`, `die`, `destroy`, …
    pub action: String,
    /// Which function's it is.
    pub function: String,
    /// The container's name.
    pub container: String,
    /// The instance's identifier; empty if it is none.
    pub instance: String,
    /// The signal of a `kill`; empty otherwise.
    pub signal: String,
    /// When, by the system's clock: nanoseconds since 1970.
    pub time: i64,
}

/// The record.
#[derive(Debug)]
pub struct Events<'a> {
    docker: &'a Docker,
    seen: Arc<Mutex<Seen>>,
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<Event>,
    marks: Vec<String>,
}

impl<'a> Events<'a> {
    /// Begins to record.
    ///
    /// # Panics
    /// When Docker doesn't answer.
    pub async fn record(docker: &'a Docker) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = docker.client().await.expect("Docker answers").clone();
        let (namespace, sink) = (docker.namespace().to_owned(), seen.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut events = client.events(None::<EventsOptions>);
            while let Some(Ok(event)) = events.next().await {
                let Some(actor) = event.actor else {
                    continue;
                };
                let labels = actor.attributes.unwrap_or_default();
                let mut seen = sink.lock().unwrap_or_else(PoisonError::into_inner);
                if labels.get(label::NAMESPACE) == Some(&namespace) {
                    let of = |name: &str| labels.get(name).cloned().unwrap_or_default();
                    seen.events.push(Event {
                        action: event.action.unwrap_or_default(),
                        function: of(label::FUNCTION),
                        container: of("name"),
                        instance: of(label::INSTANCE),
                        signal: of("signal"),
                        time: event.time_nano.unwrap_or_default(),
                    });
                } else if let Some(id) = actor.id.filter(|id| id.starts_with(&namespace)) {
                    seen.marks.push(id);
                }
            }
        });
        let events = Self {
            docker,
            seen,
            _task: task,
        };
        events.catch_up().await;
        events
    }

    /// All that happened until now.
    pub async fn all(&self) -> Vec<Event> {
        self.catch_up().await;
        self.seen().events.clone()
    }

    /// How many containers of a function were created until now.
    pub async fn created(&self, function: &str) -> usize {
        let events = self.all().await;
        events
            .iter()
            .filter(|event| event.action == "create" && event.function == function)
            .count()
    }

    /// Waits until all that happened before is in the record: events come in order, so it is when
    /// one that is made here is. The first may be made before Docker sends any.
    async fn catch_up(&self) {
        let client = self.docker.client().await.expect("Docker answers");
        wait_until(
            "Docker tells its events",
            Duration::from_secs(30),
            async || {
                let random = getrandom::u64().expect("random bits");
                let name = format!("{}-mark-{random:016x}", self.docker.namespace());
                let volume = VolumeCreateRequest {
                    name: Some(name.clone()),
                    ..VolumeCreateRequest::default()
                };
                client
                    .create_volume(volume)
                    .await
                    .expect("Docker makes volumes");
                let removed = client
                    .remove_volume(&name, None::<RemoveVolumeOptions>)
                    .await;
                removed.expect("Docker removes volumes");
                for _ in 0..50 {
                    if self.seen().marks.contains(&name) {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                false
            },
        )
        .await;
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
