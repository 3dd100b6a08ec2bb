//! Printing: tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
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
        line(&table(head, &cells, columns()))
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

/// How many columns the terminal has that standard output is; none if it is something else, which takes lines of any length.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The narrowest that a column gets for the sake of the others.
const NARROW: usize = 8;

/// What stands between two columns.
const GAP: &str = "  ";

/// Aligned columns. An empty cell is a dash. Where they are wider than `most` together, the widest are cut.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], most: Option<usize>) -> String {
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
    let mut widths: Vec<_> = (0..N).map(width).collect();
    if let Some(most) = most {
        fit(&mut widths, most.saturating_sub(GAP.len() * (N - 1)));
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{:<width$}", cut(&shown(cell), *width)))
            .collect();
        cells.join(GAP).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Makes columns narrower, always the widest one first, until they have room.
fn fit(widths: &mut [usize], most: usize) {
    while widths.iter().sum::<usize>() > most {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROW => *widest -= 1,
            _ => return,
        }
    }
}

/// The beginning of a text that is too long, with a mark that there is more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let begin: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{begin}…")
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
            table(["X", "COLUMN"], &rows, None),
            "X    COLUMN\na    long one\nbcd  -"
        );
        assert_eq!(table(["X", "COLUMN"], &[], None), "X  COLUMN");
    }

    #[test]
    fn tables_that_are_too_wide() {
        let rows = [["a".repeat(30), "b".repeat(12), "c".to_owned()]];
        let of = |most| table(["FIRST", "SECOND", "THIRD"], &rows, Some(most));
        assert_eq!(of(51), table(["FIRST", "SECOND", "THIRD"], &rows, None));
        let lines = format!(
            "{:<29}  SECOND        THIRD\n{}…  {}  c",
            "FIRST",
            "a".repeat(28),
            "b".repeat(12)
        );
        assert_eq!(of(50), lines);
        for most in [50, 40, 30, 25] {
            let widest = of(most).lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(most), "{most}: {widest:?}");
        }
        // There is an end to it.
        assert_eq!(of(3), "FIRST     SECOND    THIRD\naaaaaaa…  bbbbbbb…  c");
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
