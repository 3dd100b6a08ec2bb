//! Going on with a request that was suspended, or that nginx was told to wait with.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ngx::ffi::{
    NGX_DONE, ngx_connection_t, ngx_http_block_reading, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_run_posted_requests, ngx_int_t,
};

use corefn_core::error::ErrorCode;
use corefn_core::request::Stage;

use crate::context::Context;
use crate::waiting::{Resumption, Waiter};
use crate::{guard, respond};

/// While a body is still being sent, whether it has been is looked at so often at most.
const LEAST_LOOK: Duration = Duration::from_millis(50);

impl Waiter for Context {
    fn on_wait_ended(&self, resumption: Resumption) {
        resume(self, resumption);
    }
}

/// Ends the wait: the handler runs again, and the request goes on to an instance or an error.
/// The request may be gone when this returns.
fn resume(context: &Context, resumption: Resumption) {
    context.end_wait();
    match resumption {
        Resumption::Ready(start) => {
            context.start.set(start);
        }
        Resumption::Failed(code) if code != ErrorCode::StartTimeout || !context.has_time() => {
            context.fail(code);
        }
        // It joined others late, and their time is up; or what it waited for is out of date.
        Resumption::Failed(_) | Resumption::Anew => {
            context
                .attempts
                .set(context.attempts.get().saturating_sub(1));
        }
    }
    if context.proxying.placeholder.is_open() {
        return match context.stage() {
            Stage::Failed(code) => finish(context, code),
            _ => context.proxying.wake(),
        };
    }
    let request = context.request();
    // SAFETY: a request whose context is there is alive. It may end within the call, its
    // connection's memory not.
    unsafe {
        (*request).read_event_handler = Some(ngx_http_block_reading);
        (*request).write_event_handler = Some(ngx_http_core_run_phases);
        let connection: *mut ngx_connection_t = (*request).connection;
        ngx_http_core_run_phases(request);
        ngx_http_run_posted_requests(connection);
    }
}

/// Ends the request with an error while nginx proxies it. The request may be gone when this
/// returns.
fn finish(context: &Context, code: ErrorCode) {
    let request = context.request();
    // SAFETY: a request whose context is there is alive. The count that is added keeps it so
    // while nginx gives up, which takes one. Its connection's memory outlives it.
    unsafe {
        let connection = (*request).connection;
        let main = (*request).main;
        (*main).set_count((*main).count() + 1);
        context.proxying.give_up(request);
        context.fail(code);
        let answer = respond::error(&mut *request, context, code);
        let status = respond::finish(request, answer);
        if status != NGX_DONE as ngx_int_t {
            ngx_http_finalize_request(request, status);
        }
        ngx_http_run_posted_requests(connection);
    }
}

/// Called when the request has waited for as long as it may.
pub fn too_late(context: &Rc<Context>) {
    // nginx has no other timer for the request.
    guard::twice("too_late", || {
        resume(context, Resumption::Failed(ErrorCode::StartTimeout));
    });
}

/// The function has so long to begin its answer, from when it has the whole request.
pub fn limit_answer(context: &Context, limit: Duration) {
    context.call_after(limit, overdue);
}

fn overdue(context: &Rc<Context>) {
    // Nothing else looks whether there is an answer.
    let gone = Cell::new(false);
    guard::twice_unless("overdue", &gone, || {
        let limit = context.limits().and_then(|limits| limits.timeout());
        if let Some(limit) = limit
            && !context.proxying.time_out(&gone)
        {
            context.call_after((limit / 4).max(LEAST_LOOK), overdue);
        }
    });
}

/// Called when nginx waits on the connection that stands in for one to an instance.
pub fn settle(context: &Rc<Context>) {
    // It is not called again.
    let gone = Cell::new(false);
    guard::twice_unless("settle", &gone, || {
        if let Some(code) = context.proxying.placeholder.settle() {
            gone.set(true);
            finish(context, code);
        }
    });
}
