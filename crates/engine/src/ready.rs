//! When an instance is ready: it accepts a connection where it listens, and its health path answers where one is set.

use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use corefn_core::instance::Address;

use crate::pauses::Pauses;

/// A connection that isn't accepted or refused by now met no one: the next attempt may.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the kernel may take to close what a killed process listens on, once its connections are closed: far less,
/// unless others have all processors.
const RESET_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a health path may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until the instance at `address` is ready; never ends if it never is.
pub async fn ready(address: &Address, health: Option<&str>) {
    ready_after(Pauses::of_probes(), address, health).await;
}

/// The same, with pauses between two looks of the caller's choice.
pub async fn ready_after(mut pauses: Pauses, address: &Address, health: Option<&str>) {
    loop {
        let ready = match health {
            None => connect(address).await.is_some(),
            Some(path) => timeout(HEALTH_TIMEOUT, is_healthy(address, path))
                .await
                .unwrap_or(false),
        };
        if ready {
            return;
        }
        sleep(pauses.grow()).await;
    }
}

/// Whether the instance at `address` accepts connections, and will: one is not reset for a while.
///
/// Of a process that is killed the kernel closes the connections first and what it listens on last. Until then it takes
/// connections that nobody accepts any more, and then resets them.
pub async fn accepts(address: &Address) -> bool {
    let Some(mut stream) = connect(address).await else {
        return false;
    };
    // Whoever closes it, or writes to it, lives.
    let reset = timeout(RESET_TIMEOUT, stream.read_u8()).await;
    !matches!(reset, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset)
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(address: &Address) -> Option<Box<dyn Stream>> {
    let connected = async {
        Some(match address {
            Address::Port(address) => Box::new(TcpStream::connect(address).await.ok()?) as Box<_>,
            Address::Socket(path) => Box::new(UnixStream::connect(path).await.ok()?) as Box<_>,
        })
    };
    timeout(CONNECT_TIMEOUT, connected).await.ok()?
}

/// How a request to a health path names the host.
fn host(address: &Address) -> String {
    match address {
        Address::Port(address) => address.to_string(),
        Address::Socket(_) => "localhost".to_owned(),
    }
}

/// Whether a GET of the path answers with a status below 400.
async fn is_healthy(address: &Address, path: &str) -> bool {
    health_status(address, path)
        .await
        .is_some_and(|status| status.as_u16() < 400)
}

async fn health_status(address: &Address, path: &str) -> Option<StatusCode> {
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await.ok()?;
    let request = Request::get(path)
        .header(hyper::header::HOST, host(address))
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    // The connection ends when the sender and the answer's body are gone.
    let exchange = async move {
        sender
            .send_request(request)
            .await
            .map(|answer| answer.status())
    };
    let (status, _) = tokio::join!(exchange, connection);
    status.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    /// A server that answers each connection with the next status, and the last one for ever.
    async fn server(statuses: &'static [u16]) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut statuses = statuses.iter().copied();
            let mut status = 500;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                status = statuses.next().unwrap_or(status);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address.into()
    }

    #[tokio::test]
    async fn accepted_connection_is_enough() {
        let address = server(&[500]).await;
        timeout(Duration::from_secs(5), ready(&address, None))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn health_path_must_succeed() {
        let address = server(&[503, 404, 204]).await;
        timeout(Duration::from_secs(5), ready(&address, Some("/healthz")))
            .await
            .unwrap();
        let failing = server(&[500]).await;
        let waiting = timeout(
            Duration::from_millis(300),
            ready(&failing, Some("/healthz")),
        )
        .await;
        assert!(waiting.is_err());
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        drop(listener);
        assert!(
            timeout(Duration::from_millis(300), ready(&address, None))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn socket_is_ready_when_it_is_listened_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::Socket(path.clone());
        let bound = corefn_sandbox::message::bound(&path).unwrap();
        let waiting = timeout(Duration::from_millis(300), ready(&address, None)).await;
        assert!(waiting.is_err(), "it is bound alone");
        assert!(!accepts(&address).await);
        drop(bound);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let count = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..count]).to_lowercase();
                let status = if text.contains("host: localhost") {
                    204
                } else {
                    400
                };
                let answer = format!("HTTP/1.1 {status} x\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let patience = Duration::from_secs(5);
        timeout(patience, ready(&address, None)).await.unwrap();
        let healthy = ready(&address, Some("/healthz"));
        timeout(patience, healthy).await.unwrap();
        assert!(accepts(&address).await);
    }
}
