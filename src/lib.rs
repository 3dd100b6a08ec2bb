//! `ngx_http_corefn_module`: routes requests to functions, starts their containers on demand, and
//! lets nginx proxy to them.
//!
//! This is the only place that knows nginx. Its unsafe code is in the module `ngx`, besides the table that nginx looks
//! for. The handler runs on the event loop and never blocks; what takes time is done by the runtime thread of
//! [`corefn_engine`], which gets and gives owned data only.
#![deny(unsafe_code)]

mod conf;
mod context;
mod directives;
mod endpoint;
mod error_page;
mod filters;
mod handler;
mod inbox;
mod line;
#[allow(unsafe_code)]
mod ngx;
mod peer;
mod proxying;
mod recent;
mod respond;
mod resume;
mod retry;
mod source;
mod status;
mod variables;
mod viewers;
mod waiting;
mod worker;
mod zone;

use ::ngx::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
    ngx_module_t,
};
use ::ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf};

use conf::{LocationConf, MainConf};
use filters::ErrorFilters;
use handler::Precontent;
use ngx::Module;

/// The module, for nginx.
pub struct CorefnModule;

#[allow(unsafe_code)]
impl HttpModule for CorefnModule {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx writes the module's indices before any code of the module runs, and
        // nothing changes them later.
        unsafe { &*std::ptr::addr_of!(ngx_http_corefn_module) }
    }
}

// SAFETY: ngx::module() has nginx make exactly this type for it.
#[allow(unsafe_code)]
unsafe impl HttpModuleMainConf for CorefnModule {
    type MainConf = MainConf;
}

// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl HttpModuleLocationConf for CorefnModule {
    type LocationConf = LocationConf;
}

impl Module for CorefnModule {
    fn on_preconfiguration(cf: &mut ngx_conf_t) -> Result<(), String> {
        ngx::add_variables(cf, &variables::VARIABLES).ok_or_else(no_memory)?;
        conf::begin(cf)
    }

    /// Puts the handler and the filters into place if some location is for functions.
    fn on_postconfiguration(cf: &mut ngx_conf_t) -> Result<(), String> {
        if conf::complete(cf)? {
            ngx::add_phase_handler::<Precontent>(cf, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE)
                .ok_or_else(no_memory)?;
            ngx::install_filters::<ErrorFilters>();
        }
        Ok(())
    }

    /// A worker that serves no functions is better than none.
    fn on_process_start(cycle: &ngx_cycle_t) {
        worker::start(cycle);
    }

    fn on_process_end() {
        worker::stop();
    }
}

fn no_memory() -> String {
    "there is no memory left".to_owned()
}

static CONTEXT: ngx_http_module_t = ngx::context::<CorefnModule>();

/// What nginx looks up in the file it loads.
#[allow(missing_docs, unsafe_code)]
mod exports {
    use super::ngx_http_corefn_module;
    ::ngx::ngx_modules!(ngx_http_corefn_module);
}

/// The module, by the name that `load_module` looks for.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub static mut ngx_http_corefn_module: ngx_module_t =
    ngx::module::<CorefnModule>(&CONTEXT, (&raw mut directives::COMMANDS).cast());
