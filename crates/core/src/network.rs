//! What an installation's Docker networks are for.

use crate::config::Network;

/// A Docker network of an installation. None has traffic between its own containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkKind {
    /// Of functions that may reach out.
    Outbound,
    /// Of functions that may not.
    None,
    /// Of builds, which reach out.
    Build,
}

impl NetworkKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outbound, Self::None, Self::Build];

    /// How its name ends.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::None => "none",
            Self::Build => "build",
        }
    }

    /// Whether Docker lets its containers reach nothing but the host.
    pub fn is_internal(self) -> bool {
        self == Self::None
    }
}

impl From<Network> for NetworkKind {
    fn from(network: Network) -> Self {
        match network {
            Network::Outbound => Self::Outbound,
            Network::None => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_functions() {
        let outbound = NetworkKind::from(Network::Outbound);
        let none = NetworkKind::from(Network::None);
        assert_eq!(
            (outbound.word(), outbound.is_internal()),
            ("outbound", false)
        );
        assert_eq!((none.word(), none.is_internal()), ("none", true));
        assert!(!NetworkKind::Build.is_internal());
    }
}
