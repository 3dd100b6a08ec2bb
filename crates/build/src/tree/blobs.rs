//! Reads files out of git's objects, all with one process: `git cat-file --batch`.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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
