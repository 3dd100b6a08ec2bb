//! The cache that the builds of an account share: a volume, of which Docker can't limit the size.
//!
//! So it is measured while a build uses it, and emptied when it is more than half full. It is measured in a container
//! of its own, in which nothing of a pusher's runs: that may read what the build may have hidden, and nothing else.

use std::sync::Arc;

use bollard::query_parameters::RemoveVolumeOptions;
use futures_util::StreamExt as _;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use corefn_core::function::FunctionName;
use corefn_core::host::Host;
use corefn_core::names;
use corefn_engine::docker::{BUILD_CACHE, BuildPurpose, Docker, DockerError, cache_request};

use crate::container;
use crate::error::BuildError;
use crate::output::size;

/// How much of what `du` prints is read.
const MAX_ANSWER: usize = 4 << 10;

/// An account's cache. Copies of it are the same.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    docker: Arc<Docker>,
    /// Whose build uses it.
    function: FunctionName,
    /// The image in which it is measured: the stack's own.
    image: String,
    volume: String,
    limit: u64,
    /// Measurements, which go on though nobody waits for one any more: Docker would, too.
    under_way: Mutex<JoinSet<()>>,
}

impl Cache {
    /// That of the account whose function is built, in a container of `image`.
    pub fn new(docker: Arc<Docker>, host: &Host, function: &FunctionName, image: &str) -> Self {
        Self(Arc::new(Inner {
            docker,
            function: function.clone(),
            image: image.to_owned(),
            volume: names::cache_volume(&host.namespace, function.account()),
            limit: host.build.cache,
            under_way: Mutex::default(),
        }))
    }

    /// Creates the volume if it isn't there.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn ensure(&self) -> Result<(), DockerError> {
        let Inner {
            docker,
            function,
            volume,
            ..
        } = &*self.0;
        let request = cache_request(docker.namespace(), function.account());
        let created = docker.client().await?.create_volume(request).await;
        created.map_err(|cause| docker.failed(format!("create the volume {volume}"), cause))?;
        Ok(())
    }

    /// How many bytes it takes on the disk.
    ///
    /// # Errors
    /// [`BuildError`] when Docker can't say.
    pub async fn size(&self) -> Result<u64, BuildError> {
        let (answer, answered) = oneshot::channel();
        let inner = self.0.clone();
        self.0.under_way.lock().await.spawn(async move {
            let _ = answer.send(inner.measure().await);
        });
        let broken_off = |_| BuildError::Interrupted("the cache was not measured");
        answered.await.map_err(broken_off)?
    }

    /// Why a build must end that has made the cache this large; nothing if it may go on.
    pub fn overflow(&self, bytes: u64) -> Option<BuildError> {
        let Inner {
            function, limit, ..
        } = &*self.0;
        (bytes > *limit).then(|| {
            BuildError::rejected(format!(
                "the build was ended: the cache of {} is larger than {}, and is emptied (build.cache of the host's \
                 settings)",
                function.account(),
                size(*limit)
            ))
        })
    }

    /// Empties it if it is more than half full with so many bytes, and nobody uses it. Returns whether it was.
    pub async fn tidy(&self, bytes: u64) -> bool {
        let Inner {
            docker,
            volume,
            limit,
            ..
        } = &*self.0;
        if bytes <= limit / 2 {
            return false;
        }
        match docker.client().await {
            // (Docker refuses while a container has it: the next build of the account tries again.)
            Ok(client) => client
                .remove_volume(volume, None::<RemoveVolumeOptions>)
                .await
                .is_ok(),
            Err(_) => false,
        }
    }

    /// Waits until all measurements have ended, those that nobody waits for, too.
    pub async fn settled(&self) {
        let mut under_way = self.0.under_way.lock().await;
        while under_way.join_next().await.is_some() {}
    }
}

impl Inner {
    async fn measure(&self) -> Result<u64, BuildError> {
        let container = self.create().await?;
        let printed = self.printed(&container).await;
        let removed = self.docker.remove(&container).await;
        let printed = printed?;
        removed?;
        let kilobytes = printed.split_whitespace().next();
        let kilobytes = kilobytes.and_then(|number| number.parse::<u64>().ok());
        kilobytes.map(|number| number << 10).ok_or_else(|| {
            BuildError::rejected(format!(
                "du of the image {} did not say how large {BUILD_CACHE} is, but {printed:?}",
                self.image
            ))
        })
    }

    async fn create(&self) -> Result<String, BuildError> {
        container::create(
            &self.docker,
            &self.function,
            &self.image,
            BuildPurpose::Measure,
        )
        .await
    }

    async fn printed(&self, container: &str) -> Result<String, DockerError> {
        let mut output = container::start_attached(&self.docker, container)
            .await?
            .output;
        let mut printed = Vec::new();
        while let Some(Ok(chunk)) = output.next().await {
            if printed.len() < MAX_ANSWER {
                printed.extend(chunk.into_bytes());
            }
        }
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }
}
