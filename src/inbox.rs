//! From the runtime thread to the event loop: a queue, and an eventfd that nginx watches.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ngx::ffi::{
    NGX_OK, ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_get_connection,
    ngx_handle_read_event, ngx_int_t,
};

use corefn_engine::runtime::{Outbox, Update};
use corefn_sync::Wakeup;

use crate::raw::EventHandler;

/// The runtime thread's end.
pub struct Notifier {
    fd: RawFd,
    wakeup: Wakeup,
    updates: Sender<Update>,
}

impl Outbox for Notifier {
    fn send(&self, update: Update) {
        #[cfg(feature = "fault-injection")]
        crate::fault::strike("send");
        #[cfg(feature = "fault-injection")]
        if crate::fault::is_due("lose") {
            return;
        }
        // The receiver is gone only while the worker ends.
        let _ = self.updates.send(update);
        self.notify();
    }
}

impl Notifier {
    /// Has the event loop answer, if it isn't about to.
    pub fn notify(&self) {
        if self.wakeup.request() {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the descriptor stays open until the thread is joined. A full counter, the
            // only way to fail, has woken the loop already.
            unsafe { libc::write(self.fd, one.as_ptr().cast(), one.len()) };
        }
    }
}

/// The event loop's end. Dropping it closes the descriptor, so that nginx finds no open socket
/// left when it exits; the runtime thread must have ended before.
pub struct Inbox {
    connection: NonNull<ngx_connection_t>,
    notifier: Arc<Notifier>,
    updates: Receiver<Update>,
}

impl Inbox {
    /// Opens it and has nginx watch it: `handler` is called when updates have come.
    pub fn open(cycle: &ngx_cycle_t, handler: EventHandler) -> Option<Self> {
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
        let inbox = Self {
            connection,
            notifier: Arc::new(Notifier {
                fd,
                wakeup: Wakeup::new(),
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
        // Dropping the inbox closes it.
        (watched == NGX_OK as ngx_int_t).then_some(inbox)
    }

    /// What the runtime thread sends by.
    pub fn notifier(&self) -> Arc<Notifier> {
        self.notifier.clone()
    }

    /// Has the event loop come back when it has served others.
    pub fn notify(&self) {
        self.notifier.notify();
    }

    /// Takes what is queued. Whatever is queued later wakes the event loop again.
    pub fn take(&self) -> Vec<Update> {
        let mut count = [0; 8];
        // SAFETY: the descriptor is open; a failure means that there was nothing to read.
        unsafe { libc::read(self.notifier.fd, count.as_mut_ptr().cast(), count.len()) };
        self.notifier.wakeup.take();
        self.updates.try_iter().collect()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // SAFETY: the connection is this inbox's own; closing it closes the descriptor.
        unsafe { ngx_close_connection(self.connection.as_ptr()) };
    }
}
