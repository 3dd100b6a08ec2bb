//! What a push wants, from the lines that git gives its hooks.

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
