//! `ngx_http_corefn_module`: routes requests to functions, starts their containers on demand, and
//! lets nginx proxy to them.
//!
//! This is the only place that knows nginx, and the only one with unsafe code. The handler runs on
//! the event loop and never blocks; what takes time is done by the runtime thread of
//! [`corefn_engine`], which gets and gives owned data only. A raw pointer of nginx's becomes a
//! reference on the first lines of an entry point, and every entry point is guarded against
//! panics.

mod conf;
mod context;
mod descriptors;
mod directives;
mod endpoint;
mod error_page;
#[cfg(feature = "fault-injection")]
mod fault;
mod filters;
mod guard;
mod handler;
mod inbox;
mod log;
mod ngx;
mod peer;
mod pin;
mod placeholder;
mod proxying;
mod raw;
mod respond;
mod resume;
mod retry;
mod signals;
mod upstream;
mod variables;
mod waiting;
mod worker;
mod zone;

use std::ffi::{c_char, c_void};
use std::ptr;

use ::ngx::core::{NGX_CONF_ERROR, Pool};
use ::ngx::ffi::{
    NGX_ERROR, NGX_HTTP_MODULE, NGX_LOG_EMERG, NGX_OK, ngx_array_push, ngx_conf_t, ngx_cycle_t,
    ngx_http_handler_pt, ngx_http_module_t, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_int_t,
    ngx_module_t, ngx_uint_t,
};
use ::ngx::http::{
    HttpModule, HttpModuleLocationConf, HttpModuleMainConf, Merge, MergeConfigError,
    NgxHttpCoreModule,
};

use conf::{LocationConf, MainConf};

/// The module's types for nginx's configuration machinery.
struct CorefnModule;

impl HttpModule for CorefnModule {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx writes the module's indices before any code of the module runs, and
        // nothing changes them later.
        unsafe { &*ptr::addr_of!(ngx_http_corefn_module) }
    }

    unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        // SAFETY: nginx passes a valid configuration.
        guard::status("preconfiguration", || variables::add(unsafe { &mut *cf }))
    }

    unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        // SAFETY: nginx passes a valid configuration.
        guard::status("postconfiguration", || install(unsafe { &mut *cf }))
    }

    unsafe extern "C" fn merge_loc_conf(
        _cf: *mut ngx_conf_t,
        outer: *mut c_void,
        inner: *mut c_void,
    ) -> *mut c_char {
        let merged = guard::nothing("merge_loc_conf", || {
            // SAFETY: nginx passes two that create_loc_conf made.
            let (outer, inner) = unsafe {
                (
                    &*outer.cast::<LocationConf>(),
                    &mut *inner.cast::<LocationConf>(),
                )
            };
            inner.inherit(outer);
        });
        if merged {
            ptr::null_mut()
        } else {
            NGX_CONF_ERROR as *mut c_char
        }
    }
}

// SAFETY: create_main_conf allocates exactly this type.
unsafe impl HttpModuleMainConf for CorefnModule {
    type MainConf = MainConf;
}

// SAFETY: create_loc_conf allocates exactly this type.
unsafe impl HttpModuleLocationConf for CorefnModule {
    type LocationConf = LocationConf;
}

// HttpModule asks for it; merge_loc_conf above is what nginx calls.
impl Merge for LocationConf {
    fn merge(&mut self, outer: &Self) -> Result<(), MergeConfigError> {
        self.inherit(outer);
        Ok(())
    }
}

/// Completes the configuration, and puts the handler and the filters into place if some location is for functions.
fn install(cf: &mut ngx_conf_t) -> ngx_int_t {
    match conf::complete(cf) {
        Ok(false) => return NGX_OK as ngx_int_t,
        Ok(true) => {}
        Err(text) => {
            log::conf(cf, NGX_LOG_EMERG, &text);
            return NGX_ERROR as ngx_int_t;
        }
    }
    let Some(core) = NgxHttpCoreModule::main_conf_mut(cf) else {
        return NGX_ERROR as ngx_int_t;
    };
    let phase = &mut core.phases[ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE as usize];
    // SAFETY: the array was made by nginx for handlers.
    let place = unsafe { ngx_array_push(&mut phase.handlers) }.cast::<ngx_http_handler_pt>();
    if place.is_null() {
        return NGX_ERROR as ngx_int_t;
    }
    // SAFETY: the place is a new element of the array.
    unsafe { place.write(Some(handler::precontent)) };
    filters::install();
    NGX_OK as ngx_int_t
}

static MODULE_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(CorefnModule::preconfiguration),
    postconfiguration: Some(CorefnModule::postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(CorefnModule::merge_loc_conf),
};

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::pointer("create_main_conf", || {
        // SAFETY: nginx passes a valid configuration with a pool.
        let pool = unsafe { Pool::from_ngx_pool((*cf).pool) };
        pool.allocate(MainConf::default()).cast()
    })
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::pointer("create_loc_conf", || {
        // SAFETY: nginx passes a valid configuration with a pool.
        let pool = unsafe { Pool::from_ngx_pool((*cf).pool) };
        pool.allocate(LocationConf::default()).cast()
    })
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // A worker that serves no functions is better than none, and nginx gives up on a worker that
    // fails here.
    // SAFETY: nginx passes the cycle that the process works with.
    guard::twice("init_process", || worker::start(unsafe { &mut *cycle }));
    NGX_OK as ngx_int_t
}

unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    guard::twice("exit_process", worker::stop);
    #[cfg(feature = "fault-injection")]
    fault::report();
}

/// What nginx looks up in the file it loads.
#[allow(missing_docs)]
mod exports {
    use super::ngx_http_corefn_module;
    ::ngx::ngx_modules!(ngx_http_corefn_module);
}

/// The module, by the name that `load_module` looks for.
#[unsafe(no_mangle)]
pub static mut ngx_http_corefn_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(MODULE_CONTEXT).cast_mut().cast(),
    commands: (&raw mut directives::COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};
