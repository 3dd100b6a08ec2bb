//! From the runtime thread to the event loop: a queue, and an eventfd that nginx watches.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ngx::ffi::{
    NGX_OK, ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event, ngx_int_t,
};

use corefn_engine::runtime::{Outbox, Update};
use corefn_sync::Bell;

/// What nginx calls for an event.
type Handler = unsafe extern "C" fn(*mut ngx_event_t);

/// The runtime thread's end.
pub struct Doorbell {
    fd: RawFd,
    bell: Bell,
    updates: Sender<Update>,
}

impl Outbox for Doorbell {
    fn send(&self, update: Update) {
        #[cfg(feature = "fault-injection")]
        crate::fault::strike("send");
        #[cfg(feature = "fault-injection")]
        if crate::fault::is_due("lose") {
            return;
        }
        // The receiver is gone only while the worker ends.
        let _ = self.updates.send(update);
        self.ring();
    }
}

impl Doorbell {
    /// Has the event loop answer, if it isn't about to.
    pub fn ring(&self) {
        if self.bell.ring() {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the descriptor stays open until the thread is joined. A full counter, the
            // only way to fail, has woken the loop already.
            unsafe { libc::write(self.fd, one.as_ptr().cast(), one.len()) };
        }
    }
}

/// The event loop's end. Dropping it closes the descriptor, so that nginx finds no open socket
/// left when it exits; the runtime thread must have ended before.
pub struct Bridge {
    connection: NonNull<ngx_connection_t>,
    doorbell: Arc<Doorbell>,
    updates: Receiver<Update>,
}

impl Bridge {
    /// Opens it and has nginx watch it: `handler` is called when updates have come.
    pub fn open(cycle: &ngx_cycle_t, handler: Handler) -> Option<Self> {
        // SAFETY: plain system call; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return None;
        }
        // SAFETY: a valid descriptor and log.
        let Some(connection) = NonNull::new(unsafe { ngx_get_connection(fd, cycle.log) }) else {
            // SAFETY: nobody else has the descriptor.
            unsafe { libc::close(fd) };
            return None;
        };
        let (sender, updates) = channel();
        let bridge = Self {
            connection,
            doorbell: Arc::new(Doorbell {
                fd,
                bell: Bell::new(),
                updates: sender,
            }),
            updates,
        };
        // SAFETY: a connection of nginx's has a read event.
        let watched = unsafe {
            let read = (*connection.as_ptr()).read;
            (*read).handler = Some(handler);
            (*read).log = cycle.log;
            ngx_handle_read_event(read, 0)
        };
        // Dropping the bridge closes it.
        (watched == NGX_OK as ngx_int_t).then_some(bridge)
    }

    /// What the runtime thread sends by.
    pub fn doorbell(&self) -> Arc<Doorbell> {
        self.doorbell.clone()
    }

    /// Has the event loop come back when it has served others.
    pub fn ring(&self) {
        self.doorbell.ring();
    }

    /// Silences the bell and returns what is queued. Whatever is queued later rings it again.
    pub fn take(&self) -> Vec<Update> {
        let mut count = [0; 8];
        // SAFETY: the descriptor is open; a failure means that there was nothing to read.
        unsafe { libc::read(self.doorbell.fd, count.as_mut_ptr().cast(), count.len()) };
        self.doorbell.bell.silence();
        self.updates.try_iter().collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // SAFETY: the connection is this bridge's own; closing it closes the descriptor.
        unsafe { ngx_close_connection(self.connection.as_ptr()) };
    }
}
