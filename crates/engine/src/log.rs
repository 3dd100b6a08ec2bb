//! Lines of the log: each program says where they go.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Targets of our own.
const OWN: &str = "corefn";

/// Has `line` called with the level and the text of each line. Lines of libraries, and what is for debugging, are left
/// out.
pub fn lines(line: impl Fn(Level, &str) + Send + Sync + 'static) -> Dispatch {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_max_level(LevelFilter::INFO)
        .with_writer(Lines(line))
        .finish()
        .into()
}

/// Has all lines of the program written to standard error, behind its name.
pub fn to_stderr(program: &'static str) {
    let dispatch = lines(move |_, text| {
        let _ = writeln!(io::stderr(), "{program}: {text}");
    });
    // It fails where that was done before.
    let _ = tracing::dispatcher::set_global_default(dispatch);
}

/// Runs a service to its end. All lines, and the error that it may end with, go to standard error behind its name.
pub async fn service<E: fmt::Display>(
    program: &'static str,
    run: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    to_stderr(program);
    match run.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Lines<F>(F);

impl<'a, F: Fn(Level, &str) + 'a> MakeWriter<'a> for Lines<F> {
    type Writer = Line<'a, F>;

    fn make_writer(&'a self) -> Line<'a, F> {
        Line(None, &self.0)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a, F> {
        let is_own = event.target().starts_with(OWN);
        Line(is_own.then_some(*event.level()), &self.0)
    }
}

/// Gets a line in one piece.
struct Line<'a, F>(Option<Level>, &'a F);

impl<F: Fn(Level, &str)> io::Write for Line<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(level) = self.0 {
            let text = String::from_utf8_lossy(bytes);
            (self.1)(level, text.trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn own_lines_as_they_are() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let writer = told.clone();
        let dispatch =
            lines(move |level, text| writer.lock().unwrap().push((level, text.to_owned())));
        tracing::dispatcher::with_default(&dispatch, || {
            let error = "why";
            tracing::error!("it failed: {error}");
            tracing::info!("two\nlines \"quoted\"");
            tracing::debug!("hidden");
            tracing::error!(target: "hyper", "hidden");
        });
        let told = told.lock().unwrap().clone();
        let want = [
            (Level::ERROR, "it failed: why"),
            (Level::INFO, "two\nlines \"quoted\""),
        ];
        assert_eq!(told, want.map(|(level, text)| (level, text.to_owned())));
    }
}
