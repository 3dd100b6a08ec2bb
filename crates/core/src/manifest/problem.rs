//! What is wrong in a manifest, and where.

use std::fmt;

/// A place in a file: line and column count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file, from the repository's root.
    pub file: &'static str,
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The place of a byte in the manifest's text; the text's end for any byte beyond it.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = &text.as_bytes()[..byte.min(text.len())];
        let start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        Self {
            file: super::FILE,
            line: before.iter().filter(|&&b| b == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[start..]).chars().count() + 1,
        }
    }
}

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, unless it is something that isn't there.
    pub at: Option<Position>,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{}:{}", at.file, at.line, at.column)?,
            None => f.write_str(super::FILE)?,
        }
        write!(f, ": {}", self.what)
    }
}

/// Everything that is wrong in a manifest, in the order of the text: one line each,
/// `corefn.toml:line:column: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    problems: Vec<Problem>,
}

impl ManifestError {
    /// An error of one problem.
    pub fn new(at: Option<Position>, what: impl Into<String>) -> Self {
        Self::of(vec![Problem {
            at,
            what: what.into(),
        }])
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// An error of several, at least one.
    pub fn of(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, problem) in self.problems.iter().enumerate() {
            let break_line = if count > 0 { "\n" } else { "" };
            write!(f, "{break_line}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}
