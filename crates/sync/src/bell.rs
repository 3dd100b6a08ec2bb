//! The flag that keeps a doorbell from being rung when it rings already.

use crate::atomic::{AtomicBool, Ordering};

/// Whether somebody has rung who was not heard yet.
///
/// Whoever puts something into a queue then rings; whoever is to hear it silences the bell before
/// it looks into the queue. Then either it finds what was put there, or it is woken again.
#[derive(Debug, Default)]
pub struct Bell(AtomicBool);

impl Bell {
    /// One that is silent.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Rings; true if the listener must be woken, false if it is about to look anyway.
    pub fn ring(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Silences it. A swap and no store: it must see what was queued before a ring that it takes
    /// away, since that one wakes nobody again.
    pub fn silence(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
