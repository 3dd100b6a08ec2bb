//! What is kept of a request that nginx proxies, so that it can be sent again.
//!
//! nginx does the sending: `peer.tries` says how often more it may, and our `get` names another
//! instance or has it wait for one ([`crate::placeholder`]).

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::ffi::{
    NGX_HTTP_BAD_GATEWAY, NGX_HTTP_DELETE, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_OPTIONS, NGX_HTTP_PROPFIND, NGX_HTTP_PUT,
    NGX_HTTP_TRACE, NGX_HTTP_UPSTREAM_FT_ERROR, ngx_connection_t, ngx_http_request_t,
    ngx_http_upstream_t, ngx_int_t, ngx_msec_t, ngx_uint_t,
};

use corefn_core::error::ErrorCode;
use corefn_core::table::Peer;

use crate::endpoint::Endpoint;
use crate::placeholder::Placeholder;

/// Methods whose requests may be seen twice (RFC 9110, 9.2.2).
const IDEMPOTENT: u32 = NGX_HTTP_GET
    | NGX_HTTP_HEAD
    | NGX_HTTP_PUT
    | NGX_HTTP_DELETE
    | NGX_HTTP_OPTIONS
    | NGX_HTTP_TRACE
    | NGX_HTTP_PROPFIND;

/// What nginx calls when it is done with the proxying.
pub type Finalize = unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t);

/// What a request's context keeps for it.
#[derive(Default)]
pub struct Proxying {
    /// What nginx waits on while there is no instance.
    pub placeholder: Placeholder,
    /// nginx's part of it, from its beginning to its end.
    upstream: Cell<Option<NonNull<ngx_http_upstream_t>>>,
    finalize: Cell<Option<Finalize>>,
    /// After which failures the operator allows another attempt, while that is set aside.
    allowed: Cell<Option<ngx_uint_t>>,
    /// Why the last attempt failed.
    lost: Cell<Option<ErrorCode>>,
    /// A kept-alive connection was closed: the next is a new one.
    new_connection: Cell<bool>,
    /// Where an attempt failed, and how often that had been readmitted before.
    avoided: RefCell<Option<(Rc<Peer<Endpoint>>, u32)>>,
    /// One attempt at an instance that was readmitted too soon was not counted.
    forgiven: Cell<bool>,
}

impl Proxying {
    /// nginx begins to proxy the request, and calls `finalize` when it is done.
    pub fn begin(&self, upstream: &mut ngx_http_upstream_t, finalize: Finalize) {
        self.reset();
        self.finalize.set(upstream.finalize_request);
        upstream.finalize_request = Some(finalize);
        self.upstream.set(Some(NonNull::from(upstream)));
    }

    /// What nginx would have called; once.
    pub fn original(&self) -> Option<Finalize> {
        self.finalize.take()
    }

    /// nginx is done with it.
    pub fn end(&self) {
        self.placeholder.leave();
        self.upstream.set(None);
    }

    /// nginx's part of it, while nginx proxies the request.
    pub fn upstream(&self) -> Option<NonNull<ngx_http_upstream_t>> {
        self.upstream.get()
    }

    /// Whether nginx proxies the request.
    pub fn is_under_way(&self) -> bool {
        self.upstream.get().is_some()
    }

    /// Back to the beginning.
    pub fn reset(&self) {
        self.end();
        self.allowed.set(None);
        self.lost.set(None);
        self.new_connection.set(false);
        self.forgiven.set(false);
        self.avoided.take();
    }

    /// The request goes to its instance.
    pub fn on_connect(&self) {
        self.lost.set(None);
    }

    /// The last attempt failed with `code`.
    pub fn on_failure(&self, code: ErrorCode) {
        self.lost.set(Some(code));
    }

    /// A kept-alive connection won't do from now on.
    pub fn demand_new_connection(&self) {
        self.new_connection.set(true);
    }

    /// Whether an attempt was left uncounted.
    pub fn is_forgiven(&self) -> bool {
        self.forgiven.get()
    }

    /// An attempt is left uncounted.
    pub fn forgive(&self) {
        self.forgiven.set(true);
    }

    /// The next attempt is not made there, unless it is readmitted by then.
    pub fn avoid(&self, peer: Rc<Peer<Endpoint>>) {
        let readmissions = peer.endpoint.readmissions();
        self.avoided.replace(Some((peer, readmissions)));
    }

    /// Whether a kept-alive connection won't do.
    pub fn wants_new_connection(&self) -> bool {
        self.new_connection.get()
    }

