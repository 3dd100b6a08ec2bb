//! Printing: tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::error::Error;

/// Prints in the form that was asked for.
pub struct Printer {
    json: bool,
}

impl Printer {
    /// For programs if `json`.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The program's version.
    pub fn version(&self) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        self.one(&json!({ "version": version }), &format!("corefn {version}"))
    }

    /// One result: a value for programs, a text for people.
    pub fn one(&self, value: &impl Serialize, text: &str) -> Result<(), Error> {
        if self.json {
            self.value(value)
        } else {
            line(text)
        }
    }

    /// Several results: values for programs, a table for people.
    pub fn rows<T: Serialize, const N: usize>(
        &self,
        head: [&str; N],
        rows: &[T],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<(), Error> {
        if self.json {
            return self.value(&rows);
        }
        let cells: Vec<_> = rows.iter().map(cells).collect();
        line(&table(head, &cells))
    }

    fn value(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::Print(io::Error::other(error)))?;
        line(&text)
    }
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{text}").map_err(Error::Print)
}

/// Writes a remark to standard error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks whoever sits at the terminal whether to do what can't be undone. Where nobody does, only `--yes` is an answer.
pub fn confirm(yes: bool, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(Error::Refused(format!(
            "this would {what}, for good: say --yes if it shall"
        )));
    }
    let mut answer = String::new();
    let asked = write!(stderr, "This will {what}, for good. Shall it? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| stdin.read_line(&mut answer));
    asked.map_err(Error::Print)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Refused("nothing was done".into())),
    }
}

/// A time span in its largest whole unit: `59s`, `3m`, `2h`, `5d`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Aligned columns with two spaces between them. An empty cell is a dash.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(ToOwned::to_owned);
    let rows: Vec<&[String; N]> = std::iter::once(&head).chain(rows).collect();
    let shown = |cell: &String| {
        if cell.is_empty() {
            "-".to_owned()
        } else {
            cell.clone()
        }
    };
    let width = |column: usize| {
        let widths = rows.iter().map(|row| shown(&row[column]).chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{:<width$}", shown(cell)))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["bcd".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["X", "COLUMN"], &rows),
            "X    COLUMN\na    long one\nbcd  -"
        );
        assert_eq!(table(["X", "COLUMN"], &[]), "X  COLUMN");
    }

    #[test]
    fn spans() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
