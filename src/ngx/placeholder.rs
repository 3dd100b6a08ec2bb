//! What nginx waits on while there is no peer to connect to.
//!
//! A `get` of an upstream's peer can't wait, but it may say that a connection is being made. So it
//! gets one that nothing can come of: a socket that nobody watches. When there is a peer, or
//! won't be, the wait is ended by having nginx read an error from it; nginx then asks for the next
//! peer. Nothing is logged of it, and as it has no address, nginx neither counts it as an attempt
//! nor keeps it alive.

use std::cell::Cell;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use ngx::ffi::{
    NGX_ERROR, ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_connection_t, ngx_del_timer,
    ngx_get_connection, ngx_peer_connection_t, u_char,
};

use super::now;

/// A request's place to wait at.
#[derive(Default)]
pub struct Placeholder {
    /// nginx's connection, from [`Placeholder::open`] until nginx is done with it: before it closes it, it has
    /// [`Placeholder::leave`] called.
    connection: Cell<Option<ptr::NonNull<ngx_connection_t>>>,
    since: Cell<u64>,
}

impl Placeholder {
    /// Makes it the peer's connection; nginx closes it. False if there is no connection left.
    pub fn open(&self, pc: &mut ngx_peer_connection_t) -> bool {
        let Ok(socket) = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
        else {
            return false;
        };
        let fd = OwnedFd::from(socket);
        // SAFETY: an open descriptor, and the log that nginx has given the peer.
        let connection = unsafe { ngx_get_connection(fd.as_raw_fd(), pc.log).as_mut() };
        let Some(connection) = connection else {
            return false;
        };
        // The connection has it now.
        let _ = fd.into_raw_fd();
        // SAFETY: a connection that nginx has just given out has its two events.
        unsafe {
            (*connection.read).log = pc.log;
            (*connection.write).log = pc.log;
        }
        connection.recv = Some(no_answer);
        connection.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
        pc.connection = connection;
        pc.sockaddr = ptr::null_mut();
        pc.socklen = 0;
        pc.name = ptr::null_mut();
        pc.set_cached(0);
        self.connection.set(Some(connection.into()));
        self.since.set(now());
        true
    }

    /// Whether nginx waits on it.
    pub fn is_open(&self) -> bool {
        self.connection.get().is_some()
    }

    /// For how many milliseconds nginx has waited on it.
    pub fn waited(&self) -> u64 {
        now().saturating_sub(self.since.get())
    }

    /// Has nginx ask for the next peer. The request may be gone when this returns.
    pub fn wake(&self) {
        // SAFETY: nginx has not closed it. The handler is what nginx has set.
        unsafe {
            if let Some(connection) = self.connection.take() {
                let read = connection.as_ref().read;
                if let Some(handler) = (*read).handler {
                    handler(read);
                }
            }
        }
    }

    /// nginx is done with it.
    pub fn leave(&self) {
        self.connection.set(None);
    }

    /// nginx has set a timer for the connection by now; the time is ours to watch.
    pub fn stop_timer(&self) {
        // SAFETY: nginx has not closed it.
        unsafe {
            if let Some(connection) = self.connection.get() {
                let write = connection.as_ref().write;
                if (*write).timer_set() != 0 {
                    ngx_del_timer(write);
                }
            }
        }
    }
}

unsafe extern "C" fn no_answer(_: *mut ngx_connection_t, _: *mut u_char, _: usize) -> isize {
    NGX_ERROR as isize
}
