//! The tables by which nginx knows a module.

use std::ffi::{c_char, c_void};
use std::ptr;

use ngx::core::{NGX_CONF_ERROR, Pool};
use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_MODULE, NGX_OK, ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t,
    ngx_int_t, ngx_module_t, ngx_uint_t,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf, Merge};

use super::{guard, log};

/// What a module does for nginx, besides what its directives do.
pub trait Module:
    HttpModuleMainConf<MainConf: Default> + HttpModuleLocationConf<LocationConf: Default + Merge>
{
    /// The configuration is about to be read.
    ///
    /// # Errors
    /// Why nginx can't start.
    fn on_preconfiguration(cf: &mut ngx_conf_t) -> Result<(), String>;

    /// The configuration is read.
    ///
    /// # Errors
    /// Why nginx can't start.
    fn on_postconfiguration(cf: &mut ngx_conf_t) -> Result<(), String>;

    /// A process of nginx's begins its work.
    fn on_process_start(cycle: &ngx_cycle_t);

    /// A process of nginx's ends its work.
    fn on_process_end();
}

/// The table of an `http` module.
pub const fn context<M: Module>() -> ngx_http_module_t {
    ngx_http_module_t {
        preconfiguration: Some(preconfiguration::<M>),
        postconfiguration: Some(postconfiguration::<M>),
        create_main_conf: Some(create_main_conf::<M>),
        init_main_conf: None,
        create_srv_conf: None,
        merge_srv_conf: None,
        create_loc_conf: Some(create_loc_conf::<M>),
        merge_loc_conf: Some(merge_loc_conf::<M>),
    }
}

/// The table of a module, whose directives end with [`directives_end`](super::directives_end).
pub const fn module<M: Module>(
    context: &'static ngx_http_module_t,
    directives: *mut ngx_command_t,
) -> ngx_module_t {
    ngx_module_t {
        ctx: ptr::from_ref(context).cast_mut().cast(),
        commands: directives,
        type_: NGX_HTTP_MODULE as ngx_uint_t,
        init_process: Some(init_process::<M>),
        exit_process: Some(exit_process::<M>),
        ..ngx_module_t::default()
    }
}

unsafe extern "C" fn preconfiguration<M: Module>(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it is about to read.
    let cf = unsafe { &mut *cf };
    guard::status("preconfiguration", || {
        let result = M::on_preconfiguration(cf);
        status_of(cf, result)
    })
}

unsafe extern "C" fn postconfiguration<M: Module>(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it has read.
    let cf = unsafe { &mut *cf };
    guard::status("postconfiguration", || {
        let result = M::on_postconfiguration(cf);
        status_of(cf, result)
    })
}

fn status_of(cf: &mut ngx_conf_t, result: Result<(), String>) -> ngx_int_t {
    match result {
        Ok(()) => NGX_OK as ngx_int_t,
        Err(text) => {
            log::conf(cf, log::NGX_LOG_EMERG, &text);
            NGX_ERROR as ngx_int_t
        }
    }
}

unsafe extern "C" fn create_main_conf<M: Module>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::pointer("create_main_conf", || {
        // SAFETY: nginx passes a configuration with a pool.
        let pool = unsafe { Pool::from_ngx_pool((*cf).pool) };
        pool.allocate(M::MainConf::default()).cast()
    })
}

unsafe extern "C" fn create_loc_conf<M: Module>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::pointer("create_loc_conf", || {
        // SAFETY: nginx passes a configuration with a pool.
        let pool = unsafe { Pool::from_ngx_pool((*cf).pool) };
        pool.allocate(M::LocationConf::default()).cast()
    })
}

unsafe extern "C" fn merge_loc_conf<M: Module>(
    _: *mut ngx_conf_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_char {
    let mut answer = NGX_CONF_ERROR as *mut c_char;
    guard::nothing("merge_loc_conf", || {
        // SAFETY: nginx passes two that create_loc_conf() made.
        let (outer, inner) = unsafe {
            let outer = &*outer.cast::<M::LocationConf>();
            (outer, &mut *inner.cast::<M::LocationConf>())
        };
        if inner.merge(outer).is_ok() {
            answer = ptr::null_mut();
        }
    });
    answer
}

unsafe extern "C" fn init_process<M: Module>(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that the process works with.
    let cycle = unsafe { &*cycle };
    // nginx gives up on a process that fails here, and starts no other in its place.
    guard::twice("init_process", || M::on_process_start(cycle));
    NGX_OK as ngx_int_t
}

unsafe extern "C" fn exit_process<M: Module>(_: *mut ngx_cycle_t) {
    guard::twice("exit_process", M::on_process_end);
    #[cfg(feature = "fault-injection")]
    super::fault::report();
}
