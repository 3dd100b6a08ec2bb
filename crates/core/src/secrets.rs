//! The secrets of a function: variables of its environment whose values are kept on the host, sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most secrets of a function.
pub const MOST: usize = 100;

/// By name, which value of each a revision has.
pub type SecretIds = BTreeMap<String, SecretId>;

/// A value that was set once. What it is, the host keeps; images and Redis have no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretId(u64);

impl SecretId {
    /// One of 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<SecretId> for String {
    fn from(id: SecretId) -> Self {
        id.to_string()
    }
}

impl FromStr for SecretId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = u64::from_str_radix(text, 16).map(Self);
        id.ok()
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no secret's identifier: 16 hexadecimal digits are"))
    }
}

impl TryFrom<String> for SecretId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Checks that a function can have so many.
///
/// # Errors
/// A text that says what is wrong.
pub fn check_count(secrets: &SecretIds) -> Result<(), String> {
    if secrets.len() > MOST {
        return Err(format!(
            "these would be {} secrets, more than {MOST}: put several into one, such as in JSON",
            secrets.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let id = SecretId::from_random(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, r#""00000000000000ab""#);
        assert_eq!(serde_json::from_str::<SecretId>(&json).unwrap(), id);
        for bad in [
            "",
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "../../../../../x",
        ] {
            assert!(
                bad.parse::<SecretId>().unwrap_err().contains("16 hex"),
                "{bad}"
            );
        }
    }

    #[test]
    fn counts() {
        let of = |count: u64| -> SecretIds {
            (0..count)
                .map(|number| (format!("A{number}"), SecretId::from_random(number)))
                .collect()
        };
        check_count(&of(MOST as u64)).unwrap();
        assert!(
            check_count(&of(MOST as u64 + 1))
                .unwrap_err()
                .contains("101 secrets")
        );
    }
}
