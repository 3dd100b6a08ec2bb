//! What becomes of a request whose attempt to be sent failed: it is sent again, or ends.

use ngx::ffi::{NGX_LOG_ERR, ngx_connection_t, ngx_http_request_t, ngx_int_t};

use corefn_core::error::ErrorCode;
use corefn_core::retry::{Attempt, Ending, Next, Request, Verdict, judge};
use corefn_core::table::Peer;
use corefn_engine::runtime::Command;

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::proxying::may_be_seen_twice;
use crate::{guard, log, respond, worker};

/// An attempt has failed: sees to it that there is another, or none, as [`judge`] says.
pub fn failed(context: &Context) {
    let proxying = &context.proxying;
    let (Some(mut upstream), Some(peer)) = (proxying.upstream(), context.peer()) else {
        return;
    };
    // SAFETY: the upstream is forgotten when nginx is done with it. The request of a context that
    // is there is alive.
    let (upstream, r) = unsafe { (upstream.as_mut(), &*context.request()) };
    let sent = upstream.request_sent() != 0;
    // SAFETY: nginx closes the connection after this.
    let connection = unsafe { upstream.peer.connection.as_ref() }.map(Connection::of);
    let attempt = Attempt {
        ending: Connection::ending(connection.as_ref(), sent),
        sent,
        unseen: connection.as_ref().is_some_and(Connection::is_unseen),
        reused: upstream.peer.cached() != 0,
        same_instance: proxying.failed_at(&peer),
    };
    let request = Request {
        repeatable: may_be_seen_twice(r),
        forgiven: proxying.is_forgiven(),
    };
    let Verdict {
        code,
        next,
        is_suspect,
    } = judge(attempt, request);
    proxying.on_failure(code);
    if is_suspect {
        check(&peer, !sent);
    }
    let tries = &mut upstream.peer.tries;
    match next {
        Next::End => *tries = 0,
        Next::AsConfigured => *tries = tries.saturating_sub(1),
        Next::NewConnection => return proxying.demand_new_connection(),
        Next::Elsewhere { counts } => {
            if counts {
                *tries = tries.saturating_sub(1);
            } else {
                proxying.forgive();
            }
            context.attempts.set(0);
            context.lose();
            proxying.avoid(peer.clone());
        }
    }
    tell(&peer, code);
}

/// Has it checked whether the instance is still there; with `eject`, no request goes there before that is done.
fn check(peer: &Peer<Endpoint>, eject: bool) {
    if eject && !peer.endpoint.eject() {
        return;
    }
    if let Some(worker) = worker::get() {
        worker.runtime.send(Command::Suspect {
            instance: peer.instance.id,
        });
    }
}

/// Tells of an instance's trouble, once.
fn tell(peer: &Peer<Endpoint>, code: ErrorCode) {
    if !peer.endpoint.may_tell() {
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
        "{code}: instance {} of {} at {} {what}: see what it wrote with `corefn logs {1}`; what \
         more happens to it is not told",
        instance.id, instance.function, instance.address
    );
    log::cycle(NGX_LOG_ERR, &text);
}

/// How a connection to an instance has ended.
struct Connection {
    fd: i32,
    sent: i64,
    timed_out: bool,
    ended: bool,
    broken: bool,
}

impl Connection {
    fn of(connection: &ngx_connection_t) -> Self {
        // SAFETY: a connection has its two events.
        let (read, write) = unsafe { (&*connection.read, &*connection.write) };
        Self {
            fd: connection.fd,
            sent: connection.sent,
            timed_out: read.timedout() != 0 || write.timedout() != 0,
            ended: read.eof() != 0,
            broken: read.error() != 0 || write.error() != 0,
        }
    }

    /// How an attempt on it ended; there is none if it could not even be begun.
    fn ending(connection: Option<&Self>, sent: bool) -> Ending {
        match connection {
            Some(connection) if connection.timed_out => Ending::TimedOut,
            Some(connection) if connection.ended => Ending::Closed,
            Some(connection) if sent && !connection.broken => Ending::BadAnswer,
            _ => Ending::Reset,
        }
    }

    /// Whether not one byte of the request can have reached the function.
    ///
    /// What closes a connection in order says how much has reached its system by then. What resets
    /// it says nothing: the function may have read what was not acknowledged yet.
    fn is_unseen(&self) -> bool {
        if self.sent == 0 {
            return true;
        }
        let mut outstanding: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the request (SIOCOUTQ of tcp(7)) writes an int.
        let known = unsafe { libc::ioctl(self.fd, libc::TIOCOUTQ, &mut outstanding) } == 0;
        self.ended && !self.broken && known && i64::from(outstanding) >= self.sent
    }
}

/// Called when nginx is done with the proxying.
pub unsafe extern "C" fn finalize(r: *mut ngx_http_request_t, status: ngx_int_t) {
    let mut original = None;
    guard::nothing("finalize", || {
        // SAFETY: nginx passes a valid request.
        let r = unsafe { &mut *r };
        if let Some(context) = Context::find(r) {
            original = context.proxying.original();
            if let Some(code) = context.proxying.error(status) {
                respond::announce(r, &context, code);
            }
            context.stop_waiting();
            context.proxying.end();
        }
    });
    if let Some(original) = original {
        // SAFETY: the module that proxies has set it.
        unsafe { original(r, status) };
    }
}
