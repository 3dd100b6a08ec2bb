//! Faults on purpose, and a stopwatch: in builds with the feature `fault-injection` only.
//!
//! `COREFN_FAULT` is the path of a file, which nginx must hand on (`env COREFN_FAULT;`). When it
//! holds the name of an entry point, that one's next call panics, and removes the file. With a `!`
//! behind the name the file stays, and each call panics. The file may hold several names, with a
//! space between. Two places of the runtime thread can be named as well: `due`, in a task that
//! must always be there, and `send`, in whatever sends an update. `lose` loses an update.
//!
//! The stopwatch takes for each entry point how long its thread was held up by it: the time from
//! begin to end, less what the thread was ready to run and another had the processor (`run_delay`
//! of `/proc/thread-self/schedstat`, see the kernel's `sched-stats.rst`). An entry point that nginx
//! calls from within another counts as a part of that one: two readings for each of the hundreds
//! of requests that one call resumes would themselves be what holds it up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use corefn_core::names::env;

use super::log;

/// What says which faults are to happen; without it there are none.
static PATH: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os(env::FAULT).map(PathBuf::from));

thread_local! {
    /// Whether an entry point is being measured.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Of each entry point that this thread ran: how often, and the longest time.
    static TIMES: RefCell<BTreeMap<String, (u64, Duration)>> = const { RefCell::new(BTreeMap::new()) };
}

/// Panics if this call is to.
pub fn strike(name: &str) {
    // A second panic would end the process, as it always does.
    if !std::thread::panicking() && is_due(name) {
        panic!("{} asked for it", env::FAULT);
    }
}

/// Panics if this call is to, else returns what measures it, if it is no part of another.
pub fn enter(name: &str) -> Option<Measured> {
    strike(name);
    if INSIDE.replace(true) {
        return None;
    }
    Some(Measured {
        name: name.to_owned(),
        // In this order, and the other way round at the end, so that whatever delays the thread
        // between the two is taken off.
        delay: delay(),
        begin: Instant::now(),
    })
}

/// Whether a fault is to happen now.
pub fn is_due(name: &str) -> bool {
    let Some(path) = &*PATH else {
        return false;
    };
    let Ok(wanted) = fs::read_to_string(path) else {
        return false;
    };
    wanted
        .split(' ')
        .any(|wanted| match wanted.strip_suffix('!') {
            Some(wanted) => wanted == name,
            // Of several threads and processes, one gets to remove it.
            None => wanted == name && fs::remove_file(path).is_ok(),
        })
}

/// One call of an entry point.
pub struct Measured {
    name: String,
    delay: Duration,
    begin: Instant,
}

impl Drop for Measured {
    fn drop(&mut self) {
        let elapsed = self.begin.elapsed();
        let held = elapsed.saturating_sub(delay().saturating_sub(self.delay));
        let name = std::mem::take(&mut self.name);
        INSIDE.set(false);
        TIMES.with_borrow_mut(|times| {
            let (calls, longest) = times.entry(name).or_default();
            *calls += 1;
            *longest = held.max(*longest);
        });
    }
}

/// Logs what was measured on this thread, a line for each entry point.
pub fn report() {
    TIMES.with_borrow(|times| {
        for (name, (calls, longest)) in times {
            let longest = longest.as_micros();
            let text = format!("{calls} calls of {name}, longest {longest} us");
            log::cycle(log::NGX_LOG_NOTICE, &text);
        }
    });
}

/// How long this thread has waited for a processor in all.
fn delay() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').nth(1).and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
