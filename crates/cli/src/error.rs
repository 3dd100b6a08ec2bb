//! What can go wrong.

use std::io;

use corefn_build::BuildError;
use corefn_engine::access::AccessFileError;
use corefn_engine::docker::DockerError;
use corefn_engine::home::HomeError;
use corefn_engine::secrets::SecretError;
use corefn_engine::store::StoreError;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home, or its settings are wrong.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Secrets can't be kept, or had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Keys and grants can't be read or changed.
    #[error(transparent)]
    Access(#[from] AccessFileError),
    /// What the builder lends failed: the repository's lock, images.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A file or a program failed.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// What was asked for can't be done.
    #[error("{0}")]
    Refused(String),
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Print(io::Error),
}
