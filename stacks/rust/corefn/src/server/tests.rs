//! The server over real connections, with functions that carry the attribute.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

// A name as the expansion might use it itself.
#[derive(Serialize, Deserialize)]
struct Input {
    a: i64,
    b: i64,
}

#[corefn::function]
fn hello_world() -> &'static str {
    "Hello world!"
}

#[corefn::function]
fn shout(text: String) -> String {
    text.to_uppercase()
}

#[corefn::function(name = "Example.Trim")]
fn trim(text: &str) -> &str {
    text.trim()
}

#[corefn::function]
async fn later(text: &str) -> Result<String, io::Error> {
    tokio::time::sleep(Duration::from_millis(text.len() as u64)).await;
    Ok(format!("{} ms", text.len()))
}

#[corefn::function]
fn swap(Input { a, b }: Input) -> Input {
    Input { a: b, b: a }
}

#[corefn::function]
fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

#[corefn::function]
fn count(words: Vec<String>) -> BTreeMap<String, usize> {
    words
        .into_iter()
        .map(|word| (word.clone(), word.len()))
        .collect()
}

#[corefn::function]
fn nothing() {}

#[corefn::function]
fn panics() {
    panic!("a secret");
}

#[corefn::function]
async fn panics_later() {
    panic!("a secret");
}

#[corefn::function]
fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// A server in this process, until it is stopped.
struct Server {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let exports = Exports::collect().unwrap();
        let stopped = async { stopped.await.unwrap() };
        let served = tokio::spawn(serve(Listener::Port(listener), exports, stopped));
        Self {
            address,
            stop,
            served,
        }
    }

    /// Sends a whole request on a connection of its own; the whole response.
    async fn send(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Calls an export; the status and the body.
    async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let body = body.as_ref();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        split(&self.send([head.as_bytes(), body].concat()).await)
    }

    async fn get(&self, method: &str, path: &str) -> String {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ))
        .await
    }
}

fn split(response: &str) -> (u16, String) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.into())
}

fn test(run: impl AsyncFnOnce(Server)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { run(Server::start().await).await });
}

#[test]
fn arguments_and_answers() {
    test(async |server| {
        for (path, body, answer) in [
            ("/HelloWorld", "whatever", "Hello world!"),
            ("/Shout", "größe", "GRÖSSE"),
            ("/Shout?text=other", "query", "QUERY"),
            ("/Example.Trim", " a ", "a"),
            ("/Later", "12345", "5 ms"),
            ("/Swap", r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#),
            ("/Parse", "18", "18"),
            ("/Count", r#"["a","bc"]"#, r#"{"a":1,"bc":2}"#),
        ] {
            assert_eq!(
                server.post(path, body).await,
                (200, answer.into()),
                "{path}"
            );
        }
        assert_eq!(server.post("/Nothing", "").await, (204, String::new()));
    });
}

#[test]
fn content_types() {
    test(async |server| {
        let response = server.get("GET", "/HelloWorld").await;
        assert!(
            response.contains("content-type: text/plain; charset=utf-8\r\n"),
            "{response}"
        );
        let response = server.get("GET", "/Nothing").await;
        assert!(!response.contains("content-type"), "{response}");
        let (_, body) = split(&server.get("GET", "/Swap").await);
        assert!(body.contains("EOF while parsing"), "{body}");
        let request =
            "GET /Count HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";
        let response = server.send(request).await;
        assert!(
            response.contains("content-type: application/json\r\n"),
            "{response}"
        );
    });
}

#[test]
fn errors() {
    test(async |server| {
        let (status, text) = server.post("/Swap", r#"{"a":1}"#).await;
        assert_eq!(status, 400);
        assert!(
            text.contains("missing field `b` at line 1 column 7"),
            "{text}"
        );
        assert_eq!(server.post("/Shout", b"\xff").await.0, 400);
        let failure = (500, "invalid digit found in string".into());
        assert_eq!(server.post("/Parse", "x").await, failure);
        for path in ["/", "/shout", "/Shout/", "/%53hout", "/Trim"] {
            let (status, text) = server.post(path, "").await;
            assert_eq!((status, text.contains("Shout")), (404, false), "{path}");
        }
    });
}

#[test]
fn a_panic_ends_nothing_else() {
    test(async |server| {
        for path in ["/Panics", "/PanicsLater"] {
            let panicked = (500, "The function panicked.".into());
            assert_eq!(server.post(path, "").await, panicked);
        }
        assert_eq!(server.post("/HelloWorld", "").await.0, 200);
    });
}

#[test]
fn methods() {
    test(async |server| {
        let (status, body) = split(&server.get("GET", "/HelloWorld").await);
        assert_eq!((status, body.as_str()), (200, "Hello world!"));
        let response = server.get("HEAD", "/HelloWorld").await;
        assert!(response.contains("content-length: 12\r\n"), "{response}");
        assert_eq!(split(&response), (200, String::new()));
        for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
            let response = server.get(method, "/HelloWorld").await;
            assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
            assert!(
                response.contains("allow: GET, HEAD, POST\r\n"),
                "{response}"
            );
        }
    });
}

#[test]
fn large_bodies() {
    test(async |server| {
        // Refused by what it announces, before a byte of it has come.
        let length = BODY_LIMIT + 1;
        let request =
            format!("POST /Shout HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        assert!(server.send(request).await.starts_with("HTTP/1.1 413 "));
        let body = "a".repeat(1 << 20);
        let (status, answer) = server.post("/Shout", &body).await;
        assert_eq!((status, answer.len()), (200, body.len()));
    });
}

#[test]
fn chunked_bodies_are_measured_as_they_come() {
    test(async |_| {
        let body = Chunks(BODY_LIMIT / (1 << 20) + 1);
        assert_eq!(read(body).await.unwrap_err().status, 413);
        let body = Chunks(2);
        assert_eq!(read(body).await.unwrap().len(), 2 << 20);
    });
}

/// So many megabytes, each a chunk.
struct Chunks(usize);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 1 << 20] = [0; 1 << 20];
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        Poll::Ready(left.map(|_| Ok(hyper::body::Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

#[test]
fn a_slow_call_holds_no_other() {
    test(async |server| {
        let begun = Instant::now();
        let slow = server.post("/Sleep", "500");
        let quick = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let answer = server.post("/HelloWorld", "").await;
            (answer.0, begun.elapsed() < Duration::from_millis(400))
        };
        let quick = pin!(quick);
        let mut slow = pin!(slow);
        assert_eq!(quick.await, (200, true));
        assert_eq!(poll_fn(|context| slow.as_mut().poll(context)).await.0, 204);
    });
}

#[test]
fn connections_are_kept() {
    test(async |server| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        for _ in 0..3 {
            let request = "GET /HelloWorld HTTP/1.1\r\nHost: test\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut buffer = vec![0; 1024];
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..length].ends_with(b"Hello world!"));
        }
    });
}

#[test]
fn stopping_finishes_what_is_under_way() {
    test(async |server| {
        let idle = TcpStream::connect(server.address).await.unwrap();
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        let request = "POST /Sleep HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n300";
        busy.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.stop.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(server.address).await.is_err());
        let mut response = String::new();
        busy.read_to_string(&mut response).await.unwrap();
        assert_eq!(split(&response).0, 204);
        tokio::time::timeout(Duration::from_secs(2), server.served)
            .await
            .unwrap()
            .unwrap();
        drop(idle);
    });
}
