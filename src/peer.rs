//! The upstream's peer: the instance that the request was given.

use std::ffi::c_void;
use std::rc::Rc;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_ERROR, NGX_LOG_ERR, NGX_OK, NGX_PEER_FAILED,
    ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_event_connect_peer, ngx_event_get_peer,
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use corefn_core::names::directive;
use corefn_core::request::Stage;
use corefn_core::retry::ATTEMPTS;

use crate::context::Context;
use crate::handler::{self, Step};
use crate::{guard, log, resume, retry};

/// Called for each request that is proxied to the upstream.
pub unsafe extern "C" fn init(
    r: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard::status("peer_init", || {
        // SAFETY: nginx passes a valid request with an upstream.
        let (r, upstream) = unsafe { (&*r, &mut *(*r).upstream) };
        let Some(context) = Context::find(r).filter(|context| context.peer().is_some()) else {
            let text = format!(
                "an upstream with {} is used where {} is off: write {1} on in the location",
                directive::INSTANCES.to_string_lossy(),
                directive::COREFN.to_string_lossy()
            );
            // SAFETY: a request's connection has a log.
            unsafe { log::write(NGX_LOG_ERR, (*r.connection).log, &text) };
            return NGX_ERROR as ngx_int_t;
        };
        upstream.peer.data = Rc::as_ptr(&context).cast_mut().cast();
        upstream.peer.get = Some(get);
        upstream.peer.free = Some(free);
        upstream.peer.tries = ATTEMPTS;
        context.proxying.begin(upstream, retry::finalize);
        NGX_OK as ngx_int_t
    })
}

/// Called when nginx needs a connection.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard::status("peer_get", || {
        // SAFETY: nginx passes a valid connection, and what init() set as data, of a request that
        // it proxies.
        let (pc, context) = unsafe { (&mut *pc, Context::share(data)) };
        // SAFETY: the request of a context that is there is alive.
        let r = unsafe { &mut *context.request() };
        context.proxying.woken();
        let step = match context.stage() {
            Stage::Granted => Ok(Step::Proceed),
            Stage::Failed(code) => Err(code),
            Stage::Open | Stage::Waiting | Stage::Lost => handler::again(r, &context),
        };
        let ending = match step {
            Ok(Step::Proceed) => return connect(r, pc, &context),
            Ok(Step::Wait) => None,
            Err(code) => Some(code),
        };
        if context.proxying.placeholder.open(pc, ending) {
            context.call_soon(resume::settle);
            NGX_AGAIN as ngx_int_t
        } else {
            NGX_ERROR as ngx_int_t
        }
    })
}

/// Names the instance's address; a kept-alive connection to it is as good as a new one, if the
/// request can be sent again should that turn out to be closed.
fn connect(r: &ngx_http_request_t, pc: &mut ngx_peer_connection_t, context: &Context) -> ngx_int_t {
    let Some(peer) = context.peer() else {
        return NGX_ERROR as ngx_int_t;
    };
    context.proxying.on_connect();
    if let Some(limit) = context.limits().and_then(|limits| limits.timeout()) {
        resume::limit_answer(context, limit);
    }
    // The context keeps the peer, and so the address and the name, as long as the request.
    let endpoint = &peer.endpoint;
    pc.sockaddr = endpoint.address().as_ptr().cast_mut().cast();
    pc.socklen = endpoint.address().len();
    pc.name = std::ptr::from_ref(endpoint.name()).cast_mut();
    pc.set_cached(0);
    pc.connection = std::ptr::null_mut();
    // What goes wrong with a connection is told by us, once for an instance.
    pc.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
    if r.request_body_no_buffering() == 0 && !context.proxying.wants_new_connection() {
        return NGX_OK as ngx_int_t;
    }
    // With any other status than this, `keepalive` does not look for a connection of its own.
    let mut own = *pc;
    own.get = Some(ngx_event_get_peer);
    // SAFETY: a valid peer with an address; nginx opens the connection and looks after it.
    let status = unsafe { ngx_event_connect_peer(&mut own) };
    pc.connection = own.connection;
    if status == NGX_OK as ngx_int_t {
        NGX_DONE as ngx_int_t
    } else {
        status
    }
}

/// Called when nginx is done with the connection.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    let done = guard::nothing("peer_free", || {
        // SAFETY: as of get().
        let context = unsafe { Context::share(data) };
        if state & NGX_PEER_FAILED as ngx_uint_t != 0 {
            retry::failed(&context);
        }
        // nginx would count another try for a kept-alive connection.
        // SAFETY: as of get().
        unsafe { (*pc).set_cached(0) };
    });
    if !done {
        // With a try left, nginx would try for ever.
        // SAFETY: as of get().
        unsafe { (*pc).tries = 0 };
    }
}
