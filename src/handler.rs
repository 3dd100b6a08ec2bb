//! The handler of the pre-content phase: after every check of access, before the content.
//!
//! A request that can be served goes on to the content handler, which proxies to the instance it
//! was given. One that must wait is suspended and the handler runs again. All others end here.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::invocation;
use corefn_core::names::header;
use corefn_core::path;
use corefn_core::release::{ALL, Split, Sticky, cookie};
use corefn_core::request::Stage;
use corefn_core::table::{Found, Function, Peer, Table};
use corefn_core::trace;
use corefn_engine::acquire::Start;
use corefn_engine::runtime::Command;

use crate::conf::LocationConf;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::line::Terms;
use crate::ngx::{Answer, Attached, PhaseHandler, Request, now};
use crate::waiting::{Ticket, Waiter};
use crate::worker::{self, Worker};
use crate::{CorefnModule, respond, resume, status};

/// How often a request may be given an instance that is gone before it gets there.
const MAX_ATTEMPTS: u32 = 3;

/// What becomes of the request now.
pub enum Step {
    /// It has an instance.
    Proceed,
    /// It waits.
    Wait,
}

/// The phase handler.
pub enum Precontent {}

impl PhaseHandler for Precontent {
    const NAME: &'static str = "precontent";

    fn handle(r: Request<'_>) -> Answer {
        let conf = match r.location_conf::<CorefnModule>() {
            Some(conf) if conf.is_status() => return status::answer(r),
            Some(conf) if conf.enabled() => conf,
            _ => return Answer::Declined,
        };
        let Some(context) = Context::of(r) else {
            return Answer::status(respond::INTERNAL);
        };
        let step = match context.stage() {
            Stage::Open | Stage::Lost => decide(r, &context, conf),
            Stage::Waiting => Ok(Step::Wait),
            Stage::Granted => Ok(Step::Proceed),
            Stage::Failed(code) => Err(code),
        };
        match step {
            Ok(Step::Proceed) => Answer::Declined,
            Ok(Step::Wait) => Answer::Suspended,
            Err(code) => {
                context.fail(code);
                respond::error(r, &context, code)
            }
        }
    }
}

fn decide(r: Request<'_>, context: &Rc<Context>, conf: &LocationConf) -> Result<Step, ErrorCode> {
    let worker = &*worker::get().ok_or(ErrorCode::Internal)?;
    if !worker.filled.get() {
        if let Some(failure) = &*worker.unavailable.borrow() {
            return Err(failure.code);
        }
        let ticket = worker.waiting.join_table(&worker.shard, waiter(context))?;
        context.suspend(r, ticket, conf.start_timeout(), resume::too_late)?;
        return Ok(Step::Wait);
    }
    let (function, prefix) = route(r, worker, context)?;
    context.function.replace(Some(function.clone()));
    context.prefix.set(prefix);
    let is_reserved = is_reserved(r, worker, prefix);
    check_prefix(r, prefix)?;
    if !is_reserved {
        check_export(r, &function, prefix)?;
    }
    check_body(r, &function)?;
    if let Some(dispatcher) = &worker.dispatcher
        && (is_reserved || prefers_no_answer(r))
    {
        return defer(r, context, &function, dispatcher);
    }
    let deployed = &function.deployed;
    if let Some(most) = deployed.limits.requests
        && !context.has_place()
    {
        context.take_place(worker.enter(&deployed.function.plain(), most)?);
    }
    if r.is_cached() {
        // nginx looks into its cache first. What is there needs no instance, and is no work of one.
        return Ok(Step::Proceed);
    }
    find_instance(r, worker, context, &function, conf)
}

/// Whether the request is for what the platform answers under the function's own path, where there are invocations.
fn is_reserved(r: Request<'_>, worker: &Worker, prefix: usize) -> bool {
    let rest = r.path().get(prefix..).unwrap_or_default();
    worker.dispatcher.is_some() && rest.starts_with(invocation::RESERVED.as_bytes())
}

/// Whether the client wants to be answered before the request is done. That of an upgrade can't be.
fn prefers_no_answer(r: Request<'_>) -> bool {
    r.headers("Prefer").any(invocation::is_preferred) && !r.asks_for_upgrade()
}

