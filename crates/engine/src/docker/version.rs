//! The version of its API that Docker is asked in.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard::{API_DEFAULT_VERSION, ClientVersion};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// In which the engine names the newest version that it knows.
const NEWEST: &str = "Api-Version";

/// The newest version that both sides know.
///
/// It comes with the answer to a ping (Docker Engine API, `GET /_ping`). The client itself would ask for `/version`, for which
/// the engine runs `containerd`, `runc` and `docker-init`, to be told theirs.
///
/// # Errors
/// When nothing that speaks this protocol answers there in time.
pub(super) async fn settle(url: &str, patience: Duration) -> Result<ClientVersion, Cause> {
    let asked = async {
        match url.strip_prefix("unix://") {
            Some(path) => newest(UnixStream::connect(path).await?, "localhost").await,
            None => {
                let uri = url.parse::<Uri>().map_err(Error::other)?;
                let host = uri.host().ok_or(ErrorKind::InvalidInput);
                let host = host.map_err(Error::from)?;
                let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
                newest(stream, host).await
            }
        }
    };
    let newest = timeout(patience, asked).await;
    let newest = newest.map_err(|_| Cause::RequestTimeoutError)??;
    Ok(if newest < *API_DEFAULT_VERSION {
        newest
    } else {
        copy(API_DEFAULT_VERSION)
    })
}

/// (The client has no way to copy one.)
fn copy(version: &ClientVersion) -> ClientVersion {
    ClientVersion {
        major_version: version.major_version,
        minor_version: version.minor_version,
    }
}

/// The newest version that an engine says it knows.
async fn newest(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    host: &str,
) -> Result<ClientVersion, Cause> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/_ping")
        .header(header::HOST, host)
        .body(Empty::<bytes::Bytes>::new())?;
    // The connection ends when the sender and the answer's body are gone.
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        Ok::<_, Cause>(answer.headers().get(NEWEST).cloned())
    };
    let (answer, _) = tokio::join!(exchange, connection);
    answer?
        .as_ref()
        .and_then(|version| parse(version.to_str().ok()?))
        .ok_or(Cause::APIVersionParseError {})
}

fn parse(version: &str) -> Option<ClientVersion> {
    let (major, minor) = version.split_once('.')?;
    Some(ClientVersion {
        major_version: major.parse().ok()?,
        minor_version: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// What is settled with an engine that answers a ping with these lines.
    async fn settled(lines: &str) -> Result<String, Cause> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nOK");
        let engine = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"GET /_ping HTTP/1.1\r\nhost: 127.0.0.1"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let url = format!("tcp://{address}");
        let (settled, ()) = tokio::join!(settle(&url, PATIENCE), engine);
        settled.map(|version| version.to_string())
    }

    #[tokio::test]
    async fn older_of_both() {
        let ours = API_DEFAULT_VERSION.to_string();
        assert_eq!(settled("Api-Version: 1.24\r\n").await.unwrap(), "1.24");
        assert_eq!(settled("api-version: 99.0\r\n").await.unwrap(), ours);
        for lines in ["", "Api-Version: new\r\n", "Api-Version: 1.x\r\n"] {
            let error = settled(lines).await.unwrap_err();
            assert!(matches!(error, Cause::APIVersionParseError {}), "{error}");
        }
    }

    #[tokio::test]
    async fn nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let error = settle(&url, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, Cause::RequestTimeoutError), "{error}");
        drop(listener);
        let error = settle(&url, PATIENCE).await.unwrap_err();
        assert!(matches!(error, Cause::IOError { .. }), "{error}");
    }
}
