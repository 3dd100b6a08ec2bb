//! Reads files out of git's objects, all with one process: `git cat-file --batch`.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::error::BuildError;
use crate::git::Git;

/// A running `git cat-file --batch`. It ends when this is dropped.
pub(super) struct Blobs {
    git: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Blobs {
    pub fn open(git: &Git) -> io::Result<Self> {
        let mut child = Command::new("git")
            .args(["cat-file", "--batch"])
            .env("GIT_DIR", git.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| io::Error::other("git has no output"))?;
        Ok(Self {
            git: child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    /// Calls `with` with an object's size and contents; it must read all of them.
    pub fn each<T>(
        &mut self,
        object: &str,
        with: impl FnOnce(u64, &mut dyn Read) -> io::Result<T>,
    ) -> io::Result<T> {
        let ask = self.ask.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(ask, "{object}")?;
        // The answer: `object SP type SP size LF contents LF`.
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let size = head
            .trim_end()
            .rsplit(' ')
            .next()
            .and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| io::Error::other(format!("git: {}", head.trim_end())))?;
        let result = with(size, &mut (&mut self.answers).take(size))?;
        self.answers.read_exact(&mut [0])?;
        Ok(result)
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

/// Reads objects into memory: links' targets and the manifest.
pub(super) async fn read(git: &Git, objects: Vec<String>) -> Result<Vec<Vec<u8>>, BuildError> {
    /// More than any path or manifest has; what is longer is neither.
    const LIMIT: u64 = 1 << 20;
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let git = git.clone();
    let read = move || {
        let mut blobs = Blobs::open(&git)?;
        let one = |object: &String| {
            blobs.each(object, |size, contents| {
                if size > LIMIT {
                    return Err(io::Error::other(
                        "a link or the manifest has more than 1 MB",
                    ));
                }
                let mut bytes = Vec::new();
                contents.read_to_end(&mut bytes)?;
                Ok(bytes)
            })
        };
        objects.iter().map(one).collect()
    };
    finish(tokio::task::spawn_blocking(read).await)
}

/// The outcome of reading in another thread.
pub(super) fn finish<T>(
    outcome: Result<io::Result<T>, tokio::task::JoinError>,
) -> Result<T, BuildError> {
    outcome
        .map_err(io::Error::other)
        .and_then(|read| read)
        .map_err(BuildError::io("the pushed files can't be read"))
}
