//! What a build may use, where Docker doesn't see to it by itself.

use std::cell::RefCell;
use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::InspectContainerOptionsBuilder;

use corefn_core::host::BuildLimits;
use corefn_engine::docker::Docker;
use tokio::sync::Notify;

use crate::cache::Cache;
use crate::error::BuildError;
use crate::output::size;

/// How often Docker is asked how much a container has written, for which it counts the container's files.
const PAUSE: Duration = Duration::from_secs(2);

/// How often a cache is measured, by a container that reads all of its folders. Most builds end before the first time.
const FIRST_CACHE_PAUSE: Duration = Duration::from_secs(5);
const CACHE_PAUSE: Duration = Duration::from_secs(30);

/// Does the work, or ends it when its time is up.
///
/// # Errors
/// [`BuildError::Rejected`] when it takes too long, and those of `work`.
pub async fn in_time<T>(
    limits: &BuildLimits,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    let too_slow = |_| {
        let timeout = limits.timeout;
        BuildError::rejected(format!(
            "the build was ended: it took longer than {timeout:?} (build.timeout of the host's settings)"
        ))
    };
    tokio::time::timeout(limits.timeout, work)
        .await
        .map_err(too_slow)?
}

/// Watches the containers of one build, which follow each other.
pub struct Watch<'a> {
    docker: &'a Docker,
    limits: &'a BuildLimits,
    /// What the builds of the account share, if this one uses it.
    cache: Option<&'a Cache>,
    seen: RefCell<Seen>,
    /// Notified when there is another container to watch.
    next: Notify,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    container: Option<String>,
    /// Whether its processes are limited.
    is_limited: bool,
    /// What it has written, and what those before it had.
    written: u64,
    before: u64,
}

impl<'a> Watch<'a> {
    pub fn new(docker: &'a Docker, limits: &'a BuildLimits) -> Self {
        Self {
            docker,
            limits,
            cache: None,
            seen: RefCell::default(),
            next: Notify::new(),
        }
    }

    /// The account's cache is watched as well.
    pub fn with_cache(self, cache: &'a Cache) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    /// Watches this container from now on.
    pub fn container(&self, id: &str) {
        let mut seen = self.seen.borrow_mut();
        *seen = Seen {
            container: Some(id.to_owned()),
            before: seen.before + seen.written,
            ..Seen::default()
        };
        self.next.notify_one();
    }

    /// Does the work, and watches meanwhile.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] when more disk is used than may be, and those of `work`.
    pub async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, BuildError>>,
    ) -> Result<T, BuildError> {
        tokio::select! {
            biased;
            result = work => result,
            error = self.until_over() => Err(error),
            error = self.until_cache_overflows() => Err(error),
        }
    }

    /// Watches the cache until it is larger than it may be.
    async fn until_cache_overflows(&self) -> BuildError {
        let Some(cache) = self.cache else {
            return std::future::pending().await;
        };
        let mut pause = FIRST_CACHE_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = CACHE_PAUSE;
            // That it can't be measured is reported when the build has ended.
            let bytes = cache.size().await.unwrap_or_default();
            if let Some(error) = cache.overflow(bytes) {
                return error;
            }
        }
    }

    /// Watches until a limit is passed. What Docker can't say now, it is asked again the next time.
    async fn until_over(&self) -> BuildError {
        loop {
            let container = self.seen.borrow().container.clone();
            let Some(container) = container else {
                self.next.notified().await;
                continue;
            };
            self.limit_processes(&container).await;
            if let Some(written) = self.written(&container).await {
                let mut seen = self.seen.borrow_mut();
                if seen.container.as_deref() == Some(&container) {
                    seen.written = written;
                }
                if seen.before + seen.written > self.limits.disk {
                    return BuildError::rejected(format!(
                        "the build was ended: it wrote more than {} (build.disk of the host's settings)",
                        size(self.limits.disk)
                    ));
                }
            }
            // For a while, or until there is another container.
            let _ = tokio::time::timeout(PAUSE, self.next.notified()).await;
        }
    }

    /// Docker's builder has no limit for processes, so each of its containers gets one when it is seen.
    async fn limit_processes(&self, container: &str) {
        if self.seen.borrow().is_limited {
            return;
        }
        let Ok(client) = self.docker.client().await else {
            return;
        };
        let body = ContainerUpdateBody {
            pids_limit: Some(self.limits.pids.into()),
            ..ContainerUpdateBody::default()
        };
        let updated = client.update_container(container, body).await;
        let mut seen = self.seen.borrow_mut();
        if updated.is_ok() && seen.container.as_deref() == Some(container) {
            seen.is_limited = true;
        }
    }

    /// How many bytes a container has written to its own layer.
    async fn written(&self, container: &str) -> Option<u64> {
        let client = self.docker.client().await.ok()?;
        let options = InspectContainerOptionsBuilder::default().size(true).build();
        let found = client.inspect_container(container, Some(options)).await;
        u64::try_from(found.ok()?.size_rw?).ok()
    }
}
