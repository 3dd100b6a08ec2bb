//! Room for the worker's file descriptors.
//!
//! When a process opens more files than its table has room for, the kernel makes a larger one, and
//! if threads share it, first waits until no processor uses the old one any more (`expand_fdtable`
//! of Linux's `fs/file.c`): 10 to 20 ms at 64, 256, 512, 1024 … descriptors, in which the event
//! loop would stand still. So it is made as large as it can get to be, before there is a thread.

use std::mem::MaybeUninit;

use ngx::ffi::ngx_cycle_t;

/// What is open besides the connections and their files: logs, what nginx got from the master, what
/// the runtime thread talks to.
const OTHERS: usize = 128;

/// Makes room for all descriptors that the worker can have open at once. Without it, it only
/// gets slower.
pub fn reserve(cycle: &ngx_cycle_t) {
    // A connection with a client or a function has one, and a file for what is too long for
    // memory at most.
    let wanted = 2 * cycle.connection_n + OTHERS;
    let highest = wanted.min(limit()).saturating_sub(1);
    let Ok(highest) = libc::c_int::try_from(highest) else {
        return;
    };
    // SAFETY: plain calls; the descriptor that is closed is the one just made, which nothing else
    // knows of. The first call's descriptor need not be open: then there is none to close.
    unsafe {
        let copy = libc::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, highest);
        if copy >= 0 {
            libc::close(copy);
        }
    }
}

/// How many descriptors the process may have.
fn limit() -> usize {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: it is filled if the call succeeds.
    let limit = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) != 0 {
            return 0;
        }
        limit.assume_init()
    };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
