//! The handler of the pre-content phase: after every check of access, before the content.
//!
//! A request that can be served goes on to the content handler, which proxies to the instance it
//! was given. One that must wait is suspended and the handler runs again. All others end here.

use std::time::Duration;

use ngx::ffi::{
    NGX_AGAIN, NGX_DECLINED, NGX_HTTP_INTERNAL_SERVER_ERROR, ngx_http_request_t, ngx_int_t,
};
use ngx::http::HttpModuleLocationConf;

use corefn_core::error::ErrorCode;
use corefn_core::table::Function;
use corefn_engine::acquire::Start;
use corefn_engine::runtime::Command;
use std::rc::Rc;

use crate::conf::LocationConf;
use crate::context::{Context, State};
use crate::peer::Seat;
use crate::worker::{self, Worker};
use crate::{CorefnModule, guard, raw, respond};

/// How often a request may be given an instance that is gone before it gets there.
const MAX_ATTEMPTS: u32 = 3;

/// What becomes of the request now.
enum Step {
    /// It has an instance.
    Proceed,
    /// It waits.
    Wait,
}

/// The phase handler.
pub unsafe extern "C" fn precontent(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::status_or(
        "precontent",
        NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
        || {
            // SAFETY: nginx passes a valid request.
            let r = unsafe { &mut *r };
            match CorefnModule::location_conf(r) {
                Some(conf) if conf.enabled() => handle(r, conf),
                _ => NGX_DECLINED as ngx_int_t,
            }
        },
    )
}

fn handle(r: &mut ngx_http_request_t, conf: &LocationConf) -> ngx_int_t {
    let Some(context) = Context::of(r) else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    let step = match context.state.get() {
        State::Open => decide(r, context, conf),
        State::Waiting => Ok(Step::Wait),
        State::Granted => Ok(Step::Proceed),
        State::Failed(code) => Err(code),
    };
    match step {
        Ok(Step::Proceed) => NGX_DECLINED as ngx_int_t,
        Ok(Step::Wait) => NGX_AGAIN as ngx_int_t,
        Err(code) => {
            context.state.set(State::Failed(code));
            respond::error(r, context, code)
        }
    }
}

fn decide(
    r: &mut ngx_http_request_t,
    context: &'static Context,
    conf: &LocationConf,
) -> Result<Step, ErrorCode> {
    let worker = worker::get().ok_or(ErrorCode::Internal)?;
    if !worker.filled.get() {
        if let Some(failure) = &*worker.unavailable.borrow() {
            return Err(failure.code);
        }
        let ticket = worker.waiting.join_table(context);
        context.suspend(r, ticket, conf.start_timeout())?;
        return Ok(Step::Wait);
    }
    let (function, prefix) = route(r, worker)?;
    context.function.replace(Some(function.clone()));
    context.prefix.set(prefix);
    check_path(r, &function, prefix)?;
    let idle = function.deployment.config.idle(conf.idle());
    let now = raw::now();
    let peer = function.pick(|seat| seat.slot.until() > now, |seat| seat.slot.load());
    if let Some(peer) = peer {
        peer.slot.slot.set_idle(idle.as_millis() as u64);
        context.grant(peer);
        return Ok(Step::Proceed);
    }
    wait(r, worker, context, &function, conf, idle)
}

/// The function of the request's host and path.
fn route(
    r: &ngx_http_request_t,
    worker: &Worker,
) -> Result<(Rc<Function<Seat>>, usize), ErrorCode> {
    let table = worker.table.borrow();
    let (function, prefix) = table
        .find(r.headers_in.server.as_bytes(), r.uri.as_bytes())
        .ok_or(ErrorCode::UnknownFunction)?;
    Ok((function.clone(), prefix))
}

/// Whether the path is one the function can be asked for.
///
/// nginx checked access by the normalized path, and the function gets the path as the client sent
/// it. So the client must have spelled the prefix plainly: otherwise what was checked and what is
/// asked for could be two functions.
fn check_path(
    r: &ngx_http_request_t,
    function: &Function<Seat>,
    prefix: usize,
) -> Result<(), ErrorCode> {
    let path = r.uri.as_bytes();
    if r.valid_unparsed_uri() != 0 {
        let raw = r.unparsed_uri.as_bytes();
        let plain = raw.get(..prefix) == path.get(..prefix)
            && matches!(raw.get(prefix), None | Some(b'/' | b'?' | b'#'));
        if !plain {
            return Err(ErrorCode::BadPath);
        }
    }
    let rest = path.get(prefix..).unwrap_or_default();
    if function.deployment.config.exports_path(rest) {
        Ok(())
    } else {
        Err(ErrorCode::UnknownExport)
    }
}

/// Waits for an instance; the first of the worker to do so has it asked for.
fn wait(
    r: &mut ngx_http_request_t,
    worker: &Worker,
    context: &'static Context,
    function: &Function<Seat>,
    conf: &LocationConf,
    idle: Duration,
) -> Result<Step, ErrorCode> {
    let attempts = context.attempts.get() + 1;
    if attempts > MAX_ATTEMPTS {
        return Err(ErrorCode::FunctionExited);
    }
    context.attempts.set(attempts);
    context.start.set(Start::Cold);
    let deployment = &function.deployment;
    let (ticket, first) =
        worker
            .waiting
            .join(worker, &deployment.function, context, conf.queue())?;
    let timeout = conf.start_timeout();
    let asked = !first
        || worker.runtime.send(Command::Acquire {
            deployment: deployment.clone(),
            idle,
            timeout,
        });
    if !asked {
        return Err(ErrorCode::Internal);
    }
    context.suspend(r, ticket, timeout)?;
    Ok(Step::Wait)
}
