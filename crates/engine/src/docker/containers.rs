//! Looking at containers, and ending them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as Cause;
use bollard::models::{ContainerSummaryStateEnum, ContainerUpdateBody};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StatsOptionsBuilder, StopContainerOptionsBuilder,
    WaitContainerOptions,
};
use futures_util::StreamExt;

use corefn_core::function::FunctionName;
use corefn_core::names::label;

use super::create::{OF_CONTAINER, Priority};
use super::{Docker, DockerError, sandboxes};

/// How long after each failure a container is paused once more.
const PAUSE_RETRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];

/// A container of the namespace.
#[derive(Debug, Clone)]
pub struct Container {
    /// Docker's identifier.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// Its labels; of a sandbox that has become an instance, with those of that one.
    pub labels: HashMap<String, String>,
    /// Whether its process runs; a paused one's does.
    pub running: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether its process never began.
    pub unstarted: bool,
    /// When it was created: seconds since 1970.
    pub created: i64,
}

impl Container {
    /// Whether it has a label with that value.
    pub fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|has| has == value)
    }

    /// Whether it is of a function, of any of its revisions.
    pub fn is_of(&self, function: &FunctionName) -> bool {
        let of = self.labels.get(label::FUNCTION);
        of.and_then(|of| FunctionName::read(of).ok())
            .is_some_and(|of| of.plain_text() == function.plain_text())
    }
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its process runs.
    Runs,
    /// Its process is there, and gets no time.
    Paused,
    /// Its process has ended, or never began, or the container isn't there.
    Ended,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The memory that it holds, in bytes: as `docker stats` shows it, without what the kernel has cached of files that are not
    /// in use.
    pub memory: u64,
    /// The time of processors that it has used since it began.
    pub cpu: Duration,
}

