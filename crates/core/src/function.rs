//! Functions and their revisions.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest account or name, in bytes. Docker allows 128 for a whole tag and 255 for a
/// repository; a DNS label allows 63.
pub const MAX_SEGMENT: usize = 63;

/// A function's name: `account/name`; or, in the index and in a router, `account/name@revision`.
///
/// Both segments match `[a-z0-9]([a-z0-9._-]*[a-z0-9])?` without two punctuation marks in a row,
/// which is what Docker takes in an image's name and what a URL's path carries without escapes.
///
/// A revision that is released beside the current one is known there as a function of its own, by a name with the
/// revision in it ([`FunctionName::at`]): so it has instances, queues and failures of its own. No such name is taken from
/// people: [`FromStr`] refuses it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName {
    /// Shared by all copies: a router has several of each.
    text: Arc<str>,
    slash: u8,
    /// Where the name within the account ends.
    end: u8,
}

/// What precedes the revision in a name that has one.
const AT: char = '@';

/// Why a text is no function name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has not exactly two segments.
    #[error("a function is named account/name: {0:?} has not exactly one slash")]
    Segments(String),
    /// A segment is empty, too long, or has other characters than it may.
    #[error("{0:?} is no name: use 1 to 63 of a-z, 0-9 and single . _ - between them")]
    Segment(String),
    /// A revision is empty, too long, or has other characters than it may.
    #[error(
        "{0:?} is no revision: it is 1 to 128 of A-Z, a-z, 0-9 and . _ -, and begins with none of . -"
    )]
    Revision(String),
}

impl FunctionName {
    /// Joins an account and a name.
    ///
    /// # Errors
    /// [`NameError::Segment`] when either is no valid segment.
    pub fn new(account: &str, name: &str) -> Result<Self, NameError> {
        check_segment(account)?;
        check_segment(name)?;
        Ok(Self {
            text: format!("{account}/{name}").into(),
            slash: account.len() as u8,
            end: (account.len() + 1 + name.len()) as u8,
        })
    }

    /// Reads a name as the index and labels have it, perhaps with a revision.
    ///
    /// # Errors
    /// As of [`FromStr`], for what precedes the revision.
    pub fn read(text: &str) -> Result<Self, NameError> {
        match text.split_once(AT) {
            Some((plain, revision)) => Ok(plain.parse::<Self>()?.at(&revision.parse()?)),
            None => text.parse(),
        }
    }

    /// The name of one of its revisions that is released beside the current one.
    pub fn at(&self, revision: &RevisionId) -> Self {
        Self {
            text: format!("{}{AT}{revision}", self.plain_text()).into(),
            ..*self
        }
    }

    /// The name without a revision.
    pub fn plain(&self) -> Self {
        if self.is_plain() {
            return self.clone();
        }
        Self {
            text: self.plain_text().into(),
            ..*self
        }
    }

    /// The revision in it, if it has one.
    pub fn revision(&self) -> Option<&str> {
        self.text[usize::from(self.end)..].strip_prefix(AT)
    }

    /// Whether it has no revision.
    pub fn is_plain(&self) -> bool {
        self.plain_text().len() == self.text.len()
    }

    /// `account/name`, whether it has a revision or not.
    pub fn plain_text(&self) -> &str {
        &self.text[..usize::from(self.end)]
    }

    /// Who owns the function.
    pub fn account(&self) -> &str {
        &self.text[..usize::from(self.slash)]
    }

    /// The function's name within its account.
    pub fn name(&self) -> &str {
        &self.text[usize::from(self.slash) + 1..usize::from(self.end)]
    }

    /// `account/name`, or `account/name@revision`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

// It is its text: so it can be looked up by that.

impl Borrow<str> for FunctionName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl PartialEq for FunctionName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FunctionName {}

impl Hash for FunctionName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for FunctionName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FunctionName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

/// Checks one segment of a name.
///
/// # Errors
/// [`NameError::Segment`] when it is empty, too long, or has other characters than
/// [`FunctionName`] allows.
pub fn check_segment(segment: &str) -> Result<(), NameError> {
    let bytes = segment.as_bytes();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = !bytes.is_empty()
        && bytes.len() <= MAX_SEGMENT
        && bytes.iter().all(|&b| plain(b) || b"._-".contains(&b))
        && plain(bytes[0])
        && plain(bytes[bytes.len() - 1])
        && bytes.windows(2).all(|two| plain(two[0]) || plain(two[1]));
    if fits {
        Ok(())
    } else {
        Err(NameError::Segment(segment.to_owned()))
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((account, name)) if !name.contains('/') => Self::new(account, name),
            _ => Err(NameError::Segments(text.to_owned())),
        }
    }
}

