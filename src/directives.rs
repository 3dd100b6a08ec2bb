//! The table of directives: where each may stand, and what sets it.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use ngx::ffi::{
    NGX_CONF_1MORE, NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_SRV_CONF, NGX_HTTP_UPS_CONF, ngx_command_t, ngx_conf_t, ngx_uint_t,
};

use corefn_core::names::directive;

use crate::conf::{http, location};
use crate::raw::constant;
use crate::upstream;

const ANY_LEVEL: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

/// The directives, for nginx.
pub static mut COMMANDS: [ngx_command_t; 12] = [
    http_directive(directive::REDIS, NGX_CONF_1MORE, http::set_redis),
    http_directive(directive::DOCKER, NGX_CONF_TAKE1, http::set_docker),
    http_directive(directive::NAMESPACE, NGX_CONF_TAKE1, http::set_namespace),
    http_directive(directive::ZONE, NGX_CONF_TAKE2, http::set_zone),
    http_directive(directive::HOST_QUEUE, NGX_CONF_TAKE1, http::set_host_queue),
    http_directive(directive::MAX_STARTS, NGX_CONF_TAKE1, http::set_max_starts),
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
