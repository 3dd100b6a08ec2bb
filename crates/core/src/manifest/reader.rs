//! Takes values of the wanted types out of TOML tables and notes whatever is not as it should be.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ManifestError, Position, Problem};
use crate::nearest::nearest;

/// How many problems are noted, which is more than anyone reads at once. Each has a place that is
/// counted out in the text, so that many would take long.
const MOST: usize = 100;

/// Collects what is wrong while the manifest is read.
pub(super) struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

/// A key that is known and its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The key.
    pub key: &'a str,
    /// The value and its place.
    pub value: &'a Spanned<DeValue<'a>>,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// What was read, or everything that was wrong.
    pub fn finish<T>(mut self, read: T) -> Result<T, ManifestError> {
        if self.problems.is_empty() {
            return Ok(read);
        }
        // Tables come sorted by key, but people read from top to bottom.
        self.problems.sort_by_key(|problem| problem.at);
        Err(ManifestError::of(self.problems))
    }

    /// Notes that something is wrong at a place, unless enough is wrong already.
    pub fn problem(&mut self, span: Range<usize>, what: impl Into<String>) {
        if self.problems.len() == MOST {
            return;
        }
        self.problems.push(Problem {
            at: Some(Position::of(self.text, span.start)),
            what: what.into(),
        });
    }

    /// The entries of a table that are known; the others are noted.
    pub fn entries<'a>(
        &mut self,
        table_name: &str,
        table: &'a DeTable<'a>,
        known: &[&str],
    ) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                entries.push(Entry { key: name, value });
                continue;
            }
            let place = match table_name {
                "" => "this file".to_owned(),
                name => format!("[{name}]"),
            };
            self.problem(
                key.span(),
                format!("{place} has no key {name:?}: {}", advice(name, known)),
            );
        }
        entries
    }

    /// A table; `example` shows how to write one.
    pub fn table<'a>(&mut self, entry: &Entry<'a>, example: &str) -> Option<&'a DeTable<'a>> {
        let table = entry.value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(entry, "a table", example);
        }
        table
    }

    /// A text; `example` shows how to write the value.
    pub fn text<'a>(&mut self, entry: &Entry<'a>, example: &str) -> Option<&'a str> {
        let text = entry.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(entry, "a string", example);
        }
        text
    }

    /// A text that passes a check, and its place.
    pub fn place(
        &mut self,
        entry: &Entry<'_>,
        example: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<(String, Position)> {
        let text = self.text(entry, example)?;
        self.check(entry, check(text))?;
        Some((text.to_owned(), self.position(entry.value)))
    }

    /// The place of a value.
    pub fn position(&self, value: &Spanned<DeValue<'_>>) -> Position {
        Position::of(self.text, value.span().start)
    }

    /// What a check gave; an error is noted at the value, with the key's name.
    pub fn check<T>(&mut self, entry: &Entry<'_>, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|why| self.problem(entry.value.span(), format!("{}: {why}", entry.key)))
            .ok()
    }

    /// Notes that a value is of another type than it should be.
    pub fn wrong_type(&mut self, entry: &Entry<'_>, wanted: &str, example: &str) {
        let found = match entry.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.problem(
            entry.value.span(),
            format!("{} is {found}, not {wanted}: write {example}", entry.key),
        );
    }
}

/// The known word that is nearest to an unknown one, or all of them.
pub(super) fn advice(unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known.iter().copied()) {
        Some(word) => format!("did you mean {word:?}?"),
        None => format!("write one of {}", known.join(", ")),
    }
}
