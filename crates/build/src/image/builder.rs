//! Docker's builder, and what it leaves when a build is broken off.
//!
//! Docker goes on with the step that it has begun when nobody listens any more, and makes a layer of it that nobody
//! knows of. So each build is followed to its end: one that nobody waits for is ended, step by step.

use std::collections::HashMap;
use std::io::Read;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker as Client;
use bollard::body_try_stream;
use bollard::errors::Error as Cause;
use bollard::models::BuildInfo;
use bollard::query_parameters::{
    BuildImageOptions, BuildImageOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder,
};
use futures_util::stream::poll_fn;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use corefn_engine::docker::{Docker, DockerError, Priority};

use crate::context::chunks;
use crate::error::BuildError;
use crate::limits::Watch;
use crate::output::next_or_silence;

/// What Docker's builder says when it looks through the layers on an image for one to use again, and one of them is
/// removed meanwhile, even if it is another build's.
const CACHE_GONE: &str = "unable to find image \"sha256:";

/// What Docker says of an image that a container is made of; `running container 0123456789ab` follows, or another state.
const USED_BY: &str = "image is being used by ";

/// How long a build that nobody waits for may take to end. Only its commands can be killed: its `COPY` and `LABEL` lines
/// still make layers, and an image that it pulls may take longer.
const END: Duration = Duration::from_secs(60);

/// How many of the containers that the build named last are looked at for one that runs.
const LAST: usize = 8;

/// The pause between two attempts to kill a command: it may not have been started yet.
const PAUSE: Duration = Duration::from_millis(50);

/// What all builds have in common: whatever comes of one, no container of it stays, and while there is one, it is known as a
/// build's by the network that it is on.
///
/// # Errors
/// [`DockerError`] when there is no network.
pub(crate) async fn options(
    docker: &Docker,
    labels: &HashMap<String, String>,
) -> Result<BuildImageOptionsBuilder, DockerError> {
    let network = docker.build_network().await?;
    Ok(BuildImageOptionsBuilder::default()
        .rm(true)
        .forcerm(true)
        .networkmode(&network)
        .cpushares(Priority::Low.cpu_shares() as i32)
        .labels(labels))
}

/// Runs a build of Docker's, and returns the image's identifier. `what` says what is built, as an
/// infinitive; `watch` gets the containers that run its commands, `print` what Docker prints, and `traces` what the build
/// leaves.
pub(crate) async fn run_build(
    docker: &Docker,
    options: BuildImageOptions,
    context: impl Read + Send + 'static,
    what: &str,
    watch: Option<&Watch<'_>>,
    traces: &mut Traces,
    mut print: impl AsyncFnMut(&str) -> Result<(), BuildError>,
) -> Result<String, BuildError> {
    let client = docker.client().await?.clone();
    let (sender, mut receiver) = mpsc::channel(1);
    let seen = traces.seen.clone();
    let limits = Limits::of(&options);
    traces.builds.spawn(async move {
        let body = body_try_stream(chunks(context));
        let mut steps = pin!(client.build_image(options, None, Some(body)));
        let build = Build {
            client: &client,
            limits,
            seen: &seen,
        };
        if !build.follow(&mut steps, sender).await {
            let _ = tokio::time::timeout(END, build.end(&mut steps)).await;
        }
    });
    let mut steps = pin!(poll_fn(|cx| receiver.poll_recv(cx)));
    let mut id = String::new();
    while let Some((step, container)) = next_or_silence(&mut steps, &mut print).await? {
        if let (Some(watch), Some(container)) = (watch, container) {
            watch.container(&container);
        }
        let step = step.map_err(|cause| match cause {
            Cause::DockerStreamError { error } if error.starts_with(CACHE_GONE) => BuildError::Lost,
            // The build's own error, and not one of talking to Docker.
            Cause::DockerStreamError { error } => {
                BuildError::rejected(format!("Docker could not {what}: {error}"))
            }
            cause => docker.failed(what, cause).into(),
        })?;
        if let Some(text) = step.stream {
            print(&text).await?;
        }
        if let Some(built) = step.aux.and_then(|aux| aux.id) {
            id = built;
        }
    }
    Ok(id)
}

/// What a build says, and the container that runs its next command, if it names one.
type Step = (Result<BuildInfo, Cause>, Option<String>);

/// A build that is under way.
struct Build<'a> {
    client: &'a Client,
    limits: Limits,
    seen: &'a Mutex<Seen>,
}

