//! Sends spans to a collector of OpenTelemetry, over HTTP.
//!
//! Nothing goes by it, and nobody waits for it but who asks for that ([`Spans::flush`]): what a collector does not take in time is
//! dropped, and that is logged once in a while.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use corefn_core::throttle::may_log;
use corefn_core::trace::{PATH, Parent, Span, export};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::clock;

/// How many spans wait at most to be sent.
const MOST: usize = 2048;

/// How long spans are gathered.
const GATHER: Duration = Duration::from_millis(500);

/// How many are sent at once at most.
const AT_ONCE: usize = 512;

/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where spans go. Clones share the way there.
#[derive(Debug, Clone)]
pub struct Spans(mpsc::Sender<Sent>);

#[derive(Debug)]
enum Sent {
    Spans(Vec<Span>),
    /// Whoever has sent this waits until all before it is sent.
    All(oneshot::Sender<()>),
}

impl Spans {
    /// To the collector at `http://host[:port][/path]`, as of a service. It must be within a runtime.
    ///
    /// # Errors
    /// Why that is no such address.
    pub fn new(url: &str, service: &'static str) -> Result<Self, String> {
        let target = Target::read(url)?;
        let (sender, receiver) = mpsc::channel(MOST);
        tokio::spawn(send_all(target, service, receiver));
        Ok(Self(sender))
    }

    /// Whether an address is one of a collector.
    ///
    /// # Errors
    /// Why not.
    pub fn check_url(url: &str) -> Result<(), String> {
        Target::read(url).map(drop)
    }

    /// Sends spans, if there is room for them.
    pub fn send(&self, spans: Vec<Span>) {
        let _ = self.0.try_send(Sent::Spans(spans));
    }

    /// Waits until all are sent that were given before, and no longer than a collector may take.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.send(Sent::All(done)).await.is_ok() {
            let _ = tokio::time::timeout(PATIENCE, is_done).await;
        }
    }
}

/// A span's own identifier, and one of a trace that begins with it.
pub fn random_ids() -> ([u8; 8], [u8; 16]) {
    let mut bytes = [0; 24];
    // (Without random numbers there is no instance either; spans get what can't be mistaken for an identifier.)
    let _ = getrandom::fill(&mut bytes);
    let (id, trace) = bytes.split_at(8);
    (
        id.try_into().unwrap_or_default(),
        trace.try_into().unwrap_or_default(),
    )
}

/// Spans of one thing, the first of which has the others in it.
pub struct Whole {
    parent: Parent,
    id: [u8; 8],
    begin: SystemTime,
    parts: Vec<Span>,
}

impl Whole {
    /// It begins now, as part of something else if that is known.
    pub fn begin(parent: Option<Parent>) -> Self {
        let (id, trace) = random_ids();
        Self {
            parent: parent.unwrap_or(Parent {
                trace,
                span: None,
                is_recorded: true,
            }),
            id,
            begin: SystemTime::now(),
            parts: Vec::new(),
        }
    }

    /// A part of it.
    pub fn add(
        &mut self,
        name: &'static str,
        begin: SystemTime,
        took: Duration,
        attributes: Vec<(&'static str, String)>,
    ) {
        self.parts.push(Span {
            parent: Parent {
                span: Some(self.id),
                ..self.parent
            },
            id: random_ids().0,
            name,
            begin,
            took,
            attributes,
            error: None,
        });
    }

    /// It has ended now.
    pub fn end(
        self,
        name: &'static str,
        attributes: Vec<(&'static str, String)>,
        error: Option<String>,
    ) -> Vec<Span> {
        let mut all = vec![Span {
            parent: self.parent,
            id: self.id,
            name,
            begin: self.begin,
            took: self.begin.elapsed().unwrap_or_default(),
            attributes,
            error,
        }];
        all.extend(self.parts);
        all
    }
}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// As a connection is opened to it.
    address: String,
    /// As a request names it.
    host: String,
    path: String,
}

impl Target {
    fn read(url: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{url:?} is no address of a collector of OpenTelemetry: write http://host:port, such as http://127.0.0.1:4318"
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.filter(|it| !it.as_str().contains('@') && uri.query().is_none());
        let authority = authority.ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(80);
        // (A collector's base address; with a path of its own, that is where it takes spans.)
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        Ok(Self {
            address: format!("{}:{port}", authority.host()),
            host: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    async fn post(&self, body: String) -> Result<(), String> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&self.path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            Ok::<_, hyper::Error>(status)
        };
        let status = answer.await.map_err(|error| error.to_string());
        connection.abort();
        match status? {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }
}

/// Sends whatever comes, until nobody sends any more.
async fn send_all(target: Target, service: &'static str, mut receiver: mpsc::Receiver<Sent>) {
    let logged = AtomicU64::new(0);
    while let Some(first) = receiver.recv().await {
        let mut spans = Vec::new();
        let mut waits = Vec::new();
        let mut take = |sent| match sent {
            Sent::Spans(some) => {
                spans.extend(some);
                spans.len() < AT_ONCE
            }
            Sent::All(done) => {
                waits.push(done);
                false
            }
        };
        if take(first) {
            let gather = async {
                while let Some(sent) = receiver.recv().await
                    && take(sent)
                {}
            };
            let _ = tokio::time::timeout(GATHER, gather).await;
        }
        if !spans.is_empty() {
            let sent = tokio::time::timeout(PATIENCE, target.post(export(service, &spans)));
            let sent = sent.await;
            let sent =
                sent.unwrap_or_else(|_| Err(format!("it does not answer within {PATIENCE:?}")));
            if let Err(error) = sent
                && may_log(&logged, clock::now())
            {
                let (count, address) = (spans.len(), &target.address);
                warn!("{count} spans are lost: the collector at {address} takes none: {error}");
            }
        }
        for done in waits {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_collectors() {
        for (url, address, host, path) in [
            ("http://h", "h:80", "h", "/v1/traces"),
            ("http://h:4318/", "h:4318", "h:4318", "/v1/traces"),
            ("http://[::1]:4318/x/y", "[::1]:4318", "[::1]:4318", "/x/y"),
        ] {
            let target = Target {
                address: address.to_owned(),
                host: host.to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(Target::read(url), Ok(target), "{url}");
        }
        for url in [
            "",
            "h:4318",
            "https://h",
            "http://",
            "http://a@h",
            "http://h?x",
        ] {
            let error = Spans::check_url(url).unwrap_err();
            assert!(error.contains("http://host:port"), "{error}");
        }
    }

    #[test]
    fn parts_are_in_their_whole() {
        let parent = Parent {
            trace: [7; 16],
            span: Some([8; 8]),
            is_recorded: true,
        };
        let mut whole = Whole::begin(Some(parent));
        whole.add("part", SystemTime::now(), Duration::ZERO, Vec::new());
        let all = whole.end("whole", Vec::new(), None);
        assert_eq!((all[0].name, all[0].parent), ("whole", parent));
        assert_eq!(all[1].parent.span, Some(all[0].id));
        assert_eq!(all[1].parent.trace, [7; 16]);
        let alone = Whole::begin(None).end("whole", Vec::new(), None);
        assert_eq!(alone[0].parent.span, None);
        assert_ne!(alone[0].parent.trace, [0; 16]);
    }
}
