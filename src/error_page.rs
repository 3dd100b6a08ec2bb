//! What the response of a request is, as far as it is the platform's.

use corefn_core::error::ErrorCode;

/// What the response of a request is, as far as it is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ErrorPage {
    /// The function's, or nginx's.
    #[default]
    Absent,
    /// An error, whose header has not been made yet.
    Due(ErrorCode),
    /// An error, whose body has not been sent yet.
    Body(String),
}
