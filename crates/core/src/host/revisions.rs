//! Which revisions are kept: the table `revisions` of the settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{bytes, duration};

/// Which revisions are kept beside those that are referred to ([`crate::revisions::superfluous`]).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revisions {
    /// How many of a function, the newest.
    pub keep: usize,
    /// How old one may get; any age without a value.
    #[serde(deserialize_with = "some_duration")]
    pub age: Option<Duration>,
    /// Bytes that those of all functions may take together; as many as they like without a value.
    #[serde(deserialize_with = "some_bytes")]
    pub disk: Option<u64>,
}

impl Default for Revisions {
    fn default() -> Self {
        Self {
            keep: 10,
            age: None,
            disk: None,
        }
    }
}

impl Revisions {
    /// Says what nothing could hold to.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.keep == 0 {
            return Err("revisions.keep is 0: write 1 or more".to_owned());
        }
        Ok(())
    }
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    bytes(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        let parse = |text: &str| toml::from_str::<Revisions>(text);
        assert_eq!(parse("").unwrap(), Revisions::default());
        let want = Revisions {
            keep: 3,
            age: Some(Duration::from_secs(720 * 3600)),
            disk: Some(20 << 30),
        };
        let all = "keep = 3\nage = '720h'\ndisk = '20G'";
        assert_eq!(parse(all).unwrap(), want);
        assert_eq!(want.check(), Ok(()));
        assert!(parse("keep = 0").unwrap().check().is_err());
        for bad in ["keep = -1", "age = 5", "disk = 'much'"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
