//! Lines of the log that would come with every request: the same trouble is told of once in a while.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How long the same trouble isn't told of again, in milliseconds.
pub const INTERVAL: u64 = 60_000;

/// Whether something may be told of at `now`, in milliseconds of a monotonic clock; if so, it counts as told. Of all who
/// ask at the same time, with the same `told`, one may. `told` is when it last was, and 0 for never.
pub fn may_tell(told: &AtomicU64, now: u64) -> bool {
    let last = told.load(Relaxed);
    (last == 0 || now.saturating_sub(last) >= INTERVAL)
        && told
            .compare_exchange(last, now.max(1), Relaxed, Relaxed)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_an_interval() {
        let told = AtomicU64::new(0);
        assert!(may_tell(&told, 0), "for the first time");
        assert!(!may_tell(&told, 0));
        assert!(!may_tell(&told, INTERVAL));
        assert!(may_tell(&told, INTERVAL + 1));
        assert!(!may_tell(&told, 2 * INTERVAL));
        assert!(may_tell(&told, 2 * INTERVAL + 1));
        // A clock that is behind that of whoever told of it last.
        assert!(!may_tell(&told, 5));
    }

    #[test]
    fn one_of_many() {
        let told = AtomicU64::new(0);
        let count = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| may_tell(&told, 7));
            let threads: Vec<_> = (0..8).map(|_| ask()).collect();
            let told = threads.into_iter().map(|thread| thread.join().unwrap());
            told.filter(|told| *told).count()
        });
        assert_eq!(count, 1);
    }
}
