//! What the pusher sees, and the log that keeps it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anstream::adapter::StripBytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWriteExt as _, Stderr};
use tokio::time::Instant;

use crate::error::BuildError;
use crate::tail::Tail;
use crate::wire::Far;

/// Writes to the pusher (git prefixes each line with `remote:`) and to the log.
///
/// A pusher who is gone is no error here: [`crate::interrupt`] notices.
pub struct Output {
    /// None once the pusher has taken nothing for too long.
    pusher: Option<Screen>,
    patience: Option<Duration>,
    log: Option<File>,
    tail: Option<Arc<Tail>>,
    at_line_start: bool,
    /// How many bytes programs may print, and how many they have left.
    limit: u64,
    left: u64,
    /// Takes out what only a terminal understands, such as colours: nobody knows how the log will be read.
    plain: StripBytes,
}

/// What the pusher reads.
enum Screen {
    /// Standard error, which git passes on.
    Here(Stderr),
    /// The standard error of a hook that is another process.
    There(Far),
}

impl Default for Output {
    fn default() -> Self {
        Self::of(Screen::Here(tokio::io::stderr()))
    }
}

impl Output {
    /// For a pusher whose hook is another process.
    pub(crate) fn to(far: Far) -> Self {
        Self::of(Screen::There(far))
    }

    fn of(screen: Screen) -> Self {
        Self {
            pusher: Some(screen),
            patience: None,
            log: None,
            tail: None,
            at_line_start: true,
            limit: u64::MAX,
            left: u64::MAX,
            plain: StripBytes::new(),
        }
    }

    /// Keeps everything from here on in a file as well.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the file can't be created.
    pub fn keep_in(&mut self, path: &Path) -> Result<(), BuildError> {
        let folder = path.parent().unwrap_or(path);
        let log = fs::create_dir_all(folder)
            .and_then(|()| OpenOptions::new().create(true).append(true).open(path));
        self.log = Some(log.map_err(BuildError::io(format!(
            "the log {} can't be written",
            path.display()
        )))?);
        Ok(())
    }

    /// Keeps it there as well.
    pub(crate) fn keep_tail(&mut self, tail: Arc<Tail>) {
        self.tail = Some(tail);
    }

    /// Writes one line.
    pub async fn line(&mut self, text: &str) {
        if !self.at_line_start {
            self.bytes(b"\n").await;
        }
        self.bytes(format!("{text}\n").as_bytes()).await;
    }

    /// How many bytes programs may print from here on.
    pub fn limit(&mut self, bytes: u64) {
        (self.limit, self.left) = (bytes, bytes);
    }

    /// Passes on what a program of the pusher's wrote, up to the limit.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] when it is more.
    pub async fn program(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = &bytes[..bytes.len().min(most)];
        self.bytes(taken).await;
        self.left -= taken.len() as u64;
        if taken.len() == bytes.len() {
            return Ok(());
        }
        Err(BuildError::rejected(format!(
            "the build was ended: it printed more than {} (build.output of the host's settings)",
            size(self.limit)
        )))
    }

    /// Passes on bytes.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let plain: Vec<&[u8]> = self.plain.strip_next(bytes).collect();
        let bytes = &plain.concat();
        let Some(last) = bytes.last() else {
            return;
        };
        self.at_line_start = *last == b'\n';
        if let Some(log) = &mut self.log {
            // A full disk must not reject a push that would succeed.
            let _ = log.write_all(bytes);
        }
        if let Some(tail) = &self.tail {
            tail.add(bytes);
        }
        let Some(pusher) = &mut self.pusher else {
            return;
        };
        let write = async {
            let _ = match pusher {
                Screen::Here(stderr) => match stderr.write_all(bytes).await {
                    Ok(()) => stderr.flush().await,
                    error => error,
                },
                Screen::There(far) => far.write(bytes).await,
            };
        };
        match self.patience {
            None => write.await,
            Some(patience) => {
                if tokio::time::timeout(patience, write).await.is_err() {
                    self.pusher = None;
                }
            }
        }
    }

    /// Writes an error, and what helps.
    pub async fn error(&mut self, error: &BuildError) {
        for line in error_lines(error) {
            self.line(&line).await;
        }
    }

    /// From here on the pusher is waited for no longer than this: what is left to do must be done
    /// whether anybody reads or not.
    pub fn wait_no_longer_than(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }
}

