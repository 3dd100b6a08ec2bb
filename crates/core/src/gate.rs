//! Who has Docker by way of the gate.

use std::path::{Path, PathBuf};

/// The name of the gate's sockets, each in a folder of its caller's name.
const SOCKET: &str = "docker.sock";

/// A program that has as much of Docker as it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// nginx with the module.
    Router,
    /// `corefn-build`.
    Builder,
    /// `corefn-keep`.
    Keeper,
    /// `corefn-clean`.
    Cleaner,
}

impl Caller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Router, Self::Builder, Self::Keeper, Self::Cleaner];

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Builder => "builder",
            Self::Keeper => "keeper",
            Self::Cleaner => "cleaner",
        }
    }

    /// Its socket in the gate's folder.
    pub fn socket(self, gate: &Path) -> PathBuf {
        gate.join(self.word()).join(SOCKET)
    }

    /// Whether a path may be that of its socket.
    pub fn has_socket(self, path: &Path) -> bool {
        path.ends_with(self.socket(Path::new("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        let path = Caller::Router.socket(Path::new("/var/lib/corefn/gate"));
        assert_eq!(path, Path::new("/var/lib/corefn/gate/router/docker.sock"));
        assert!(Caller::Router.has_socket(&path) && !Caller::Builder.has_socket(&path));
        for other in [
            "/var/run/docker.sock",
            "/router/docker",
            "/x-router/docker.sock",
        ] {
            assert!(!Caller::Router.has_socket(Path::new(other)), "{other}");
        }
    }
}
