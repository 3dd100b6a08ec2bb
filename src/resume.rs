//! Going on with a request that was suspended, or that nginx was told to wait with.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::request::Stage;

use crate::context::Context;
use crate::ngx::{Attached, guard};
use crate::respond;
use crate::waiting::{Resumption, Waiter};

/// The shortest interval between checks that the request's body has been sent.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

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
        Resumption::Seated(seat) => context.keep_seat(seat),
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
    let upstream = &context.proxying.upstream;
    if !upstream.is_waiting() {
        return context.handle().resume();
    }
    match context.stage() {
        Stage::Failed(code) if !upstream.has_stale_answer() => finish(context, code),
        Stage::Failed(_) => upstream.wake(),
        Stage::Open | Stage::Waiting | Stage::Granted | Stage::Lost => upstream.wake(),
    }
}

/// Ends the request with an error while nginx proxies it. The request may be gone when this
/// returns.
fn finish(context: &Context, code: ErrorCode) {
    context.proxying.upstream.answer(context.handle(), |r| {
        context.fail(code);
        respond::error(r, context, code)
    });
}

/// Called when the request has waited for as long as it may.
pub fn too_late(context: &Rc<Context>) {
    // nginx has no other timer for the request.
    guard::twice("too_late", || {
        resume(context, Resumption::Failed(context.lateness()));
    });
}

/// The function has so long to begin its answer, from when it has the whole request.
pub fn limit_answer(context: &Rc<Context>, limit: Duration) {
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
            context.call_after((limit / 4).max(CHECK_INTERVAL), overdue);
        }
    });
}

/// Called when nginx waits on the placeholder.
pub fn settle(context: &Rc<Context>) {
    // It is not called again.
    let gone = Cell::new(false);
    guard::twice_unless("settle", &gone, || {
        if let Some(code) = context.proxying.settle() {
            gone.set(true);
            finish(context, code);
        }
    });
}
