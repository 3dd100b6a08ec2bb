//! The host's executables, which the keeper fetches out of images.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corefn_engine::docker::{Docker, DockerError};
use corefn_engine::sandboxes::NAME;
use corefn_sandbox::claim::Fetch;
use corefn_sandbox::executables::{Digest, Executables};
use tracing::warn;

/// How old a file must be that was left unfinished, until it is removed.
const UNFINISHED: Duration = Duration::from_secs(60 * 60);

/// The executables that are kept, and those that are being fetched.
#[derive(Debug)]
pub struct Store {
    executables: Executables,
    limit: u64,
    fetched: RefCell<HashSet<String>>,
}

impl Store {
    /// Those of a folder, with so many bytes at most.
    pub fn new(folder: &Path, limit: u64) -> Self {
        Self {
            executables: Executables::new(folder),
            limit,
            fetched: RefCell::default(),
        }
    }

    /// Fetches an executable, unless that is under way.
    pub async fn fetch(&self, docker: &Docker, wanted: Fetch) {
        let Some(digest) = Digest::parse(&wanted.executable) else {
            return;
        };
        if !self.fetched.borrow_mut().insert(wanted.executable.clone()) {
            return;
        }
        let function = &wanted.function;
        match self.get(docker, &wanted, digest).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the executable of {function} is not kept: {error}"),
            Err(error) => warn!("the executable of {function} is not fetched: {error}"),
        }
        self.fetched.borrow_mut().remove(&wanted.executable);
    }

    async fn get(
        &self,
        docker: &Docker,
        wanted: &Fetch,
        digest: Digest,
    ) -> Result<io::Result<()>, DockerError> {
        let file = docker.file_in_image(&wanted.image, NAME).await?;
        let (executables, limit) = (self.executables.clone(), self.limit);
        let kept = tokio::task::spawn_blocking(move || {
            put(&executables, &digest, file?)?;
            let since = SystemTime::now().checked_sub(UNFINISHED);
            executables.sweep(limit, since.unwrap_or(SystemTime::UNIX_EPOCH))
        });
        Ok(kept
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic))))
    }
}

/// Keeps the one file of an archive.
fn put(executables: &Executables, digest: &Digest, archive: File) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries()?.next();
    let entry = entry.ok_or(io::ErrorKind::UnexpectedEof)??;
    executables.put(digest, entry)
}
