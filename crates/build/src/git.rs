//! git, as far as the builder needs it.
//!
//! git's own programs inherit the environment of the hook, and with it the quarantine that holds
//! the pushed objects until the push is accepted.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::BuildError;

/// A repository.
#[derive(Debug, Clone)]
pub struct Git {
    dir: PathBuf,
}

impl Git {
    /// The repository in a directory, by its absolute path.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The branch that deploys, as a full name: `refs/heads/main`.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] when `HEAD` names no branch.
    pub async fn default_branch(&self) -> Result<String, BuildError> {
        self.line(&["symbolic-ref", "HEAD"]).await
    }

    /// Makes another branch the one that deploys, by its full name.
    ///
    /// # Errors
    /// [`BuildError`] when git refuses it.
    pub async fn set_default_branch(&self, reference: &str) -> Result<(), BuildError> {
        // Within a hook git keeps references as they are, because those that are pushed may yet be
        // refused. This one is only a name, and may stay.
        let arguments = ["symbolic-ref", "HEAD", reference];
        let set = self.run(&arguments, &["GIT_QUARANTINE_PATH"]).await;
        set.map(|_| ())
    }

    /// Whether there is a branch yet.
    ///
    /// # Errors
    /// [`BuildError`] when git can't say.
    pub async fn has_branches(&self) -> Result<bool, BuildError> {
        let found = self
            .line(&["for-each-ref", "--count=1", "refs/heads/"])
            .await?;
        Ok(!found.is_empty())
    }

    /// What a reference points to, if it is there.
    ///
    /// # Errors
    /// [`BuildError`] when git can't say.
    pub async fn target(&self, reference: &str) -> Result<Option<String>, BuildError> {
        let found = self
            .line(&["for-each-ref", "--format=%(objectname)", reference])
            .await?;
        Ok(Some(found).filter(|found| !found.is_empty()))
    }

    /// What a git command prints, less the line's end.
    ///
    /// # Errors
    /// As of [`Git::output`].
    pub async fn line(&self, arguments: &[&str]) -> Result<String, BuildError> {
        let printed = self.output(arguments).await?;
        Ok(String::from_utf8_lossy(&printed).trim_end().to_owned())
    }

    /// What a git command prints.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] with git's own message when it fails; [`BuildError::Io`] when it
    /// can't be run.
    pub async fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, BuildError> {
        self.run(arguments, &[]).await
    }

    async fn run(&self, arguments: &[&str], without: &[&str]) -> Result<Vec<u8>, BuildError> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .env("GIT_DIR", &self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in without {
            command.env_remove(name);
        }
        let output = command
            .output()
            .await
            .map_err(BuildError::io("git can't be run"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(BuildError::rejected(format!(
            "git {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))
    }
}
