//! Docker itself.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::ask::Version;

/// What Docker is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// How.
    pub method: Method,
    /// The path and the parameters, after the version.
    pub target: String,
    /// JSON.
    pub body: Option<Value>,
    /// Whether the connection is another's after the answer (`101 Switching Protocols`), as Docker has it for what containers
    /// print.
    pub is_upgraded: bool,
}

impl Question {
    /// The same with a body.
    pub fn with(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// The same for a connection that is another's afterwards.
    pub fn upgraded(self) -> Self {
        Self {
            is_upgraded: true,
            ..self
        }
    }
}

/// Files that come with a question, as a tar archive.
pub type Files = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What went over it.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// What was to.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
}

/// Where Docker is.
#[derive(Debug)]
pub enum Upstream {
    /// A socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl Upstream {
    /// Reads what [`corefn_engine::docker::Docker::check_url`] takes.
    pub fn read(url: &str) -> Self {
        match url.strip_prefix("unix://") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(url.rsplit('/').next().unwrap_or(url).to_owned()),
        }
    }

    /// Asks, over a connection of its own, which ends with the answer.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn ask(
        &self,
        version: Option<Version>,
        question: Question,
        files: Option<Files>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut sender = match self {
            Self::Unix(path) => open(UnixStream::connect(path).await?).await?,
            Self::Tcp(address) => open(TcpStream::connect(address).await?).await?,
        };
        let prefix = version.map_or_else(String::new, |version| format!("/{version}"));
        let request = Request::builder()
            .method(question.method)
            .uri(format!("{prefix}{}", question.target))
            .header(HOST, "docker");
        let request = match question.is_upgraded {
            false => request,
            true => request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp"),
        };
        let whole = |bytes| Full::new(bytes).map_err(|never| match never {}).boxed();
        let request = match (question.body, files) {
            (None, None) => request.body(whole(Bytes::new())),
            (Some(body), _) => request
                .header(CONTENT_TYPE, "application/json")
                .body(whole(body.to_string().into())),
            (None, Some(files)) => request
                .header(CONTENT_TYPE, "application/x-tar")
                .body(files),
        };
        Ok(sender.send_request(request?).await?)
    }
}

/// Begins to speak. The connection ends when nobody reads the answer any more, or it has ended.
async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Files>, hyper::Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}
