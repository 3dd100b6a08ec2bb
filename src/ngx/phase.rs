//! Handlers of nginx's phases.

use ngx::ffi::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, ngx_array_push, ngx_conf_t, ngx_http_handler_pt,
    ngx_http_phases, ngx_http_request_t, ngx_int_t,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::{Answer, Request, guard, response};

/// What handles the requests that come to a phase.
pub trait PhaseHandler {
    /// By what name it is guarded.
    const NAME: &'static str;

    /// Called for each request. A panic is an internal error.
    fn handle(r: Request<'_>) -> Answer;
}

/// Adds a handler to a phase, while the configuration is read. None if there is no memory.
pub fn add<H: PhaseHandler>(cf: &mut ngx_conf_t, phase: ngx_http_phases) -> Option<()> {
    let core = NgxHttpCoreModule::main_conf_mut(cf)?;
    let handlers = &mut core.phases.get_mut(phase as usize)?.handlers;
    // SAFETY: nginx made the array for handlers; the place is a new element of it.
    unsafe {
        let place = ngx_array_push(handlers).cast::<ngx_http_handler_pt>();
        place.as_mut()?;
        place.write(Some(handle::<H>));
    }
    Some(())
}

unsafe extern "C" fn handle<H: PhaseHandler>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::status_or(H::NAME, NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx passes a request, which does not end while it is handled.
        let answer = H::handle(unsafe { Request::new(r) });
        // SAFETY: nothing of the above is left, and the phase engine goes by the result.
        unsafe { response::finish(r, answer) }
    })
}
