//! A function as whoever looks at the page sees it.

use serde::Serialize;

use crate::error::ErrorCode;
use crate::function::{FunctionName, RevisionId};
use crate::instance::InstanceId;

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionView {
    /// Its name.
    pub name: FunctionName,
    /// The revision that it is at.
    pub revision: RevisionId,
    /// How many requests have ended.
    pub requests: u64,
    /// How many of them with a status of 500 or more.
    pub errors: u64,
    /// How long they took in all, in milliseconds.
    pub millis: u64,
    /// How many waited for an instance to be started.
    pub cold: u64,
    /// How many waited for a frozen one.
    pub thawed: u64,
    /// What runs of it.
    pub instances: Vec<InstanceView>,
    /// Why it could not be started of late, or is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
}

impl FunctionView {
    /// One of which nothing has happened yet.
    pub fn new(name: FunctionName, revision: RevisionId) -> Self {
        Self {
            name,
            revision,
            requests: 0,
            errors: 0,
            millis: 0,
            cold: 0,
            thawed: 0,
            instances: Vec::new(),
            failure: None,
        }
    }

    /// Whether nothing of it has happened, or can be seen any more.
    pub fn is_quiet(&self) -> bool {
        self.requests == 0 && self.instances.is_empty() && self.failure.is_none()
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    /// Which one.
    pub id: InstanceId,
    /// Of which revision.
    pub revision: RevisionId,
    /// How it stands.
    pub state: InstanceState,
    /// How many requests are under way there.
    pub load: u32,
}

/// How an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// It has requests under way.
    Busy,
    /// It has none, and may get some.
    Idle,
    /// It gets none until it is thawed.
    Frozen,
    /// It gets none any more.
    Draining,
}

/// Why a function could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// What those who ask for it are told.
    pub code: ErrorCode,
    /// What the operator is.
    pub detail: String,
    /// When that was, in milliseconds since 1970.
    pub at: u64,
    /// Until when it is not started again; nothing if the next request may try.
    pub until: Option<u64>,
}
