//! From the runtime thread to the event loop: a queue, and an eventfd that nginx watches.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ngx::ffi::ngx_cycle_t;
use rustix::io::{read, write};
use tracing::Level;

use corefn_engine::runtime::{Outbox, Update};
use corefn_sync::Wakeup;

use crate::ngx::EventFd;
#[cfg(feature = "fault-injection")]
use crate::ngx::fault;

/// What the runtime thread has to say.
#[derive(Debug)]
pub enum Message {
    /// Something for the worker.
    Update(Box<Update>),
    /// A line for the log.
    Line(Level, String),
}

/// The runtime thread's end.
pub struct Notifier {
    fd: OwnedFd,
    wakeup: Wakeup,
    messages: Sender<Message>,
}

impl Outbox for Notifier {
    fn send(&self, update: Update) {
        #[cfg(feature = "fault-injection")]
        fault::strike("send");
        #[cfg(feature = "fault-injection")]
        if fault::is_due("lose") {
            return;
        }
        self.queue(Message::Update(Box::new(update)));
    }
}

impl Notifier {
    /// Queues a line for the log.
    pub fn tell(&self, level: Level, text: &str) {
        self.queue(Message::Line(level, text.to_owned()));
    }

    fn queue(&self, message: Message) {
        // The receiver is gone only while the worker ends.
        let _ = self.messages.send(message);
        self.notify();
    }

    /// Has the event loop answer, if it isn't about to.
    pub fn notify(&self) {
        if self.wakeup.request() {
            // A full counter, the only way to fail, has woken the loop already.
            let _ = write(&self.fd, &1_u64.to_ne_bytes());
        }
    }
}

/// The event loop's end.
pub struct Inbox {
    _watch: EventFd,
    notifier: Arc<Notifier>,
    messages: Receiver<Message>,
}

impl Inbox {
    /// Opens it and has nginx watch it: `handler`, which is guarded, is called when messages have come. None if there is
    /// no descriptor or no connection left.
    pub fn open(cycle: &ngx_cycle_t, handler: fn()) -> Option<Self> {
        let (watch, fd) = EventFd::open(cycle, handler)?;
        let (sender, messages) = channel();
        Some(Self {
            _watch: watch,
            notifier: Arc::new(Notifier {
                fd,
                wakeup: Wakeup::new(),
                messages: sender,
            }),
            messages,
        })
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
    pub fn take(&self) -> Vec<Message> {
        let mut count = [0; 8];
        // It fails when there was nothing to read.
        let _ = read(&self.notifier.fd, &mut count);
        self.notifier.wakeup.take();
        self.messages.try_iter().collect()
    }
}
