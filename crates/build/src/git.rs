//! git, as far as the builder needs it.
//!
//! git's own programs inherit the environment of the hook.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::error::BuildError;
use crate::push::Update;

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
        let set = self.output(&["symbolic-ref", "HEAD", reference]).await;
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

    /// Whether a commit is one of another's forefathers, or that one itself.
    ///
    /// # Errors
    /// [`BuildError`] when git can't be run.
    pub async fn is_ancestor(&self, one: &str, other: &str) -> Result<bool, BuildError> {
        let found = Command::new("git")
            .args(["merge-base", "--is-ancestor", one, other])
            .env("GIT_DIR", &self.dir)
            .stdin(Stdio::null())
            .status();
        let found = found.await.map_err(BuildError::io("git can't be run"))?;
        Ok(found.success())
    }

    /// Whether a setting is on.
    ///
    /// # Errors
    /// [`BuildError`] when git can't be run.
    pub async fn is_set(&self, setting: &str) -> Result<bool, BuildError> {
        let arguments = ["config", "--type=bool", "--default=false", setting];
        Ok(self.line(&arguments).await? == "true")
    }

    /// Locks a reference that is to be changed, so that nothing can keep it from being changed any more. Nothing if it is not
    /// what it was, or somebody else has locked it. Whoever calls this keeps other hooks out of the repository; `mark` is a
    /// file that is there for as long as the reference is held, with `text` in it.
    ///
    /// # Errors
    /// [`BuildError`] when git can't be run, or the file can't be written.
    pub async fn hold(
        &self,
        update: &Update,
        mark: &Path,
        text: &str,
    ) -> Result<Option<HeldReference>, BuildError> {
        let failed = || BuildError::io("git can't be run");
        self.tidy_up(&update.reference, mark).await?;
        let mark = Mark::set(mark, text)?;
        // When its input ends, git gives up what is not committed, however this process ends. Ctrl-C, which all processes of a
        // terminal get, is none of its business.
        let mut git = Command::new("git")
            .args(["update-ref", "--stdin"])
            .env("GIT_DIR", &self.dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed())?;
        let (Some(input), Some(output)) = (git.stdin.take(), git.stdout.take()) else {
            return Ok(None);
        };
        let mut held = HeldReference {
            mark,
            git,
            input,
            output: BufReader::new(output).lines(),
        };
        let Update {
            old,
            new,
            reference,
        } = update;
        let wanted = format!("start\nupdate {reference} {new} {old}\nprepare\n");
        for word in ["start", "prepare"] {
            if !held
                .says(if word == "start" { &wanted } else { "" }, word)
                .await
            {
                return Ok(None);
            }
        }
        Ok(Some(held))
    }

    /// Removes the locks of a reference that was held when everything was killed, as when the power fails: then the file is
    /// there. (Where the hook alone is killed, git gives up by itself.)
    async fn tidy_up(&self, reference: &str, mark: &Path) -> Result<(), BuildError> {
        if !mark.exists() {
            return Ok(());
        }
        // (git locks `HEAD` as well, which is another name of the branch.)
        let begin = Instant::now();
        for name in [reference, "HEAD"] {
            let lock = self.dir.join(format!("{name}.lock"));
            while lock.exists() && begin.elapsed() < GIVES_UP {
                tokio::time::sleep(PAUSE).await;
            }
            match fs::remove_file(&lock) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let what = format!("{} can't be removed", lock.display());
                    return Err(BuildError::io(what)(error));
                }
                _ => {}
            }
        }
        Ok(())
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
        let output = Command::new("git")
            .args(arguments)
            .env("GIT_DIR", &self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true)
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

/// How long git may take to give up a transaction whose hook was killed.
const GIVES_UP: Duration = Duration::from_secs(2);

/// The pause between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// A file that says that something is under way. It is removed when this is dropped, unless it is to be kept.
#[derive(Debug)]
struct Mark(Option<PathBuf>);

impl Mark {
    fn set(path: &Path, text: &str) -> Result<Self, BuildError> {
        let written = fs::write(path, text);
        let wrong = BuildError::io(format!("{} can't be written", path.display()));
        written.map(|()| Self(Some(path.to_owned()))).map_err(wrong)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// A reference that is locked and about to be changed. Dropping it leaves it as it was.
#[derive(Debug)]
pub struct HeldReference {
    mark: Mark,
    git: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl HeldReference {
    /// Changes it. Returns whether git did; if not, the mark stays.
    pub async fn change(mut self) -> bool {
        let changed = self.says("commit\n", "commit").await;
        drop(self.input);
        let changed = changed && self.git.wait().await.is_ok_and(|status| status.success());
        if !changed {
            self.mark.0 = None;
        }
        changed
    }

    /// Leaves it as it was, and the mark where it is.
    pub fn keep_mark(mut self) {
        self.mark.0 = None;
    }

    /// Whether git answers a command with that it has done it (git-update-ref(1)).
    async fn says(&mut self, command: &str, word: &str) -> bool {
        let told = self.input.write_all(command.as_bytes()).await;
        let answer = self.output.next_line().await;
        told.is_ok() && answer.is_ok_and(|line| line == Some(format!("{word}: ok")))
    }
}
