//! What is deployed of a function.

use serde::{Deserialize, Serialize};

use crate::config::FunctionConfig;
use crate::function::{FunctionName, RevisionId};

/// What is deployed of a function: one revision, immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which function.
    pub function: FunctionName,
    /// Which revision of it.
    pub revision: RevisionId,
    /// The image to start, by tag or digest.
    pub image: String,
    /// How to start and serve it.
    pub config: FunctionConfig,
}
