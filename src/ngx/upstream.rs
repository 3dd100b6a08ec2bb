//! nginx's part of a request that it proxies.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use ngx::ffi::{
    NGX_DONE, NGX_HTTP_CACHE_EXPIRED, NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_NOLIVE,
    ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_connection_t, ngx_http_finalize_request,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_upstream_t, ngx_int_t, ngx_msec_t,
    ngx_uint_t,
};

use smallvec::SmallVec;

use super::placeholder::Placeholder;
use super::{Address, Answer, Handle, Request, response};

/// What nginx calls when it is done with the proxying.
pub type Finalize = unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t);

/// What is kept of it, for as long as the request.
#[derive(Default)]
pub struct Upstream {
    /// nginx's, from [`Upstream::begin`] until nginx is done: before that is gone, it has [`Upstream::end`] called.
    upstream: Cell<Option<NonNull<ngx_http_upstream_t>>>,
    /// What nginx would have called when it is done.
    finalize: Cell<Option<Finalize>>,
    /// What nginx waits on while there is no peer.
    pub(super) placeholder: Placeholder,
    /// After which failures the operator allows another attempt, while that is set aside.
    allowed: Cell<Option<ngx_uint_t>>,
    /// The peers that nginx was given: it may name them in its log, to the request's end. (There is one as a rule, and for
    /// that no memory is asked for.)
    addresses: RefCell<SmallVec<[Rc<Address>; 2]>>,
}

/// How far the proxying has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Something of the request was sent to the peer that it is at.
    pub sent: bool,
    /// All of it was.
    pub sent_whole: bool,
    /// The peer has begun to answer.
    pub has_status: bool,
    /// The client has got the answer's header.
    pub is_passed_on: bool,
}

/// An attempt to send the request that has failed.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Something of it was sent.
    pub sent: bool,
    /// The connection was a kept-alive one.
    pub reused: bool,
    /// The connection, if one was begun.
    pub connection: Option<Connection>,
}

/// How a connection has ended.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// How many bytes were sent.
    pub sent: i64,
    /// How many of them the other side's system has not acknowledged, if that is known.
    pub outstanding: Option<i64>,
    /// The time was over.
    pub timed_out: bool,
    /// The other side has closed it.
    pub ended: bool,
    /// It is broken, such as one that was reset.
    pub broken: bool,
}

impl Upstream {
    /// nginx begins to proxy the request, and calls `finalize` when it is done.
    pub(super) fn begin(&self, upstream: &mut ngx_http_upstream_t, finalize: Finalize) {
        self.finalize.set(upstream.finalize_request);
        upstream.finalize_request = Some(finalize);
        self.upstream.set(Some(NonNull::from(upstream)));
    }

    /// What nginx would have called; once.
    pub(super) fn original(&self) -> Option<Finalize> {
        self.finalize.take()
    }

    /// nginx is done with it, or it is forgotten.
    pub fn end(&self) {
        self.placeholder.leave();
        self.allowed.set(None);
        self.upstream.set(None);
    }

    /// The request has ended: nothing is named any more.
    pub fn forget_addresses(&self) {
        self.addresses.take();
    }

    /// Keeps a peer's address, which nginx is given.
    pub(super) fn keep(&self, address: Rc<Address>) {
        let mut addresses = self.addresses.borrow_mut();
        if !addresses.iter().any(|kept| Rc::ptr_eq(kept, &address)) {
            addresses.push(address);
        }
    }

    /// How far nginx has come, while it proxies the request.
    pub fn progress(&self) -> Option<Progress> {
        // SAFETY: nginx is not done with it.
        let upstream = unsafe { self.upstream.get()?.as_ref() };
        Some(Progress {
            sent: upstream.request_sent() != 0,
            sent_whole: upstream.request_body_sent() != 0,
            has_status: upstream.headers_in.status_n != 0,
            is_passed_on: upstream.header_sent() != 0,
        })
    }

    /// Whether nginx proxies the request.
    pub fn is_under_way(&self) -> bool {
        self.upstream.get().is_some()
    }

    /// Whether nginx has an answer that is too old, which the operator would have rather than none.
    pub fn has_stale_answer(&self) -> bool {
        // SAFETY: nginx is not done with it, and its configuration is its location's, which outlives the request.
        let found = unsafe {
            self.upstream.get().and_then(|upstream| {
                let upstream = upstream.as_ref();
                Some((
                    upstream.cache_status(),
                    upstream.conf.as_ref()?.cache_use_stale,
                ))
            })
        };
        // (Where the operator says `error`, nginx takes what has no peer for one.)
        found.is_some_and(|(status, use_stale)| {
            status == NGX_HTTP_CACHE_EXPIRED
                && use_stale & NGX_HTTP_UPSTREAM_FT_NOLIVE as ngx_uint_t != 0
        })
    }

    /// Whether nginx waits for a peer.
    pub fn is_waiting(&self) -> bool {
        self.placeholder.is_open()
    }

