//! Docker itself.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
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
}

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
        let request = match question.body {
            None => request.body(Full::default()),
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body.to_string()))),
        };
        Ok(sender.send_request(request?).await?)
    }
}

/// Begins to speak. The connection ends when nobody reads the answer any more, or it has ended.
async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, hyper::Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
