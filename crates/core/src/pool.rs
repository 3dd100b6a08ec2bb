//! How many sandboxes of a kind wait, and which one is taken.
//!
//! As many shall wait as were wanted at once of late: within the time in which new ones can be made, since of those that
//! are wanted later there will be new ones. That is the largest number of claims within [`REFILL`] of each other, over the
//! last [`MEMORY`], and always between a floor and a ceiling. All times are milliseconds of one monotonic clock.

use std::collections::VecDeque;

/// Within what time of each other claims count as made at once: what it takes to make a sandbox, generously.
pub const REFILL: u64 = 2_000;

/// For how long claims are remembered.
pub const MEMORY: u64 = 10 * 60_000;

/// How many sandboxes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// As many at least.
    pub floor: usize,
    /// As many at most.
    pub ceiling: usize,
    /// How many may be made at the same time: making one takes a processor from what serves.
    pub at_once: usize,
}

/// What is to be done so that the right number waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task<T> {
    /// So many more are to be made.
    Make(usize),
    /// These are too many, and are to be removed. They can't be claimed any more.
    Remove(Vec<T>),
    /// Nothing.
    Nothing,
}

/// The sandboxes of one kind, by any name `T`.
#[derive(Debug)]
pub struct Pool<T> {
    size: Size,
    /// The oldest first.
    waiting: VecDeque<T>,
    /// How many are being made.
    making: usize,
    /// When each claim was made, met or not.
    claims: VecDeque<u64>,
}

impl<T: PartialEq> Pool<T> {
    /// One without a sandbox.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            waiting: VecDeque::new(),
            making: 0,
            claims: VecDeque::new(),
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the sandbox that has waited the longest; nothing if none waits.
    pub fn claim(&mut self, now: u64) -> Option<T> {
        self.claims.push_back(now);
        self.forget(now);
        self.waiting.pop_front()
    }

    /// One that there is already is about to wait, and counts as being made until then.
    pub fn expect(&mut self) {
        self.making += 1;
    }

    /// A sandbox that was being made waits.
    pub fn add(&mut self, sandbox: T) {
        self.making = self.making.saturating_sub(1);
        self.waiting.push_back(sandbox);
    }

    /// One that was to be made could not be.
    pub fn failed(&mut self) {
        self.making = self.making.saturating_sub(1);
    }

