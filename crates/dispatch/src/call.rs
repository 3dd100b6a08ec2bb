//! One call, from its first attempt to what is noted of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::names::header;
use corefn_core::outcome::Outcome;
use corefn_core::schedule::{End, LATEST, Line};
use corefn_engine::store::{Store, StoreError};
use http_body_util::{BodyExt as _, Empty};
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::router::{Asked, Call, Router};

/// How long it is waited until a call is made again that has not got to the function; twice as long each time, up to the
/// longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long it is waited where Redis can't be told what came of a call.
const REDIS_PAUSE: Duration = Duration::from_secs(1);

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Calls a line's function for a time that is due, and says what came of it. What surely has not got to the function is tried
/// again until it is too late.
pub async fn make(router: &Router, line: &Line, due: i64) -> Outcome {
    let mut pause = PAUSE;
    loop {
        match router.call(request(line, due)).await {
            Asked::Ended(outcome) => return outcome,
            Asked::Refused(outcome) if now() - due >= LATEST => return outcome,
            Asked::Refused(_) => {}
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn request(line: &Line, due: i64) -> Call {
    let Line { function, schedule } = line;
    let due = Timestamp::from_second(due).unwrap_or_default();
    let mut headers = HeaderMap::new();
    let agent = concat!("corefn-dispatch/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(CONTENT_LENGTH, 0.into());
    for (name, value) in [
        (header::SCHEDULE, schedule.to_string()),
        (header::DUE, due.to_string()),
    ] {
        // (A line has no character that a header may not have.)
        let field = name.parse::<HeaderName>().ok().zip(value.parse().ok());
        headers.extend(field);
    }
    Call {
        function: function.clone(),
        method: Method::POST,
        target: schedule.path().to_owned(),
        headers,
        body: Empty::new().map_err(|never| match never {}).boxed_unsync(),
    }
}

/// Notes what came of a call that the dispatcher of a token has made, however long Redis can't be reached.
pub async fn note(store: &Store, line: &Line, due: i64, token: &str, outcome: Outcome) {
    let end = End { at: now(), outcome };
    loop {
        match try_note(store, line, due, token, &end).await {
            Ok(true) => return,
            // Somebody else has noted something meanwhile.
            Ok(false) => {}
            Err(_) => sleep(REDIS_PAUSE).await,
        }
    }
}

/// Whether nothing is left to be noted.
async fn try_note(
    store: &Store,
    line: &Line,
    due: i64,
    token: &str,
    end: &End,
) -> Result<bool, StoreError> {
    let Some(calls) = store.calls(line).await? else {
        return Ok(true);
    };
    match calls.ended(due, token, end.clone()) {
        Some(next) => store.swap_calls(line, Some(&calls), &next).await,
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_a_line() {
        let line = Line {
            function: "demo/hello".parse().unwrap(),
            schedule: "*/5 * * * * UTC /tick?a".parse().unwrap(),
        };
        let Call {
            function,
            method,
            target,
            headers,
            ..
        } = request(&line, 1_700_000_000);
        assert_eq!((function, method), (line.function, Method::POST));
        assert_eq!(target, "/tick?a");
        for (name, value) in [
            (header::SCHEDULE, "*/5 * * * * UTC /tick?a"),
            (header::DUE, "2023-11-14T22:13:20Z"),
            ("Content-Length", "0"),
        ] {
            assert_eq!(headers[name], value);
        }
    }
}
