//! One request, and what is recorded of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corefn_core::names::header;
use corefn_tests::Client;
use corefn_tests::client::{Request, Stream};
use tokio::net::TcpStream;

use crate::history::{Outcome, Record, Recorder};

/// How long a client waits: longer than `corefn_start_timeout`.
const PATIENCE: Duration = Duration::from_secs(45);

/// The header that names the instance, which the run's nginx adds to every answer.
pub const INSTANCE: &str = "X-Instance";

/// A request that is to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its line of the table.
    pub kind: &'static str,
    /// The function.
    pub function: String,
    /// What it is asked for, with a slash before it.
    pub path: String,
    /// What a POST brings, in pieces with pauses between them; a GET has none.
    pub body: Option<(Vec<Bytes>, Duration)>,
    /// The status that the function answers with.
    pub status: u16,
    /// The body that it answers with.
    pub answer: Body,
    /// How long the function is to take until it answers.
    pub work: Duration,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub enum Body {
    /// These bytes.
    Bytes(Bytes),
    /// What `/together` of the probe says: at most so many were there at once.
    Together(u64),
}

/// What sends requests.
#[derive(Debug, Clone)]
pub struct Sender {
    /// To nginx.
    pub client: Client,
    /// And notes how they went.
    pub recorder: Arc<Recorder>,
}

impl Ask {
    /// A GET that is answered with these bytes.
    pub fn get(kind: &'static str, function: &str, path: &str, answer: impl Into<Bytes>) -> Self {
        Self {
            kind,
            function: function.to_owned(),
            path: path.to_owned(),
            body: None,
            status: 200,
            answer: Body::Bytes(answer.into()),
            work: Duration::ZERO,
        }
    }

    /// The request's record, all but how it went.
    pub fn record(&self, connection: &TcpStream) -> Record {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let now = Instant::now();
        Record {
            kind: self.kind,
            what: format!("{method} /{}{}", self.function, self.path),
            function: self.function.clone(),
            repeatable: self.body.is_none(),
            port: connection.local_addr().map_or(0, |address| address.port()),
            begin: now,
            header: None,
            end: now,
            instance: None,
            work: self.work,
            outcome: Outcome::Answered,
        }
    }
}

impl Sender {
    /// Sends a request and notes how it went; returns whether it was answered.
    pub async fn send(&self, ask: Ask) -> bool {
        let Some(connection) = self.connect().await else {
            return false;
        };
        self.send_over(connection, ask).await
    }

    /// Opens a connection. nginx's master listens as long as the run lasts.
    pub async fn connect(&self) -> Option<TcpStream> {
        let connection = TcpStream::connect(self.client.address()).await;
        let failed = |error| {
            self.recorder
                .complain(format!("nginx can't be connected to: {error}"))
        };
        connection.map_err(failed).ok()
    }

    /// The same on a connection that is there.
    pub async fn send_over(&self, connection: TcpStream, ask: Ask) -> bool {
        let mut record = ask.record(&connection);
        let target = format!("/{}{}", ask.function, ask.path);
        let request = match &ask.body {
            None => self.client.get(&target),
            Some(_) => self.client.post(&target, Bytes::new()),
        };
        let mut request = request.over(connection).patience(PATIENCE);
        let mut uploading = None;
        if let Some((pieces, pause)) = ask.body.clone() {
            let (streamed, mut upload) = request.upload();
            request = streamed;
            uploading = Some(tokio::spawn(async move {
                for piece in pieces {
                    if upload.send(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }));
        }
        record.outcome = outcome(request, &ask, &mut record).await;
        record.end = Instant::now();
        if let Some(uploading) = uploading {
            uploading.abort();
        }
        let answered = record.outcome == Outcome::Answered;
        self.recorder.history().records.push(record);
        answered
    }
}

async fn outcome(request: Request, ask: &Ask, record: &mut Record) -> Outcome {
    let mut stream = match request.open().await {
        Ok(stream) => stream,
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    record.header = Some(Instant::now());
    let field = |name: &str| {
        let value = stream.headers.get(name)?.to_str().ok()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    record.instance = field(INSTANCE);
    let (status, code) = (stream.status, field(header::ERROR));
    let body = match body(&mut stream).await {
        Ok(body) => body,
        Err(text) => return Outcome::Broken(text),
    };
    if status != ask.status || code.is_some() {
        return Outcome::Refused(status, code);
    }
    match &ask.answer {
        Body::Bytes(bytes) if body == *bytes => Outcome::Answered,
        Body::Bytes(bytes) => Outcome::Wrong(format!(
            "{} other bytes than the {} of the function",
            body.len(),
            bytes.len()
        )),
        Body::Together(bound) => {
            let seen: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            match seen["most"].as_u64() {
                Some(most) if most <= *bound => Outcome::Answered,
                most => Outcome::Wrong(format!("{most:?} requests at once, and not {bound}")),
            }
        }
    }
}

async fn body(stream: &mut Stream) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await.map_err(|error| error.to_string())? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
