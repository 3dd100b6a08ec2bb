//! What becomes of a request whose attempt to be sent failed: it is sent again, or ends.

use std::rc::Rc;

use corefn_core::error::ErrorCode;
use corefn_core::retry::{self, Connection, Decision, Ending, Next, decide};
use corefn_core::table::Peer;
use corefn_engine::runtime::Command;

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::ngx::{Attempt, Request, Tries, log};
use crate::proxying::may_be_seen_twice;
use crate::worker;

/// An attempt has failed: sees to it that there is another, or none, as [`decide`] says.
pub fn failed(r: Request<'_>, context: &Context, attempt: Attempt) -> Tries {
    let Some(peer) = context.peer() else {
        return Tries::Keep;
    };
    let proxying = &context.proxying;
    if context.is_deferred() {
        proxying.on_failure(ErrorCode::DispatcherUnavailable);
        return Tries::End;
    }
    let connection = attempt.connection.map(|it| Connection {
        sent: it.sent,
        outstanding: it.outstanding,
        timed_out: it.timed_out,
        ended: it.ended,
        broken: it.broken,
    });
    let sent = attempt.sent;
    let decision = decide(
        retry::Attempt {
            // Without a connection, it could not even be begun.
            ending: connection.map_or(Ending::Reset, |it| it.ending(sent)),
            sent,
            unseen: connection.is_some_and(|it| it.is_unseen()),
            reused: attempt.reused,
            same_instance: proxying.failed_at(&peer),
        },
        retry::Request {
            repeatable: may_be_seen_twice(r),
            forgiven: proxying.is_forgiven(),
        },
    );
    let Decision {
        code,
        next,
        needs_check,
    } = decision;
    proxying.on_failure(code);
    if needs_check {
        check(&peer, !sent);
    }
    let tries = match next {
        Next::End => Tries::End,
        Next::AsConfigured => Tries::Count,
        Next::NewConnection => {
            proxying.demand_new_connection();
            return Tries::Keep;
        }
        Next::Elsewhere { counts } => {
            context.attempts.set(0);
            context.lose();
            proxying.avoid(Rc::clone(&peer));
            if counts {
                Tries::Count
            } else {
                proxying.forgive();
                Tries::Keep
            }
        }
    };
    report(&peer, code);
    tries
}

/// Has the instance checked. With `eject` it gets no request before it has passed.
fn check(peer: &Peer<Endpoint>, eject: bool) {
    if eject && !peer.endpoint.eject() {
        return;
    }
    if let Some(worker) = worker::get() {
        worker.runtime.send(Command::Check {
            instance: peer.instance.id,
        });
    }
}

/// Logs an instance's trouble, once.
fn report(peer: &Peer<Endpoint>, code: ErrorCode) {
    if !peer.endpoint.may_report() {
        return;
    }
    let instance = &peer.instance;
    let what = match code {
        ErrorCode::FunctionUnreachable => "can't be connected to",
        ErrorCode::FunctionTimeout => "did not begin to answer a request in time",
        ErrorCode::BadAnswer => "answered a request with what is no HTTP, or too large a header",
        _ => "closed a connection without answering the request",
    };
    let text = format!(
        "{code}: instance {} of {} at {} {what}: see what it wrote with `corefn logs {1}`; more \
         trouble of it is not logged",
        instance.id, instance.function, instance.address
    );
    log::cycle(log::NGX_LOG_ERR, &text);
}
