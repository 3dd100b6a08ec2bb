//! The order of those who wait in a line that several workers share.
//!
//! Each worker has a line of its own, and the workers share whose first has waited for the longest: by that they know whose
//! turn it is. Whoever waits has a number, and numbers are given out in turn.

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::count::ATTACHED;

/// What workers share of a line.
#[derive(Debug)]
pub struct Line<'a> {
    /// The number of each worker's first, or nothing; whether it is attached to the counters does not matter.
    pub first: &'a [AtomicU32],
    /// The next number.
    pub next: &'a AtomicU32,
}

impl Line<'_> {
    /// A number for somebody who begins to wait. It is never 0.
    pub fn draw(&self) -> u32 {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed) & !ATTACHED;
            if number != 0 {
                return number;
            }
        }
    }

    /// This worker's first has this number, or it has nobody who waits.
    ///
    /// Whoever looks for a free place after that, and finds none, will be told by whoever leaves one: the fence keeps the
    /// look from being done first. (The other's is in [`Line::turn`].)
    pub fn show(&self, mine: usize, number: Option<u32>) {
        // (The mark is set and taken away by this worker as well.)
        let mark = self.first[mine].load(Ordering::Relaxed) & ATTACHED;
        self.first[mine].store(mark | number.unwrap_or(0), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whose turn it is: the worker whose first has waited for the longest. Nothing if nobody waits.
    ///
    /// To be called by whoever has left a place, so that somebody gets it.
    pub fn turn(&self) -> Option<usize> {
        fence(Ordering::SeqCst);
        let next = self.next.load(Ordering::Relaxed);
        let first = self.first.iter().enumerate();
        first
            .filter_map(|(worker, first)| {
                let number = first.load(Ordering::Relaxed) & !ATTACHED;
                // (Numbers begin anew when they have come to their end.)
                let age = next.wrapping_sub(number) & !ATTACHED;
                (number != 0).then_some((age, worker))
            })
            .max_by_key(|(age, worker)| (*age, std::cmp::Reverse(*worker)))
            .map(|(_, worker)| worker)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn oldest_comes_first() {
        let first = [ATTACHED, ATTACHED, 0].map(AtomicU32::new);
        let next = AtomicU32::new(0);
        let line = Line {
            first: &first,
            next: &next,
        };
        assert_eq!(line.turn(), None);
        let [a, b, c] = [line.draw(), line.draw(), line.draw()];
        assert_eq!([a, b, c], [1, 2, 3]);
        line.show(1, Some(b));
        assert_eq!(line.turn(), Some(1));
        line.show(0, Some(c));
        assert_eq!(line.turn(), Some(1));
        line.show(2, Some(a));
        assert_eq!(line.turn(), Some(2));
        line.show(2, None);
        line.show(1, None);
        assert_eq!(line.turn(), Some(0));
        assert_eq!(first[1].load(Ordering::Relaxed), ATTACHED);
        line.show(0, None);
        assert_eq!(line.turn(), None);
    }

    #[test]
    fn numbers_begin_anew() {
        let first = [0, 0].map(AtomicU32::new);
        let next = AtomicU32::new(ATTACHED - 1);
        let line = Line {
            first: &first,
            next: &next,
        };
        let [a, b] = [line.draw(), line.draw()];
        assert_eq!([a, b], [ATTACHED - 1, 1]);
        line.show(0, Some(b));
        line.show(1, Some(a));
        assert_eq!(line.turn(), Some(1));
    }
}
