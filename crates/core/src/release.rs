//! Revisions that are released beside the current one: which share of the requests each gets, and which request which.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::function::{FunctionName, RevisionId};

/// All requests, in percent.
pub const ALL: u8 = 100;

/// How many revisions may be released beside the current one: each may have instances of its own.
pub const MOST: usize = 10;

/// A revision that is released beside the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which one.
    pub revision: RevisionId,
    /// The percentage of the requests that it gets. With 0 it is had by its own address alone.
    pub weight: u8,
}

/// What requests have in common that get the same revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sticky {
    /// The value of a header.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

/// Why a text is no [`Sticky`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no header and no cookie: write header:NAME or cookie:NAME")]
pub struct StickyError(String);

const HEADER: &str = "header";
const COOKIE: &str = "cookie";

impl FromStr for Sticky {
    type Err = StickyError;

    fn from_str(text: &str) -> Result<Self, StickyError> {
        // A token, RFC 9110 5.6.2: names of headers are, and those of cookies (RFC 6265 4.1.1).
        let is_token = |name: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            !name.is_empty() && name.bytes().all(fits)
        };
        match text.split_once(':') {
            Some((HEADER, name)) if is_token(name) => Ok(Self::Header(name.to_owned())),
            Some((COOKIE, name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            _ => Err(StickyError(text.to_owned())),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "{HEADER}:{name}"),
            Self::Cookie(name) => write!(f, "{COOKIE}:{name}"),
        }
    }
}

impl TryFrom<String> for Sticky {
    type Error = StickyError;

    fn try_from(text: String) -> Result<Self, StickyError> {
        text.parse()
    }
}

impl From<Sticky> for String {
    fn from(sticky: Sticky) -> Self {
        sticky.to_string()
    }
}

/// A function's requests, split among its current revision and those that are released beside it.
#[derive(Debug)]
pub struct Split {
    /// By which names the released ones are known, and their percentages.
    shares: Vec<(FunctionName, u8)>,
    /// What requests have in common that get the same one.
    pub sticky: Option<Sticky>,
}

impl Split {
    /// The split of a function with releases; nothing if there are none, and all requests get the current revision.
    pub fn new(
        function: &FunctionName,
        releases: &[Release],
        sticky: Option<Sticky>,
    ) -> Option<Self> {
        let shares: Vec<_> = releases
            .iter()
            .map(|release| (function.at(&release.revision), release.weight))
            .collect();
        (!shares.is_empty()).then_some(Self { shares, sticky })
    }

    /// The released revision that gets the requests of a percentile, 0 to 99; nothing for those of the current one.
    pub fn get(&self, percentile: u8) -> Option<&FunctionName> {
        let mut end = 0;
        let found = self.shares.iter().find(|(_, weight)| {
            end += u32::from(*weight);
            u32::from(percentile) < end
        });
        found.map(|(name, _)| name)
    }

    /// The released revision of an identifier.
    pub fn named(&self, revision: &str) -> Option<&FunctionName> {
        let mut names = self.shares.iter().map(|(name, _)| name);
        names.find(|name| name.revision() == Some(revision))
    }

    /// The percentile of the requests that have this value in common. It is the same on all hosts and in all versions, and
    /// not the same for all functions: so nobody is among the first to try each of them.
    pub fn percentile(function: &FunctionName, value: &[u8]) -> u8 {
        let mut hasher = Sha256::new();
        hasher.update(function.plain_text());
        hasher.update([0]);
        hasher.update(value);
        let digest = hasher.finalize();
        let number = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
        (number % u64::from(ALL)) as u8
    }
}

