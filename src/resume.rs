//! Going on with a request that was suspended, or that nginx was told to wait with.

use std::cell::Cell;
use std::time::Duration;

use ngx::ffi::{
    NGX_DONE, ngx_connection_t, ngx_event_t, ngx_http_block_reading, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_run_posted_requests, ngx_int_t,
};

use corefn_core::error::ErrorCode;

use crate::context::{Context, State};
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
            context.state.set(State::Open);
        }
        Resumption::Failed(code) if code != ErrorCode::StartTimeout || !context.has_time() => {
            context.state.set(State::Failed(code));
        }
        // It joined others late, and their time is up; or what it waited for is out of date.
        Resumption::Failed(_) | Resumption::Anew => {
            context
                .attempts
                .set(context.attempts.get().saturating_sub(1));
            context.state.set(State::Open);
        }
    }
    if context.replay.stand_in.is_open() {
        return match context.state.get() {
            State::Failed(code) => finish(context, code),
            _ => context.replay.wake(),
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
        context.replay.give_up(request);
        context.state.set(State::Failed(code));
        let answer = respond::error(&mut *request, context, code);
        let status = respond::finish(request, answer);
        if status != NGX_DONE as ngx_int_t {
            ngx_http_finalize_request(request, status);
        }
        ngx_http_run_posted_requests(connection);
    }
}

/// Called when the request has waited for as long as it may.
pub unsafe extern "C" fn too_late(event: *mut ngx_event_t) {
    // nginx has no other timer for the request.
    guard::twice("too_late", || {
        // SAFETY: the timer's data is the context it is part of, whose end deletes the timer.
        let context = unsafe { Context::share((*event).data) };
        resume(&context, Resumption::Failed(ErrorCode::StartTimeout));
    });
}

/// The function has so long to begin its answer, from when it has the whole request.
pub fn limit_answer(context: &Context, limit: Duration) {
    context.set_timer(limit, overdue);
}

unsafe extern "C" fn overdue(event: *mut ngx_event_t) {
    // Nothing else looks whether there is an answer.
    let gone = Cell::new(false);
    guard::twice_unless("overdue", &gone, || {
        // SAFETY: as of too_late(), and it is not gone.
        let context = unsafe { Context::share((*event).data) };
        let limit = context.limits().and_then(|limits| limits.timeout());
        if let Some(limit) = limit
            && !context.replay.time_out(&gone)
        {
            context.set_timer((limit / 4).max(LEAST_LOOK), overdue);
        }
    });
}

/// Called when nginx waits on the connection that stands in for one to an instance.
pub unsafe extern "C" fn settle(event: *mut ngx_event_t) {
    // The event is not posted again.
    let gone = Cell::new(false);
    guard::twice_unless("settle", &gone, || {
        // SAFETY: the event's data is the context it is part of, which is not gone.
        let context = unsafe { Context::share((*event).data) };
        if let Some(code) = context.replay.stand_in.settle() {
            gone.set(true);
            finish(&context, code);
        }
    });
}
