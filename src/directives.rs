//! The table of directives: where each may stand, and what sets it.

use std::ffi::CStr;

use ngx::ffi::{
    NGX_CONF_1MORE, NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, ngx_command_t,
};

use corefn_core::names::directive;

use crate::CorefnModule;
use crate::conf::{LocationConf, MainConf, http, location};
use crate::context::Context;
use crate::ngx::{
    Directive, choose_balancer, directives_end, location_directive, main_directive,
    only_location_directive, upstream_directive,
};

/// The directives, for nginx.
pub static mut COMMANDS: [ngx_command_t; 17] = [
    main(directive::REDIS, NGX_CONF_1MORE, http::set_redis),
    main(directive::DOCKER, NGX_CONF_TAKE1, http::set_docker),
    main(directive::NAMESPACE, NGX_CONF_TAKE1, http::set_namespace),
    main(directive::ZONE, NGX_CONF_TAKE2, http::set_zone),
    main(directive::HOST_QUEUE, NGX_CONF_TAKE1, http::set_host_queue),
    main(directive::MAX_STARTS, NGX_CONF_TAKE1, http::set_max_starts),
    main(directive::SANDBOXES, NGX_CONF_TAKE1, http::set_sandboxes),
    main(directive::SECRETS, NGX_CONF_TAKE1, http::set_secrets),
    main(
        directive::INVOCATIONS,
        NGX_CONF_TAKE1,
        http::set_invocations,
    ),
    main(directive::TRACES, NGX_CONF_TAKE1, http::set_traces),
    any(directive::COREFN, NGX_CONF_FLAG, location::set_enabled),
    any(
        directive::START_TIMEOUT,
        NGX_CONF_TAKE1,
        location::set_start_timeout,
    ),
    any(directive::QUEUE, NGX_CONF_TAKE1, location::set_queue),
    any(directive::IDLE, NGX_CONF_TAKE1, location::set_idle),
    only_location_directive::<CorefnModule>(
        directive::STATUS,
        NGX_CONF_NOARGS,
        location::set_status,
    ),
    upstream_directive::<CorefnModule>(directive::INSTANCES, NGX_CONF_NOARGS, set_instances),
    directives_end(),
];

const fn main(
    name: &'static CStr,
    arguments: u32,
    setter: fn(&mut MainConf, &mut Directive<'_>) -> Result<(), String>,
) -> ngx_command_t {
    main_directive::<CorefnModule>(name, arguments, setter)
}

const fn any(
    name: &'static CStr,
    arguments: u32,
    setter: fn(&mut LocationConf, &mut Directive<'_>) -> Result<(), String>,
) -> ngx_command_t {
    location_directive::<CorefnModule>(name, arguments, setter)
}

/// `corefn_instances;` makes the upstream's peers the instances of the request's function. It goes
/// before `keepalive`, as every method of balancing does.
fn set_instances(_: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    choose_balancer::<Context>(directive.conf())
}
