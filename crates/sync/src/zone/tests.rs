use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use zerocopy::FromBytes as _;

use super::*;

/// What may be in memory that nobody has used.
const JUNK: [u8; size_of::<Counters>()] = [0xa5; size_of::<Counters>()];

const KEY: u64 = 7;
const OTHER: u64 = 8;

/// The memory of a zone, of as many counters as `N`.
struct Memory<const N: usize> {
    header: Header,
    keys: [AtomicU64; N],
    counters: [Counters; N],
    is_locked: Cell<bool>,
}

impl<const N: usize> Memory<N> {
    fn new() -> Self {
        Self {
            header: Header::default(),
            keys: [const { AtomicU64::new(0) }; N],
            counters: std::array::from_fn(|_| Counters::read_from_bytes(&JUNK).unwrap()),
            is_locked: Cell::new(false),
        }
    }

    fn zone(&self) -> Zone<'_, &Cell<bool>> {
        Zone {
            header: &self.header,
            keys: &self.keys,
            counters: &self.counters,
            mutex: &self.is_locked,
        }
    }

    fn begin(&self, index: usize, shard: usize, count: u32) {
        self.counters[index].active[shard].fetch_add(count, Relaxed);
    }

    fn keys(&self) -> [u64; N] {
        self.keys.each_ref().map(|key| key.load(Relaxed))
    }
}

/// Says whether it is locked.
impl Mutex for &Cell<bool> {
    fn locked<T>(&self, action: impl FnOnce() -> T) -> T {
        assert!(!self.replace(true), "locked within itself");
        let result = action();
        self.set(false);
        result
    }
}

/// Processes by number, with when they started. Asking for one may have an effect.
struct System<'a> {
    started: RefCell<HashMap<i32, u64>>,
    on_question: &'a dyn Fn(),
}

impl<'a> System<'a> {
    fn of<const N: usize>(processes: [(i32, u64); N], on_question: &'a dyn Fn()) -> Self {
        Self {
            started: RefCell::new(processes.into()),
            on_question,
        }
    }
}

impl Processes for System<'_> {
    fn started(&self, process: i32) -> Option<u64> {
        (self.on_question)();
        self.started.borrow().get(&process).copied()
    }

    fn exists(&self, process: i32) -> bool {
        (self.on_question)();
        self.started.borrow().contains_key(&process)
    }
}

fn nothing() {}

#[test]
fn the_system_is_never_asked_under_the_mutex() {
    let memory = Memory::<1>::new();
    let questions = Cell::new(0);
    let ask = || {
        assert!(!memory.is_locked.get(), "event loops wait for this");
        questions.set(questions.get() + 1);
    };
    let zone = memory.zone();
    let system = System::of([(1, 10), (2, 20)], &ask);
    assert_eq!(zone.take_shard(1, &system), Some(0));
    assert_eq!(zone.take_shard(2, &system), Some(1));
    system.started.borrow_mut().remove(&1);
    zone.take_back_orphans(CHECK_INTERVAL, &system);
    assert_eq!(memory.header.owners[0].load(Relaxed), 0);
    assert!(questions.get() >= 4, "{} questions", questions.get());
}

#[test]
fn counters_are_one_keys_until_all_have_let_go() {
    let memory = Memory::<2>::new();
    let zone = memory.zone();
    assert_eq!(zone.attach(KEY, 0), Some(0));
    assert_eq!(zone.attach(KEY, 1), Some(0));
    assert_eq!(zone.attach(OTHER, 1), Some(1));
    assert_eq!(zone.attach(9, 0), None, "all are given out");
    memory.begin(0, 0, 2);
    memory.begin(0, 1, 3);
    assert_eq!(memory.counters[0].load(), 5);
    zone.detach(0, 0);
    assert_eq!(memory.counters[0].load(), 3);
    assert_eq!(memory.keys(), [KEY, OTHER]);
    zone.detach(0, 1);
    assert_eq!(memory.keys(), [0, OTHER]);
}

#[test]
fn counters_that_another_key_has_by_now_are_left_alone() {
    let memory = Memory::<1>::new();
    let zone = memory.zone();
    let index = zone.attach(KEY, 0).unwrap();
    let until = |counters: &Counters| counters.until.fetch_max(5, Relaxed);
    assert_eq!(zone.with(index, KEY, until), Some(0));
    zone.detach(index, 0);
    assert_eq!(zone.with(index, KEY, until), None);
    assert_eq!(zone.attach(OTHER, 0), Some(index));
    assert_eq!(zone.with(index, KEY, until), None);
    // And nothing of the former is left in them.
    assert_eq!(zone.with(index, OTHER, until), Some(0));
}

#[test]
fn a_key_of_zero_is_a_key() {
    let memory = Memory::<2>::new();
    let zone = memory.zone();
    assert_eq!(zone.attach(0, 0), Some(0));
    assert_eq!(zone.attach(0, 1), Some(0));
    assert_eq!(zone.with(0, 0, |_| ()), Some(()));
}

