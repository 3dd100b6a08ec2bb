//! What is published on the events channel, so that every router knows within milliseconds.

use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;
use crate::error::Failure;
use crate::function::{FunctionName, RevisionId};
use crate::instance::{Instance, InstanceId};

/// A change that routers must know of. On the wire it is JSON with a `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A revision has been deployed; it replaces the function's former one.
    Deployed {
        /// The new deployment.
        deployment: Box<Deployment>,
    },
    /// A function has been removed.
    Removed {
        /// Which one.
        function: FunctionName,
    },
    /// An instance is ready and leased.
    Ready {
        /// The instance.
        instance: Instance,
        /// How long its first lease lasts, in milliseconds.
        lease_ms: u64,
        /// Whether it was frozen before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        thawed: bool,
    },
    /// An instance gets no more work: it is draining, stopped or dead.
    Gone {
        /// Which instance.
        id: InstanceId,
        /// Of which function.
        function: FunctionName,
    },
    /// A start has failed; whoever waits for it fails too.
    Failed {
        /// Of which function.
        function: FunctionName,
        /// Of which revision.
        revision: RevisionId,
        /// Why.
        failure: Failure,
    },
    /// A revision may be started now, which has waited for a permit.
    Turn {
        /// Of which function.
        function: FunctionName,
        /// Which one.
        revision: RevisionId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_format() {
        let event = Event::Gone {
            id: InstanceId::from_random(1),
            function: "demo/hello".parse().unwrap(),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"type":"gone","id":"0000000000000001","function":"demo/hello"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
