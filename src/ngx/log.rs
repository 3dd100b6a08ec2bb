//! nginx's error log.

use std::ffi::c_char;

use ngx::ffi::{
    ngx_conf_log_error, ngx_conf_t, ngx_cycle, ngx_log_error_core, ngx_log_t, ngx_uint_t,
};

pub use ngx::ffi::{
    NGX_LOG_ALERT, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE, NGX_LOG_WARN,
};

/// Logs a line to the process's log.
pub fn cycle(level: u32, text: &str) {
    // SAFETY: nginx sets the cycle before it loads modules and never leaves it null.
    unsafe { write(level, (*ngx_cycle).log, text) }
}

/// Logs a line about a request or a connection, which adds what they are.
///
/// # Safety
/// `log` is null or a valid log.
pub(super) unsafe fn write(level: u32, log: *mut ngx_log_t, text: &str) {
    let level = level as ngx_uint_t;
    // SAFETY: the caller's; the format takes a length and that many bytes.
    unsafe {
        if !log.is_null() && (*log).log_level >= level {
            ngx_log_error_core(level, log, 0, FORMAT, text.len(), text.as_ptr());
        }
    }
}

/// Reports an error of the configuration; nginx adds the file and the line.
pub fn conf(cf: &mut ngx_conf_t, level: u32, text: &str) {
    // SAFETY: a valid configuration; the format takes a length and that many bytes.
    unsafe {
        ngx_conf_log_error(
            level as ngx_uint_t,
            cf,
            0,
            FORMAT,
            text.len(),
            text.as_ptr(),
        )
    }
}

const FORMAT: *const c_char = c"corefn: %*s".as_ptr();