impl Docker {
    /// All containers of the namespace, running or not.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn containers(&self) -> Result<Vec<Container>, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", vec![ours])]))
            .build();
        let client = self.client().await?;
        let list = client
            .list_containers(Some(options))
            .await
            .map_err(|cause| self.failed("list containers", cause))?;
        Ok(list
            .into_iter()
            .filter_map(|summary| {
                let name = summary.names.unwrap_or_default().into_iter().next();
                let name = name.unwrap_or_default().trim_start_matches('/').to_owned();
                let mut labels = summary.labels.unwrap_or_default();
                sandboxes::describe(self.namespace(), &name, &mut labels);
                Some(Container {
                    id: summary.id?,
                    name,
                    labels,
                    running: matches!(
                        summary.state,
                        Some(
                            ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED
                        )
                    ),
                    paused: summary.state == Some(ContainerSummaryStateEnum::PAUSED),
                    unstarted: summary.state == Some(ContainerSummaryStateEnum::CREATED),
                    created: summary.created.unwrap_or_default(),
                })
            })
            .collect())
    }

    /// Whether a container is there and its process runs; a paused one's does.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn is_running(&self, container: &str) -> Result<bool, DockerError> {
        Ok(self.condition(container).await? != Condition::Ended)
    }

    /// What a container does. One on the network of another has ended when that has: nobody can reach it.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn condition(&self, container: &str) -> Result<Condition, DockerError> {
        let (condition, holder) = self.look(container).await?;
        if let (Condition::Runs | Condition::Paused, Some(holder)) = (condition, holder)
            && self.look(&holder).await?.0 == Condition::Ended
        {
            return Ok(Condition::Ended);
        }
        Ok(condition)
    }

    /// What a container does, and which other holds its network.
    async fn look(&self, container: &str) -> Result<(Condition, Option<String>), DockerError> {
        let client = self.client().await?;
        let found = client
            .inspect_container(container, None::<InspectContainerOptions>)
            .await
            .map_err(|cause| self.failed("look at the container", cause));
        match found {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                let condition = match (state.running, state.paused) {
                    (Some(true), Some(true)) => Condition::Paused,
                    (Some(true), _) => Condition::Runs,
                    _ => Condition::Ended,
                };
                let mode = found.host_config.and_then(|host| host.network_mode);
                let holder =
                    mode.and_then(|mode| mode.strip_prefix(OF_CONTAINER).map(str::to_owned));
                Ok((condition, holder))
            }
            Err(error) if error.is_absent() => Ok((Condition::Ended, None)),
            Err(error) => Err(error),
        }
    }

    /// Waits until a container's process has ended and returns its exit code.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn exit_code(&self, container: &str) -> Result<i64, DockerError> {
        let client = self.client().await?;
        let mut waiting =
            std::pin::pin!(client.wait_container(container, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(response)) => Ok(response.status_code),
            Some(Err(Cause::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(cause)) => Err(self.failed("wait for the container", cause)),
            None => Ok(0),
        }
    }

    /// The last lines a container wrote, at most `lines`; empty when Docker can't say.
    pub async fn last_output(&self, container: &str, lines: usize) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let Ok(client) = self.client().await else {
            return String::new();
        };
        let chunks: Vec<_> = client
            .logs(container, Some(options))
            .filter_map(|chunk| async move { chunk.ok().map(LogOutput::into_bytes) })
            .collect()
            .await;
        String::from_utf8_lossy(&chunks.concat())
            .trim_end()
            .to_owned()
    }

    /// What a container uses. None if it does not run, or Docker can't say.
    pub async fn usage(&self, container: &str) -> Option<Usage> {
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let client = self.client().await.ok()?;
        let mut stats = std::pin::pin!(client.stats(container, Some(options)));
        let stats = stats.next().await?.ok()?;
        let cpu = stats
            .cpu_stats
            .and_then(|stats| stats.cpu_usage?.total_usage);
        let memory = stats.memory_stats?;
        let details = memory.stats.unwrap_or_default();
        // Control groups of the second and of the first version name it differently.
        let cached = ["inactive_file", "total_inactive_file"];
        let cached = cached.iter().find_map(|name| details.get(*name));
        Some(Usage {
            memory: memory.usage?.saturating_sub(cached.copied().unwrap_or(0)),
            cpu: Duration::from_nanos(cpu?),
        })
    }

    /// A container's priority; none if it is not there, or Docker can't say.
    pub async fn priority(&self, container: &str) -> Option<Priority> {
        let client = self.client().await.ok()?;
        let none = None::<InspectContainerOptions>;
        let found = client.inspect_container(container, none).await.ok()?;
        let shares = found.host_config?.cpu_shares;
        Some(match shares == Some(Priority::Low.cpu_shares()) {
            true => Priority::Low,
            // (One of an older version has none that is set.)
            false => Priority::Normal,
        })
    }

    /// Gives a container another priority.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn prioritize(&self, container: &str, priority: Priority) -> Result<(), DockerError> {
        let body = ContainerUpdateBody {
            cpu_shares: Some(priority.cpu_shares()),
            ..ContainerUpdateBody::default()
        };
        let client = self.client().await?;
        let updated = client.update_container(container, body).await;
        updated.map_err(|cause| self.failed("give the container another priority", cause))
    }

    /// Has a container's processes get no more time. One that gets none is no error.
    ///
    /// The runtime gives the kernel a moment to freeze them, which is too short for a process that waits for a slow disk, say;
    /// so it is asked a few times.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it, or when the container does not run.
    pub async fn pause(&self, container: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let mut waits = PAUSE_RETRIES.into_iter();
        loop {
            let paused = client.pause_container(container).await;
            let paused = paused.map_err(|cause| self.failed("pause the container", cause));
            let paused = self.unless(container, Condition::Paused, paused).await;
            match (paused, waits.next()) {
                (Err(error), Some(wait)) if error.status() == Some(500) => {
                    tokio::time::sleep(wait).await;
                }
                (paused, _) => return paused,
            }
        }
    }

    /// Has the processes of a container that is paused go on. One whose processes do is no error.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it, or when the container has ended.
    pub async fn unpause(&self, container: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let unpaused = client.unpause_container(container).await;
        let unpaused = unpaused.map_err(|cause| self.failed("unpause the container", cause));
        self.unless(container, Condition::Runs, unpaused).await
    }

    /// What has become of a change, whose failure counts for nothing if the container is as it should be.
    async fn unless(
        &self,
        container: &str,
        wanted: Condition,
        changed: Result<(), DockerError>,
    ) -> Result<(), DockerError> {
        match changed {
            Err(DockerError::Refused { .. }) if self.condition(container).await? == wanted => {
                Ok(())
            }
            changed => changed,
        }
    }

    /// Ends and removes a container: SIGTERM, SIGKILL after `grace`, removal. One that isn't there
    /// is no error.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn stop(&self, container: &str, grace: Duration) -> Result<(), DockerError> {
        let options = StopContainerOptionsBuilder::default()
            .t(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX))
            .build();
        let client = self.client().await?;
        match client.stop_container(container, Some(options)).await {
            Ok(()) => {}
            Err(cause) => {
                let error = self.failed("stop the container", cause);
                match error.status() {
                    Some(304 | 404) => {}
                    _ => return Err(error),
                }
            }
        }
        self.remove(container).await
    }

    /// Removes a container at once, whatever it does. One that isn't there, or is being removed,
    /// is no error.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn remove(&self, container: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let client = self.client().await?;
        match client.remove_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(cause) => {
                let error = self.failed("remove the container", cause);
                match error.status() {
                    Some(404 | 409) => Ok(()),
                    _ => Err(error),
                }
            }
        }
    }
}
