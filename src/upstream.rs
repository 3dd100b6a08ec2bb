//! The directive of the `upstream` level, which has nginx ask [`crate::peer`] for instances.

use std::ffi::{c_char, c_void};

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_UPSTREAM_CREATE, NGX_LOG_EMERG, NGX_OK, ngx_array_push, ngx_command_t,
    ngx_conf_t, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_uint_t,
};
use ngx::http::{HttpModuleServerConf, NgxHttpUpstreamModule};

use corefn_core::names::directive;

use crate::conf::set;
use crate::{guard, log, peer};

/// `corefn_instances;` makes the upstream's peers the instances of the request's function. It goes
/// before `keepalive`, as every method of balancing does.
pub unsafe extern "C" fn set_instances(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    _: *mut c_void,
) -> *mut c_char {
    set(cf, |cf, _| {
        let upstream = NgxHttpUpstreamModule::server_conf_mut(cf)
            .ok_or("there is no upstream around it".to_owned())?;
        if upstream.peer.init_upstream.is_some() {
            return Err(format!(
                "{} is not the first method of balancing in its upstream: write it once, before keepalive",
                directive::INSTANCES.to_string_lossy()
            ));
        }
        upstream.peer.init_upstream = Some(init_upstream);
        upstream.flags = NGX_HTTP_UPSTREAM_CREATE as ngx_uint_t;
        // nginx refuses an upstream without a server; this one has no address and is never used.
        // SAFETY: nginx made the array for servers.
        let server =
            unsafe { ngx_array_push(upstream.servers) }.cast::<ngx_http_upstream_server_t>();
        if server.is_null() {
            return Err("there is no memory left".to_owned());
        }
        // SAFETY: the place is a new element, and all zeros are a server without addresses.
        unsafe { server.write_bytes(0, 1) };
        Ok(())
    })
}

/// Called when the whole configuration is read.
unsafe extern "C" fn init_upstream(
    cf: *mut ngx_conf_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard::status("init_upstream", || {
        // SAFETY: nginx passes valid pointers.
        let (cf, upstream) = unsafe { (&mut *cf, &mut *upstream) };
        // SAFETY: the array was made before the directive was read.
        let servers = unsafe { (*upstream.servers).nelts };
        let mut wrong = (servers > 1).then_some("server");
        if !upstream.shm_zone.is_null() {
            wrong = Some("zone");
        }
        if let Some(other) = wrong {
            let name = directive::INSTANCES.to_string_lossy();
            let text = format!(
                "the upstream with {name} has a {other} too: delete the {other}; instances are found by themselves"
            );
            log::conf(cf, NGX_LOG_EMERG, &text);
            return NGX_ERROR as ngx_int_t;
        }
        upstream.peer.init = Some(peer::init);
        NGX_OK as ngx_int_t
    })
}
