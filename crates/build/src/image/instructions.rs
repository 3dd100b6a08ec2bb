//! The instructions of a `Dockerfile`, as Docker's classic builder reads them.
//!
//! Versions of Docker differ in what they take for the end of an instruction. What is read here in one way is also
//! written anew, an instruction a line, so that none of them can find another.

use std::fmt::Write as _;

use crate::error::BuildError;

/// The most bytes of a line that Docker's builder reads, less some for what it makes of one (`bufio.MaxScanTokenSize` of Go).
pub const LONGEST_LINE: usize = 65_000;

/// What escapes the end of a line, unless the head of the file says otherwise.
const ESCAPE: char = '\\';

/// What escapes the end of a line, if the head of the file says so.
const OTHER_ESCAPE: char = '`';

/// An instruction of a `Dockerfile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line that it begins in; the first is 1.
    pub line: usize,
    /// What it is, in capitals.
    pub keyword: String,
    /// What follows, on one line.
    pub arguments: String,
}

/// What is wrong in a line of a `Dockerfile`.
pub fn wrong(line: usize, what: &str) -> BuildError {
    BuildError::rejected(format!("Dockerfile:{line}: {what}"))
}

impl Instruction {
    /// Reads one that stands on one line.
    pub fn read(line: usize, text: &str) -> Self {
        let text = text.trim();
        let (keyword, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Self {
            line,
            keyword: keyword.to_ascii_uppercase(),
            arguments: arguments.trim_start().to_owned(),
        }
    }

    /// It as it is written.
    fn text(&self) -> String {
        let text = format!("{} {}", self.keyword, self.arguments);
        text.trim_end().to_owned()
    }
}

/// A `Dockerfile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    escape: char,
    /// In the order in which they stand.
    pub all: Vec<Instruction>,
}

impl Instructions {
    /// Reads the text of a `Dockerfile`. Whether its instructions are right is for Docker to say.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] with the line that can be read in two ways, or is longer than Docker takes one.
    pub fn read(text: &str) -> Result<Self, BuildError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let escape = escape(text);
        let mut all = Vec::new();
        let mut begun: Option<(usize, String)> = None;
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim_start().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            // (What follows an escaped end is not trimmed: a word can go on in the next line.)
            let (first, mut joined) = begun.take().unwrap_or_else(|| (line, String::new()));
            let text = text.trim_end_matches([' ', '\t']);
            let Some(text) = text.strip_suffix(escape) else {
                joined.push_str(text);
                all.push(whole(first, &joined, escape)?);
                continue;
            };
            if text.ends_with(escape) {
                return Err(wrong(
                    line,
                    &format!(
                        "it ends with {escape}{escape}, which versions of Docker read differently: end it in another way"
                    ),
                ));
            }
            joined.push_str(text);
            begun = Some((first, joined));
        }
        if let Some((first, joined)) = begun {
            all.push(whole(first, &joined, escape)?);
        }
        Ok(Self { escape, all })
    }

    /// The text of a `Dockerfile` in which each instruction is a line, the same in which it began, unless lines were added
    /// before it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = 1;
        if self.escape != ESCAPE {
            let _ = writeln!(text, "# escape={}", self.escape);
            line += 1;
        }
        for instruction in &self.all {
            while line < instruction.line {
                text.push('\n');
                line += 1;
            }
            let _ = writeln!(text, "{}", instruction.text());
            line += 1;
        }
        text
    }
}

/// An instruction whose lines were joined.
fn whole(line: usize, joined: &str, escape: char) -> Result<Instruction, BuildError> {
    if joined.len() > LONGEST_LINE {
        return Err(wrong(
            line,
            &format!(
                "the instruction has {} bytes, {LONGEST_LINE} at most: move what it does to a file, and copy and run that",
                joined.len()
            ),
        ));
    }
    let joined = joined.trim_end_matches([' ', '\t']);
    match joined.ends_with(escape) {
        true => Err(wrong(line, "nothing follows its last line")),
        false => Ok(Instruction::read(line, joined)),
    }
}

/// What escapes, by the head of the file: directives, `# escape=X` and some others, until there is another line.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
        else {
            break;
        };
        match (&*name.trim().to_ascii_lowercase(), value.trim()) {
            ("escape", "`") => return OTHER_ESCAPE,
            ("escape" | "syntax" | "check", _) => {}
            _ => break,
        }
    }
    ESCAPE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match Instructions::read(text) {
            Ok(read) => read.text(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_instruction_is_a_line() {
        for (text, want) in [
            ("FROM a\nRUN b", "FROM a\nRUN b\n"),
            (
                "\u{feff}from a AS b \r\n\tadd  c d\r\n",
                "FROM a AS b\nADD c d\n",
            ),
            (
                "# c\n\nFROM a\nRUN b \\\n  # c\n\n  && c\\  \nd\nCMD e",
                "\n\nFROM a\nRUN b   && cd\n\n\n\n\nCMD e\n",
            ),
            ("A\\\nDD x y", "ADD x y\n"),
            (
                "# syntax=x\n#Escape = `\nFROM a `\n AS b\nRUN c:\\",
                "# escape=`\n\nFROM a  AS b\n\nRUN c:\\\n",
            ),
            // (A directive counts only at the head.)
            ("#\n# escape=`\nRUN a `\nRUN b", "\n\nRUN a `\nRUN b\n"),
            ("RUN a \\", "RUN a\n"),
            ("", ""),
        ] {
            assert_eq!(read(text), want, "{text}");
            assert_eq!(read(&read(text)), want, "{text}");
        }
        let found = Instructions::read("FROM a\n\nRUN b \\\n c").unwrap().all;
        assert_eq!(
            (found[1].line, &*found[1].keyword, &*found[1].arguments),
            (3, "RUN", "b  c")
        );
    }

    #[test]
    fn what_has_two_readings_has_none() {
        let long = format!("FROM a\nRUN {}", "x".repeat(LONGEST_LINE));
        for (text, says) in [
            (
                "FROM a\nRUN b\\\\\nADD c",
                "Dockerfile:2: it ends with \\\\, which",
            ),
            ("FROM a\nRUN b\\ \\\n", "Dockerfile:2: nothing follows"),
            (&long, "Dockerfile:2: the instruction has 65004 bytes"),
        ] {
            let found = read(text);
            assert!(found.starts_with(says), "{text}: {found}");
        }
    }
}
