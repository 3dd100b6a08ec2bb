//! Lines of the log that would come with every request come once in a while.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The shortest time between two lines about the same trouble, in milliseconds.
pub const INTERVAL: u64 = 60_000;

/// Whether a line may be logged at `now`, in milliseconds of a monotonic clock; if so, it counts as logged. Of all who ask
/// at the same time, with the same `logged`, one may. `logged` is when it last was, and 0 for never.
pub fn may_log(logged: &AtomicU64, now: u64) -> bool {
    let last = logged.load(Relaxed);
    (last == 0 || now.saturating_sub(last) >= INTERVAL)
        && logged
            .compare_exchange(last, now.max(1), Relaxed, Relaxed)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_an_interval() {
        let logged = AtomicU64::new(0);
        assert!(may_log(&logged, 0), "for the first time");
        assert!(!may_log(&logged, 0));
        assert!(!may_log(&logged, INTERVAL));
        assert!(may_log(&logged, INTERVAL + 1));
        assert!(!may_log(&logged, 2 * INTERVAL));
        assert!(may_log(&logged, 2 * INTERVAL + 1));
        // A clock that is behind that of whoever logged last.
        assert!(!may_log(&logged, 5));
    }

    #[test]
    fn one_of_many() {
        let logged = AtomicU64::new(0);
        let count = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| may_log(&logged, 7));
            let threads: Vec<_> = (0..8).map(|_| ask()).collect();
            let logged = threads.into_iter().map(|thread| thread.join().unwrap());
            logged.filter(|logged| *logged).count()
        });
        assert_eq!(count, 1);
    }
}
