//! Where a peer of an upstream listens.

use std::io;

use corefn_core::instance;
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
    /// That of an instance.
    ///
    /// # Errors
    /// When a socket's path is too long, which that of no instance is.
    pub fn new(address: &instance::Address) -> io::Result<Self> {
        let text = address.to_string().into_boxed_str();
        Ok(Self {
            socket: match address {
                instance::Address::Port(address) => (*address).into(),
                instance::Address::Socket(path) => SockAddr::unix(path)?,
            },
            name: ngx_str_t {
                len: text.len(),
                data: text.as_ptr().cast_mut(),
            },
            _text: text,
        })
    }

    /// Makes it the address of a connection, which must not be used for longer than this is kept.
    pub(super) fn name_peer(&self, pc: &mut ngx_peer_connection_t) {
        pc.sockaddr = self.socket.as_ptr().cast_mut().cast();
        pc.socklen = self.socket.len();
        pc.name = std::ptr::from_ref(&self.name).cast_mut();
    }
}
