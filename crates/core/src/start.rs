//! How an instance is started, as it is measured and told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an instance is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartWay {
    /// A sandbox becomes it.
    Sandbox,
    /// Its image, on the network of a sandbox.
    Network,
    /// Its image.
    Image,
    /// It was frozen.
    Thaw,
}

impl StartWay {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sandbox, Self::Network, Self::Image, Self::Thaw];

    /// As a label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Network => "network",
            Self::Image => "image",
            Self::Thaw => "thaw",
        }
    }
}

/// A step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A sandbox was claimed, and told what to become.
    HandedOver,
    /// A sandbox was claimed, and told to hold its network.
    Held,
    /// Docker made the container.
    Created,
    /// Docker started it.
    Started,
    /// It answered, and Redis and the workers know.
    Ready,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::HandedOver,
        Self::Held,
        Self::Created,
        Self::Started,
        Self::Ready,
    ];

    /// As a label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_over",
            Self::Held => "held",
            Self::Created => "created",
            Self::Started => "started",
            Self::Ready => "ready",
        }
    }
}

/// As the log has it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandedOver => "handed over",
            other => other.label(),
        })
    }
}
