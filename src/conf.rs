//! Directives: what they set, and what must hold when all are read.

pub mod http;
pub mod location;

use std::ffi::c_char;
use std::ptr;

use ngx::core::NGX_CONF_ERROR;
use ngx::ffi::{NGX_LOG_EMERG, ngx_conf_t, ngx_str_t};
use ngx::http::HttpModuleMainConf;

use crate::{CorefnModule, guard, log};

pub use http::MainConf;
pub use location::LocationConf;

/// Runs a setter with the directive's words. An error, or a panic, ends nginx's start with the
/// text, the file and the line.
pub fn set(
    cf: *mut ngx_conf_t,
    setter: impl FnOnce(&mut ngx_conf_t, &[ngx_str_t]) -> Result<(), String>,
) -> *mut c_char {
    let mut answer = NGX_CONF_ERROR as *mut c_char;
    guard::nothing("directive", || {
        // SAFETY: nginx passes a valid configuration whose arguments are an array of strings that
        // live as long as the configuration.
        let (cf, words) = unsafe { (&mut *cf, (*(*cf).args).as_slice::<ngx_str_t>()) };
        match setter(cf, words) {
            Ok(()) => answer = ptr::null_mut(),
            Err(text) => log::conf(cf, NGX_LOG_EMERG, &text),
        }
    });
    answer
}

/// A word of a directive as text.
fn text(word: &ngx_str_t) -> Result<&str, String> {
    std::str::from_utf8(word.as_bytes()).map_err(|_| "a value is not UTF-8".to_owned())
}

/// A directive's whole number of 32 bits, `least` at the least; `what` is what it is called in
/// errors.
fn number(words: &[ngx_str_t], least: u32, what: &str) -> Result<u32, String> {
    let (name, value) = (text(&words[0])?, text(&words[1])?);
    let number = value.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        format!(
            "{value:?} is no {what} for {name}: write a whole number, {least} to {}",
            u32::MAX
        )
    })
}

/// Completes the configuration when all of it is read. Whether some location is for functions.
///
/// # Errors
/// What is wrong with it.
pub fn complete(cf: &mut ngx_conf_t) -> Result<bool, String> {
    let main = CorefnModule::main_conf_mut(cf).ok_or("there is no configuration to complete")?;
    if main.used {
        main.complete(cf)?;
    }
    Ok(main.used)
}
