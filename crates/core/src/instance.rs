//! Instances: one running container of one revision each.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
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

/// Where an instance listens, written as nginx does: `ip:port`, or `unix:` and a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A TCP port of a network.
    Port(SocketAddr),
    /// A unix socket, by its absolute path, which has [`Address::LONGEST_PATH`] bytes at most.
    Socket(PathBuf),
}

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: ip:port is wanted, or unix: and an absolute path")]
pub struct AddressError(String);

/// What the text of a unix socket's address begins with.
const UNIX: &str = "unix:";

impl Address {
    /// The most bytes of a unix socket's path (unix(7): 108 with the NUL that ends it).
    pub const LONGEST_PATH: usize = 107;

    /// The TCP port, if that is what it is.
    pub fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Port(address) => Some(*address),
            Self::Socket(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Port(address)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = match text.strip_prefix(UNIX) {
            Some(path) => {
                let fits = path.len() <= Self::LONGEST_PATH && !path.contains('\0');
                (path.starts_with('/') && fits).then(|| Self::Socket(path.into()))
            }
            None => text.parse().ok().map(Self::Port),
        };
        address.ok_or_else(|| AddressError(text.to_owned()))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "{UNIX}{}", path.display()),
        }
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
    pub address: Address,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let longest = format!("unix:/{}", "x".repeat(Address::LONGEST_PATH - 1));
        for text in ["10.200.0.9:8080", "[::1]:80", "unix:/run/a", &longest] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(serde_json::to_value(&address).unwrap(), text);
            assert_eq!(address.port(), text.parse().ok());
        }
        let too_long = format!("{longest}x");
        for bad in [
            "",
            "10.200.0.9",
            "unix:",
            "unix:a",
            "/run/a",
            "unix:/a\0b",
            &too_long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was taken");
        }
    }

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
