//! The platform's errors as a client sees them: one table of codes, statuses and titles.
//!
//! A client tells them from a function's own by the header [`crate::names::header::ERROR`]. The
//! body is a problem document (RFC 9457).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, as the code in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The path isn't spelled the way a function's path must be.
    BadPath,
    /// No function has this host and path.
    UnknownFunction,
    /// The function has no such export.
    UnknownExport,
    /// The revision that the request names is neither the current one nor released beside it.
    UnknownRevision,
    /// The request's body is larger than the function takes.
    TooLarge,
    /// The function exited before it listened, or soon after.
    FunctionExited,
    /// The function runs, but not on its port, or its health path fails.
    FunctionNotListening,
    /// No instance got ready in the time the router allows.
    StartTimeout,
    /// As many requests wait for the function, or on the host, as may.
    QueueFull,
    /// No instance had room for the request in the time the router allows.
    QueueTimeout,
    /// As many requests are under way at the function as its manifest allows.
    TooManyRequests,
    /// There is no room in the shared memory to count the request.
    ZoneFull,
    /// Docker can't be reached or refused.
    DockerUnavailable,
    /// Redis can't be reached and the answer depends on it.
    RedisUnavailable,
    /// The image of the revision is not there.
    ImageMissing,
    /// The value of a secret of the function can't be had.
    SecretMissing,
    /// The function closed the connection before it answered.
    FunctionDied,
    /// No instance could be connected to.
    FunctionUnreachable,
    /// The function did not begin to answer in time.
    FunctionTimeout,
    /// What the function answered is no HTTP, or its header is too large.
    BadAnswer,
    /// No such invocation is known of the function, or not any more.
    UnknownInvocation,
    /// The dispatcher that keeps invocations can't be reached.
    DispatcherUnavailable,
    /// The invocation can't be kept: there is no room on the dispatcher's disk, or no right to write there.
    NotKept,
    /// The router itself failed.
    Internal,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::BadPath,
        Self::UnknownFunction,
        Self::UnknownExport,
        Self::UnknownRevision,
        Self::TooLarge,
        Self::FunctionExited,
        Self::FunctionNotListening,
        Self::StartTimeout,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::TooManyRequests,
        Self::ZoneFull,
        Self::DockerUnavailable,
        Self::RedisUnavailable,
        Self::ImageMissing,
        Self::SecretMissing,
        Self::FunctionDied,
        Self::FunctionUnreachable,
        Self::FunctionTimeout,
        Self::BadAnswer,
        Self::UnknownInvocation,
        Self::DispatcherUnavailable,
        Self::NotKept,
        Self::Internal,
    ];

    /// The code as header and body carry it.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// What happened, in one short sentence that is the same each time.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Seconds after which trying again makes sense, where it does: the value of `Retry-After`.
    pub fn retry_after(self) -> Option<u32> {
        matches!(
            self,
            Self::QueueFull
                | Self::QueueTimeout
                | Self::TooManyRequests
                | Self::ZoneFull
                | Self::DockerUnavailable
                | Self::RedisUnavailable
                | Self::DispatcherUnavailable
        )
        .then_some(1)
    }

    /// What the operator, or whoever asks, can do about it, as Markdown.
    pub fn remedy(self) -> &'static str {
        self.row().3
    }

    fn row(self) -> (&'static str, u16, &'static str, &'static str) {
        match self {
            Self::BadPath => (
                "bad-path",
                400,
                "The path does not spell the function's prefix plainly",
                "spell it `/demo/hello`",
            ),
            Self::UnknownFunction => (
                "unknown-function",
                404,
                "No function is deployed here",
                "`corefn ls` lists what is",
            ),
            Self::UnknownRevision => (
                "unknown-revision",
                404,
                "The revision is not released",
                "`corefn revisions` lists those that are",
            ),
            Self::UnknownExport => (
                "unknown-export",
                404,
                "The function has no such export",
                "see the function's source for its exports",
            ),
            Self::TooLarge => (
                "too-large",
                413,
                "The body is larger than the function takes",
                "send less, or raise it in `corefn.toml`",
            ),
            Self::FunctionExited => (
                "function-exited",
                502,
                "The function exited while it started, or soon after",
                "see its last output in the error log",
            ),
            Self::FunctionNotListening => (
                "function-not-listening",
                504,
                "The function started but never got ready",
                "listen on 0.0.0.0 and the port in `$PORT`",
            ),
            Self::StartTimeout => (
                "start-timeout",
                504,
                "No instance got ready in time",
                "see the error log for what took the time",
            ),
            Self::QueueFull => (
                "queue-full",
                503,
                "Too many requests wait for this function",
                "try again; raise the limit",
            ),
            Self::QueueTimeout => (
                "queue-timeout",
                503,
                "No instance had room for the request in time",
                "try again; raise `scale.concurrency` or `scale.max` in `corefn.toml`",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                429,
                "As many requests are under way as the function takes",
                "try again; raise the limit in `corefn.toml`",
            ),
            Self::ZoneFull => (
                "zone-full",
                503,
                "The router has no memory left to count the request",
                "give that memory a larger size: the directive and its figures are in `nginx-conf`",
            ),
            Self::DockerUnavailable => (
                "docker-unavailable",
                503,
                "No container can be started now",
                "see whether Docker runs, and who may use its socket",
            ),
            Self::RedisUnavailable => (
                "redis-unavailable",
                503,
                "The router can not look the function up now",
                "see whether Redis runs",
            ),
            Self::ImageMissing => (
                "image-missing",
                502,
                "The image of the function is missing",
                "push the repository again",
            ),
            Self::SecretMissing => (
                "secret-missing",
                502,
                "A secret of the function is missing",
                "set it again, or put the keys back; the log of nginx says which",
            ),
            Self::FunctionDied => (
                "function-died",
                502,
                "The function ended the connection without an answer",
                "see what the function wrote: `corefn logs`; whether it ran out of memory (`limits.memory`) is in nginx's log",
            ),
            Self::FunctionUnreachable => (
                "function-unreachable",
                502,
                "The function can not be connected to",
                "see what the function wrote, and whether it still listens on `$PORT`",
            ),
            Self::FunctionTimeout => (
                "function-timeout",
                504,
                "The function did not begin to answer in time",
                "make it faster, or raise the limit in `corefn.toml`",
            ),
            Self::BadAnswer => (
                "bad-answer",
                502,
                "The function's answer can not be understood",
                "correct the function, or raise the size",
            ),
            Self::UnknownInvocation => (
                "unknown-invocation",
                404,
                "The function has no such invocation, or it ended too long ago",
                "ask where the `Location` of the 202 says",
            ),
            Self::DispatcherUnavailable => (
                "dispatcher-unavailable",
                503,
                "Nobody can keep the invocation now",
                "see whether `corefn-dispatch` runs, and who may use its socket",
            ),
            Self::NotKept => (
                "not-kept",
                507,
                "The invocation can not be kept",
                "see to the room and the rights in its folder; its log says what is wrong",
            ),
            Self::Internal => ("internal", 500, "The router failed", "the error log has it"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request got no instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// What the client is told.
    pub code: ErrorCode,
    /// What the operator is told, in the error log: cause and remedy. A client doesn't see it.
    pub detail: String,
    /// For how many milliseconds from now the function isn't started again because of it
    /// ([`crate::backoff`]); none if it isn't backed off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl Failure {
    /// A failure with its detail.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_ms: None,
        }
    }
}

