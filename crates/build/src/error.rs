//! Why a push is rejected.

use std::io;

use corefn_core::error::Failure;
use corefn_core::manifest::ManifestError;
use corefn_engine::docker::DockerError;
use corefn_engine::rebuild::RebuildError;
use corefn_engine::secrets::SecretError;
use corefn_engine::store::StoreError;

use corefn_engine::home::HomeError;

/// Why a push is rejected. The message is what the pusher reads last: cause and remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The installation's settings can't be read.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The manifest is wrong.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Secrets can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The revision didn't start.
    #[error("the new revision does not start, so it is not deployed: {}", .0.detail)]
    Start(Failure),
    /// A file or a program of the builder's machine failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried, as a clause.
        what: String,
        /// What went wrong.
        cause: io::Error,
    },
    /// What Docker had built, or was looking at for what it could use again, was removed meanwhile: by a push of the
    /// same files, which was given up, or by anybody.
    #[error("what was built was removed meanwhile: push again")]
    Lost,
    /// Something about the push, the repository or the stack; the text says all of it.
    #[error("{0}")]
    Rejected(String),
    /// The pusher went away, or the builder was told to end.
    #[error("the build was ended: {0}; nothing was deployed")]
    Interrupted(&'static str),
}

impl BuildError {
    /// A rejection with its text.
    pub fn rejected(text: impl Into<String>) -> Self {
        Self::Rejected(text.into())
    }

    /// What helps, where the message is the system's or Docker's own and doesn't say so.
    pub fn remedy(&self) -> Option<&'static str> {
        let text = self.to_string().to_lowercase();
        // ENOSPC, as the C library and Go spell it.
        if text.contains("no space left on device") {
            return Some(
                "a disk of the host is full, and nothing was deployed: have its operator make room, \
                 then push again",
            );
        }
        // What Docker's builder says of a command that SIGKILL has ended.
        text.contains("non-zero code: 137").then_some(
            "it was killed: most likely it ran out of memory (build.memory of the host's settings)",
        )
    }

    /// Makes an error of the operating system's one; `what` says what could not be done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}

impl From<RebuildError> for BuildError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Docker(error) => error.into(),
            RebuildError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_has_a_remedy() {
        let full = BuildError::io("the log")(io::Error::from_raw_os_error(28));
        assert!(full.remedy().is_some(), "{full}");
        let killed = BuildError::rejected("The command 'x' returned a non-zero code: 137");
        assert!(killed.remedy().unwrap().contains("memory"));
        assert_eq!(BuildError::rejected("corefn.toml is wrong").remedy(), None);
    }
}
