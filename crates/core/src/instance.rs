//! Instances: one running container of one revision each.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::function::{FunctionName, RevisionId};

/// An instance's identifier: 64 random bits that are not all zero, written as 16 hex digits.
///
/// It fits one machine word, so the memory that workers share can be searched for it without a
/// lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(NonZeroU64);

/// A text is no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no instance: 16 hex digits are wanted")]
pub struct InstanceIdError(String);

impl InstanceId {
    /// An identifier from random bits; zero is taken as one.
    pub fn from_random(bits: u64) -> Self {
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// The bits.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for InstanceId {
    type Err = InstanceIdError;

    fn from_str(text: &str) -> Result<Self, InstanceIdError> {
        let wrong = || InstanceIdError(text.to_owned());
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16)
            .ok()
            .and_then(NonZeroU64::new)
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for InstanceId {
    type Error = InstanceIdError;

    fn try_from(text: String) -> Result<Self, InstanceIdError> {
        text.parse()
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A running container that is ready for requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its identifier.
    pub id: InstanceId,
    /// Which function it serves.
    pub function: FunctionName,
    /// Which revision of it.
    pub revision: RevisionId,
    /// Docker's identifier of the container.
    pub container: String,
    /// Where it listens.
    pub address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let id = InstanceId::from_random(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(format!("{id:?}"), "00000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(InstanceId::from_random(0).get(), 1);
        for bad in [
            "",
            "ab",
            "0000000000000000",
            "+0000000000000ab",
            "00000000000000ag",
        ] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad:?} was taken");
        }
    }
}
