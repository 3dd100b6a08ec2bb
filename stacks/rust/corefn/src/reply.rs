//! What a call is answered with.

use std::fmt::Display;

/// A status, and a body with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The value of `Content-Type`; none without a body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// The reply of a call: `Err` if it failed.
pub type Outcome = Result<Reply, Reply>;

impl Reply {
    /// 204, no body.
    pub fn empty() -> Self {
        Self {
            status: 204,
            content_type: None,
            body: Vec::new(),
        }
    }

    /// Text, in UTF-8.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            content_type: Some("text/plain; charset=utf-8"),
            body: text.into().into_bytes(),
        }
    }

    /// 200, with JSON that is encoded already.
    pub fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type: Some("application/json"),
            body,
        }
    }

    /// The argument isn't what the function takes.
    pub fn bad_argument(reason: impl Display) -> Self {
        Self::text(
            400,
            format!("The body isn't the function's argument: {reason}"),
        )
    }

    /// The function failed, and says why.
    pub fn failure(reason: impl Display) -> Self {
        Self::text(500, reason.to_string())
    }
}