impl Build<'_> {
    /// Passes on what it says, until it has ended or nobody listens. Returns whether it has ended.
    async fn follow(
        &self,
        steps: &mut (impl Stream<Item = Result<BuildInfo, Cause>> + Unpin),
        listener: mpsc::Sender<Step>,
    ) -> bool {
        loop {
            let step = tokio::select! {
                step = steps.next() => step,
                () = listener.closed() => return false,
            };
            let Some(step) = step else {
                return true;
            };
            let container = self.note(&step).await;
            if listener.send((step, container)).await.is_err() {
                return false;
            }
        }
    }

    /// Ends it: kills each command that it runs. What else it does ends by itself.
    async fn end(&self, steps: &mut (impl Stream<Item = Result<BuildInfo, Cause>> + Unpin)) {
        let killing = async {
            let options = KillContainerOptionsBuilder::default()
                .signal("SIGKILL")
                .build();
            loop {
                let last: Vec<_> = {
                    let seen = lock(self.seen);
                    seen.containers.iter().rev().take(LAST).cloned().collect()
                };
                for container in last {
                    // (Docker refuses for one that has ended, or that does not run yet.)
                    if self.limits.are_of(self.client, &container).await == Some(true) {
                        let options = Some(options.clone());
                        let _ = self.client.kill_container(&container, options).await;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        // At the same time: the kill takes effect only when all that the command has printed is read.
        let reading = async {
            while let Some(step) = steps.next().await {
                self.note(&step).await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = killing => {}
        }
    }

    /// Notes the layers and the container that a step names, and returns the container.
    async fn note(&self, step: &Result<BuildInfo, Cause>) -> Option<String> {
        let text = step.as_ref().ok()?.stream.as_ref()?;
        lock(self.seen).layers.extend(layer(text));
        let container = container(text)?;
        // If Docker can't say now whose it is, it counts as the build's own.
        if self.limits.are_set() && self.limits.are_of(self.client, &container).await == Some(false)
        {
            return None;
        }
        lock(self.seen).containers.push(container.clone());
        Some(container)
    }
}

/// The limits of a build's containers, by which they are recognized: a command can print what looks like Docker's line
/// about another container, which must be neither killed nor watched in the place of the build's own.
#[derive(Clone, Copy, PartialEq)]
struct Limits {
    memory: Option<i64>,
    period: Option<i64>,
    quota: Option<i64>,
}

impl Limits {
    fn of(options: &BuildImageOptions) -> Self {
        Self {
            memory: options.memory.map(i64::from),
            period: options.cpuperiod.map(i64::from),
            quota: options.cpuquota.map(i64::from),
        }
    }

    /// Whether there are any. A build without them runs commands of CoreFn's own, or none.
    fn are_set(self) -> bool {
        self.period.is_some()
    }

    /// Whether a container has these limits, among them a scheduler's period, which neither functions nor services are
    /// given. None if Docker can't say.
    async fn are_of(self, client: &Client, container: &str) -> Option<bool> {
        let none = None::<InspectContainerOptions>;
        let found = match client.inspect_container(container, none).await {
            Ok(found) => found.host_config?,
            // (The gate shows a builder none but a build's.)
            Err(Cause::DockerResponseServerError {
                status_code: 403 | 404,
                ..
            }) => return Some(false),
            Err(_) => return None,
        };
        let limits = Self {
            memory: found.memory,
            period: found.cpu_period,
            quota: found.cpu_quota,
        };
        Some(self.period.is_some_and(|period| period > 0) && limits == self)
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What Docker's builds have left there.
#[derive(Debug, Default)]
pub struct Traces {
    seen: Arc<Mutex<Seen>>,
    /// The builds, which go on by themselves.
    builds: JoinSet<()>,
}

/// Identifiers, in the order in which they were seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Layers that were made or used.
    layers: Vec<String>,
    /// Containers of which they were made.
    containers: Vec<String>,
}

impl Traces {
    /// Notes the layer or container that a line of Docker's builder names.
    pub fn note(&mut self, text: &str) {
        let mut seen = lock(&self.seen);
        seen.layers.extend(layer(text));
        seen.containers.extend(container(text));
    }

    /// How many layers there are so far.
    pub(super) fn count(&self) -> usize {
        lock(&self.seen).layers.len()
    }

    /// The layers that have come after the first `count`.
    pub(super) fn since(&self, count: usize) -> Vec<String> {
        lock(&self.seen).layers[count..].to_vec()
    }

    /// Waits until the builds have ended, also those that nobody else waits for.
    pub async fn ended(&mut self) {
        while self.builds.join_next().await.is_some() {}
    }

    /// Waits until the builds have ended, and removes their layers, less those that an image was made of. Docker removes the
    /// containers, which takes a while when a build was broken off; as they use the layers, that is waited for.
    ///
    /// Whatever has a tag, is below another image or is in use by another container stays, so that it does
    /// no harm if a build has printed what looks like another's layer.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn remove(&mut self, docker: &Docker) -> Result<(), DockerError> {
        self.ended().await;
        let Seen { layers, containers } = lock(&self.seen).clone();
        until_gone(docker, &containers).await?;
        for layer in layers.iter().rev() {
            remove_layer(docker, layer, &containers).await?;
        }
        Ok(())
    }
}

/// How long Docker may take to remove the containers of a build, and to let go of what they used.
const REMOVAL: Duration = Duration::from_secs(20);

/// Waits until containers are gone, or for a while.
async fn until_gone(docker: &Docker, containers: &[String]) -> Result<(), DockerError> {
    let begin = Instant::now();
    for container in containers {
        while !is_gone(docker, container).await? && begin.elapsed() < REMOVAL {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn is_gone(docker: &Docker, container: &str) -> Result<bool, DockerError> {
    let none = None::<InspectContainerOptions>;
    let found = docker.client().await?.inspect_container(container, none);
    let found = found.await;
    Ok(found.is_err_and(|cause| docker.failed("look at a container", cause).is_absent()))
}

/// Removes a layer, unless it has a tag, is below another, or is in use by another container than the build's `own`. Those
/// are waited for: for a moment after one is gone, Docker still counts it.
async fn remove_layer(docker: &Docker, layer: &str, own: &[String]) -> Result<(), DockerError> {
    let found = docker.client().await?.inspect_image(layer).await;
    match found.map_err(|cause| docker.failed(format!("look at the layer {layer}"), cause)) {
        Ok(image) => {
            if image.repo_tags.is_some_and(|tags| !tags.is_empty()) {
                return Ok(());
            }
        }
        // Docker removes what is below a layer along with it.
        Err(error) if error.is_absent() => return Ok(()),
        Err(error) => return Err(error),
    }
    let begin = Instant::now();
    loop {
        let error = match docker.remove_image(layer).await {
            Err(error) if error.is_conflict() => error,
            removed => return removed,
        };
        let text = error.to_string();
        let Some(user) = user(&text) else {
            return Ok(());
        };
        let is_own = own.iter().any(|own| user.starts_with(own.as_str()));
        if !is_own && !is_gone(docker, user).await? {
            return Ok(());
        }
        if begin.elapsed() > REMOVAL {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The container that keeps an image from being removed, if that is what Docker says.
fn user(conflict: &str) -> Option<&str> {
    let (_, user) = conflict.rsplit_once(USED_BY)?;
    user.split_whitespace().nth(2)
}

/// The layer that a step has made or found, if a line names it.
fn layer(text: &str) -> Option<String> {
    id(text, "---> ")
}

/// The container that a step runs in, if a line names it.
fn container(text: &str) -> Option<String> {
    id(text, "---> Running in ")
}

/// The layer or container on a line: Docker's builder prints a mark and the first twelve digits of its identifier.
fn id(text: &str, mark: &str) -> Option<String> {
    const DIGITS: usize = 12;
    let id = text.trim().strip_prefix(mark)?;
    (id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_containers() {
        let of = |text: &str| (layer(text), container(text));
        let known = Some("0123456789ab".to_owned());
        assert_eq!(of(" ---> 0123456789ab\n"), (known.clone(), None));
        assert_eq!(of(" ---> Running in 0123456789ab\n"), (None, known));
        for other in [
            "",
            " ---> Using cache\n",
            "0123456789ab",
            "Successfully built 0123456789ab\n",
        ] {
            assert_eq!(of(other), (None, None), "{other:?}");
        }
    }

    #[test]
    fn who_uses_an_image() {
        let conflict = "conflict: unable to delete d11154f5ac0e (must be forced) - image ";
        for (rest, container) in [
            (
                "is being used by stopped container 0123456789ab",
                Some("0123456789ab"),
            ),
            (
                "is being used by running container 0123456789ab",
                Some("0123456789ab"),
            ),
            ("has dependent child images", None),
        ] {
            assert_eq!(user(&format!("{conflict}{rest}")), container, "{rest}");
        }
    }
}