#[test]
fn what_a_dead_process_has_counted_is_taken_back() {
    let memory = Memory::<2>::new();
    let zone = memory.zone();
    let system = System::of([(1, 10), (2, 20)], &nothing);
    let dead = zone.take_shard(1, &system).unwrap();
    let mine = zone.take_shard(2, &system).unwrap();
    assert_ne!(dead, mine);
    for key in [KEY, OTHER] {
        memory.begin(zone.attach(key, dead).unwrap(), dead, 4);
    }
    memory.begin(zone.attach(KEY, mine).unwrap(), mine, 1);
    system.started.borrow_mut().remove(&1);

    // By a round, no more than one in an interval.
    zone.take_back_orphans(CHECK_INTERVAL - 1, &system);
    assert_eq!(memory.counters[0].load(), 5);
    zone.take_back_orphans(CHECK_INTERVAL, &system);
    assert_eq!(memory.counters[0].load(), 1);
    assert_eq!(memory.keys(), [KEY, 0]);
    assert_eq!(memory.header.owners[dead].load(Relaxed), 0);

    // By who finds no other shard.
    system.started.borrow_mut().remove(&2);
    let others = 3..3 + i32::try_from(SHARDS).unwrap() - 1;
    for process in others.clone() {
        system.started.borrow_mut().insert(process, 30);
        assert_ne!(zone.take_shard(process, &system), Some(mine));
    }
    assert_eq!(memory.keys(), [KEY, 0]);
    system.started.borrow_mut().insert(others.end, 30);
    assert_eq!(zone.take_shard(others.end, &system), Some(mine));
    assert_eq!(memory.keys(), [0, 0]);
}

#[test]
fn a_later_process_of_the_same_number_is_another() {
    let memory = Memory::<1>::new();
    let zone = memory.zone();
    let shard = zone
        .take_shard(1, &System::of([(1, 10)], &nothing))
        .unwrap();
    memory.begin(zone.attach(KEY, shard).unwrap(), shard, 1);
    // The same one is not, even if its start can't be known for once.
    zone.take_back_orphans(CHECK_INTERVAL, &System::of([(1, 10)], &nothing));
    assert_eq!(memory.counters[0].load(), 1);
    zone.take_back_orphans(2 * CHECK_INTERVAL, &System::of([(1, 11)], &nothing));
    assert_eq!(memory.counters[0].load(), 0);
    assert_eq!(memory.keys(), [0]);
}

#[test]
fn a_process_whose_start_is_unknown_goes_by_its_number() {
    struct Numbers;
    impl Processes for Numbers {
        fn started(&self, _: i32) -> Option<u64> {
            None
        }
        fn exists(&self, process: i32) -> bool {
            process == 1
        }
    }
    let memory = Memory::<1>::new();
    let zone = memory.zone();
    let known = zone.take_shard(1, &System::of([(1, 10)], &nothing));
    zone.take_back_orphans(CHECK_INTERVAL, &Numbers);
    assert_eq!(memory.header.owners[0].load(Relaxed), 1);
    zone.release_shard(known.unwrap());
    assert_eq!(zone.take_shard(1, &Numbers), Some(0));
    zone.take_back_orphans(2 * CHECK_INTERVAL, &System::of([(1, 10)], &nothing));
    assert_eq!(memory.header.owners[0].load(Relaxed), 1);
}

#[test]
fn a_shard_that_is_taken_meanwhile_is_not_cleared() {
    let memory = Memory::<1>::new();
    let zone = memory.zone();
    let shard = zone
        .take_shard(1, &System::of([(1, 10)], &nothing))
        .unwrap();
    // While it is asked whether 1 lives, 1 gives its shard back, and 2 takes it and begins to work.
    let is_taken = Cell::new(false);
    let take = || {
        if !is_taken.replace(true) {
            let zone = memory.zone();
            zone.release_shard(shard);
            let taken = zone.take_shard(2, &System::of([(2, 20)], &nothing));
            assert_eq!(taken, Some(shard));
            memory.begin(zone.attach(KEY, shard).unwrap(), shard, 1);
        }
    };
    zone.take_back_orphans(CHECK_INTERVAL, &System::of([], &take));
    assert!(is_taken.get());
    assert_eq!(memory.header.owners[shard].load(Relaxed), 2);
    assert_eq!(memory.counters[0].load(), 1);
}

#[test]
fn all_shards_may_be_owned() {
    let memory = Memory::<1>::new();
    let zone = memory.zone();
    let system = System::of([], &nothing);
    for process in 1..=129 {
        system.started.borrow_mut().insert(process, 1);
    }
    for process in 1..=128 {
        assert!(zone.take_shard(process, &system).is_some());
    }
    assert_eq!(zone.take_shard(129, &system), None);
    // Who asks again keeps the one it has.
    assert_eq!(zone.take_shard(5, &system), Some(4));
}
