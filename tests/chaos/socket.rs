//! A websocket as far as nginx is concerned: a connection that is upgraded and echoes.

use std::time::{Duration, Instant};

use corefn_core::names::header;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ask::{Ask, INSTANCE, Sender};
use crate::history::{Outcome, Record};

const PATIENCE: Duration = Duration::from_secs(45);

/// How long the echo of a word may take.
const ECHO: Duration = Duration::from_secs(20);

impl Sender {
    /// Upgrades a connection and has words echoed, with pauses between them.
    pub async fn talk(&self, function: &str, words: u32, pause: Duration) {
        let Some(mut connection) = self.connect().await else {
            return;
        };
        let ask = Ask::get("websockets", function, "/socket", "");
        let mut record = ask.record(&connection);
        record.outcome = match upgrade(&mut connection, &ask, &mut record).await {
            Ok(()) => match echo(&mut connection, words, pause).await {
                Ok(()) => Outcome::Answered,
                Err(text) => Outcome::Broken(text),
            },
            Err(outcome) => outcome,
        };
        record.end = Instant::now();
        self.recorder.history().records.push(record);
    }
}

/// Asks for the upgrade; an error is how the request ended instead.
async fn upgrade(
    connection: &mut TcpStream,
    ask: &Ask,
    record: &mut Record,
) -> Result<(), Outcome> {
    let request = format!(
        "GET /{}{} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        ask.function, ask.path
    );
    let broken = |text: String| Outcome::Broken(text);
    let sent = connection.write_all(request.as_bytes()).await;
    sent.map_err(|error| broken(format!("the upgrade: {error}")))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = timeout(PATIENCE, connection.read_u8()).await;
        let read = read.map_err(|_| broken(format!("no upgrade within {PATIENCE:?}")))?;
        head.push(read.map_err(|error| broken(format!("the upgrade: {error}")))?);
    }
    record.header = Some(Instant::now());
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(&head);
    parsed.map_err(|error| broken(format!("the upgrade's answer: {error}")))?;
    let field = |name: &str| {
        let found = answer.headers.iter();
        let mut found = found.filter(|field| field.name.eq_ignore_ascii_case(name));
        let value = String::from_utf8_lossy(found.next()?.value).into_owned();
        (!value.is_empty()).then_some(value)
    };
    record.instance = field(INSTANCE);
    match answer.code.unwrap_or_default() {
        101 => Ok(()),
        status => Err(Outcome::Refused(status, field(header::ERROR))),
    }
}

async fn echo(connection: &mut TcpStream, words: u32, pause: Duration) -> Result<(), String> {
    for number in 0..words {
        let word = format!("word {number:08}");
        let mut echo = vec![0; word.len()];
        let both = async {
            connection.write_all(word.as_bytes()).await?;
            connection.read_exact(&mut echo).await
        };
        let echoed = timeout(ECHO, both).await;
        echoed
            .map_err(|_| format!("no echo of word {number} within {ECHO:?}"))?
            .map_err(|error| format!("word {number}: {error}"))?;
        if echo != word.as_bytes() {
            return Err(format!("word {number} came back as other bytes"));
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
