//! Which repository is pushed to: its account and name, its lock and its logs.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use corefn_core::function::{RevisionId, check_segment};

use crate::error::BuildError;
use crate::git::Git;
use crate::output::Output;

/// The folder in a repository's directory with what the builder keeps there.
const FOLDER: &str = "corefn";

/// A repository of the installation.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its git directory.
    pub git: Git,
    /// The first segment of its path.
    pub account: String,
    /// The second; a repository of one segment takes it from the manifest.
    pub name: Option<String>,
}

/// A push that was about to be deployed, and its branch to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// What would be deployed.
    pub revision: RevisionId,
    /// Where the branch would be.
    pub commit: String,
    /// Which one, by its full name.
    pub reference: String,
}

impl Unsettled {
    /// As a file has it.
    pub fn text(&self) -> String {
        let Self {
            revision,
            commit,
            reference,
        } = self;
        format!("{revision} {commit} {reference}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ').map(str::to_owned);
        Some(Self {
            revision: RevisionId(words.next()?),
            commit: words.next()?,
            reference: words.next()?,
        })
    }
}

impl Repository {
    /// The repository in `git_dir`, which must be `<account>/<name>.git` or `<account>.git` below
    /// `projects`.
    ///
    /// # Errors
    /// [`BuildError`] when it is elsewhere, or named otherwise.
    pub fn open(git_dir: &Path, projects: &Path) -> Result<Self, BuildError> {
        let absolute = |path: &Path| {
            path.canonicalize().map_err(BuildError::io(format!(
                "{} can't be opened",
                path.display()
            )))
        };
        let (dir, projects) = (absolute(git_dir)?, absolute(projects)?);
        let (account, name) = segments(&dir, &projects).ok_or_else(|| {
            BuildError::rejected(format!(
                "the repository {} is not <account>/<name>.git below {}: create it with \
                 corefn repo create <account>/<name>",
                dir.display(),
                projects.display()
            ))
        })?;
        Ok(Self {
            git: Git::new(dir),
            account,
            name,
        })
    }

    /// `account/name`, or `account` for a repository of one segment.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.account),
            None => self.account.clone(),
        }
    }

    /// Where the log of a revision's build is kept.
    pub fn log(&self, revision: &RevisionId) -> PathBuf {
        let folder = self.git.dir().join(FOLDER).join("builds");
        folder.join(format!("{revision}.log"))
    }

    /// The file that is there while the branch that deploys is held, and afterwards if nobody knows what came of it.
    pub fn mark(&self) -> PathBuf {
        self.git.dir().join(FOLDER).join("holds")
    }

    /// The push that nobody knows of whether it was deployed, since whoever did it was killed at that; if there is one.
    pub fn unsettled(&self) -> Option<Unsettled> {
        Unsettled::parse(&fs::read_to_string(self.mark()).ok()?)
    }

    /// The same, if nobody is at work in the repository now.
    pub fn broken_off(&self) -> Option<Unsettled> {
        let lock = File::open(self.lock_file()).ok()?;
        flock(&lock, FlockOperation::NonBlockingLockShared).ok()?;
        self.unsettled()
    }

    /// The file that is locked by whoever is at work in the repository.
    fn lock_file(&self) -> PathBuf {
        self.git.dir().join(FOLDER).join("lock")
    }

    /// Waits until no other build of this repository is under way. The lock ends with the file
    /// that is returned.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the lock's file can't be used.
    pub async fn lock(&self, output: &mut Output) -> Result<File, BuildError> {
        let path = self.lock_file();
        let wrong = || BuildError::io(format!("the lock {} can't be used", path.display()));
        fs::create_dir_all(self.git.dir().join(FOLDER)).map_err(wrong())?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(wrong())?;
        lock(
            file,
            output,
            "another push to this repository is being built: waiting for it",
        )
        .await
        .map_err(wrong())
    }
}

/// Locks a file; says `waiting` if it isn't free at once.
///
/// # Errors
/// The operating system's.
pub(crate) async fn lock(file: File, output: &mut Output, waiting: &str) -> std::io::Result<File> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(file),
        Err(Errno::WOULDBLOCK) => output.line(waiting).await,
        Err(error) => return Err(error.into()),
    }
    let locked = tokio::task::spawn_blocking(move || {
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        Ok(file)
    });
    locked.await.map_err(std::io::Error::other)?
}

/// Account and name of a repository by its directory.
fn segments(dir: &Path, projects: &Path) -> Option<(String, Option<String>)> {
    let path = dir
        .strip_prefix(projects)
        .ok()?
        .to_str()?
        .strip_suffix(".git")?;
    let (account, name) = match path.split_once('/') {
        Some((account, name)) => (account, Some(name)),
        None => (path, None),
    };
    let valid = |segment: &str| check_segment(segment).is_ok();
    (valid(account) && name.is_none_or(valid))
        .then(|| (account.to_owned(), name.map(ToOwned::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsettled() {
        let unsettled = Unsettled {
            revision: RevisionId("20231114T221320-0123456".into()),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            reference: "refs/heads/main".into(),
        };
        assert_eq!(Unsettled::parse(&unsettled.text()), Some(unsettled.clone()));
        // Where there was no room for all of it, nothing is known.
        for cut in ["", "\n", "r1 c", "r1 c\n", "r1 c refs/heads/main"] {
            assert_eq!(Unsettled::parse(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn paths() {
        let of = |dir: &str| segments(Path::new(dir), Path::new("/p"));
        let named = |account: &str, name: Option<&str>| {
            Some((account.to_owned(), name.map(ToOwned::to_owned)))
        };
        assert_eq!(of("/p/demo/hello.git"), named("demo", Some("hello")));
        assert_eq!(of("/p/demo.git"), named("demo", None));
        for bad in [
            "/p/demo/hello",
            "/p/a/b/c.git",
            "/q/demo.git",
            "/p/.git",
            "/p/A.git",
            "/p/a/.git",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
