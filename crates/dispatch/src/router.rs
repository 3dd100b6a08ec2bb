//! Requests to nginx.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use corefn_core::error::ErrorCode;
use corefn_core::function::FunctionName;
use corefn_core::names::header;
use corefn_core::outcome::Outcome;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

/// How long nginx may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a call may take, its answer's body included. (nginx itself waits for an hour until an answer begins.)
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A call of a function.
#[derive(Debug)]
pub struct Call {
    /// Which function.
    pub function: FunctionName,
    /// By which method.
    pub method: Method,
    /// By which path and query, behind its own path.
    pub target: String,
    /// With which header, without the host.
    pub headers: HeaderMap,
    /// With which body.
    pub body: Body,
}

/// Where nginx answers.
#[derive(Debug)]
pub struct Router {
    /// Host and port, to connect to.
    at: String,
    /// What requests name as the host.
    host: String,
    /// What comes before a function's path, without a slash at its end.
    prefix: String,
}

/// Why nginx can't be asked where the settings say it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not where functions can be called: set router in host.toml to where nginx answers on this host, such as \
     http://127.0.0.1:8080"
)]
pub struct RouterError(String);

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The function may have seen it.
    Ended(Outcome),
    /// The function has surely not seen it, so that it may be made again.
    Refused(Outcome),
}

impl Router {
    /// One at an `http` URL.
    ///
    /// # Errors
    /// [`RouterError`] if it is none, or one with a user, a query or a fragment.
    pub fn new(text: &str) -> Result<Self, RouterError> {
        Self::read(text).ok_or_else(|| RouterError(text.to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let host = url.host_str().filter(|_| url.scheme() == "http")?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username() == "";
        is_plain.then(|| Self {
            at: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)),
            host: match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Calls a function.
    pub async fn call(&self, call: Call) -> Asked {
        let asked = timeout(LONGEST, self.ask(call)).await;
        asked.unwrap_or_else(|_| {
            let why = format!("no end after {} h", LONGEST.as_secs() / 3600);
            Asked::Ended(Outcome::Failed { why })
        })
    }

    async fn ask(&self, call: Call) -> Asked {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(why) => {
                let why = format!("no connection to {}: {why}", self.at);
                return Asked::Refused(Outcome::Failed { why });
            }
        };
        let answered = async {
            let request = self.request(call)?;
            let answer = connection.send.send_request(request).await;
            answer.map_err(|why| format!("no answer: {why}"))
        };
        let answer = match answered.await {
            Ok(answer) => answer,
            Err(why) => return Asked::Ended(Outcome::Failed { why }),
        };
        let status = answer.status();
        let error = answer.headers().get(header::ERROR).cloned();
        // A function whose answer nobody reads to its end may not get to its own.
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            if let Err(why) = frame {
                let why = format!("{}, and broken off: {why}", status.as_u16());
                return Asked::Ended(Outcome::Failed { why });
            }
        }
        said(status, error.as_ref().and_then(|error| error.to_str().ok()))
    }

    fn request(&self, call: Call) -> Result<Request<Body>, String> {
        let Call {
            function,
            method,
            target,
            mut headers,
            body,
        } = call;
        let uri: Result<Uri, _> = format!("{}/{function}{target}", self.prefix).parse();
        let uri = uri.map_err(|why| format!("{target:?} can't be asked for: {why}"))?;
        let host = HeaderValue::from_str(&self.host).map_err(|why| why.to_string())?;
        headers.insert(HOST, host);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let connecting = async {
            let stream = TcpStream::connect(&self.at).await;
            let io = TokioIo::new(stream.map_err(|why| why.to_string())?);
            let (send, connection) = handshake(io).await.map_err(|why| why.to_string())?;
            // (What goes wrong with it, the request tells.)
            let task = tokio::spawn(async move {
                let _ = connection.await;
            });
            Ok(Connection { send, task })
        };
        let connected = timeout(CONNECT, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("none after {} s", CONNECT.as_secs())))
    }
}

