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

/// Greets git, and reads what is pushed, and with which options (`git push -o`).
///
/// # Errors
/// [`BuildError`] when it is not git that speaks, or it speaks another version.
pub fn begin(
    from: &mut impl Read,
    to: &mut impl Write,
) -> Result<(Vec<Update>, Vec<String>), BuildError> {
    let greeting = section(from).map_err(broken())?;
    let greeting = greeting.first().map(|line| line.trim_end());
    let (version, features) = greeting
        .map(|line| line.split_once('\0').unwrap_or((line, "")))
        .unwrap_or_default();
    if version != VERSION {
        return Err(broken()(io::ErrorKind::InvalidData.into()));
    }
    // (git says so only if there are some.)
    let has_options = features.split(' ').any(|feature| feature == OPTIONS);
    let answer = match has_options {
        true => format!("{VERSION}\0{OPTIONS}"),
        false => VERSION.to_owned(),
    };
    let answered = line(to, &answer).and_then(|()| end(to));
    answered.map_err(broken())?;
    let commands = section(from).map_err(broken())?;
    let mut options = Vec::new();
    if has_options {
        options = section(from).map_err(broken())?;
        for option in &mut options {
            option.truncate(option.trim_end().len());
        }
    }
    Ok((updates(&commands.concat())?, options))
}

/// The feature that has git send what `git push -o` was given.
const OPTIONS: &str = "push-options";

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
        let mut input = said(&["version=1\0atomic\n"]);
        input.extend(said(&commands.each_ref().map(String::as_str)));
        let mut output = Vec::new();
        let (updates, options) = begin(&mut input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"000dversion=10000");
        assert!(options.is_empty());
        let mut input = said(&["version=1\0push-options atomic\n"]);
        input.extend(said(&commands.each_ref().map(String::as_str)));
        input.extend(said(&["weight=10", "a b\n"]));
        output.clear();
        let (same, options) = begin(&mut input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"001aversion=1\0push-options0000");
        assert_eq!(
            (same, options),
            (updates.clone(), vec!["weight=10".into(), "a b".into()])
        );
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
