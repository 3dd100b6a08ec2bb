//! Small things that nginx's C has as macros.

use std::ffi::CStr;

use ngx::ffi::{ngx_current_msec, ngx_event_t, ngx_str_t};

/// What nginx calls for an event.
pub type EventHandler = unsafe extern "C" fn(*mut ngx_event_t);

/// Milliseconds of the monotonic clock when the event loop last woke; [`corefn_engine::clock`]'s.
pub fn now() -> u64 {
    // SAFETY: only the event loop's thread writes it, and this is that thread.
    unsafe { ngx_current_msec as u64 }
}

/// nginx's form of a constant.
pub const fn constant(text: &'static CStr) -> ngx_str_t {
    ngx_str_t {
        len: text.to_bytes().len(),
        data: text.as_ptr().cast_mut().cast(),
    }
}