impl TryFrom<String> for FunctionName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::read(&text)
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> Self {
        name.text.as_ref().to_owned()
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A repository's name: `account/name`, or an account, whose manifest names the function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The repository of one segment that has the account of another repository as its name.
    pub fn of_account(other: &Self) -> Self {
        Self(other.account().to_owned())
    }

    /// The account: the first segment.
    pub fn account(&self) -> &str {
        self.0
            .split_once('/')
            .map_or(&self.0, |(account, _)| account)
    }

    /// The second segment, if there is one.
    pub fn name(&self) -> Option<&str> {
        Some(self.0.split_once('/')?.1)
    }

    /// `account/name`, or `account`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of its directory from the folder of repositories.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("{}.git", self.0))
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some(_) => text.parse::<FunctionName>().map(|_| ())?,
            None => check_segment(text)?,
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<FunctionName> for RepositoryName {
    fn from(function: FunctionName) -> Self {
        Self(function.plain_text().to_owned())
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A revision's identifier: `YYYYMMDDTHHMMSS-<first 7 of the commit>`, which sorts by time, to
/// the second, and is a valid image tag. The builder makes it; everyone else only compares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RevisionId(pub String);

/// The most bytes of an image's tag.
const MAX_TAG: usize = 128;

impl FromStr for RevisionId {
    type Err = NameError;

    /// What Docker takes for a tag: nothing else is a revision's.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_tag = (1..=MAX_TAG).contains(&text.len())
            && text.bytes().all(fits)
            && !text.starts_with(['.', '-']);
        match is_tag {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError::Revision(text.chars().take(MAX_TAG).collect())),
        }
    }
}

impl TryFrom<String> for RevisionId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["alice/hello", "a/b", "demo/hello-2", "a.b/c_d", "0/9"] {
            let name: FunctionName = good.parse().unwrap();
            assert_eq!((name.as_str(), &*name.to_string()), (good, good));
        }
        let long = "x".repeat(64);
        for bad in [
            "",
            "/",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "A/b",
            "a/B",
            "-a/b",
            "a/b-",
            "a/b..c",
            "a/b c",
            "a/é",
            "../b",
            "a/%2f",
            &format!("a/{long}"),
        ] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn revisions() {
        let longest = "x".repeat(128);
        for good in ["20231114T221320-0123456", "r1", "_a.B-", "0", &longest] {
            let read: RevisionId = serde_json::from_value(good.into()).unwrap();
            assert_eq!((good.parse(), &*read.0), (Ok(read.clone()), good));
            assert_eq!(serde_json::to_value(&read).unwrap(), good);
        }
        for bad in [
            "",
            ".a",
            "-a",
            "a/b",
            "a@b",
            "a b",
            "é",
            &format!("{longest}x"),
        ] {
            let error = bad.parse::<RevisionId>().unwrap_err().to_string();
            assert!(error.contains("is no revision"), "{error}");
            assert!(serde_json::from_value::<RevisionId>(bad.into()).is_err());
        }
    }

    #[test]
    fn names_with_a_revision() {
        let plain: FunctionName = "alice/hello".parse().unwrap();
        let revision = RevisionId("20231114T221320-0123456".into());
        let name = plain.at(&revision);
        let text = "alice/hello@20231114T221320-0123456";
        assert_eq!((name.as_str(), name.plain_text()), (text, "alice/hello"));
        assert_eq!((name.account(), name.name()), ("alice", "hello"));
        assert!(plain.is_plain() && !name.is_plain() && name != plain);
        assert_eq!(name.revision(), Some(&*revision.0));
        assert_eq!(plain.revision(), None);
        assert_eq!(
            (name.plain(), plain.plain()),
            (plain.clone(), plain.clone())
        );
        assert_eq!(name.at(&RevisionId("r2".into())).as_str(), "alice/hello@r2");
        assert_eq!(FunctionName::read(text), Ok(name.clone()));
        assert_eq!(FunctionName::read("alice/hello"), Ok(plain));
        let read: FunctionName = serde_json::from_value(text.into()).unwrap();
        assert_eq!(read, name);
        assert_eq!(RepositoryName::from(name).as_str(), "alice/hello");
        for bad in ["alice/hello@", "alice/hello@a/b", "alice@r/hello"] {
            assert!(FunctionName::read(bad).is_err(), "{bad}");
        }
        // Nobody can ask for one by such a name.
        for bad in [text, "alice/hello@"] {
            assert!(bad.parse::<FunctionName>().is_err() && bad.parse::<RepositoryName>().is_err());
        }
        assert!(FunctionName::read("alice@r1").is_err());
    }

    #[test]
    fn order() {
        let name = |text: &str| text.parse::<FunctionName>().unwrap();
        assert!(name("a/b") < name("a/c"));
        assert!(name("b/a") > name("a/z"));
    }

    #[test]
    fn other_than_two_segments() {
        for bad in ["a", "a/b/c", "a/b/"] {
            let wrong = NameError::Segments(bad.to_owned());
            assert_eq!(bad.parse::<FunctionName>(), Err(wrong));
        }
        let wrong = NameError::Segment("B".to_owned());
        assert_eq!("a/B".parse::<FunctionName>(), Err(wrong));
    }

    #[test]
    fn repositories() {
        let name: RepositoryName = "demo/hello".parse().unwrap();
        assert_eq!((name.account(), name.name()), ("demo", Some("hello")));
        assert_eq!(name.path(), PathBuf::from("demo/hello.git"));
        let account: RepositoryName = "demo".parse().unwrap();
        assert_eq!((account.account(), account.name()), ("demo", None));
        assert_eq!(account.path(), PathBuf::from("demo.git"));
        assert_eq!(RepositoryName::of_account(&name), account);
        assert_eq!(account.to_string(), account.as_str());
        for bad in ["", "a/b/c", "../x", "A", "a/", "/a"] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn parts() {
        let name: FunctionName = "alice/hello".parse().unwrap();
        assert_eq!((name.account(), name.name()), ("alice", "hello"));
        assert_eq!(format!("{name:?}"), "alice/hello");
        let revision = RevisionId("20231114T221320-0123456".into());
        assert_eq!(revision.to_string(), revision.0);
    }
}
