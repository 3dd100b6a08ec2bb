//! A client for HTTP/1.1 that sends paths as they are, and streams both ways.
//!
//! Each request has a connection of its own. For bytes that no client would send there is
//! [`crate::raw`].

use std::fmt;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use corefn_core::names::header;

/// How long a request may take, unless it says otherwise. Longer than any of the router's limits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends requests to one address.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// What went wrong with a request that got no answer, or not a whole one.
#[derive(Debug)]
pub struct ClientError(String);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header's fields.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Stream {
    /// The status.
    pub status: u16,
    /// The header's fields.
    pub headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

/// A request to be sent: await it for the answer.
#[derive(Debug)]
pub struct Request {
    address: SocketAddr,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: BoxBody<Bytes, std::convert::Infallible>,
    patience: Duration,
    connection: Option<TcpStream>,
}

/// A body that is sent piece by piece. Dropping it ends the body.
#[derive(Debug)]
pub struct Upload(Sender<Bytes, std::convert::Infallible>);

impl Client {
    /// A client for an address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it sends to.
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// A GET.
    pub fn get(self, target: &str) -> Request {
        self.request(Method::GET, target)
    }

    /// A POST.
    pub fn post(self, target: &str, body: impl Into<Bytes>) -> Request {
        self.request(Method::POST, target).body(body)
    }

    /// A request. The target is path and query, and is sent as it is.
    pub fn request(self, method: Method, target: &str) -> Request {
        Request {
            address: self.address,
            method,
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: BoxBody::new(Empty::new()),
            patience: PATIENCE,
            connection: None,
        }
    }
}

impl Request {
    /// Adds a field to the header.
    ///
    /// # Panics
    /// When it can't be one.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        let value: HeaderValue = value.parse().expect("a header's value");
        self.headers.append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = BoxBody::new(Full::new(body.into()));
        self
    }

    /// The body is sent piece by piece, chunked.
    #[must_use]
    pub fn upload(mut self) -> (Self, Upload) {
        let (sender, body) = Channel::new(1);
        self.body = BoxBody::new(body);
        (self, Upload(sender))
    }

    /// How long it may take in all.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// It is sent on this connection, which is used for nothing else.
    #[must_use]
    pub fn over(mut self, connection: TcpStream) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Sends it and takes the whole answer.
    ///
    /// # Errors
    /// [`ClientError`] when none comes, it ends too early, or it takes too long.
    pub async fn send(self) -> Result<Answer, ClientError> {
        let what = format!("{} {}", self.method, self.target);
        let patience = self.patience;
        let all = async {
            let mut stream = self.open().await?;
            let body = (&mut stream.body).collect().await;
            let body = body
                .map_err(|error| ClientError(format!("{what}: its answer broke off: {error}")))?;
            Ok(Answer {
                status: stream.status,
                headers: std::mem::take(&mut stream.headers),
                body: body.to_bytes(),
            })
        };
        timeout(patience, all).await.unwrap_or_else(|_| {
            Err(ClientError(format!(
                "{what}: no answer within {patience:?}"
            )))
        })
    }

    /// Sends it and returns when the header of the answer is there. Dropping the stream closes the
    /// connection.
    ///
    /// # Errors
    /// [`ClientError`] when none comes.
    pub async fn open(self) -> Result<Stream, ClientError> {
        let what = format!("{} {}", self.method, self.target);
        let failed = |error: &dyn fmt::Display| ClientError(format!("{what}: {error}"));
        let uri: Uri = self.target.parse().map_err(|error| failed(&error))?;
        let stream = match self.connection {
            Some(stream) => stream,
            None => TcpStream::connect(self.address)
                .await
                .map_err(|error| failed(&error))?,
        };
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // What goes wrong shows in the answer.
            let _ = connection.await;
        });
        let mut request = hyper::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let host =
            HeaderValue::try_from(self.address.to_string()).map_err(|error| failed(&error))?;
        request.headers_mut().entry(HOST).or_insert(host);
        let answer = timeout(self.patience, sender.send_request(request)).await;
        let answer = answer
            .map_err(|_| failed(&format!("no answer within {:?}", self.patience)))?
            .map_err(|error| failed(&error))?;
        let (parts, body) = answer.into_parts();
        Ok(Stream {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            _connection: task,
        })
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// The answer; no answer is a panic.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.send().await.unwrap_or_else(|error| panic!("{error}")) })
    }
}

impl Upload {
    /// Sends a piece.
    ///
    /// # Errors
    /// [`ClientError`] when the request has ended.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), ClientError> {
        let sent = self.0.send_data(piece.into()).await;
        sent.map_err(|_| ClientError("the request ended before its body".to_owned()))
    }
}

impl Stream {
    /// The next piece of the body, as it came; none at its end.
    ///
    /// # Errors
    /// [`ClientError`] when it breaks off, or nothing comes for a minute.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError(format!("nothing came for {PATIENCE:?}")))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(ClientError(format!("the answer broke off: {error}")));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

impl Answer {
    /// The status, and the code of an error of the platform.
    pub fn said(&self) -> (u16, Option<&str>) {
        (self.status, self.error())
    }

    /// The code of an error of the platform; none if the function has answered.
    pub fn error(&self) -> Option<&str> {
        self.header(header::ERROR)
    }

    /// A field of the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All fields of the header with a name, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClientError {}
