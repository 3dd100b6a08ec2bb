//! What is measured, in the memory that all workers share, as data: a row for each function, and what is counted for all of
//! them together.
//!
//! Whoever counts adds to one number, in any order; whoever reads gets each number as it is, and no two of the same moment.
//! Rows are found and given out under the zone's mutex, and never freed: a function that is removed keeps what was counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::zone::Mutex;

/// How many words a row has for its name, of eight bytes each.
const NAME_WORDS: usize = 16;

/// How long a name may be, in bytes.
pub const MAX_NAME: usize = NAME_WORDS * 8;

/// How far from its place a row may be, so that looking for it takes no longer when there are many.
const PROBES: usize = 16;

/// A function's row, with `N` counts. What nobody's row says means nothing: it is cleared when it is given out.
#[repr(C)]
#[derive(Debug, zerocopy::FromBytes)]
pub struct Row<const N: usize> {
    name: [AtomicU64; NAME_WORDS],
    length: AtomicU64,
    /// The counts.
    pub counts: [AtomicU64; N],
}

impl<const N: usize> Row<N> {
    fn clear(&self, name: &[u8]) {
        for count in &self.counts {
            count.store(0, Relaxed);
        }
        let mut bytes = [0; MAX_NAME];
        bytes[..name.len()].copy_from_slice(name);
        for (word, part) in self.name.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_le_bytes(*part), Relaxed);
        }
        self.length.store(name.len() as u64, Relaxed);
    }

    /// The name; empty if it is none.
    pub fn name(&self) -> String {
        let words = self
            .name
            .iter()
            .flat_map(|word| word.load(Relaxed).to_le_bytes());
        let length = usize::try_from(self.length.load(Relaxed)).unwrap_or(0);
        let bytes: Vec<u8> = words.take(length).collect();
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// All counts.
    pub fn read(&self) -> [u64; N] {
        std::array::from_fn(|at| self.counts[at].load(Relaxed))
    }
}

/// The rows. Those of fixed use come first; they belong to everybody, and have no name.
#[derive(Debug)]
pub struct Rows<'a, M, const N: usize> {
    /// Whose the rows are, by key; a key of 0 is nobody's.
    pub keys: &'a [AtomicU64],
    /// The rows, as many as keys.
    pub rows: &'a [Row<N>],
    /// How many are of fixed use.
    pub fixed: usize,
    /// The zone's mutex.
    pub mutex: M,
}

impl<M: Mutex, const N: usize> Rows<'_, M, N> {
    /// Clears the rows of fixed use, and lets go of all others: for memory that is new.
    pub fn begin(&self) {
        for key in self.keys {
            key.store(0, Relaxed);
        }
        for row in &self.rows[..self.fixed] {
            row.clear(b"");
        }
    }

    /// The row of a name, which is given out if it has none. None if there is no room near its place, or the name is too long.
    pub fn find(&self, key: u64, name: &str) -> Option<usize> {
        let key = key.max(1);
        let count = self
            .keys
            .len()
            .checked_sub(self.fixed)
            .filter(|count| *count > 0)?;
        if name.len() > MAX_NAME {
            return None;
        }
        self.mutex.locked(|| {
            let begin = (key % count as u64) as usize;
            for probe in 0..PROBES.min(count) {
                let at = self.fixed + (begin + probe) % count;
                match self.keys[at].load(Relaxed) {
                    0 => {
                        self.rows[at].clear(name.as_bytes());
                        self.keys[at].store(key, Relaxed);
                        return Some(at);
                    }
                    found if found == key => return Some(at),
                    _ => {}
                }
            }
            None
        })
    }

    /// The row of a name, if it has one.
    pub fn get(&self, key: u64) -> Option<&Row<N>> {
        let key = key.max(1);
        let count = self.keys.len().checked_sub(self.fixed)?;
        let begin = key.checked_rem(count as u64)? as usize;
        let places = (0..PROBES.min(count)).map(|probe| self.fixed + (begin + probe) % count);
        let mut taken = places.take_while(|at| self.keys[*at].load(Relaxed) != 0);
        let at = taken.find(|at| self.keys[*at].load(Relaxed) == key)?;
        Some(&self.rows[at])
    }

    /// A row by its place, if it is somebody's.
    pub fn at(&self, place: usize) -> Option<&Row<N>> {
        let key = self.keys.get(place)?.load(Relaxed);
        (place >= self.fixed && key != 0).then(|| &self.rows[place])
    }

    /// The rows that are somebody's, and those of fixed use.
    pub fn used(&self) -> impl Iterator<Item = (usize, &Row<N>)> {
        self.rows
            .iter()
            .enumerate()
            .filter(|(at, _)| *at < self.fixed || self.keys[*at].load(Relaxed) != 0)
    }
}

/// How often something took how long, in `B` buckets.
#[derive(Debug)]
#[repr(C)]
pub struct SharedHistogram<const B: usize> {
    buckets: [AtomicU64; B],
    micros: AtomicU64,
}

impl<const B: usize> Default for SharedHistogram<B> {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; B],
            micros: AtomicU64::new(0),
        }
    }
}

