//! Takes the invocations that nginx passes on, and tells how they go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use corefn_core::error::{ErrorCode, problem};
use corefn_core::function::FunctionName;
use corefn_core::invocation::{
    INVOCATIONS, Invocation, InvocationId, Next, RESERVED, RESPOND_ASYNC, State, is_preferred,
    other_preferences,
};
use corefn_core::names::header;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::warn;

use crate::call::now;
use crate::queues::{Going, Queues};

/// How long it is waited where no connection can be had, such as when too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// How many fields the header of a request may have: as many as nginx takes in its buffers.
const MAX_HEADERS: usize = 1024;

/// What of a request's header is not kept: what concerns the connection, and what nginx tells a function of the request and tells
/// anew when it is called. (But for `X-Forwarded-For`, which it adds to.)
const NOT_KEPT: [&str; 12] = [
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

/// The preferences of a request, and those that were honoured (RFC 7240).
const PREFER: &str = "prefer";
const PREFERENCE_APPLIED: &str = "preference-applied";

/// How an invocation goes, for whoever asks.
#[derive(Debug, Serialize)]
struct Report {
    id: InvocationId,
    function: FunctionName,
    state: State,
    /// When it was accepted.
    accepted: Timestamp,
    /// How many calls the function may have seen.
    calls: u32,
    /// When the last call ended, and what came of it.
    last: Option<Timestamp>,
    result: Option<String>,
    /// When the next will be made.
    next: Option<Timestamp>,
}

/// An answer.
type Answer = Response<Full<Bytes>>;

/// Serves a socket, for as long as it is polled.
pub async fn serve(queues: Arc<Queues>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(queues.clone(), stream));
            }
            Err(error) => {
                warn!("nginx can't connect: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(queues: Arc<Queues>, stream: UnixStream) {
    let answer = service_fn(|request| {
        let queues = queues.clone();
        async move { Ok::<_, Infallible>(answer(&queues, request).await) }
    });
    let mut server = http1::Builder::new();
    // (nginx would keep the connection open in the place of one to a function, and use it for nothing.)
    server.keep_alive(false);
    server.max_headers(MAX_HEADERS).title_case_headers(true);
    // (A connection that breaks is nginx's to tell of.)
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(queues: &Queues, request: Request<Incoming>) -> Answer {
    // (A client may have sent one, too: nginx's own is the last.)
    let functions = request.headers().get_all(header::FUNCTION);
    let function = functions.iter().next_back();
    let function = function.and_then(|name| name.to_str().ok()?.parse::<FunctionName>().ok());
    let Some(function) = function else {
        return failed(ErrorCode::UnknownFunction, None);
    };
    let path = request.uri().path();
    let mut preferences = request.headers().get_all(PREFER).iter();
    let is_preferred = preferences.any(|header| is_preferred(header.as_bytes()));
    if is_preferred && !path.starts_with(RESERVED) {
        return match accept(queues, &function, request).await {
            Ok(answer) => answer,
            Err(code) => failed(code, Some(&function)),
        };
    }
    let id = path.strip_prefix(INVOCATIONS).map(str::parse);
    let going = match id {
        Some(Ok(id)) => (id, queues.going(&function, id).await),
        _ => return failed(ErrorCode::UnknownInvocation, Some(&function)),
    };
    match going {
        (id, Ok(Some(going))) => told(StatusCode::OK, &report(function, id, going)),
        (_, Ok(None)) => failed(ErrorCode::UnknownInvocation, Some(&function)),
        (_, Err(_)) => failed(ErrorCode::RedisUnavailable, Some(&function)),
    }
}

/// Keeps an invocation.
async fn accept(
    queues: &Queues,
    function: &FunctionName,
    request: Request<Incoming>,
) -> Result<Answer, ErrorCode> {
    if queues.is_full(function).await {
        return Err(ErrorCode::QueueFull);
    }
    let (parts, mut body) = request.into_parts();
    let bits = || getrandom::u64().map_err(|_| ErrorCode::Internal);
    let id = InvocationId::from_random([bits()?, bits()?]);
    let accepted = now();
    let invocation = Invocation {
        id,
        function: function.clone(),
        accepted,
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: kept(&parts.headers),
    };
    let not_kept = |error| {
        queues.tell_not_kept(function, &error);
        ErrorCode::NotKept
    };
    let mut draft = queues.spool.begin(&invocation).await.map_err(not_kept)?;
    while let Some(frame) = body.frame().await {
        // What breaks off is nobody's to be answered.
        let frame = frame.map_err(|_| ErrorCode::Internal)?;
        if let Some(data) = frame.data_ref() {
            draft.write(data).await.map_err(not_kept)?;
        }
    }
    draft.keep().await.map_err(not_kept)?;
    queues.add(function, id).await;
    let going = Going {
        state: State::Waiting,
        accepted,
        tried: None,
    };
    let mut answer = told(StatusCode::ACCEPTED, &report(function.clone(), id, going));
    let headers = answer.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("{INVOCATIONS}{id}")) {
        headers.insert(LOCATION, location);
    }
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(RESPOND_ASYNC));
    Ok(answer)
}

