//! How another thread wakes the event loop: an eventfd that nginx watches.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use ngx::ffi::{
    NGX_OK, ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event, ngx_int_t,
};
use rustix::event::{EventfdFlags, eventfd};

/// nginx's watch on an eventfd. Dropping it ends the watch, and leaves no socket open that nginx would find when it
/// exits.
pub struct EventFd(NonNull<ngx_connection_t>);

impl EventFd {
    /// Has nginx call `handler` whenever the eventfd that is returned is written to. The handler is guarded against
    /// its own panics. None if there is no descriptor or no connection left.
    pub fn open(cycle: &ngx_cycle_t, handler: fn()) -> Option<(Self, OwnedFd)> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok()?;
        let own = fd.try_clone().ok()?;
        // SAFETY: an open descriptor, and the log of the cycle that the process works with.
        let connection = NonNull::new(unsafe { ngx_get_connection(own.as_raw_fd(), cycle.log) })?;
        // The connection has it now.
        let _ = own.into_raw_fd();
        let watch = Self(connection);
        // SAFETY: a connection that nginx has just given out has a read event, whose data is the connection.
        let watched = unsafe {
            let connection = connection.as_ptr();
            (*connection).data = handler as *mut c_void;
            let read = (*connection).read;
            (*read).handler = Some(on_event);
            (*read).log = cycle.log;
            ngx_handle_read_event(read, 0)
        };
        // Where it isn't watched, dropping it closes the descriptor.
        (watched == NGX_OK as ngx_int_t).then_some((watch, fd))
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: the connection is this watch's own; closing it closes its descriptor.
        unsafe { ngx_close_connection(self.0.as_ptr()) };
    }
}

/// Called by nginx when there is something to read.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx sets an event's data to its connection, whose data open() has set to a `fn()`.
    let handler = unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        std::mem::transmute::<*mut c_void, fn()>((*connection).data)
    };
    handler();
}
