//! nginx's signals belong to its main thread.

use std::mem::MaybeUninit;
use std::ptr;

/// Runs `spawn` with all signals blocked, so that the threads it starts never get one: a handler
/// that runs elsewhere would not wake the event loop.
pub fn blocked<T>(spawn: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are written by the calls before they are read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let value = spawn();
    // SAFETY: the set was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    value
}
