//! Requests byte by byte, for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answer, Client};

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which the test writes and reads what it likes.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Opens a connection.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(self) -> Connection {
        Connection::open(self.address()).await
    }

    /// Opens a connection that is upgraded: the probe sends back what it gets.
    ///
    /// # Panics
    /// When it isn't upgraded.
    pub async fn websocket(self, target: &str) -> Connection {
        let mut connection = self.connect().await;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        );
        connection.write(request).await;
        assert_eq!(connection.head().await.status, 101);
        connection
    }

    /// Sends bytes on a connection of their own and reads the answer to its end.
    ///
    /// # Panics
    /// When none comes.
    pub async fn raw(self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect().await;
        connection.write(bytes).await;
        connection.answer().await
    }

    /// A GET of a target that may be any bytes.
    pub async fn raw_get(self, target: impl AsRef<[u8]>) -> Answer {
        let mut bytes = b"GET ".to_vec();
        bytes.extend_from_slice(target.as_ref());
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.raw(bytes).await
    }
}

impl Connection {
    /// Opens one.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("TCP_NODELAY is known");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// When the other side is gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the other side reads");
    }

    /// Reads exactly as many bytes.
    ///
    /// # Panics
    /// When they don't come.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(
                self.fill().await,
                "the connection ended after {:?}",
                self.read
            );
        }
        self.read.drain(..count).collect()
    }

    /// Whether the other side has closed it and everything is read.
    pub async fn is_at_end(&mut self) -> bool {
        self.read.is_empty() && !self.fill().await
    }

    /// Reads the header of an answer, which is all of one to an upgrade, or to `HEAD`.
    ///
    /// # Panics
    /// When none comes.
    pub async fn head(&mut self) -> Answer {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return parse(&head);
            }
            let all = String::from_utf8_lossy(&self.read).into_owned();
            assert!(self.fill().await, "no answer, only {all:?}");
        }
    }

    /// Reads an answer with its body.
    ///
    /// # Panics
    /// When none comes, or it breaks off.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length = answer
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        answer.body = match length {
            Some(length) => self.read(length).await.into(),
            None if chunked => self.chunks().await,
            None => {
                while self.fill().await {}
                std::mem::take(&mut self.read).into()
            }
        };
        answer
    }

    async fn chunks(&mut self) -> Bytes {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match find(&self.read, b"\r\n") {
                    Some(end) => break self.read(end + 2).await,
                    None => assert!(self.fill().await, "the connection ended within a chunk"),
                }
            };
            let size = std::str::from_utf8(&line).expect("a chunk's size").trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            body.extend(self.read(size).await);
            self.read(2).await;
            if size == 0 {
                return body.into();
            }
        }
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let count = timeout(PATIENCE, self.stream.read(&mut buffer))
            .await
            .unwrap_or_else(|_| panic!("nothing came for {PATIENCE:?}"))
            // A reset is an end too.
            .unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

fn parse(head: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(head);
    assert!(
        parsed.is_ok_and(|status| status.is_complete()),
        "no answer of HTTP: {:?}",
        String::from_utf8_lossy(head)
    );
    let mut headers = HeaderMap::new();
    for field in answer.headers.iter() {
        let name: HeaderName = field.name.parse().expect("a header's name");
        let value = HeaderValue::from_bytes(field.value).expect("a header's value");
        headers.append(name, value);
    }
    Answer {
        status: answer.code.unwrap_or_default(),
        headers,
        body: Bytes::new(),
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
