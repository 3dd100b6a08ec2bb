//! The process that this is, and its clock.

use ngx::ffi::{
    NGINX_VERSION, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_current_msec, ngx_cycle,
    ngx_cycle_t, ngx_exiting, ngx_process, ngx_quit, ngx_terminate, ngx_worker,
};

/// The version of nginx that this was built for, such as `1.22.1`.
pub fn version() -> &'static str {
    NGINX_VERSION.to_str().unwrap_or_default()
}

/// Whether it serves requests: the master, the helpers of caches and everyone else don't.
pub fn serves_requests() -> bool {
    // SAFETY: nginx sets it as the process begins, before anything of a module runs in it.
    let process = unsafe { ngx_process } as u32;
    [NGX_PROCESS_WORKER, NGX_PROCESS_SINGLE].contains(&process)
}

/// Does something with what the process runs by; none before it has that.
pub fn with_cycle<T>(action: impl FnOnce(&ngx_cycle_t) -> T) -> Option<T> {
    // SAFETY: nginx sets it before a process begins its work, and in one that serves requests it stays until that ends.
    let cycle = unsafe { ngx_cycle.as_ref() };
    cycle.map(action)
}

/// Whether it is the first of the workers: there is one at any time, or two while a configuration is replaced.
pub fn is_first_worker() -> bool {
    // SAFETY: nginx sets it as the process begins, before anything of a module runs in it.
    unsafe { ngx_worker == 0 }
}

/// Whether it finishes what it has under way, and then ends.
pub fn is_ending() -> bool {
    // SAFETY: words that are read whole, and that only this thread and its signal handlers write.
    unsafe { ngx_exiting != 0 || ngx_quit != 0 || ngx_terminate != 0 }
}

/// Milliseconds of the monotonic clock when the event loop last woke.
pub fn now() -> u64 {
    // SAFETY: a word that is read whole, and that only the event loop's thread writes.
    unsafe { ngx_current_msec as u64 }
}