/// Gives the request to the dispatcher.
fn defer(
    r: Request<'_>,
    context: &Rc<Context>,
    function: &Function<Endpoint>,
    dispatcher: &Rc<Peer<Endpoint>>,
) -> Result<Step, ErrorCode> {
    let name = function.deployed.function.plain_text();
    r.add_request_header(header::FUNCTION, name)
        .ok_or(ErrorCode::Internal)?;
    context.defer(dispatcher.clone());
    Ok(Step::Proceed)
}

/// Finds another instance for a request that nginx proxies, in place of the one it had. To wait,
/// nginx must be told to.
pub fn again(r: Request<'_>, context: &Rc<Context>) -> Result<Step, ErrorCode> {
    context.release();
    let conf = r
        .location_conf::<CorefnModule>()
        .ok_or(ErrorCode::Internal)?;
    let worker = &*worker::get().ok_or(ErrorCode::Internal)?;
    let (function, prefix) = route(r, worker, context)?;
    let before = context.function.replace(Some(function.clone()));
    let name = function.deployed.function.plain_text();
    let same = before.is_some_and(|f| f.deployed.function.plain_text() == name);
    // nginx has made what it sends: the path is less the prefix that it had.
    if !same || prefix != context.prefix.get() {
        return Err(ErrorCode::UnknownFunction);
    }
    find_instance(r, worker, context, &function, conf)
}

/// Gives the request an instance of its function, or has it wait for one.
fn find_instance(
    r: Request<'_>,
    worker: &Worker,
    context: &Rc<Context>,
    function: &Function<Endpoint>,
    conf: &LocationConf,
) -> Result<Step, ErrorCode> {
    let idle = function.deployed.lease(conf.idle());
    let now = now();
    let usable =
        |endpoint: &Endpoint| endpoint.is_usable(now) && !context.proxying.avoids(endpoint);
    let seat = context
        .take_seat()
        .filter(|seat| !context.proxying.avoids(&seat.peer().endpoint));
    let found = match seat {
        Some(seat) => Found::Room(seat),
        None => worker.seat(function, usable)?,
    };
    match found {
        Found::Room(seat) => {
            let counters = &seat.peer().endpoint.counters;
            counters.set_idle(idle.as_millis() as u64);
            context.grant(seat);
            return Ok(Step::Proceed);
        }
        Found::Full(_) => return wait_in_line(r, worker, context, function, conf, idle),
        Found::Nothing => {}
    }
    if let Some((code, _)) = function.backed_off(now) {
        return Err(code);
    }
    wait(r, worker, context, function, conf, idle)
}

/// The function of the request's host and path, at the revision that the request gets.
fn route(
    r: Request<'_>,
    worker: &Worker,
    context: &Context,
) -> Result<(Rc<Function<Endpoint>>, usize), ErrorCode> {
    let table = worker.table.borrow();
    let (function, prefix) = table
        .find(r.host(), r.path())
        .ok_or(ErrorCode::UnknownFunction)?;
    let function = match &function.deployed.split {
        None => function,
        Some(split) => choose(r, &table, context, function, split)?,
    };
    Ok((function.clone(), prefix))
}

/// The revision that a request gets of a function of which several are released: the one that it names, or else one by
/// their weights. It is the same however often the request is looked at, and while they are released.
fn choose<'a>(
    r: Request<'_>,
    table: &'a Table<Endpoint>,
    context: &Context,
    function: &'a Rc<Function<Endpoint>>,
    split: &Split,
) -> Result<&'a Rc<Function<Endpoint>>, ErrorCode> {
    if let Some(wanted) = r.headers(header::REVISION).next() {
        let wanted = str::from_utf8(wanted).map_err(|_| ErrorCode::UnknownRevision)?;
        if wanted == function.deployed.revision.0 {
            return Ok(function);
        }
        let released = split.named(wanted).and_then(|name| table.get(name));
        return released.ok_or(ErrorCode::UnknownRevision);
    }
    let percentile = context.percentile.get().unwrap_or_else(|| {
        let name = &function.deployed.function;
        let value = match &split.sticky {
            None => None,
            Some(Sticky::Header(header)) => r.headers(header).next(),
            Some(Sticky::Cookie(name)) => {
                let mut headers = r.headers("Cookie");
                headers.find_map(|header| cookie(header, name))
            }
        };
        value.map_or_else(
            || fastrand::u8(..ALL),
            |value| Split::percentile(name, value),
        )
    });
    context.percentile.set(Some(percentile));
    // (The router may not have been told yet of one that has just been released.)
    let released = split.get(percentile).and_then(|name| table.get(name));
    Ok(released.unwrap_or(function))
}

