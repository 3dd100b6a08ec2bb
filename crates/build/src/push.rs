//! What a push wants, from the lines that git gives its hooks.

use corefn_core::release::ALL;

use crate::error::BuildError;

/// One reference that a push changes: a line `old new name` of the hook's standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What it points to; zeros for one that isn't there yet.
    pub old: String,
    /// What it shall point to; zeros for one that is deleted.
    pub new: String,
    /// Its full name.
    pub reference: String,
}

/// Reads the hook's standard input.
///
/// # Errors
/// [`BuildError::Rejected`] when a line is not as git writes it.
pub fn updates(input: &str) -> Result<Vec<Update>, BuildError> {
    let update = |line: &str| {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(old), Some(new), Some(reference)) if is_id(old) && is_id(new) => Ok(Update {
                old: old.to_owned(),
                new: new.to_owned(),
                reference: reference.to_owned(),
            }),
            _ => Err(BuildError::rejected(format!(
                "{line:?} is no change of a reference: this program is run by git push"
            ))),
        }
    };
    input.lines().map(update).collect()
}

/// Reads what `git push -o` was given: `weight=PERCENT`, with which a push is released beside what is deployed, in place of
/// taking its place.
///
/// # Errors
/// [`BuildError::Rejected`] with what is wrong.
pub fn weight(options: &[String]) -> Result<Option<u8>, BuildError> {
    let mut weight = None;
    for option in options {
        let value = option.strip_prefix("weight=").ok_or_else(|| {
            BuildError::rejected(format!(
                "{option:?} is no option of a push: -o weight=PERCENT is one, which releases it to a share of the requests"
            ))
        })?;
        let percent = value.parse().ok().filter(|percent| *percent <= ALL);
        let wrong = || {
            BuildError::rejected(format!(
                "weight={value} is no percentage: write a number from 0 to {ALL}"
            ))
        };
        if weight.replace(percent.ok_or_else(wrong)?).is_some() {
            return Err(BuildError::rejected("weight is given twice: give it once"));
        }
    }
    Ok(weight)
}

impl Update {
    /// Whether the reference is deleted.
    pub fn deletes(&self) -> bool {
        is_zero(&self.new)
    }

    /// Whether the reference is a branch.
    pub fn is_branch(&self) -> bool {
        self.reference.starts_with("refs/heads/")
    }

    /// What the reference points to before the push.
    pub fn before(&self) -> Option<&str> {
        Some(self.old.as_str()).filter(|old| !is_zero(old))
    }

    /// The name without `refs/heads/` and the like.
    pub fn short(&self) -> &str {
        self.reference
            .splitn(3, '/')
            .nth(2)
            .unwrap_or(&self.reference)
    }
}

/// An object's name in either of git's hashes.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_zero(id: &str) -> bool {
    id.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_git() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let input = format!("{zero} {one} refs/heads/main\n{one} {zero} refs/heads/a/b c\n");
        let updates = updates(&input).unwrap();
        assert_eq!(updates[0].before(), None);
        assert!(!updates[0].deletes());
        assert_eq!(updates[0].short(), "main");
        assert!(updates[1].deletes());
        assert_eq!(updates[1].short(), "a/b c");
    }

    #[test]
    fn options_of_a_push() {
        let read = |options: &[&str]| {
            let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
            weight(&options).map_err(|error| error.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["weight=0"]), Ok(Some(0)));
        assert_eq!(read(&["weight=100"]), Ok(Some(100)));
        for (bad, says) in [
            (&["weight=101"][..], "no percentage"),
            (&["weight=-1"], "no percentage"),
            (&["weight="], "no percentage"),
            (&["weight=1", "weight=1"], "twice"),
            (&["ci.skip"], "no option of a push"),
            (&["weight"], "no option of a push"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
    }

    #[test]
    fn other_lines() {
        let one = "1".repeat(40);
        for bad in [
            "hello",
            "",
            "a b c",
            &format!("{one} {one}"),
            &format!("{one} x{} r", &one[1..]),
        ] {
            assert!(updates(&format!("{bad}\n")).is_err(), "{bad:?} was taken");
        }
        assert_eq!(updates("").unwrap(), []);
    }
}
