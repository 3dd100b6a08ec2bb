//! `corefn logs`: what a function's instances wrote.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::{self, SelectAll};
use serde_json::json;

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::names::label;
use corefn_core::quantity::parse_duration;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, line, remark};
use crate::unknown::no_function;

/// What is wanted of what instances have written.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Wanted {
    /// Go on as they write more, and others start, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Print only the last lines of each instance
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u32>,
    /// Print only what was written in the last time, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Print only lines with this text in them
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Print only what instances of this revision wrote, or of those that begin so
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

/// An instance that writes.
struct Instance {
    id: String,
    revision: String,
    container: String,
    created: i64,
}

/// Prints the output of all instances there are, each line with its instance if there are several, or may be.
pub async fn print(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    wanted: &Wanted,
) -> Result<(), Error> {
    // Before it is looked which there are, so that none is missed.
    let mut beginnings = match wanted.follow {
        true => here.docker.beginnings().await?.boxed(),
        false => stream::empty().boxed(),
    };
    let mut instances = instances(here, function, wanted).await?;
    if instances.is_empty() {
        let deployments = here.store.deployments().await?;
        let is_it = |deployment: &Deployment| deployment.function == *function;
        if !deployments.iter().any(is_it) {
            return Err(no_function(here, function).await);
        }
        let of = wanted.revision.as_ref();
        let of = of.map_or_else(String::new, |revision| format!(" of a revision {revision}"));
        remark(&format!(
            "{function} has no instance{of} now; the next request starts one"
        ));
        if !wanted.follow {
            return Ok(());
        }
    }
    let several = wanted.follow || instances.len() > 1;
    let mut seen = HashSet::new();
    let mut writers = Vec::new();
    let mut outputs = SelectAll::new();
    // (Of those that start later all is new.)
    let mut options = options(wanted);
    loop {
        for instance in instances {
            if seen.insert(instance.container.clone()) {
                let number = writers.len();
                let client = here.docker.client().await?;
                let log = client.logs(&instance.container, Some(options.clone().build()));
                outputs.push(log.map(move |chunk| (number, chunk)).boxed());
                writers.push(Writer::new(&instance, several, printer.is_json()));
            }
        }
        options = options.tail("all");
        tokio::select! {
            Some((number, chunk)) = outputs.next() => {
                let chunk = chunk.map_err(|cause| here.docker.failed("read the log", cause))?;
                show(&writers[number].take(chunk), wanted)?;
                instances = Vec::new();
            }
            Some(()) = beginnings.next() => instances = self::instances(here, function, wanted).await?,
            else => break,
        }
    }
    for writer in &mut writers {
        show(&writer.rest(), wanted)?;
    }
    Ok(())
}

/// The function's instances, the oldest first.
async fn instances(
    here: &Installation,
    function: &FunctionName,
    wanted: &Wanted,
) -> Result<Vec<Instance>, Error> {
    let containers = here.docker.containers().await?;
    let mut instances: Vec<_> = containers
        .into_iter()
        .filter(|container| container.is_of(function))
        .filter_map(|container| {
            let label = |name| container.labels.get(name).cloned();
            Some(Instance {
                id: label(label::INSTANCE)?,
                revision: label(label::REVISION)?,
                created: container.created,
                container: container.id,
            })
        })
        .filter(|instance| {
            let revision = wanted.revision.as_ref();
            revision.is_none_or(|revision| instance.revision.starts_with(revision))
        })
        .collect();
    instances.sort_by_key(|instance| instance.created);
    Ok(instances)
}

fn options(wanted: &Wanted) -> LogsOptionsBuilder {
    let tail = wanted
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::default()
        .follow(wanted.follow)
        .stdout(true)
        .stderr(true)
        .tail(&tail);
    let since = wanted.since.and_then(|since| {
        let begin = SystemTime::now().checked_sub(since)?;
        let begin = begin.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i32::try_from(begin.as_secs()).ok()
    });
    match since {
        Some(since) => options.since(since),
        None => options,
    }
}

/// Prints those of the lines that are wanted.
fn show(lines: &[Line], wanted: &Wanted) -> Result<(), Error> {
    let text = wanted.grep.as_deref().unwrap_or_default();
    let wanted = lines.iter().filter(|line| line.text.contains(text));
    for shown in wanted {
        line(&shown.shown)?;
    }
    Ok(())
}

/// A line of an instance.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// As the instance wrote it.
    text: String,
    /// As it is printed.
    shown: String,
}

/// Makes lines of the pieces that one instance wrote.
struct Writer {
    instance: String,
    revision: String,
    several: bool,
    json: bool,
    /// What is not yet a line, of standard output and standard error.
    pieces: [Vec<u8>; 2],
}

const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl Writer {
    fn new(instance: &Instance, several: bool, json: bool) -> Self {
        Self {
            instance: instance.id.clone(),
            revision: instance.revision.clone(),
            several,
            json,
            pieces: Default::default(),
        }
    }

    /// The lines that a piece completes.
    fn take(&mut self, piece: LogOutput) -> Vec<Line> {
        let stream = usize::from(matches!(piece, LogOutput::StdErr { .. }));
        self.pieces[stream].extend_from_slice(piece.as_ref());
        let mut lines = Vec::new();
        while let Some(end) = self.pieces[stream].iter().position(|&b| b == b'\n') {
            let text: Vec<u8> = self.pieces[stream].drain(..=end).collect();
            lines.push(self.show(stream, &text[..end]));
        }
        lines
    }

    /// What is left when there will be no more.
    fn rest(&mut self) -> Vec<Line> {
        let pieces = std::mem::take(&mut self.pieces);
        let left = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| !piece.is_empty());
        left.map(|(stream, piece)| self.show(stream, piece))
            .collect()
    }

    fn show(&self, stream: usize, text: &[u8]) -> Line {
        let text = String::from_utf8_lossy(text).into_owned();
        let shown = if self.json {
            let line = json!({
                "instance": self.instance,
                "revision": self.revision,
                "stream": STREAMS[stream],
                "line": text,
            });
            line.to_string()
        } else if self.several {
            format!("{}  {text}", self.instance)
        } else {
            text.clone()
        };
        Line { text, shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut {
            message: text.into(),
        }
    }

    fn err(text: &'static str) -> LogOutput {
        LogOutput::StdErr {
            message: text.into(),
        }
    }

    fn writer(several: bool, json: bool) -> Writer {
        let instance = Instance {
            id: "i1".to_owned(),
            revision: "r1".to_owned(),
            container: "c".to_owned(),
            created: 0,
        };
        Writer::new(&instance, several, json)
    }

    fn shown(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.shown).collect()
    }

    #[test]
    fn lines_of_pieces() {
        let mut writer = writer(false, false);
        assert!(writer.take(out("one, ")).is_empty());
        assert_eq!(shown(writer.take(err("error\n"))), ["error"]);
        assert_eq!(
            shown(writer.take(out("still one\ntwo\n\nth"))),
            ["one, still one", "two", ""]
        );
        assert_eq!(shown(writer.rest()), ["th"]);
        assert!(writer.rest().is_empty());
    }

    #[test]
    fn forms() {
        let lines = writer(true, false).take(out("a\n"));
        assert_eq!(lines[0].text, "a");
        assert_eq!(shown(lines), ["i1  a"]);
        assert_eq!(
            shown(writer(true, true).take(err("a\n"))),
            [r#"{"instance":"i1","line":"a","revision":"r1","stream":"stderr"}"#]
        );
    }
}
