//! Every order of what two threads do: `make proof ONLY=loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use corefn_sync::{Wakeup, enter_within, sum};
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