    /// A sandbox waits no longer, though nobody has claimed it. False if it did not wait.
    pub fn lose(&mut self, sandbox: &T) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting != sandbox);
        self.waiting.len() < before
    }

    /// How many should wait.
    pub fn target(&mut self, now: u64) -> usize {
        self.forget(now);
        let Size { floor, ceiling, .. } = self.size;
        let mut most = 0;
        let mut first = 0;
        for (last, time) in self.claims.iter().enumerate() {
            while self.claims[first] + REFILL < *time {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most.max(floor).min(ceiling)
    }

    /// What is to be done now; what is to be made counts as being made from here on.
    pub fn task(&mut self, now: u64) -> Task<T> {
        let target = self.target(now);
        let missing = target.saturating_sub(self.waiting.len() + self.making);
        let more = missing.min(self.size.at_once.saturating_sub(self.making));
        if more > 0 {
            self.making += more;
            return Task::Make(more);
        }
        // (What is being made is not stopped, and may be too much a moment later.)
        let surplus = self.waiting.len().saturating_sub(target);
        if surplus > 0 {
            return Task::Remove(self.waiting.drain(..surplus).collect());
        }
        Task::Nothing
    }

    /// Forgets claims that are old, or more than could ever matter.
    fn forget(&mut self, now: u64) {
        while self.claims.front().is_some_and(|time| time + MEMORY < now) {
            self.claims.pop_front();
        }
        // (Of a burst that has been forgotten in part, those that are left still fill the ceiling.)
        while self.claims.len() > MOST_CLAIMS.max(self.size.ceiling) {
            self.claims.pop_front();
        }
    }
}

/// How many claims are remembered at most, which bounds what a look at them takes.
const MOST_CLAIMS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: Size = Size {
        floor: 2,
        ceiling: 8,
        at_once: 2,
    };

    /// Makes whatever is to be made, and returns how many wait.
    fn settled(pool: &mut Pool<u32>, now: u64) -> usize {
        let mut next = 1_000;
        loop {
            match pool.task(now) {
                Task::Make(more) => {
                    for _ in 0..more {
                        next += 1;
                        pool.add(next);
                    }
                }
                Task::Remove(_) => {}
                Task::Nothing => return pool.waiting(),
            }
        }
    }

    #[test]
    fn follows_demand() {
        let mut pool = Pool::new(SIZE);
        assert_eq!(settled(&mut pool, 0), 2);
        // One now and then needs no more than the floor.
        for second in 0..10 {
            assert!(pool.claim(second * 10_000).is_some());
            assert_eq!(settled(&mut pool, second * 10_000), 2);
        }
        // A burst does, for a while, and never more than the ceiling.
        for _ in 0..5 {
            pool.claim(100_000);
        }
        assert_eq!(settled(&mut pool, 100_000), 5);
        for _ in 0..50 {
            pool.claim(101_000);
        }
        assert_eq!(settled(&mut pool, 101_000), 8);
        let ten_minutes = 600_000;
        assert_eq!(settled(&mut pool, 101_000 + ten_minutes), 8);
        assert_eq!(settled(&mut pool, 101_001 + ten_minutes), 2);
    }

    #[test]
    fn window_of_a_burst() {
        let mut pool = Pool::<u32>::new(SIZE);
        for time in [0, 1_000, 2_000, 3_000] {
            pool.claim(time);
        }
        // Three of them are within two seconds, both ends included.
        assert_eq!(pool.target(3_000), 3);
    }

    #[test]
    fn oldest_first() {
        let mut pool = Pool::new(SIZE);
        for sandbox in 1..=3 {
            pool.add(sandbox);
        }
        assert!(pool.lose(&2));
        assert!(!pool.lose(&2));
        assert_eq!([0; 3].map(|now| pool.claim(now)), [Some(1), Some(3), None]);
    }

    /// A keeper that follows another makes none in the place of those that it is about to have.
    #[test]
    fn what_is_there_counts() {
        let mut pool = Pool::new(SIZE);
        pool.expect();
        pool.expect();
        assert_eq!(pool.task(0), Task::Nothing);
        pool.add(1);
        pool.failed();
        assert_eq!(pool.task(0), Task::Make(1));
    }

    #[test]
    fn so_many_claims_are_remembered() {
        for (ceiling, remembered) in [(8, 1_024), (2_000, 2_000)] {
            let mut pool = Pool::<u32>::new(Size { ceiling, ..SIZE });
            for _ in 0..3_000 {
                pool.claim(0);
            }
            assert_eq!(pool.claims.len(), remembered);
        }
    }

    #[test]
    fn few_are_made_at_once() {
        let mut pool = Pool::new(SIZE);
        for _ in 0..6 {
            pool.claim(0);
        }
        assert_eq!(pool.task(0), Task::Make(2));
        assert_eq!(pool.task(0), Task::Nothing);
        pool.add(1);
        assert_eq!(pool.task(0), Task::Make(1));
        pool.failed();
        pool.failed();
        assert_eq!(pool.task(0), Task::Make(2));
    }

    proptest! {
        /// Whatever happens: never do more wait, or are made, than the ceiling; never are more made at once than may be;
        /// nobody gets a sandbox twice; and in the end as many wait as should.
        #[test]
        fn stays_within_its_bounds(events in prop::collection::vec((0u8..5, 0u64..5_000), 0..200)) {
            let mut pool = Pool::new(SIZE);
            let (mut now, mut next, mut making) = (0, 0u32, 0usize);
            let mut gone = std::collections::HashSet::new();
            for (event, pause) in events {
                now += pause;
                match event {
                    0 => {
                        if let Some(sandbox) = pool.claim(now) {
                            prop_assert!(gone.insert(sandbox));
                        }
                    }
                    1 if making > 0 => {
                        making -= 1;
                        next += 1;
                        pool.add(next);
                    }
                    2 if making > 0 => {
                        making -= 1;
                        pool.failed();
                    }
                    3 if next > 0 => {
                        let lost = next - u32::try_from(pause).unwrap() % next;
                        if pool.lose(&lost) {
                            prop_assert!(gone.insert(lost));
                        }
                    }
                    _ => match pool.task(now) {
                        Task::Make(more) => making += more,
                        Task::Remove(sandboxes) => {
                            for sandbox in sandboxes {
                                prop_assert!(gone.insert(sandbox));
                            }
                        }
                        Task::Nothing => {}
                    },
                }
                prop_assert!(making <= SIZE.at_once);
                prop_assert!(pool.waiting() + making <= SIZE.ceiling);
            }
            for _ in 0..making {
                pool.failed();
            }
            let target = pool.target(now);
            prop_assert_eq!(settled(&mut pool, now), target);
        }
    }
}
