//! What came of a call that a dispatcher has made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The platform's code, if it is an error of that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// There was no answer.
    Failed {
        /// Why.
        why: String,
    },
    /// Whoever made it is gone: nobody knows how it went.
    BrokenOff,
}

impl Outcome {
    /// Whether it went well: the function has answered, and with a status below 400.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Answered { status, .. } if *status < 400)
    }

    /// Whether the same call would surely fail again: it was answered with a status that blames the request (RFC 9110, 15.5), and
    /// not the time at which it came.
    pub fn is_final(&self) -> bool {
        const REQUEST_TIMEOUT: u16 = 408;
        const TOO_EARLY: u16 = 425;
        const TOO_MANY_REQUESTS: u16 = 429;
        matches!(
            self,
            Self::Answered {
                status: 400..=499,
                ..
            }
        ) && !matches!(
            self,
            Self::Answered {
                status: REQUEST_TIMEOUT | TOO_EARLY | TOO_MANY_REQUESTS,
                ..
            }
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered {
                status,
                error: Some(error),
            } => write!(f, "{status} {error}"),
            Self::Answered { status, .. } => write!(f, "{status}"),
            Self::Failed { why } => f.write_str(why),
            Self::BrokenOff => f.write_str("broken off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let answered = |status, error: Option<&str>| Outcome::Answered {
            status,
            error: error.map(ToOwned::to_owned),
        };
        let failed = Outcome::Failed {
            why: "it was too late".to_owned(),
        };
        for (outcome, is_good, text, json) in [
            (
                answered(399, None),
                true,
                "399",
                r#"{"answered":{"status":399}}"#,
            ),
            (
                answered(400, None),
                false,
                "400",
                r#"{"answered":{"status":400}}"#,
            ),
            (
                answered(503, Some("queue-full")),
                false,
                "503 queue-full",
                r#"{"answered":{"status":503,"error":"queue-full"}}"#,
            ),
            (
                failed,
                false,
                "it was too late",
                r#"{"failed":{"why":"it was too late"}}"#,
            ),
            (Outcome::BrokenOff, false, "broken off", r#""broken-off""#),
        ] {
            assert_eq!((outcome.is_good(), &*outcome.to_string()), (is_good, text));
            assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
        }
    }

    #[test]
    fn what_would_fail_again() {
        let is_final = |status| {
            Outcome::Answered {
                status,
                error: None,
            }
            .is_final()
        };
        for status in [400, 404, 407, 409, 424, 426, 428, 430, 499] {
            assert!(is_final(status), "{status}");
        }
        for status in [200, 399, 408, 425, 429, 500, 503] {
            assert!(!is_final(status), "{status}");
        }
        assert!(!Outcome::BrokenOff.is_final());
        let why = String::new();
        assert!(!Outcome::Failed { why }.is_final());
    }
}
