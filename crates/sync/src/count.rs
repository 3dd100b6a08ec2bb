//! Counts that several workers share: each has one of its own, and the sum is what matters.

use crate::atomic::{AtomicU32, Ordering, fence};

/// In a worker's count: the worker uses it, whether or not it counts anything.
pub const ATTACHED: u32 = 1 << 31;

/// The sum of the workers' counts.
pub fn sum(counts: &[AtomicU32]) -> u32 {
    let counts = counts.iter();
    counts
        .map(|count| count.load(Ordering::Relaxed) & !ATTACHED)
        .sum()
}

/// How often two who want the last place at the same moment try again.
const TRIES: usize = if cfg!(loom) { 2 } else { 16 };

/// Counts one more in `counts[mine]`, if the sum is at most `most` with it; false if it is not. Of
/// several workers that do so at the same time, never do more get in than may.
///
/// Each counts before it looks. The fence keeps the look from being done first: without it two
/// workers could both miss the other's count, since a store may wait in a processor's buffer. Two
/// that see each other take themselves off again, and the later one to do so tries again.
pub fn enter_within(counts: &[AtomicU32], mine: usize, most: u32) -> bool {
    for _ in 0..TRIES {
        counts[mine].fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if sum(counts) <= most {
            return true;
        }
        counts[mine].fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if sum(counts) >= most {
            return false;
        }
    }
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may() {
        let counts = [ATTACHED, ATTACHED | 2, 0].map(AtomicU32::new);
        assert_eq!(sum(&counts), 2);
        assert!(enter_within(&counts, 0, 4));
        assert!(enter_within(&counts, 2, 4));
        assert!(!enter_within(&counts, 1, 4));
        assert_eq!(sum(&counts), 4);
        let counts = counts.map(AtomicU32::into_inner);
        assert_eq!(counts, [ATTACHED | 1, ATTACHED | 2, 1]);
    }
}