    /// Ends nginx's wait for an instance: it asks for the next peer. The request may be gone when
    /// this returns.
    pub fn wake(&self) {
        let Some(upstream) = self.upstream.get() else {
            return;
        };
        // SAFETY: the upstream is forgotten when nginx is done with it, and its configuration is
        // its location's, which outlives the request.
        unsafe {
            let upstream = upstream.as_ptr();
            // What took time was a start, and no attempt.
            let waited = self.placeholder.waited() as ngx_msec_t;
            (*upstream).peer.start_time += waited;
            // That the wait ends looks like an error of the connection to nginx, which may only be
            // told to go on after others. (See get() of crate::peer.)
            let conf = NonNull::new((*upstream).conf);
            let Some(mut conf) = conf else {
                return self.placeholder.wake();
            };
            let allowed = conf.as_ref().next_upstream;
            self.allowed.set(Some(allowed));
            conf.as_mut().next_upstream = allowed | NGX_HTTP_UPSTREAM_FT_ERROR as ngx_uint_t;
            self.placeholder.wake();
            conf.as_mut().next_upstream = allowed;
        }
    }

    /// nginx has asked for the next peer: from here on go by the operator's own rules again.
    pub fn woken(&self) {
        if let (Some(allowed), Some(upstream)) = (self.allowed.take(), self.upstream.get()) {
            // SAFETY: as of wake().
            unsafe {
                if let Some(conf) = (*upstream.as_ptr()).conf.as_mut() {
                    conf.next_upstream = allowed;
                }
            }
        }
    }

    /// Whether the request should not go there.
    pub fn avoids(&self, endpoint: &Endpoint) -> bool {
        let avoided = self.avoided.borrow();
        avoided.as_ref().is_some_and(|(peer, readmissions)| {
            ptr::eq(&peer.endpoint, endpoint) && *readmissions == endpoint.readmissions()
        })
    }

    /// Whether the last attempt has failed at this instance as well.
    pub fn failed_at(&self, peer: &Rc<Peer<Endpoint>>) -> bool {
        let avoided = self.avoided.borrow();
        avoided
            .as_ref()
            .is_some_and(|(former, _)| Rc::ptr_eq(former, peer))
    }

    /// The connection to the instance, while nothing of an answer has come and the request may go
    /// elsewhere.
    pub fn movable(&self, r: &ngx_http_request_t) -> Option<NonNull<ngx_connection_t>> {
        // SAFETY: the upstream is forgotten when nginx is done with it.
        let upstream = unsafe { self.upstream.get()?.as_ref() };
        let unanswered = upstream.header_sent() == 0 && upstream.headers_in.status_n == 0;
        let may_move = upstream.request_sent() == 0 || may_be_seen_twice(r);
        NonNull::new(upstream.peer.connection).filter(|_| unanswered && may_move)
    }

    /// Ends the wait for an answer if the function has the whole request and has not begun to
    /// answer; false if it hasn't got it yet. `gone` becomes true when the request may be.
    pub fn time_out(&self, gone: &Cell<bool>) -> bool {
        let Some(upstream) = self.upstream.get() else {
            return true;
        };
        // SAFETY: the upstream is forgotten when nginx is done with it, and the connection is
        // closed by then; the handler is what nginx has set.
        unsafe {
            let upstream = upstream.as_ptr();
            if (*upstream).header_sent() != 0 || (*upstream).headers_in.status_n != 0 {
                return true;
            }
            if (*upstream).request_body_sent() == 0 {
                return false;
            }
            if let Some(connection) = (*upstream).peer.connection.as_ref()
                && let Some(handler) = (*connection.read).handler
            {
                (*connection.read).set_timedout(1);
                gone.set(true);
                handler(connection.read);
            }
        }
        true
    }

    /// The platform's error that `status` stands for, with which nginx ends the proxying.
    pub fn error(&self, status: ngx_int_t) -> Option<ErrorCode> {
        // SAFETY: nginx is not done with it yet.
        let upstream = unsafe { self.upstream.get()?.as_ref() };
        if upstream.header_sent() != 0 {
            return None;
        }
        match u32::try_from(status) {
            Ok(NGX_HTTP_BAD_GATEWAY | NGX_HTTP_GATEWAY_TIME_OUT) => self.lost.get(),
            Ok(NGX_HTTP_INTERNAL_SERVER_ERROR) if upstream.headers_in.status_n == 0 => {
                Some(ErrorCode::Internal)
            }
            _ => None,
        }
    }

    /// Has nginx give the proxying up, without an answer. It gives back one count of the request.
    ///
    /// # Safety
    /// The request is valid and has a count to give.
    pub unsafe fn give_up(&self, r: *mut ngx_http_request_t) {
        if let Some(upstream) = self.upstream.get() {
            // SAFETY: nginx's own cleanup, which it has set since it is not done.
            unsafe {
                if let Some(cleanup) = upstream.as_ref().cleanup.as_ref().copied().flatten() {
                    cleanup(r.cast::<c_void>());
                }
            }
        }
    }
}

/// Whether the request may be sent again though the function may have seen it. A body that was
/// passed on as it came is not there any more.
pub fn may_be_seen_twice(r: &ngx_http_request_t) -> bool {
    r.method & IDEMPOTENT as ngx_uint_t != 0 && r.request_body_no_buffering() == 0
}
