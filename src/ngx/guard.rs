//! No panic crosses into C: each entry point runs under one of these, by its name.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ngx::ffi::{NGX_ERROR, ngx_int_t};

use super::log;

/// Runs an entry point that answers with a status; a panic is `NGX_ERROR`.
pub fn status(name: &str, entry: impl FnOnce() -> ngx_int_t) -> ngx_int_t {
    status_or(name, NGX_ERROR as ngx_int_t, entry)
}

/// Runs an entry point that answers with a status, which is `otherwise` after a panic.
pub fn status_or(name: &str, otherwise: ngx_int_t, entry: impl FnOnce() -> ngx_int_t) -> ngx_int_t {
    run(name, entry).unwrap_or(otherwise)
}

/// Runs an entry point that answers with a pointer; a panic is null.
pub fn pointer(name: &str, entry: impl FnOnce() -> *mut c_void) -> *mut c_void {
    run(name, entry).unwrap_or(ptr::null_mut())
}

/// Runs an entry point that answers with nothing. Returns whether it came to its end.
pub fn nothing(name: &str, entry: impl FnOnce()) -> bool {
    run(name, entry).is_some()
}

/// Runs an entry point that nginx will not call again for the same reason, and after a panic once
/// more: what it has to do would be left undone for ever.
pub fn twice(name: &str, entry: impl Fn()) -> bool {
    nothing(name, &entry) || nothing(name, &entry)
}

/// As [`twice`], if what it works on is not `gone` by then.
pub fn twice_unless(name: &str, gone: &Cell<bool>, entry: impl Fn()) -> bool {
    nothing(name, &entry) || (!gone.get() && nothing(name, &entry))
}

fn run<T>(name: &str, entry: impl FnOnce() -> T) -> Option<T> {
    let guarded = || {
        #[cfg(feature = "fault-injection")]
        let _measured = super::fault::enter(name);
        entry()
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let text = format!("panic in {name}: {}", text(&*panic));
            log::cycle(log::NGX_LOG_ALERT, &text);
            None
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of an unknown kind")
}
