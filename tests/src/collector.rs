//! A collector of spans: what was sent to it is kept.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A collector, on a port of its own.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Value>>>,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Takes spans from here on.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a port left");
        let address = listener.local_addr().expect("it listens");
        let spans = Arc::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&spans)));
        Self {
            address,
            spans,
            _serving: serving,
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of a name that were sent, each with the `service` that has sent it.
    pub fn named(&self, name: &str) -> Vec<Value> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let named = spans.iter().filter(|span| span["name"] == name);
        named.cloned().collect()
    }

    /// Those that are parts of another.
    pub fn parts_of(&self, whole: &Value) -> Vec<Value> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = spans.iter().filter(|span| {
            span["parentSpanId"] == whole["spanId"] && span["traceId"] == whole["traceId"]
        });
        parts.cloned().collect()
    }
}

/// An attribute of a span.
pub fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array()?;
    let found = attributes.iter().find(|it| it["key"] == key)?;
    found["value"]["stringValue"].as_str()
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<Value>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let taken = take(stream).await;
        let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.extend(taken.into_iter().flatten());
    }
}

/// Takes one request; nothing if it is none that a collector takes.
async fn take(mut stream: TcpStream) -> Option<Vec<Value>> {
    let mut bytes = Vec::new();
    let (begin, length) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(begin) = request.parse(&bytes).ok()? else {
            continue;
        };
        assert_eq!(
            (request.method, request.path),
            (Some("POST"), Some("/v1/traces"))
        );
        let value = |name: &str| {
            let mut headers = request.headers.iter();
            let found = headers.find(|it| it.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(found.value).ok()
        };
        assert_eq!(value("content-type"), Some("application/json"));
        break (begin, value("content-length")?.parse::<usize>().ok()?);
    };
    while bytes.len() < begin + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let sent: Value = serde_json::from_slice(&bytes[begin..]).ok()?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(answer.as_bytes()).await.ok()?;
    let resource = &sent["resourceSpans"][0];
    let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
    let spans = resource["scopeSpans"][0]["spans"].as_array()?.clone();
    let with_service = spans.into_iter().map(|mut span| {
        span["service"] = service.clone();
        span
    });
    Some(with_service.collect())
}