/// A connection, which is closed with it.
struct Connection {
    send: SendRequest<Body>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an answer says, which may carry a code of the platform's.
fn said(status: StatusCode, error: Option<&str>) -> Asked {
    let outcome = Outcome::Answered {
        status: status.as_u16(),
        error: error.map(ToOwned::to_owned),
    };
    let mut codes = ErrorCode::ALL.into_iter();
    let code = codes.find(|code| Some(code.as_str()) == error);
    // (These are all from before a function has the request.)
    match code.and_then(ErrorCode::retry_after) {
        Some(_) => Asked::Refused(outcome),
        None => Asked::Ended(outcome),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::header::USER_AGENT;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn where_nginx_answers() {
        for (text, at, host, prefix) in [
            (
                "http://127.0.0.1:8080",
                "127.0.0.1:8080",
                "127.0.0.1:8080",
                "",
            ),
            ("http://example.com/", "example.com:80", "example.com", ""),
            ("http://h:81/functions/", "h:81", "h:81", "/functions"),
            ("http://[::1]:81", "[::1]:81", "[::1]:81", ""),
        ] {
            let router = Router::new(text).unwrap();
            let Router {
                at: to,
                host: name,
                prefix: before,
            } = &router;
            assert_eq!((&**to, &**name, &**before), (at, host, prefix));
        }
        for bad in [
            "",
            "127.0.0.1:8080",
            "https://h",
            "unix:///x",
            "http://h/?a",
            "http://u@h/",
        ] {
            let error = Router::new(bad).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{bad:?} is not where")),
                "{error}"
            );
        }
    }

    /// A server that gives one answer, and then what it was asked.
    async fn server(answer: String) -> (Router, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let router = Router::new(&format!("http://{}/f", listener.local_addr().unwrap())).unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                text.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(text).unwrap()
        });
        (router, asked)
    }

    fn call() -> Call {
        Call {
            function: "demo/hello".parse().unwrap(),
            method: Method::POST,
            target: "/tick?a".to_owned(),
            headers: [(USER_AGENT, HeaderValue::from_static("x"))]
                .into_iter()
                .collect(),
            body: Full::from("sent")
                .map_err(|never| match never {})
                .boxed_unsync(),
        }
    }

    #[tokio::test]
    async fn what_is_asked_and_answered() {
        let answered = |status, error: Option<&str>| Outcome::Answered {
            status,
            error: error.map(ToOwned::to_owned),
        };
        let refused = |status: u16, code: &str| {
            let name = header::ERROR;
            format!("HTTP/1.1 {status} x\r\n{name}: {code}\r\nContent-Length: 0\r\n\r\n")
        };
        for (answer, want) in [
            (
                "HTTP/1.1 204 x\r\n\r\n".to_owned(),
                Asked::Ended(answered(204, None)),
            ),
            (
                refused(503, "queue-full"),
                Asked::Refused(answered(503, Some("queue-full"))),
            ),
            (
                refused(502, "function-died"),
                Asked::Ended(answered(502, Some("function-died"))),
            ),
            (
                "HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\nno".to_owned(),
                Asked::Ended(answered(503, None)),
            ),
        ] {
            let (router, asked) = server(answer).await;
            assert_eq!(router.call(call()).await, want);
            let asked = asked.await.unwrap();
            let first = "POST /f/demo/hello/tick?a HTTP/1.1\r\n";
            assert!(asked.starts_with(first), "{asked}");
            let asked = asked.to_lowercase();
            assert!(asked.contains("\r\nuser-agent: x\r\n"), "{asked}");
            assert!(asked.contains("\r\ncontent-length: 4\r\n"), "{asked}");
            assert!(asked.contains("\r\nhost: 127.0.0.1:"), "{asked}");
        }
    }

    #[tokio::test]
    async fn answers_that_break_off() {
        let half = "HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nno";
        for (answer, says) in [("", "no answer: "), (half, "200, and broken off: ")] {
            let (router, _asked) = server(answer.to_owned()).await;
            let Asked::Ended(Outcome::Failed { why }) = router.call(call()).await else {
                panic!("it was broken off: {answer:?}");
            };
            assert!(why.starts_with(says), "{why}");
        }
        // Nobody listens at a port that was just given back.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let router = Router::new(&format!("http://{at}")).unwrap();
        let Asked::Refused(Outcome::Failed { why }) = router.call(call()).await else {
            panic!("nobody listens there");
        };
        assert!(
            why.starts_with(&format!("no connection to {at}: ")),
            "{why}"
        );
    }
}
