//! `corefn logs`: what a function's instances wrote.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use serde_json::json;

use corefn_core::function::FunctionName;
use corefn_core::names::label;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, line, remark};
use crate::unknown::no_function;

/// Prints the output of all instances there are, each line with its instance if there are several.
pub async fn print(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    follow: bool,
    tail: Option<u32>,
) -> Result<(), Error> {
    let containers = here.docker.containers().await?;
    let mut instances: Vec<_> = containers
        .iter()
        .filter(|container| {
            container
                .labels
                .get(label::FUNCTION)
                .is_some_and(|of| of == function.as_str())
        })
        .filter_map(|container| Some((container.labels.get(label::INSTANCE)?, container)))
        .collect();
    instances.sort_by_key(|(_, container)| container.created);
    if instances.is_empty() {
        let deployments = here.store.deployments().await?;
        if !deployments
            .iter()
            .any(|deployment| deployment.function == *function)
        {
            return Err(no_function(here, function).await);
        }
        remark(&format!(
            "{function} has no instance now; the next request starts one"
        ));
        return Ok(());
    }
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::default()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .tail(&tail)
        .build();
    let client = here.docker.client().await?;
    let several = instances.len() > 1;
    let mut writers: Vec<_> = instances
        .iter()
        .map(|(instance, _)| Writer::new(instance, several, printer.is_json()))
        .collect();
    let mut outputs = select_all(
        instances
            .iter()
            .enumerate()
            .map(|(number, (_, container))| {
                client
                    .logs(&container.id, Some(options.clone()))
                    .map(move |chunk| (number, chunk))
                    .boxed()
            }),
    );
    while let Some((number, chunk)) = outputs.next().await {
        let chunk = chunk.map_err(|cause| here.docker.failed("read the log", cause))?;
        for text in writers[number].take(chunk) {
            line(&text)?;
        }
    }
    for text in writers.iter_mut().flat_map(Writer::rest) {
        line(&text)?;
    }
    Ok(())
}

/// Makes lines of the pieces that one instance wrote.
struct Writer {
    instance: String,
    several: bool,
    json: bool,
    /// What is not yet a line, of standard output and standard error.
    pieces: [Vec<u8>; 2],
}

const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl Writer {
    fn new(instance: &str, several: bool, json: bool) -> Self {
        Self {
            instance: instance.to_owned(),
            several,
            json,
            pieces: Default::default(),
        }
    }

    /// The lines that a piece completes.
    fn take(&mut self, piece: LogOutput) -> Vec<String> {
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
    fn rest(&mut self) -> Vec<String> {
        let pieces = std::mem::take(&mut self.pieces);
        let left = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| !piece.is_empty());
        left.map(|(stream, piece)| self.show(stream, piece))
            .collect()
    }

    fn show(&self, stream: usize, text: &[u8]) -> String {
        let text = String::from_utf8_lossy(text);
        if self.json {
            let line = json!({
                "instance": self.instance,
                "stream": STREAMS[stream],
                "line": text,
            });
            line.to_string()
        } else if self.several {
            format!("{}  {text}", self.instance)
        } else {
            text.into_owned()
        }
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

    #[test]
    fn lines_of_pieces() {
        let mut writer = Writer::new("i1", false, false);
        assert!(writer.take(out("one, ")).is_empty());
        assert_eq!(writer.take(err("error\n")), ["error"]);
        assert_eq!(
            writer.take(out("still one\ntwo\n\nth")),
            ["one, still one", "two", ""]
        );
        assert_eq!(writer.rest(), ["th"]);
        assert!(writer.rest().is_empty());
    }

    #[test]
    fn forms() {
        assert_eq!(Writer::new("i1", true, false).take(out("a\n")), ["i1  a"]);
        assert_eq!(
            Writer::new("i1", true, true).take(err("a\n")),
            [r#"{"instance":"i1","line":"a","stream":"stderr"}"#]
        );
    }
}
