//! Every order of what two threads do: `make proof ONLY=loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use corefn_sync::{Line, Wakeup, enter_within, sum};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use loom::thread;

#[test]
fn nothing_is_queued_unheard() {
    loom::model(|| {
        let wakeup = Arc::new(Wakeup::new());
        let queued = Arc::new(AtomicBool::new(false));
        // One is requested already when the two begin.
        assert!(wakeup.request());
        let sender = {
            let (wakeup, queued) = (wakeup.clone(), queued.clone());
            thread::spawn(move || {
                queued.store(true, Relaxed);
                wakeup.request()
            })
        };
        wakeup.take();
        let heard = queued.load(Relaxed);
        let wakes = sender.join().unwrap();
        assert!(heard || wakes, "queued, and nobody is woken for it");
    });
}

#[test]
fn no_more_enter_than_may() {
    loom::model(|| {
        let counts = Arc::new([0, 0].map(AtomicU32::new));
        let other = {
            let counts = counts.clone();
            thread::spawn(move || enter_within(&*counts, 1, 1))
        };
        let mine = enter_within(&*counts, 0, 1);
        let other = other.join().unwrap();
        assert!(!(mine && other), "both got the last place");
        assert_eq!(sum(&*counts), u32::from(mine) + u32::from(other));
    });
}

#[test]
fn place_that_is_left_is_taken() {
    loom::model(|| {
        // The one place is taken by worker 1, which leaves it while worker 0 begins to wait.
        let counts = Arc::new([0, 1].map(AtomicU32::new));
        let first = Arc::new([0, 0].map(AtomicU32::new));
        let next = Arc::new(AtomicU32::new(1));
        let leaves = {
            let (counts, first, next) = (counts.clone(), first.clone(), next.clone());
            thread::spawn(move || {
                counts[1].fetch_sub(1, Relaxed);
                let line = Line {
                    first: &*first,
                    next: &next,
                };
                line.turn()
            })
        };
        let line = Line {
            first: &*first,
            next: &next,
        };
        line.show(0, Some(line.draw()));
        let entered = enter_within(&*counts, 0, 1);
        let told = leaves.join().unwrap();
        assert!(entered || told == Some(0), "it waits beside a free place");
    });
}
