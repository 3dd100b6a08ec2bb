//! Pauses between attempts at something that fails, each longer than the last.

use std::time::Duration;

/// Pauses that grow.
#[derive(Debug, Clone)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    growth: f32,
    next: Duration,
}

impl Pauses {
    /// Between attempts at a service: they double, from a tenth of a second to [`Pauses::SERVICE_LONGEST`].
    pub const fn of_service() -> Self {
        Self::new(Duration::from_millis(100), Self::SERVICE_LONGEST, 2.0)
    }

    /// The longest pause between attempts at a service.
    pub const SERVICE_LONGEST: Duration = Duration::from_secs(2);

    /// Between looks at what is about to be ready: a millisecond at first, and longer the longer it takes, up to
    /// fifty.
    pub const fn of_probes() -> Self {
        Self::new(Duration::from_millis(1), Duration::from_millis(50), 1.2)
    }

    /// Between looks at what Docker is starting, which takes a tenth of a second: two milliseconds.
    pub const fn of_start() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_millis(2), 1.0)
    }

    const fn new(first: Duration, longest: Duration, growth: f32) -> Self {
        Self {
            first,
            longest,
            growth,
            next: first,
        }
    }

    /// Begins anew: an attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause; the one after it is longer.
    pub fn grow(&mut self) -> Duration {
        let next = self.next;
        self.next = next.mul_f32(self.growth).min(self.longest);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_and_begin_anew() {
        let mut pauses = Pauses::of_service();
        let millis: Vec<_> = (0..7).map(|_| pauses.grow().as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 2000, 2000]);
        pauses.reset();
        assert_eq!(pauses.grow(), Duration::from_millis(100));
        let mut pauses = Pauses::of_probes();
        let first: Vec<_> = (0..3).map(|_| pauses.grow().as_micros()).collect();
        assert_eq!(first, [1000, 1200, 1440]);
        let last = (0..30).map(|_| pauses.grow()).last();
        assert_eq!(last, Some(Duration::from_millis(50)));
    }
}
