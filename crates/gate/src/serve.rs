//! The socket that is offered.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::ask::{Ask, Refused};
use crate::image::{self, Image};
use crate::policy::{Denied, Made, Policy};
use crate::upstream::{Files, Upstream, UpstreamError};

/// How much the header of a request may have: bytes, and fields.
const MOST_HEADER: usize = 64 << 10;
const MOST_FIELDS: usize = 32;

/// How many bytes the body of a request may have: more than a program can be given of variables (execve(2)).
const MOST_BODY: usize = 2 << 20;

/// How many bodies there may be at a time; others wait. So much memory can be asked for, and a few times as much to read it.
const MOST_BODIES: usize = 16;

/// How many bytes Docker may take to say which container it has made.
const MOST_ANSWER: usize = 64 << 10;

/// How long a request may take to come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many refusals are told of in a minute, and how many characters of what was asked for.
const MINUTE: Duration = Duration::from_secs(60);
const MOST_TOLD: u64 = 100;
const MOST_TEXT: usize = 300;

/// How long it is waited where no connection can be had, such as when too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// The headers with the newest version that Docker speaks, and with what a container's file is.
const NEWEST: &str = "api-version";
const PATH_STAT: &str = "x-docker-container-path-stat";

/// What Docker calls the protocol of what containers print.
const PROTOCOL: &str = "tcp";

type Body = BoxBody<Bytes, hyper::Error>;

/// What is offered to a caller.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    upstream: Upstream,
    connections: Arc<Semaphore>,
    bodies: Semaphore,
    /// What was told of it in this minute.
    told: Arc<Mutex<Told>>,
}

impl Gate {
    /// Before the Docker at this address, with so many connections at a time; others wait.
    pub fn new(policy: Policy, url: &str, connections: usize) -> Self {
        Self {
            policy,
            upstream: Upstream::read(url),
            connections: Arc::new(Semaphore::new(connections)),
            bodies: Semaphore::new(MOST_BODIES),
            told: Arc::default(),
        }
    }

    /// Serves a socket, for as long as it is polled.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            let Ok(permit) = self.connections.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let gate = self.clone();
                    tokio::spawn(async move {
                        gate.converse(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!("nobody can connect: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let peer = Peer(stream.peer_cred());
        let gate = self.clone();
        let service = service_fn(|request| gate.answer(&peer, request));
        let ended = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(MOST_HEADER)
            .max_headers(MOST_FIELDS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = ended
            && (error.is_parse() || error.is_parse_too_large())
        {
            self.tell(&peer, "something", &Refused::new(error.to_string()));
        }
    }

    /// The answer; an error, for which the connection ends, where Docker gives none.
    async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, UpstreamError> {
        let what = format!("{} {}", request.method(), request.uri());
        match self.try_answer(peer, request).await {
            Ok(answer) => Ok(answer),
            Err(Failed::Denied(Denied::Refused(why))) => {
                self.tell(peer, &what, &why);
                let text = format!("corefn-gate does not pass this on: {why}");
                Ok(message(StatusCode::FORBIDDEN, &text))
            }
            Err(Failed::Denied(Denied::Answered(status, text))) => {
                let status = StatusCode::from_u16(status);
                Ok(message(status.unwrap_or(StatusCode::BAD_GATEWAY), &text))
            }
            Err(Failed::Denied(Denied::Docker(error))) => Err(io::Error::other(error).into()),
            Err(Failed::Upstream(error)) => Err(error),
        }
    }

    async fn try_answer(
        &self,
        peer: &Peer,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Failed> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let is_plain = head.uri.authority().is_none() && head.uri.scheme().is_none();
        let has_files = Ask::may_take_files(head.method.as_str(), head.uri.path());
        let is_chunked = head.headers.contains_key(TRANSFER_ENCODING);
        for (is_wrong, why) in [
            (!is_plain, "an address before the path"),
            (is_chunked && !has_files, "a body of unknown length"),
        ] {
            if is_wrong {
                return Err(Refused::new(why).into());
            }
        }
        // (Until what it says is understood and forgotten.)
        let permit = match body.is_end_stream() || has_files {
            true => None,
            false => self.bodies.acquire().await.ok(),
        };
        let (text, files) = match has_files {
            true => (Bytes::new(), Some(body)),
            false => (read(body).await?, None),
        };
        let target = head.uri.path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let (version, ask) = Ask::read(head.method.as_str(), target, &text)?;
        let (takes_files, is_image) = (ask.takes_files(), matches!(ask, Ask::Load));
        let (question, made) = self.policy.question(ask).await?;
        let is_upgraded = head.headers.get(UPGRADE).is_some_and(|to| to == PROTOCOL);
        if is_upgraded != question.is_upgraded
            || head.headers.contains_key(UPGRADE) != question.is_upgraded
        {
            return Err(Refused::new("another protocol").into());
        }
        drop(permit);
        let files = match files.filter(|_| takes_files) {
            None => None,
            Some(body) if is_image => Some(self.image(peer, body).await?),
            Some(body) => Some(body.map_err(Into::into).boxed()),
        };
        let mut answer = self.upstream.ask(version, question, files).await?;
        if is_upgraded && answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let from = hyper::upgrade::on(&mut answer);
            tokio::spawn(print(from, upgrade));
        }
        let (head, body) = answer.into_parts();
        let body = match made.filter(|_| head.status == StatusCode::CREATED) {
            Some(made) => self.note_made(body, made).await?,
            None => body.boxed(),
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        let is_upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let upgrading = [CONNECTION.as_str(), UPGRADE.as_str()];
        let upgrading = upgrading.into_iter().filter(|_| is_upgraded);
        for name in [CONTENT_TYPE.as_str(), NEWEST, PATH_STAT]
            .into_iter()
            .chain(upgrading)
        {
            if let Some(value) = head.headers.get(name) {
                let name = HeaderName::from_static(name);
                answer.headers_mut().insert(name, value.clone());
            }
        }
        Ok(answer)
    }

    fn tell(&self, peer: &Peer, what: &str, why: &Refused) {
        tell(&self.told, &self.who(peer), what, why);
    }

    /// Who asks, and as whom.
    fn who(&self, peer: &Peer) -> String {
        format!("{} ({peer})", self.policy.caller().word())
    }

    /// An image that is brought, written anew.
    async fn image(&self, peer: &Peer, body: Incoming) -> Result<Files, Failed> {
        let image = Image::read(body).await?;
        self.policy.check_loaded(image.name())?;
        let (told, peer) = (self.told.clone(), self.who(peer));
        let what = format!("the image {}", image.name());
        Ok(image::rewritten(image, move |why| {
            tell(&told, &peer, &what, &why);
        }))
    }

    /// Reads which container was made.
    async fn note_made(&self, body: Incoming, made: Made) -> Result<Body, Failed> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "Id")]
            id: String,
        }
        let text = Limited::new(body, MOST_ANSWER).collect().await;
        let text = text.map_err(|error| UpstreamError::Io(io::Error::other(error)))?;
        let text = text.to_bytes();
        let answered = serde_json::from_slice(&text).ok();
        if let Some(id) = answered.and_then(|Created { id }| id.parse().ok()) {
            self.policy.note(id, made);
        }
        Ok(whole(text))
    }
}

