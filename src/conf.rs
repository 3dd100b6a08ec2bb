//! Directives: what they set, and what must hold when all are read.

mod http;
mod location;
mod upstream;

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use ngx::core::NGX_CONF_ERROR;
use ngx::ffi::{
    NGX_CONF_1MORE, NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_ERROR,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_SRV_CONF, NGX_HTTP_UPS_CONF, NGX_LOG_EMERG, NGX_OK, ngx_array_push, ngx_command_t,
    ngx_conf_t, ngx_http_handler_pt, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_int_t,
    ngx_str_t, ngx_uint_t,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use corefn_core::names::directive;

use crate::raw::constant;
use crate::{CorefnModule, handler, log, page};

pub use http::MainConf;
pub use location::LocationConf;

const ANY_LEVEL: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

/// The directives, for nginx.
pub static mut COMMANDS: [ngx_command_t; 12] = [
    http_directive(directive::REDIS, NGX_CONF_1MORE, http::set_redis),
    http_directive(directive::DOCKER, NGX_CONF_TAKE1, http::set_docker),
    http_directive(directive::NAMESPACE, NGX_CONF_TAKE1, http::set_namespace),
    http_directive(directive::ZONE, NGX_CONF_TAKE2, http::set_zone),
    http_directive(directive::HOST_QUEUE, NGX_CONF_TAKE1, http::set_host_queue),
    http_directive(directive::STARTS, NGX_CONF_TAKE1, http::set_starts),
    location_directive(directive::COREFN, NGX_CONF_FLAG, location::set_enabled),
    location_directive(
        directive::START_TIMEOUT,
        NGX_CONF_TAKE1,
        location::set_start_timeout,
    ),
    location_directive(directive::QUEUE, NGX_CONF_TAKE1, location::set_queue),
    location_directive(directive::IDLE, NGX_CONF_TAKE1, location::set_idle),
    ngx_command_t {
        name: constant(directive::INSTANCES),
        type_: (NGX_HTTP_UPS_CONF | NGX_CONF_NOARGS) as ngx_uint_t,
        set: Some(upstream::set_instances),
        conf: 0,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t::empty(),
];

type Setter = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

const fn http_directive(name: &'static CStr, arguments: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        name: constant(name),
        type_: (NGX_HTTP_MAIN_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

const fn location_directive(name: &'static CStr, arguments: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        name: constant(name),
        type_: (ANY_LEVEL | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

/// Runs a setter with the directive's words. An error, or a panic, ends nginx's start with the
/// text, the file and the line.
fn set(
    cf: *mut ngx_conf_t,
    setter: impl FnOnce(&mut ngx_conf_t, &[ngx_str_t]) -> Result<(), String>,
) -> *mut c_char {
    let mut answer = NGX_CONF_ERROR as *mut c_char;
    crate::guard::nothing("directive", || {
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

/// Completes the configuration when all of it is read: the shared zone and the handler, both only
/// if some location is for functions.
pub fn finish(cf: &mut ngx_conf_t) -> ngx_int_t {
    let (Some(main), Some(core)) = (
        CorefnModule::main_conf_mut(cf),
        NgxHttpCoreModule::main_conf_mut(cf),
    ) else {
        return NGX_ERROR as ngx_int_t;
    };
    if !main.used {
        return NGX_OK as ngx_int_t;
    }
    if let Err(text) = main.complete(cf) {
        log::conf(cf, NGX_LOG_EMERG, &text);
        return NGX_ERROR as ngx_int_t;
    }
    let phase = &mut core.phases[ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE as usize];
    // SAFETY: the array was made by nginx for handlers.
    let place = unsafe { ngx_array_push(&mut phase.handlers) }.cast::<ngx_http_handler_pt>();
    if place.is_null() {
        return NGX_ERROR as ngx_int_t;
    }
    // SAFETY: the place is a new element of the array.
    unsafe { place.write(Some(handler::precontent)) };
    page::install();
    NGX_OK as ngx_int_t
}