/// The problem document of an error: JSON of media type `application/problem+json`.
pub fn problem(code: ErrorCode, function: Option<&str>) -> String {
    let mut body = serde_json::json!({
        "type": format!("urn:corefn:error:{code}"),
        "title": code.title(),
        "status": code.status(),
        "code": code.as_str(),
    });
    if let Some(function) = function {
        body["function"] = function.into();
    }
    format!("{body}\n")
}

/// The same for those who ask for HTML. Function names need no escapes.
pub fn html(code: ErrorCode, function: Option<&str>) -> String {
    let (status, title) = (code.status(), code.title());
    let function = function.map_or_else(String::new, |name| format!("<p>Function: {name}</p>\n"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} {title}</title></head>\n\
         <body>\n<h1>{status}</h1>\n<p>{title}.</p>\n{function}<p>Code: {code}</p>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_its_serialized_form() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn unavailable_says_when_to_try_again() {
        for code in ErrorCode::ALL {
            let passes = [429, 503].contains(&code.status());
            assert_eq!(passes, code.retry_after().is_some(), "{code}");
        }
    }

    #[test]
    fn problem_document() {
        let body = problem(ErrorCode::UnknownExport, Some("demo/hello"));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["status"], 404);
        assert_eq!(value["code"], "unknown-export");
        assert_eq!(value["function"], "demo/hello");
        assert_eq!(value["type"], "urn:corefn:error:unknown-export");
        assert_eq!(value["title"], "The function has no such export");
        assert!(!problem(ErrorCode::Internal, None).contains("function"));
    }

    #[test]
    fn page() {
        let page = html(ErrorCode::QueueFull, Some("demo/hello"));
        for part in [
            "<title>503 Too many requests wait for this function</title>",
            "<p>Function: demo/hello</p>",
            "<p>Code: queue-full</p>",
        ] {
            assert!(page.contains(part), "{page}");
        }
        assert!(!html(ErrorCode::Internal, None).contains("Function: "));
    }
}
