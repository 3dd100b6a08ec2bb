//! Where connections are taken.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};

use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// How many connections may wait until they are accepted: at a unix socket, one more is refused at once.
const BACKLOG: i32 = 4096;

/// Where a function listens.
pub enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Listens at a TCP port.
    pub async fn at_port(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Port)
    }

    /// Listens at the unix socket for streams that the process was given as a descriptor of this number.
    pub fn of_descriptor(number: RawFd) -> io::Result<Self> {
        // SAFETY: the descriptor was opened for this process, and nothing else in it knows the number.
        #[allow(unsafe_code)]
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        Self::of_socket(socket.into())
    }

    /// Listens at a unix socket for streams.
    fn of_socket(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        socket.listen(BACKLOG)?;
        UnixListener::from_std(socket.into()).map(Self::Socket)
    }

    /// The next connection.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        Poll::Ready(match self {
            Self::Port(listener) => ready!(listener.poll_accept(context)).map(|(stream, _)| {
                // Without this an answer in two segments waits for the peer's delayed acknowledgement. Where it
                // can't be set, the answer is only later.
                let _ = stream.set_nodelay(true);
                Box::new(stream) as _
            }),
            Self::Socket(listener) => {
                ready!(listener.poll_accept(context)).map(|(stream, _)| Box::new(stream) as _)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    use socket2::{Domain, SockAddr, Type};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    #[test]
    fn socket_that_was_bound() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(connect());
    }

    async fn connect() {
        let path = std::env::temp_dir().join(format!("corefn-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert!(UnixStream::connect(&path).await.is_err(), "nobody listens");
        let listener = Listener::of_socket(socket).unwrap();
        let mut near = UnixStream::connect(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        near.write_all(b"hi").await.unwrap();
        let mut far = poll_fn(|context| listener.poll_accept(context))
            .await
            .unwrap();
        let mut text = [0; 2];
        far.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hi");
    }
}
