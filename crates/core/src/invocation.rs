//! Invocations: requests whose clients do not wait for the answer (`Prefer: respond-async`, RFC 7240).
//!
//! The dispatcher keeps an invocation until a call of its function has gone well, or as many have failed as are made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::function::FunctionName;
use crate::outcome::Outcome;

/// Under each function's own path, what the platform answers and the function does not, where there are invocations.
pub const RESERVED: &str = "/.corefn/";

/// Under each function's own path, where it is told how an invocation goes: its identifier follows.
pub const INVOCATIONS: &str = "/.corefn/invocations/";

/// The preference that makes a request an invocation (RFC 7240, 4.1).
pub const RESPOND_ASYNC: &str = "respond-async";

/// How many calls are made of an invocation that the function may have seen.
pub const CALLS: u32 = 5;

/// How long it is waited after a call that has failed, in seconds, by how many have.
const PAUSES: [i64; 4] = [1, 10, 60, 600];

/// For how long calls are tried, from when the invocation was accepted, which the function has not seen: in seconds.
pub const LONGEST: i64 = 24 * 3600;

/// The longest that is waited after such a call, in seconds; after the first it is one, and twice as long each time.
const LONGEST_PAUSE: i64 = 60;

/// For how long it is known how an invocation went that has ended, in seconds.
pub const KNOWN: u64 = 24 * 3600;

/// An invocation's identifier: 128 random bits, written as 32 hex digits. Who knows it may know how the invocation goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InvocationId(u128);

/// A text is no invocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no invocation: 32 hex digits are wanted")]
pub struct InvocationIdError(String);

impl InvocationId {
    /// An identifier from random bits.
    pub fn from_random(bits: [u64; 2]) -> Self {
        Self((u128::from(bits[0]) << 64) + u128::from(bits[1]))
    }
}

impl FromStr for InvocationId {
    type Err = InvocationIdError;

