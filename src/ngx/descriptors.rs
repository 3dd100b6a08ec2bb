//! Room for the worker's file descriptors.
//!
//! When a process opens more files than its table has room for, the kernel makes a larger one, and
//! if threads share it, first waits until no processor uses the old one any more (`expand_fdtable`
//! of Linux's `fs/file.c`): 10 to 20 ms at 64, 256, 512, 1024 … descriptors, in which the event
//! loop would stand still. So it is made as large as it can get to be, before there is a thread.

use ngx::ffi::ngx_cycle_t;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};
use rustix::stdio::stderr;

/// What is open besides the connections and their files: logs, what nginx got from the master, what
/// the runtime thread talks to.
const OTHERS: usize = 128;

/// Makes room for all descriptors that the worker can have open at once. Without it, it only
/// gets slower.
pub fn reserve(cycle: &ngx_cycle_t) {
    // A connection with a client or a function has one, and a file for what is too long for
    // memory at most.
    let wanted = 2 * cycle.connection_n + OTHERS;
    // None is as many as the process likes.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let highest = wanted
        .min(usize::try_from(limit).unwrap_or(usize::MAX))
        .saturating_sub(1);
    if let Ok(highest) = i32::try_from(highest) {
        // The descriptor is closed at once. Where standard error isn't open, there is none.
        drop(fcntl_dupfd_cloexec(stderr(), highest));
    }
}
