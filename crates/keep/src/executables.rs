//! The host's executables and archives, which the keeper fetches out of images.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

use corefn_core::names::FUNCTION_PATH;
use corefn_engine::docker::{Docker, DockerError};
use corefn_sandbox::archive;
use corefn_sandbox::claim::{Fetch, Form};
use corefn_sandbox::executables::{Digest, Executables};
use tracing::warn;

/// How old a file must be that was left unfinished, until it is removed.
const UNFINISHED: Duration = Duration::from_secs(60 * 60);

/// What is kept, and what is being fetched.
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

    /// Fetches an executable or an archive, unless that is under way.
    pub async fn fetch(&self, docker: &Docker, wanted: Fetch) {
        let Some(digest) = Digest::parse(&wanted.digest) else {
            return;
        };
        if !self.fetched.borrow_mut().insert(wanted.digest.clone()) {
            return;
        }
        let function = &wanted.function;
        match self.get(docker, &wanted, digest).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!("what sandboxes are handed for {function} is not kept: {error}")
            }
            Err(error) => warn!("what sandboxes are handed for {function} is not fetched: {error}"),
        }
        self.fetched.borrow_mut().remove(&wanted.digest);
    }

    async fn get(
        &self,
        docker: &Docker,
        wanted: &Fetch,
        digest: Digest,
    ) -> Result<io::Result<()>, DockerError> {
        let file = docker.part_of_image(&wanted.image, FUNCTION_PATH).await?;
        let (executables, limit) = (self.executables.clone(), self.limit);
        let form = wanted.form;
        let kept = tokio::task::spawn_blocking(move || {
            match form {
                Form::Executable => put(&executables, &digest, file?)?,
                Form::Archive => {
                    let packed = archive::pack(BufReader::new(file?))?;
                    let packed = packed.ok_or(io::ErrorKind::FileTooLarge)?;
                    executables.put(&digest, packed.as_slice())?;
                }
            }
            let since = SystemTime::now().checked_sub(UNFINISHED);
            executables.sweep(limit, since.unwrap_or(SystemTime::UNIX_EPOCH))
        });
        Ok(kept
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic))))
    }
}

/// Keeps the one file of a tar archive.
fn put(executables: &Executables, digest: &Digest, archive: File) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries()?.next();
    let entry = entry.ok_or(io::ErrorKind::UnexpectedEof)??;
    executables.put(digest, entry)
}
