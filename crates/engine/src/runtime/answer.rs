//! The answer that is owed for [`super::Command::Acquire`].

use std::sync::Arc;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;

use super::{Outbox, Update};
use crate::acquire::Start;

/// An answer that is owed. Whatever becomes of the work, it is given: with an error when this is
/// dropped before.
pub(super) struct Answer {
    outbox: Arc<dyn Outbox>,
    number: u64,
    owed: Option<FunctionName>,
}

impl Answer {
    /// One that is owed to those for whom an instance of a function was asked for under a number.
    pub fn owed(outbox: Arc<dyn Outbox>, number: u64, function: FunctionName) -> Self {
        Self {
            outbox,
            number,
            owed: Some(function),
        }
    }

    /// Gives it.
    pub fn give(mut self, result: Result<(InstanceId, Start), Failure>) {
        if let Some(function) = self.owed.take() {
            self.outbox.send(Update::Outcome {
                number: self.number,
                function,
                result,
            });
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(function) = self.owed.take() {
            let failure = Failure::new(
                ErrorCode::Internal,
                format!("asking for an instance of {function} was broken off"),
            );
            self.outbox.send(Update::Outcome {
                number: self.number,
                function,
                result: Err(failure),
            });
        }
    }
}