    /// nginx has begun to wait: for how long is not its own to say.
    pub fn stop_timer(&self) {
        self.placeholder.stop_timer();
    }

    /// Ends nginx's wait: it asks for the next peer. The request may be gone when this returns.
    pub fn wake(&self) {
        let Some(upstream) = self.upstream.get() else {
            return;
        };
        // SAFETY: nginx is not done with it, and its configuration is its location's, which outlives the request.
        unsafe {
            let upstream = upstream.as_ptr();
            // What took time was the wait, and no attempt.
            let waited = self.placeholder.waited() as ngx_msec_t;
            (*upstream).peer.start_time += waited;
            let Some(mut conf) = NonNull::new((*upstream).conf) else {
                return self.placeholder.wake();
            };
            // That the wait ends looks like an error of the connection to nginx, which may only be
            // told to go on after others.
            let allowed = conf.as_ref().next_upstream;
            self.allowed.set(Some(allowed));
            conf.as_mut().next_upstream = allowed | NGX_HTTP_UPSTREAM_FT_ERROR as ngx_uint_t;
            self.placeholder.wake();
            conf.as_mut().next_upstream = allowed;
        }
    }

    /// nginx asks for the next peer: from here on it goes by the operator's own rules again.
    pub(super) fn on_get(&self) {
        if let (Some(allowed), Some(upstream)) = (self.allowed.take(), self.upstream.get()) {
            // SAFETY: as of wake().
            unsafe {
                if let Some(conf) = (*upstream.as_ptr()).conf.as_mut() {
                    conf.next_upstream = allowed;
                }
            }
        }
    }

    /// The attempt that nginx has just given up.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        // SAFETY: nginx is not done with it, and closes the connection later.
        let (upstream, connection) = unsafe {
            let upstream = self.upstream.get()?.as_ref();
            (upstream, upstream.peer.connection.as_ref())
        };
        Some(Attempt {
            sent: upstream.request_sent() != 0,
            reused: upstream.peer.cached() != 0,
            connection: connection.map(Connection::of),
        })
    }

    /// Breaks the connection to the peer, which nginx learns of when it reads its events next.
    pub fn disconnect(&self) {
        // SAFETY: nginx is not done with it; the connection, if there is one, is open.
        unsafe {
            if let Some(upstream) = self.upstream.get()
                && let Some(connection) = upstream.as_ref().peer.connection.as_mut()
            {
                connection.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
                libc::shutdown(connection.fd, libc::SHUT_RDWR);
            }
        }
    }

    /// Has nginx end the attempt as one whose time is over. The request may be gone when this returns.
    pub fn time_out(&self) {
        // SAFETY: nginx is not done with it; the connection, if there is one, is open and has its events. The handler
        // is what nginx has set.
        unsafe {
            if let Some(upstream) = self.upstream.get()
                && let Some(connection) = upstream.as_ref().peer.connection.as_ref()
                && let Some(handler) = (*connection.read).handler
            {
                (*connection.read).set_timedout(1);
                handler(connection.read);
            }
        }
    }

    /// Ends a request that nginx proxies with the answer that is made of it when nginx has given up. The request may be
    /// gone when this returns.
    pub fn answer(&self, handle: &Handle, make: impl FnOnce(Request<'_>) -> Answer) {
        let Some(r) = handle.request().map(Request::as_ptr) else {
            return;
        };
        // SAFETY: the request has not ended. The count that is added keeps it so while nginx gives up, which takes
        // one. Its connection's memory outlives it. The cleanup is nginx's own, which is there until it is done.
        unsafe {
            let connection: *mut ngx_connection_t = (*r).connection;
            let main = (*r).main;
            (*main).set_count((*main).count() + 1);
            if let Some(upstream) = self.upstream.get()
                && let Some(cleanup) = upstream.as_ref().cleanup.as_ref().copied().flatten()
            {
                cleanup(r.cast::<c_void>());
            }
            let answer = make(Request::new(r));
            let status = response::finish(r, answer);
            if status != NGX_DONE as ngx_int_t {
                ngx_http_finalize_request(r, status);
            }
            ngx_http_run_posted_requests(connection);
        }
    }
}

impl Connection {
    fn of(connection: &ngx_connection_t) -> Self {
        // SAFETY: a connection has its two events.
        let (read, write) = unsafe { (&*connection.read, &*connection.write) };
        let mut outstanding: libc::c_int = 0;
        // SAFETY: the request (SIOCOUTQ of tcp(7)) writes an int; it fails on what is no open socket.
        let known =
            unsafe { libc::ioctl(connection.fd, libc::TIOCOUTQ, &raw mut outstanding) } == 0;
        Self {
            sent: connection.sent,
            outstanding: known.then_some(i64::from(outstanding)),
            timed_out: read.timedout() != 0 || write.timedout() != 0,
            ended: read.eof() != 0,
            broken: read.error() != 0 || write.error() != 0,
        }
    }
}
