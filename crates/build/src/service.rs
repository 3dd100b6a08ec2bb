//! The builder as a service, for a git host whose account may neither use Docker nor Redis.
//!
//! The hook runs as the account that git runs as. It sends what was pushed over a socket; the
//! service, which runs as another account, builds and deploys it, and sends back what the pusher is
//! to read. The command line's words that come over ssh take the same way.

mod client;
mod server;

use serde::{Deserialize, Serialize};

use crate::job::Job;

pub(crate) use client::build;
pub use client::run;
pub use server::serve;

/// What the service asks about the branch: whether it is still as it was,
const LOOK: u8 = 0;

/// that it be held, if it is,
const HOLD: u8 = 1;

/// and then that it be moved.
const CHANGE: u8 = 2;

/// Before all that: that it be moved to where an earlier push would have it.
const SETTLE: u8 = 3;

/// What the service is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    /// To build and deploy; the tree follows, as an archive.
    Build(Job),
    /// To run a command of the command line for an account.
    Run {
        /// The account.
        account: String,
        /// The command and its arguments.
        words: Vec<String>,
        /// Its standard input, which is otherwise empty.
        #[serde(default)]
        input: Option<String>,
    },
}
