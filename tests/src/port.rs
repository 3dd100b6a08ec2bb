//! A TCP port on the loopback address that nobody else gets.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port, reserved for as long as this lives.
///
/// The socket is bound and never listens. Linux gives a bound port to no one who asks for any free
/// port, and lets another socket bind and listen to it if both have `SO_REUSEADDR`, as nginx's
/// have.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR is known");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a port is free");
        Self {
            address: socket.local_addr().expect("the socket is bound"),
            _socket: socket,
        }
    }

    /// The address with the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