/// Whether what led to the function is spelled plainly.
fn check_prefix(r: Request<'_>, prefix: usize) -> Result<(), ErrorCode> {
    // A path that nginx has rewritten is not the client's.
    match r.target() {
        Some(target) if !path::is_spelled_plainly(target, r.path(), prefix) => {
            Err(ErrorCode::BadPath)
        }
        _ => Ok(()),
    }
}

/// Whether the path is one the function can be asked for.
fn check_export(
    r: Request<'_>,
    function: &Function<Endpoint>,
    prefix: usize,
) -> Result<(), ErrorCode> {
    let rest = r.path().get(prefix..).unwrap_or_default();
    if function.deployed.exports.have(rest) {
        Ok(())
    } else {
        Err(ErrorCode::UnknownExport)
    }
}

/// Whether the body is no larger than the function takes, as far as its length is known.
fn check_body(r: Request<'_>, function: &Function<Endpoint>) -> Result<(), ErrorCode> {
    let length = r.content_length().unwrap_or(0);
    match function.deployed.limits.body {
        Some(limit) if length > limit => Err(ErrorCode::TooLarge),
        _ => Ok(()),
    }
}

/// Waits for room at an instance.
fn wait_in_line(
    r: Request<'_>,
    worker: &Worker,
    context: &Rc<Context>,
    function: &Function<Endpoint>,
    conf: &LocationConf,
    idle: Duration,
) -> Result<Step, ErrorCode> {
    let name = &function.deployed.function;
    let (line, timeout) = (worker.line(name)?, conf.start_timeout());
    let (waiter, terms) = (waiter(context), Terms { idle, timeout });
    let ticket =
        worker
            .waiting
            .join_line(&worker.shard, name, waiter, conf.queue(), &line, terms)?;
    suspend(r, context, ticket, timeout)?;
    // Somebody may have left before it was in line.
    worker.serve_line(name);
    worker.look_again();
    Ok(Step::Wait)
}

/// Waits for an instance; the first of the worker to do so has it asked for.
fn wait(
    r: Request<'_>,
    worker: &Worker,
    context: &Rc<Context>,
    function: &Function<Endpoint>,
    conf: &LocationConf,
    idle: Duration,
) -> Result<Step, ErrorCode> {
    let attempts = context.attempts.get() + 1;
    if attempts > MAX_ATTEMPTS {
        return Err(ErrorCode::FunctionExited);
    }
    context.attempts.set(attempts);
    context.start.set(Start::Cold);
    let deployed = &function.deployed;
    let (ticket, number) = worker.waiting.join(
        &worker.shard,
        &deployed.function,
        waiter(context),
        conf.queue(),
    )?;
    let timeout = conf.start_timeout();
    let asked = number.is_none_or(|number| {
        let traced = worker.has_traces.then(|| r.headers(trace::HEADER).next());
        worker.runtime.send(Command::Acquire {
            number,
            deployment: Arc::new(deployed.unpack()),
            idle,
            timeout,
            parent: traced.flatten().and_then(trace::Parent::read),
        })
    });
    if !asked {
        return Err(ErrorCode::Internal);
    }
    suspend(r, context, ticket, timeout)?;
    Ok(Step::Wait)
}

/// Has the request wait, in whatever it is.
fn suspend(
    r: Request<'_>,
    context: &Rc<Context>,
    ticket: Ticket,
    timeout: Duration,
) -> Result<(), ErrorCode> {
    if context.proxying.upstream.is_under_way() {
        context.wait(ticket, timeout, resume::too_late);
        return Ok(());
    }
    context.suspend(r, ticket, timeout, resume::too_late)
}

fn waiter(context: &Rc<Context>) -> Weak<dyn Waiter> {
    let context: Rc<dyn Waiter> = context.clone();
    Rc::downgrade(&context)
}