/// The value of a cookie in a `Cookie` header, RFC 6265 4.2.1.
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut pairs = header.split(|&b| b == b';');
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn function() -> FunctionName {
        "demo/hello".parse().unwrap()
    }

    fn releases(rows: &[(&str, u8)]) -> Vec<Release> {
        rows.iter()
            .map(|(revision, weight)| Release {
                revision: RevisionId((*revision).to_owned()),
                weight: *weight,
            })
            .collect()
    }

    #[test]
    fn which_percentile_gets_which() {
        assert!(Split::new(&function(), &[], None).is_none());
        let split = releases(&[("r2", 10), ("r3", 0), ("r4", 25)]);
        let split = Split::new(&function(), &split, None).unwrap();
        let name = |at| split.get(at).map(FunctionName::as_str);
        assert_eq!(name(0), Some("demo/hello@r2"));
        assert_eq!(name(9), Some("demo/hello@r2"));
        assert_eq!(name(10), Some("demo/hello@r4"));
        assert_eq!(name(34), Some("demo/hello@r4"));
        assert_eq!((name(35), name(99)), (None, None));
        let named = |text| split.named(text).map(FunctionName::as_str);
        assert_eq!(named("r3"), Some("demo/hello@r3"));
        assert_eq!((named("r1"), named("")), (None, None));
        let all = Split::new(&function(), &releases(&[("r2", 100)]), None).unwrap();
        assert!(all.get(99).is_some());
    }

    #[test]
    fn what_is_sticky() {
        for good in ["header:X-User", "cookie:session", "cookie:__Host-id"] {
            let sticky: Sticky = good.parse().unwrap();
            assert_eq!(sticky.to_string(), good);
            let json = serde_json::to_string(&sticky).unwrap();
            assert_eq!(serde_json::from_str::<Sticky>(&json).unwrap(), sticky);
        }
        for bad in [
            "",
            "session",
            "cookie:",
            "cookie: a",
            "cookies:a",
            "header:a:b",
            "header:é",
        ] {
            assert!(bad.parse::<Sticky>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn cookies() {
        let header = b"a=1; session=x=y; other=2;c=";
        assert_eq!(cookie(header, "a"), Some(&b"1"[..]));
        assert_eq!(cookie(header, "session"), Some(&b"x=y"[..]));
        assert_eq!(cookie(header, "c"), Some(&b""[..]));
        assert_eq!(cookie(header, "sess"), None);
        assert_eq!(cookie(b"", "a"), None);
    }

    /// (As `printf 'demo/hello\0alice' | sha256sum` has it, the first 16 digits modulo 100.)
    #[test]
    fn percentiles_last() {
        assert_eq!(Split::percentile(&function(), b"alice"), 62);
        let at = function().at(&RevisionId("r2".into()));
        assert_eq!(Split::percentile(&at, b"alice"), 62);
        let mut counts = [0_u32; ALL as usize];
        for number in 0..20_000_u32 {
            let value = number.to_string();
            counts[usize::from(Split::percentile(&function(), value.as_bytes()))] += 1;
        }
        // 200 each, with a standard deviation of 14.
        assert!(
            counts.iter().all(|count| (120..280).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        /// Of all percentiles each revision gets as many as its weight says, and one that gets more loses none it had.
        #[test]
        fn shares_are_what_they_say(weights in prop::collection::vec(0..20_u8, 0..5), more in 0..5_u8) {
            let rows: Vec<_> = weights.iter().enumerate().map(|(at, weight)| (format!("r{at}"), *weight)).collect();
            let release = |rows: &[(String, u8)]| {
                let rows: Vec<_> = rows.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
                Split::new(&function(), &releases(&rows), None)
            };
            let Some(split) = release(&rows) else { return Ok(()) };
            for (name, weight) in &rows {
                let full = function().at(&RevisionId(name.clone()));
                let got = (0..ALL).filter(|at| split.get(*at) == Some(&full)).count();
                prop_assert_eq!(got, usize::from(*weight));
            }
            let mut grown = rows.clone();
            let last = grown.last_mut().unwrap();
            last.1 += more;
            let grown = release(&grown).unwrap();
            for at in 0..ALL {
                prop_assert!(split.get(at).is_none() || split.get(at) == grown.get(at));
            }
        }
    }
}
