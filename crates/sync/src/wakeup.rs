//! The flag that keeps a listener from being woken who is about to look anyway.

use crate::atomic::{AtomicBool, Ordering};

/// Whether a wake-up has been requested that was not taken yet.
///
/// Whoever puts something into a queue then requests one; the listener takes it before it looks into the queue. Then
/// either it finds what was put there, or it is woken again.
#[derive(Debug, Default)]
pub struct Wakeup(AtomicBool);

impl Wakeup {
    /// One that nobody has requested.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Requests it; true if the listener must be woken, false if it is about to look anyway.
    pub fn request(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Takes it. A swap and no store: it must see what was queued before a request that it takes away, since that one
    /// wakes nobody again.
    pub fn take(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