/// What is kept of a request's header.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let is_ours = name.as_str().eq_ignore_ascii_case(header::FUNCTION);
        if NOT_KEPT.contains(&name.as_str()) || is_ours {
            continue;
        }
        // Each byte is a character of ISO 8859-1.
        let value: String = value
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect();
        let value = match name.as_str() {
            PREFER => other_preferences(&value),
            _ => Some(value),
        };
        kept.extend(value.map(|value| (name.to_string(), value)));
    }
    kept
}

fn report(function: FunctionName, id: InvocationId, going: Going) -> Report {
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
    let Going {
        state,
        accepted,
        tried,
    } = going;
    let next = match tried.as_ref().filter(|_| state == State::Retrying) {
        Some(tried) => tried.next(),
        None => Next::Done,
    };
    Report {
        id,
        function,
        state,
        accepted: time(accepted),
        calls: tried.as_ref().map_or(0, |tried| tried.calls),
        last: tried.as_ref().map(|tried| time(tried.at)),
        result: tried.map(|tried| tried.outcome.to_string()),
        next: match next {
            Next::Again(at) => Some(time(at)),
            Next::Done | Next::Dead => None,
        },
    }
}

fn told(status: StatusCode, report: &Report) -> Answer {
    let text = serde_json::to_string(report).unwrap_or_default() + "\n";
    with(status, "application/json", text)
}

/// The platform's error.
fn failed(code: ErrorCode, function: Option<&FunctionName>) -> Answer {
    let text = problem(code, function.map(FunctionName::as_str));
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = with(status, "application/problem+json", text);
    let headers = answer.headers_mut();
    if let Ok(code) = HeaderValue::from_str(code.as_str()) {
        headers.insert(header::ERROR, code);
    }
    if let Some(seconds) = code.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    answer
}

fn with(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use corefn_core::invocation::Tried;
    use corefn_core::outcome::Outcome;

    use super::*;

    #[test]
    fn what_is_kept_of_a_header() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("connection", "close"),
            ("content-length", "5"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("host", "h"),
            ("prefer", "respond-async, wait=5"),
            ("prefer", "respond-async"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-prefix", "/a/b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append(header::FUNCTION, HeaderValue::from_static("a/b"));
        headers.append(header::REVISION, HeaderValue::from_static("r"));
        let value = HeaderValue::from_bytes(b"\xe4\xff").unwrap();
        headers.append("x-latin", value);
        let kept = kept(&headers);
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            kept,
            [
                ("accept", "a"),
                ("content-length", "5"),
                ("cookie", "a=b"),
                ("cookie", "c=d"),
                ("prefer", "wait=5"),
                ("x-forwarded-for", "1.2.3.4"),
                (&*header::REVISION.to_ascii_lowercase(), "r"),
                ("x-latin", "\u{e4}\u{ff}"),
            ]
        );
    }

    #[test]
    fn how_it_goes() {
        let id = InvocationId::from_random([0, 1]);
        let report = |state, tried: Option<Tried>| {
            let going = Going {
                state,
                accepted: 0,
                tried,
            };
            serde_json::to_value(report("a/b".parse().unwrap(), id, going)).unwrap()
        };
        let waits = report(State::Waiting, None);
        assert_eq!(
            (&waits["state"], &waits["accepted"], &waits["calls"]),
            (&"waiting".into(), &"1970-01-01T00:00:00Z".into(), &0.into())
        );
        assert!(waits["last"].is_null() && waits["result"].is_null() && waits["next"].is_null());
        let outcome = Outcome::Answered {
            status: 500,
            error: None,
        };
        let tried = Tried::after(None, 0, outcome, false, 60);
        let fails = report(State::Retrying, Some(tried.clone()));
        assert_eq!(
            (&fails["last"], &fails["next"], &fails["result"]),
            (
                &"1970-01-01T00:01:00Z".into(),
                &"1970-01-01T00:01:01Z".into(),
                &"500".into()
            )
        );
        assert!(report(State::Calling, Some(tried))["next"].is_null());
    }
}
