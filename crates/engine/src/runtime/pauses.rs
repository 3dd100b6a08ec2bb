//! How long is waited between attempts at what keeps failing.

use std::time::Duration;

/// The first pause, and how long they get.
const FIRST: Duration = Duration::from_millis(100);
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that double, from a tenth of a second to two seconds.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pauses {
    /// Begins anew: an attempt has succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The next pause.
    pub fn next(&mut self) -> Duration {
        let next = self.0;
        self.0 = (next * 2).min(LONGEST);
        next
    }
}
