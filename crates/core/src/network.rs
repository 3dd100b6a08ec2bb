//! What an installation's Docker networks are for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::function::check_segment;

/// How `network` of a manifest names the two networks that every host has.
const OUTBOUND: &str = "outbound";
const NONE: &str = "none";

/// How the network of builds is called, which functions are not on.
const BUILD: &str = "build";

/// The most bytes of a network's name.
const MOST_NAME: usize = 20;

/// What an instance can reach beside the router. Never another function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Network {
    /// Whatever the host's network reaches.
    #[default]
    Outbound,
    /// Nothing.
    None,
    /// What the host's settings say of this network, and nothing else.
    Named(NetworkName),
}

/// The name of a network that the host's settings have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName([u8; MOST_NAME]);

/// Why a text names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no network: write {OUTBOUND}, {NONE}, or the name of one that the host's settings have, of lower-case letters and digits, \
     {MOST_NAME} at most, with single dots, dashes and underscores between"
)]
pub struct NetworkNameError(String);

impl NetworkName {
    fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0);
        let bytes = &self.0[..end.unwrap_or(MOST_NAME)];
        // (It was made of a text.)
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, NetworkNameError> {
        let is_other = [OUTBOUND, NONE, BUILD].contains(&text);
        if is_other || text.len() > MOST_NAME || check_segment(text).is_err() {
            return Err(NetworkNameError(text.to_owned()));
        }
        let mut bytes = [0; MOST_NAME];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for NetworkName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound => f.write_str(OUTBOUND),
            Self::None => f.write_str(NONE),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, NetworkNameError> {
        Ok(match text {
            OUTBOUND => Self::Outbound,
            NONE => Self::None,
            name => Self::Named(name.parse()?),
        })
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A Docker network of an installation. None has traffic between its own containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkKind {
    /// Of functions.
    Of(Network),
    /// Of builds, which reach out.
    Build,
}

impl NetworkKind {
    /// Those that there are whatever the host's settings say.
    pub const ALWAYS: [Self; 3] = [
        Self::Of(Network::Outbound),
        Self::Of(Network::None),
        Self::Build,
    ];

    /// Whether Docker lets its containers reach nothing but the host.
    pub fn is_internal(self) -> bool {
        self == Self::Of(Network::None)
    }

    /// Whether Docker gives what its containers send the host's address. Where it doesn't, the firewall does, for what may pass: so
    /// without the firewall there is no answer.
    pub fn is_masqueraded(self) -> bool {
        !matches!(self, Self::Of(Network::Named(_)))
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(network) => network.fmt(f),
            Self::Build => f.write_str(BUILD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_networks() {
        for text in [
            "outbound",
            "none",
            "database",
            "a",
            "a-b.c_d",
            &"a".repeat(MOST_NAME),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            let json = serde_json::to_string(&network).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
        }
        for bad in [
            "",
            "build",
            "A",
            "a--b",
            "-a",
            "a b",
            "ä",
            &"a".repeat(MOST_NAME + 1),
        ] {
            let error = bad.parse::<Network>().unwrap_err().to_string();
            assert!(
                error.contains("names no network: write outbound, none, or"),
                "{error}"
            );
        }
        assert!("none".parse::<NetworkName>().is_err());
    }

    #[test]
    fn what_docker_makes_of_them() {
        let [outbound, none, build] = NetworkKind::ALWAYS;
        let named = NetworkKind::Of("database".parse().unwrap());
        assert!(none.is_internal());
        assert!(!named.is_masqueraded());
        for kind in [outbound, build] {
            assert!(!kind.is_internal() && kind.is_masqueraded(), "{kind}");
        }
    }
}