impl<const B: usize> SharedHistogram<B> {
    /// One more, of this bucket and so many microseconds.
    pub fn add(&self, bucket: usize, micros: u64) {
        self.buckets[bucket.min(B - 1)].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// The counts, and the microseconds.
    pub fn read(&self) -> ([u64; B], u64) {
        let buckets = std::array::from_fn(|at| self.buckets[at].load(Relaxed));
        (buckets, self.micros.load(Relaxed))
    }
}

/// Numbers that are counted for all functions together.
#[derive(Debug)]
#[repr(C)]
pub struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    /// Adds to one.
    pub fn add(&self, at: usize, more: u64) {
        if let Some(count) = self.0.get(at) {
            count.fetch_add(more, Relaxed);
        }
    }

    /// All of them.
    pub fn read(&self) -> [u64; N] {
        std::array::from_fn(|at| self.0[at].load(Relaxed))
    }
}

/// How many of those that were counted last are remembered.
const REMEMBERED: usize = 256;

/// Which have been counted, of those that several processes hear of at about the same time.
#[derive(Debug)]
#[repr(C)]
pub struct Counted([AtomicU64; REMEMBERED]);

impl Default for Counted {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; REMEMBERED])
    }
}

impl Counted {
    /// Whether this is the first to tell of it. (A key whose place another has taken meanwhile may be told twice.)
    pub fn is_first(&self, key: u64) -> bool {
        self.0[key as usize % REMEMBERED].swap(key, Relaxed) != key
    }
}

/// What may be true or not for each worker, by shard.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Flags(AtomicU32);

impl Flags {
    /// Sets one.
    pub fn set(&self, flag: u32, on: bool) {
        if on {
            self.0.fetch_or(flag, Relaxed);
        } else {
            self.0.fetch_and(!flag, Relaxed);
        }
    }

    /// Whether it is set.
    pub fn has(&self, flag: u32) -> bool {
        self.0.load(Relaxed) & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test has one thread.
    struct Alone;

    impl Mutex for Alone {
        fn locked<T>(&self, action: impl FnOnce() -> T) -> T {
            action()
        }
    }

    fn memory(count: usize) -> (Vec<AtomicU64>, Vec<Row<2>>) {
        let keys = (0..count).map(|_| AtomicU64::new(9));
        let rows = (0..count).map(|_| Row {
            name: [const { AtomicU64::new(7) }; NAME_WORDS],
            length: AtomicU64::new(7),
            counts: [const { AtomicU64::new(7) }; 2],
        });
        (keys.collect(), rows.collect())
    }

    /// The rows in it, of which two are of fixed use.
    fn rows((keys, rows): &(Vec<AtomicU64>, Vec<Row<2>>)) -> Rows<'_, Alone, 2> {
        let rows = Rows {
            keys,
            rows,
            fixed: 2,
            mutex: Alone,
        };
        rows.begin();
        rows
    }

    #[test]
    fn names_get_rows_of_their_own_until_there_is_none() {
        let memory = memory(5);
        let rows = rows(&memory);
        let longest = "n".repeat(MAX_NAME);
        let names = ["a/b", "a/c", &longest];
        // (Two have the same place.)
        let keys = [6, 9, 7];
        let found: Vec<_> = keys
            .iter()
            .zip(names)
            .map(|(key, name)| rows.find(*key, name).unwrap())
            .collect();
        for (at, name) in found.iter().zip(names) {
            assert_eq!(rows.rows[*at].name(), name);
            assert_eq!(rows.rows[*at].read(), [0, 0]);
        }
        assert_eq!(rows.find(9, "a/c"), Some(found[1]));
        for (key, name) in keys.iter().zip(names) {
            assert_eq!(rows.get(*key).unwrap().name(), name);
        }
        assert!(rows.get(1).is_none() && rows.at(0).is_none() && rows.at(5).is_none());
        assert_eq!(rows.at(found[0]).unwrap().name(), "a/b");
        assert_eq!(rows.find(1, "a/d"), None, "there is no more");
        assert_eq!(rows.find(6, &"n".repeat(MAX_NAME + 1)), None);
        rows.rows[found[0]].counts[1].fetch_add(3, Relaxed);
        rows.rows[1].counts[0].fetch_add(1, Relaxed);
        let used: Vec<_> = rows
            .used()
            .map(|(_, row)| (row.name().len(), row.read()))
            .collect();
        assert_eq!(used.len(), 5);
        assert_eq!(used[..2], [(0, [0, 0]), (0, [1, 0])]);
        assert!(used.contains(&(3, [0, 3])));
    }

    #[test]
    fn without_room_for_rows_there_are_none() {
        let memory = memory(2);
        let rows = rows(&memory);
        assert_eq!(rows.find(6, "a/b"), None);
        assert!(rows.get(6).is_none());
        assert_eq!(rows.used().count(), 2);
    }

    #[test]
    fn counts_add_up() {
        let histogram = SharedHistogram::<3>::default();
        histogram.add(0, 5);
        histogram.add(9, 7);
        assert_eq!(histogram.read(), ([1, 0, 1], 12));
        let counts = Counts::<2>::default();
        counts.add(1, 4);
        counts.add(2, 4);
        assert_eq!(counts.read(), [0, 4]);
        let counted = Counted::default();
        assert!(counted.is_first(5) && !counted.is_first(5) && counted.is_first(6));
        let flags = Flags::default();
        flags.set(1, true);
        flags.set(2, true);
        flags.set(1, false);
        assert!(!flags.has(1) && flags.has(2));
    }
}
