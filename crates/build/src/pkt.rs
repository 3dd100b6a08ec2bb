//! How git talks to a `proc-receive` hook: githooks(5), in lines as of gitprotocol-common(5), four hexadecimal digits of the
//! length, these four included, and then as many bytes less four. `0000` ends a section.

use std::io::{self, Read, Write};

use crate::error::BuildError;
use crate::push::{Update, updates};

/// The longest line, in bytes.
const MAX: usize = 65_520;

/// What comes of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was changed.
    Changed(String),
    /// It was not, with the reason in a few words.
    Refused(String, &'static str),
    /// git is to change it itself.
    LeftToGit(String),
}

/// Greets git, and reads what is pushed.
///
/// # Errors
/// [`BuildError`] when it is not git that speaks, or it speaks another version.
pub fn begin(from: &mut impl Read, to: &mut impl Write) -> Result<Vec<Update>, BuildError> {
    let mut greeting = section(from).map_err(broken())?.into_iter();
    let is_known = |line: &String| line.split('\0').next().map(str::trim) == Some(VERSION);
    if !greeting.next().as_ref().is_some_and(is_known) {
        return Err(broken()(io::ErrorKind::InvalidData.into()));
    }
    let answered = line(to, VERSION).and_then(|()| end(to));
    answered.map_err(broken())?;
    let commands = section(from).map_err(broken())?;
    updates(&commands.concat())
}

/// The version of the protocol.
const VERSION: &str = "version=1";

/// Tells git what has come of the references.
///
/// # Errors
/// The operating system's.
pub fn report(to: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    for outcome in outcomes {
        match outcome {
            Outcome::Changed(reference) => line(to, &format!("ok {reference}"))?,
            Outcome::Refused(reference, why) => line(to, &format!("ng {reference} {why}"))?,
            Outcome::LeftToGit(reference) => {
                line(to, &format!("ok {reference}"))?;
                line(to, "option fall-through")?;
            }
        }
    }
    end(to)
}

fn broken() -> impl FnOnce(io::Error) -> BuildError {
    BuildError::io(
        "this is no proc-receive hook's input: this program is run by git push. Where it is, the repository's hook is an old \
         one: corefn repo create refreshes it",
    )
}

/// The lines up to the end of a section, each with a newline.
fn section(from: &mut impl Read) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut head = [0; 4];
        from.read_exact(&mut head)?;
        let head = std::str::from_utf8(&head).ok();
        let length = head.and_then(|head| usize::from_str_radix(head, 16).ok());
        let length = match length {
            Some(0) => return Ok(lines),
            Some(length @ 4..=MAX) => length - 4,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        lines.push(format!("{}\n", text.trim_end_matches('\n')));
    }
}

fn line(to: &mut impl Write, text: &str) -> io::Result<()> {
    write!(to, "{:04x}{text}", text.len() + 4)
}

fn end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0000")?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in lines {
            line(&mut bytes, text).unwrap();
        }
        end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn conversation() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let commands = [
            format!("{zero} {one} refs/heads/main"),
            format!("{one} {zero} refs/heads/x\n"),
        ];
        let mut input = said(&["version=1\0push-options atomic\n"]);
        input.extend(said(&commands.each_ref().map(String::as_str)));
        let mut output = Vec::new();
        let updates = begin(&mut input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"000dversion=10000");
        assert_eq!(updates[0].reference, "refs/heads/main");
        assert!(updates[1].deletes());
        output.clear();
        let outcomes = [
            Outcome::Changed("a".into()),
            Outcome::Refused("b".into(), "no"),
            Outcome::LeftToGit("c".into()),
        ];
        report(&mut output, &outcomes).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(
            text,
            "0008ok a000bng b no0008ok c0017option fall-through0000"
        );
    }

    #[test]
    fn other_input() {
        let mut output = Vec::new();
        for bad in [
            &b""[..],
            b"0",
            b"0000",
            b"zzzz",
            b"0003",
            b"00ffabc",
            b"0005\xff0000",
            b"000dversion=20000",
        ] {
            let error = begin(&mut &*bad, &mut output).unwrap_err().to_string();
            assert!(error.contains("corefn repo create"), "{error}");
            assert!(output.is_empty());
        }
    }
}