/// The body of a request.
async fn read(body: Incoming) -> Result<Bytes, Refused> {
    let body = timeout(REQUEST_TIMEOUT, Limited::new(body, MOST_BODY).collect());
    let body = body
        .await
        .map_err(|_| Refused::new("a body that does not come"))?;
    let body = body.map_err(|error| Refused::new(error.to_string()))?;
    Ok(body.to_bytes())
}

/// Passes on what a container prints, until it has ended or nobody reads it. Nothing goes the other way.
async fn print(from: OnUpgrade, to: OnUpgrade) {
    let (Ok(from), Ok(to)) = tokio::join!(from, to) else {
        return;
    };
    let mut from = TokioIo::new(from);
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(to));
    let mut byte = [0];
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut writer) => {
            let _ = writer.shutdown().await;
        }
        _ = reader.read(&mut byte) => {}
    }
}

/// Tells that something was refused; of many a minute only how many there were.
fn tell(told: &Mutex<Told>, peer: &str, what: &str, why: &Refused) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if told.since.is_none_or(|since| since.elapsed() >= MINUTE) {
        let untold = told.count.saturating_sub(MOST_TOLD);
        if untold > 0 {
            warn!("{untold} others were refused before that");
        }
        *told = Told {
            since: Some(Instant::now()),
            count: 0,
        };
    }
    told.count += 1;
    if told.count <= MOST_TOLD {
        // (What was asked for is written so that it can't look like another line.)
        let what: String = what.chars().take(MOST_TEXT).collect();
        let why: String = why.to_string().chars().take(MOST_TEXT).collect();
        warn!("{peer} is refused {what:?}: {why}");
    }
}

/// What was told.
#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    count: u64,
}

/// Who asks.
struct Peer(io::Result<UCred>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(peer) => {
                let (pid, uid) = (peer.pid().unwrap_or_default(), peer.uid());
                write!(f, "process {pid} of user {uid}")
            }
            Err(_) => f.write_str("somebody"),
        }
    }
}

/// Why there is no answer of Docker's.
enum Failed {
    Denied(Denied),
    Upstream(UpstreamError),
}

impl From<Refused> for Failed {
    fn from(why: Refused) -> Self {
        Self::Denied(why.into())
    }
}

impl From<Denied> for Failed {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

impl From<UpstreamError> for Failed {
    fn from(why: UpstreamError) -> Self {
        Self::Upstream(why)
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// An answer as Docker words its errors.
fn message(status: StatusCode, text: &str) -> Response<Body> {
    let body = json!({ "message": text }).to_string();
    let mut answer = Response::new(whole(body.into()));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