    fn from_str(text: &str) -> Result<Self, InvocationIdError> {
        let is_one =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_one);
        bits.map(Self)
            .ok_or_else(|| InvocationIdError(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for InvocationId {
    type Error = InvocationIdError;

    fn try_from(text: String) -> Result<Self, InvocationIdError> {
        text.parse()
    }
}

impl From<InvocationId> for String {
    fn from(id: InvocationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An invocation, without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// Its identifier.
    pub id: InvocationId,
    /// The function, without a revision.
    pub function: FunctionName,
    /// When it was accepted, in seconds since 1970.
    pub accepted: i64,
    /// The request's method.
    pub method: String,
    /// Its path and query, behind the function's own path.
    pub target: String,
    /// Its header, as far as it is the client's: names, and values whose bytes are the characters of ISO 8859-1.
    pub headers: Vec<(String, String)>,
}

/// What came of the calls of an invocation so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// When the invocation was accepted, in seconds since 1970.
    pub accepted: i64,
    /// How many calls there were that the function may have seen.
    pub calls: u32,
    /// How many there were since then that it has surely not seen.
    #[serde(default)]
    pub refused: u32,
    /// When the last ended, in seconds since 1970.
    pub at: i64,
    /// What came of the last.
    pub outcome: Outcome,
}

/// What becomes of an invocation after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has ended well.
    Done,
    /// It is called again from then on, in seconds since 1970.
    Again(i64),
    /// It is not called again, unless somebody wants it to be.
    Dead,
}

impl Tried {
    /// With a call that has ended now, which the function has surely not seen if it is `refused`.
    pub fn after(
        before: Option<&Self>,
        accepted: i64,
        outcome: Outcome,
        refused: bool,
        now: i64,
    ) -> Self {
        let (calls, refusals) = before.map_or((0, 0), |tried| (tried.calls, tried.refused));
        Self {
            accepted,
            calls: calls.saturating_add(u32::from(!refused)),
            refused: if refused {
                refusals.saturating_add(1)
            } else {
                0
            },
            at: now,
            outcome,
        }
    }

    /// What becomes of the invocation.
    pub fn next(&self) -> Next {
        if self.refused > 0 {
            let pause = 1_i64 << (self.refused - 1).min(LONGEST_PAUSE.ilog2() + 1);
            return match self.at.saturating_sub(self.accepted) < LONGEST {
                true => Next::Again(self.at.saturating_add(pause.min(LONGEST_PAUSE))),
                false => Next::Dead,
            };
        }
        if self.outcome.is_good() {
            return Next::Done;
        }
        let failed = usize::try_from(self.calls).unwrap_or(usize::MAX);
        match PAUSES.get(failed.saturating_sub(1)) {
            Some(pause) if !self.outcome.is_final() => Next::Again(self.at.saturating_add(*pause)),
            _ => Next::Dead,
        }
    }
}

/// Where an invocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing has been tried yet.
    Waiting,
    /// A call is under way.
    Calling,
    /// Calls have failed, and another will be made.
    Retrying,
    /// It has ended well.
    Done,
    /// It is not called again.
    Dead,
}

/// Whether a `Prefer` header asks that its request be answered before it is done.
pub fn is_preferred(header: &[u8]) -> bool {
    str::from_utf8(header).is_ok_and(|text| preferences(text).any(is_async))
}

/// The preferences of a `Prefer` header besides that one; none if there are no others.
pub fn other_preferences(header: &str) -> Option<String> {
    let others: Vec<_> = preferences(header).filter(|it| !is_async(it)).collect();
    (!others.is_empty()).then(|| others.join(", "))
}

/// The preferences in a header (RFC 7240, 2): separated by commas, which may stand in quoted values as well.
fn preferences(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn is_async(preference: &str) -> bool {
    let name = preference.split(['=', ';']).next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let id = InvocationId::from_random([1, 0xab]);
        let text = "000000000000000100000000000000ab";
        assert_eq!((&*id.to_string(), &*format!("{id:?}")), (text, text));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), text);
        assert_eq!(
            serde_json::from_value::<InvocationId>(text.into()).unwrap(),
            id
        );
        for bad in [
            "",
            "ab",
            &text.replace('a', "g"),
            &text.replace('a', "A"),
            &format!("{text}0"),
            "+00000000000000100000000000000ab",
        ] {
            let error = bad.parse::<InvocationId>().unwrap_err().to_string();
            assert!(error.contains("is no invocation"), "{error}");
        }
    }

    #[test]
    fn preferred() {
        for (header, others) in [
            ("respond-async", None),
            (" Respond-Async ", None),
            ("respond-async; x=1", None),
            ("wait=10, respond-async", Some("wait=10")),
            ("respond-async,, a, b=\"c, d\"", Some("a, b=\"c, d\"")),
            ("a=\"b, c\", respond-async", Some("a=\"b, c\"")),
        ] {
            assert!(is_preferred(header.as_bytes()), "{header}");
            assert_eq!(other_preferences(header).as_deref(), others, "{header}");
        }
        for header in [
            "",
            "wait=10",
            "respond-asynchronously",
            "a=\"b, respond-async, c\"",
            "x=respond-async",
        ] {
            assert!(!is_preferred(header.as_bytes()), "{header}");
        }
        assert!(!is_preferred(b"respond-async, \xff"));
    }

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            error: None,
        }
    }

    /// What becomes of an invocation of time 0 after calls that end so, each at its time.
    fn next(calls: &[(i64, u16, bool)]) -> (Tried, Next) {
        let mut tried = None;
        for (at, status, refused) in calls {
            tried = Some(Tried::after(
                tried.as_ref(),
                0,
                answered(*status),
                *refused,
                *at,
            ));
        }
        let tried = tried.unwrap();
        let next = tried.next();
        (tried, next)
    }

    #[test]
    fn calls_that_fail_are_made_again() {
        assert_eq!(next(&[(5, 200, false)]).1, Next::Done);
        assert_eq!(next(&[(5, 302, false)]).1, Next::Done);
        assert_eq!(next(&[(5, 404, false)]).1, Next::Dead);
        let mut calls = vec![];
        for (at, again) in [(10, 11), (20, 30), (40, 100), (200, 800)] {
            calls.push((at, 500, false));
            assert_eq!(next(&calls).1, Next::Again(again));
        }
        let mut well = calls.clone();
        well.push((900, 200, false));
        assert_eq!(next(&well).1, Next::Done);
        calls.push((900, 500, false));
        let (tried, end) = next(&calls);
        assert_eq!((tried.calls, tried.at, end), (CALLS, 900, Next::Dead));
    }

    #[test]
    fn what_the_function_has_not_seen_is_tried_for_a_day() {
        const DAY: i64 = 86_400;
        assert_eq!((LONGEST, KNOWN), (DAY, DAY as u64));
        let mut calls = vec![(3, 500, false)];
        for (at, again) in [
            (10, 11),
            (20, 22),
            (30, 34),
            (40, 48),
            (50, 66),
            (60, 92),
            (70, 130),
            (80, 140),
        ] {
            calls.push((at, 503, true));
            assert_eq!(next(&calls).1, Next::Again(again));
        }
        assert_eq!(next(&calls).0.calls, 1);
        calls.resize(100, (90, 503, true));
        assert_eq!(next(&calls).1, Next::Again(150));
        calls.push((LONGEST - 1, 503, true));
        assert_eq!(next(&calls).1, Next::Again(LONGEST + 59));
        calls.push((LONGEST, 503, true));
        assert_eq!(next(&calls).1, Next::Dead);
        // What it has seen counts anew.
        calls.push((LONGEST + 1, 500, false));
        let (tried, again) = next(&calls);
        assert_eq!((tried.calls, tried.refused), (2, 0));
        assert_eq!(again, Next::Again(LONGEST + 11));
        assert_eq!(next(&[(5, 404, true)]).1, Next::Again(6));
    }

    #[test]
    fn written() {
        let tried = Tried::after(None, 1, answered(500), false, 2);
        let json =
            r#"{"accepted":1,"calls":1,"refused":0,"at":2,"outcome":{"answered":{"status":500}}}"#;
        assert_eq!(serde_json::to_string(&tried).unwrap(), json);
        assert_eq!(serde_json::from_str::<Tried>(json).unwrap(), tried);
        assert_eq!(serde_json::to_value(State::Retrying).unwrap(), "retrying");
    }
}