/// An error, and what helps, as the pusher reads it.
pub(crate) fn error_lines(error: &BuildError) -> Vec<String> {
    let text = error.to_string();
    let lines = text.lines().chain(error.remedy());
    let marked = lines.enumerate().map(|(count, line)| {
        let mark = if count == 0 { "error:" } else { "      " };
        format!("{mark} {line}")
    });
    marked.collect()
}

/// After how long without output the pusher is told that the build goes on.
const SILENCE: Duration = Duration::from_secs(20);

/// The next of what a build prints. Whenever it has printed nothing for a while, `print` gets a line about that.
///
/// # Errors
/// What `print` fails with.
pub(crate) async fn next_or_silence<S: Stream + Unpin>(
    printed: &mut S,
    mut print: impl AsyncFnMut(&str) -> Result<(), BuildError>,
) -> Result<Option<S::Item>, BuildError> {
    let begin = Instant::now();
    loop {
        match tokio::time::timeout(SILENCE, printed.next()).await {
            Ok(next) => return Ok(next),
            Err(_) => {
                let silence = seconds(begin.elapsed());
                print(&format!(
                    "    still under way; nothing was printed for {silence}\n"
                ))
                .await?;
            }
        }
    }
}

/// A duration as people read it: `0.4 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A size as people read it, in powers of ten as Docker shows it: `2.1 MB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "B" && value < 99.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_of() {
        let late = async {
            tokio::time::sleep(Duration::from_secs(45)).await;
            7
        };
        let mut printed = Box::pin(futures_util::stream::once(late));
        let mut lines = String::new();
        let print = async |line: &str| {
            lines.push_str(line);
            Ok(())
        };
        let next = next_or_silence(&mut printed, print).await.unwrap();
        assert_eq!(next, Some(7));
        assert_eq!(
            lines,
            "    still under way; nothing was printed for 20.0 s\n    still under way; nothing was printed for 40.0 s\n"
        );
        let print = async |_: &str| Err(BuildError::Interrupted("it ends"));
        assert_eq!(next_or_silence(&mut printed, print).await.unwrap(), None);
    }
    use std::path::PathBuf;

    /// An output that nobody reads, and the log that keeps it.
    fn kept_in(folder: &Path) -> (Output, PathBuf) {
        let path = folder.join("log");
        let mut output = Output {
            pusher: None,
            ..Output::default()
        };
        output.keep_in(&path).unwrap();
        (output, path)
    }

    #[tokio::test]
    async fn colours_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, path) = kept_in(folder.path());
        for piece in [
            "\x1b[31mred\x1b",
            "[0m, ",
            "plain é\ttab\n",
            "\x1b]0;title\x07",
        ] {
            output.bytes(piece.as_bytes()).await;
        }
        output.line("end").await;
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "red, plain é\ttab\nend\n");
    }

    #[tokio::test]
    async fn programs_print_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, path) = kept_in(folder.path());
        output.program(b"any\n").await.unwrap();
        output.limit(5);
        output.line("ours is not counted").await;
        output.program(b"12345").await.unwrap();
        let error = output.program(b"6").await.unwrap_err().to_string();
        assert!(error.contains("more than 5 B"), "{error}");
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "any\nours is not counted\n12345");
    }

    #[test]
    fn sizes() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (2_149_000, "2.1 MB"),
            (199_000_000, "199 MB"),
            (999_600_000, "1.0 GB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(seconds(Duration::from_millis(1_449)), "1.4 s");
    }
}
