//! No panic crosses into C: each entry point runs under one of these.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ngx::ffi::{NGX_ERROR, NGX_LOG_ALERT, ngx_int_t};

use crate::log;

/// Runs an entry point that answers with a status; a panic is `NGX_ERROR`.
pub fn status(entry: impl FnOnce() -> ngx_int_t) -> ngx_int_t {
    run(entry).unwrap_or(NGX_ERROR as ngx_int_t)
}

/// Runs an entry point that answers with a status, which is `otherwise` after a panic.
pub fn status_or(otherwise: ngx_int_t, entry: impl FnOnce() -> ngx_int_t) -> ngx_int_t {
    run(entry).unwrap_or(otherwise)
}

/// Runs an entry point that answers with a pointer; a panic is null.
pub fn pointer(entry: impl FnOnce() -> *mut c_void) -> *mut c_void {
    run(entry).unwrap_or(ptr::null_mut())
}

/// Runs an entry point that answers with nothing.
pub fn nothing(entry: impl FnOnce()) {
    run(entry);
}

fn run<T>(entry: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(entry)) {
        Ok(value) => Some(value),
        Err(panic) => {
            log::cycle(NGX_LOG_ALERT, &format!("panic: {}", text(&*panic)));
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
