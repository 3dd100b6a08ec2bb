//! What nginx waits on while there is no instance to connect to.
//!
//! A `get` of an upstream's peer can't wait, but it may say that a connection is being made. So it
//! gets one that nothing can come of: a socket that nobody watches. When there is an instance, or
//! won't be, the wait is ended by having nginx read an error from it; nginx then asks for the next
//! peer. Nothing is logged of it, and as it has no address, nginx neither counts it as an attempt
//! nor keeps it alive.

use std::cell::Cell;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr;

use ngx::ffi::{
    NGX_ERROR, ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_connection_t, ngx_del_timer,
    ngx_get_connection, ngx_peer_connection_t, u_char,
};

use corefn_core::error::ErrorCode;

use crate::raw::now;

/// A request's place to wait at.
pub struct Placeholder {
    connection: Cell<*mut ngx_connection_t>,
    since: Cell<u64>,
    ending: Cell<Option<ErrorCode>>,
}

impl Default for Placeholder {
    fn default() -> Self {
        Self {
            connection: Cell::new(ptr::null_mut()),
            since: Cell::new(0),
            ending: Cell::new(None),
        }
    }
}

impl Placeholder {
    /// Makes it the peer's connection; nginx closes it. False if there is no connection left. When nginx has returned,
    /// [`Placeholder::settle`] is due, which returns `ending`.
    pub fn open(&self, pc: &mut ngx_peer_connection_t, ending: Option<ErrorCode>) -> bool {
        let Ok(socket) = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
        else {
            return false;
        };
        let fd = OwnedFd::from(socket);
        // SAFETY: an open descriptor, which is the connection's from then on, and a valid log.
        let connection = unsafe {
            let connection = ngx_get_connection(std::os::fd::AsRawFd::as_raw_fd(&fd), pc.log);
            let Some(connection) = connection.as_mut() else {
                return false;
            };
            (*connection.read).log = pc.log;
            (*connection.write).log = pc.log;
            connection
        };
        let _ = fd.into_raw_fd();
        connection.recv = Some(no_answer);
        connection.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
        pc.connection = connection;
        pc.sockaddr = ptr::null_mut();
        pc.socklen = 0;
        pc.name = ptr::null_mut();
        pc.set_cached(0);
        self.connection.set(connection);
        self.since.set(now());
        self.ending.set(ending);
        true
    }

    /// Whether nginx waits on it.
    pub fn is_open(&self) -> bool {
        !self.connection.get().is_null()
    }

    /// For how many milliseconds nginx has waited on it.
    pub fn waited(&self) -> u64 {
        now().saturating_sub(self.since.get())
    }

    /// Has nginx ask for the next peer. The request may be gone when this returns.
    pub fn wake(&self) {
        // SAFETY: nginx has not closed it: before it does, it calls leave(). The handler is what
        // nginx has set.
        unsafe {
            if let Some(connection) = self.connection.replace(ptr::null_mut()).as_ref()
                && let Some(handler) = (*connection.read).handler
            {
                handler(connection.read);
            }
        }
    }

    /// nginx is done with it.
    pub fn leave(&self) {
        self.connection.set(ptr::null_mut());
        self.ending.set(None);
    }

    /// nginx has set its handlers and a timer for the connection by now; the time is ours to watch. Returns the error
    /// that the request is to end with, if it is.
    pub fn settle(&self) -> Option<ErrorCode> {
        let ending = self.ending.take();
        if ending.is_some() {
            return ending;
        }
        // SAFETY: as of wake().
        unsafe {
            if let Some(connection) = self.connection.get().as_ref()
                && (*connection.write).timer_set() != 0
            {
                ngx_del_timer(connection.write);
            }
        }
        None
    }
}

unsafe extern "C" fn no_answer(_: *mut ngx_connection_t, _: *mut u_char, _: usize) -> isize {
    NGX_ERROR as isize
}
