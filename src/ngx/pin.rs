//! Keeps the module mapped for as long as a worker lives.
//!
//! nginx unmaps its modules when a worker exits. The runtime thread has ended by then, but not
//! surely a thread that tokio keeps for calls which block: one that looks up the name of Redis's
//! host can't be interrupted, and is not waited for. It must not return into memory that is gone.
//!
//! Only workers pin: the master unmaps a module that a reload no longer loads, and gives its place
//! among the modules to another.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// Does so. Where the system can't, the module is unmapped as any other.
pub fn pin() {
    const FLAGS: c_int = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let own: fn() = pin;
    // SAFETY: an address of this module; the result is filled if the call succeeds, and then names
    // the file that is loaded already.
    unsafe {
        if libc::dladdr(own as *const c_void, info.as_mut_ptr()) != 0 {
            libc::dlopen(info.assume_init().dli_fname, FLAGS);
        }
    }
}
