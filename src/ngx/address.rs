//! Where a peer of an upstream listens.

use std::net::SocketAddr;

use ngx::ffi::{ngx_peer_connection_t, ngx_str_t};
use socket2::SockAddr;

/// An address, in the forms that nginx wants.
pub struct Address {
    socket: SockAddr,
    name: ngx_str_t,
    /// What the name points to.
    _text: Box<str>,
}

impl Address {
    /// That of a socket.
    pub fn new(address: SocketAddr) -> Self {
        let text = address.to_string().into_boxed_str();
        Self {
            socket: address.into(),
            name: ngx_str_t {
                len: text.len(),
                data: text.as_ptr().cast_mut(),
            },
            _text: text,
        }
    }

    /// Makes it the address of a connection, which must not be used for longer than this is kept.
    pub(super) fn name_peer(&self, pc: &mut ngx_peer_connection_t) {
        pc.sockaddr = self.socket.as_ptr().cast_mut().cast();
        pc.socklen = self.socket.len();
        pc.name = std::ptr::from_ref(&self.name).cast_mut();
    }
}
