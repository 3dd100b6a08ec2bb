//! What is kept of a request that nginx proxies, so that it can be sent again.
//!
//! nginx does the sending, and asks [`crate::peer`] for an instance.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;

use corefn_core::error::ErrorCode;
use corefn_core::table::Peer;

use crate::endpoint::Endpoint;
use crate::ngx::{Request, Upstream};

/// Statuses with which nginx ends a request of itself.
const INTERNAL: isize = 500;
const BAD_GATEWAY: isize = 502;
const GATEWAY_TIMEOUT: isize = 504;

/// What a request's context keeps for it.
#[derive(Default)]
pub struct Proxying {
    /// nginx's part of it.
    pub upstream: Upstream,
    /// The error that the request is to end with when nginx has returned.
    ending: Cell<Option<ErrorCode>>,
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
    /// Back to the beginning.
    pub fn reset(&self) {
        self.upstream.end();
        self.ending.set(None);
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

    /// nginx waits, until it has returned: then the request ends with an error, if it is given one here, or it goes on
    /// waiting.
    pub fn end_with(&self, code: Option<ErrorCode>) {
        self.ending.set(code);
    }

    /// nginx has returned. The error that the request is to end with, if it is.
    pub fn settle(&self) -> Option<ErrorCode> {
        let ending = self.ending.take();
        if ending.is_none() {
            self.upstream.stop_timer();
        }
        ending
    }

    /// A kept-alive connection won't do from now on.
    pub fn demand_new_connection(&self) {
        self.new_connection.set(true);
    }

    /// Whether a kept-alive connection won't do.
    pub fn wants_new_connection(&self) -> bool {
        self.new_connection.get()
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

    /// The instance is no more: the request goes elsewhere, while nothing of an answer has come and it may.
    pub fn on_instance_ended(&self, r: Request<'_>) {
        if let Some(progress) = self.upstream.progress()
            && !progress.has_status
            && !progress.is_passed_on
            && (!progress.sent || may_be_seen_twice(r))
        {
            self.upstream.disconnect();
        }
    }

    /// Ends the wait for an answer if the function has the whole request and has not begun to
    /// answer; false if it hasn't got it yet. `gone` becomes true when the request may be.
    pub fn time_out(&self, gone: &Cell<bool>) -> bool {
        match self.upstream.progress() {
            Some(progress) if progress.has_status || progress.is_passed_on => true,
            Some(progress) if !progress.sent_whole => false,
            Some(_) => {
                gone.set(true);
                self.upstream.time_out();
                true
            }
            None => true,
        }
    }

    /// The platform's error that `status` stands for, with which nginx ends the proxying.
    pub fn error(&self, status: isize) -> Option<ErrorCode> {
        let progress = self.upstream.progress()?;
        match status {
            _ if progress.is_passed_on => None,
            BAD_GATEWAY | GATEWAY_TIMEOUT => self.lost.get(),
            INTERNAL if !progress.has_status => Some(ErrorCode::Internal),
            _ => None,
        }
    }
}

/// Whether the request may be sent again though the function may have seen it. A body that was
/// passed on as it came is not there any more.
pub fn may_be_seen_twice(r: Request<'_>) -> bool {
    r.is_idempotent() && !r.is_streamed()
}
