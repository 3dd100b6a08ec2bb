//! What the module knows of a request.
//!
//! A context belongs to the request's pool and is closed with it, however the request ends; that
//! is when the instance's count goes down. Whoever works with it shares it, so that its memory is
//! there though the request ends meanwhile. Internal redirects wipe nginx's pointer to it, so it is
//! found by the pool's cleanups too.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ngx::ffi::{
    NGX_OK, ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_handle_read_event, ngx_http_cleanup_add,
    ngx_http_request_empty_handler, ngx_http_request_t, ngx_http_test_reading, ngx_int_t,
    ngx_log_t, ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_post_event, ngx_posted_events,
};
use ngx::http::HttpModule;

use corefn_core::config::Limits;
use corefn_core::error::ErrorCode;
use corefn_core::request::{Released, Stage, State};
use corefn_core::table::{Function, Peer};
use corefn_engine::acquire::Start;

use crate::endpoint::{ActiveRequest, Endpoint};
use crate::error_page::ErrorPage;
use crate::ngx::{Call, Callback};
use crate::proxying::Proxying;
use crate::raw::now;
use crate::waiting::Ticket;
use crate::zone::Place;
use crate::{CorefnModule, guard};

/// How much longer than the runtime thread may take a request waits: the thread knows why it
/// failed, and has the function's last output to fetch first.
const TIMER_SLACK: Duration = Duration::from_secs(5);

/// What the module knows of a request.
pub struct Context {
    request: NonNull<ngx_http_request_t>,
    /// Itself, for those who may find it again later.
    this: Weak<Self>,
    /// Where it is, and what it holds there.
    state: RefCell<State<Wait, Grant>>,
    /// The function it is for.
    pub function: RefCell<Option<Rc<Function<Endpoint>>>>,
    /// How many bytes of the path led to the function.
    pub prefix: Cell<usize>,
    /// How the instance was come by.
    pub start: Cell<Start>,
    /// How often it has waited for an instance.
    pub attempts: Cell<u32>,
    /// What becomes of it when an attempt to send it fails.
    pub proxying: Proxying,
    /// What of its response is ours.
    pub error_page: RefCell<ErrorPage>,
    /// How much of its body has come, where that is limited.
    pub received: Cell<u64>,
    waited: Cell<u64>,
    /// How many milliseconds it may wait in all.
    patience: Cell<u64>,
    past: RefCell<Vec<Rc<Peer<Endpoint>>>>,
    /// Among the requests that are under way at a function that takes only so many.
    place: RefCell<Option<Place>>,
    /// What is due when it has waited for too long, or its instance has not begun to answer in time.
    timer: Callback<Self>,
    /// What is due when nginx has returned.
    soon: Callback<Self>,
}

/// What it holds while it waits.
struct Wait {
    _ticket: Ticket,
    since: u64,
}

/// Work that is under way at an instance.
struct Grant {
    peer: Rc<Peer<Endpoint>>,
    key: usize,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.peer.endpoint.leave(self.key, now());
    }
}

/// nginx learns of it when it reads its events next.
impl ActiveRequest for Context {
    /// The request goes elsewhere if it may.
    fn on_instance_ended(&self) {
        // SAFETY: a request whose context is there is alive, and so is its connection to the
        // instance.
        unsafe {
            if let Some(mut connection) = self.proxying.movable(&*self.request()) {
                let connection = connection.as_mut();
                connection.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
                libc::shutdown(connection.fd, libc::SHUT_RDWR);
            }
        }
    }
}

impl Context {
    /// The request's context, made if there is none. One that an internal redirect has wiped is
    /// open again.
    pub fn of(r: &mut ngx_http_request_t) -> Option<Rc<Self>> {
        if let Some(context) = Self::current(r) {
            return Some(context);
        }
        let context = match Self::wiped(r) {
            Some(context) => {
                context.reset();
                context
            }
            None => Self::create(r)?,
        };
        let index = CorefnModule::module().ctx_index;
        // SAFETY: nginx allocated a pointer for each module.
        unsafe { *r.ctx.add(index) = Rc::as_ptr(&context).cast_mut().cast() };
        Some(context)
    }

    /// The request's context if there is one, wiped or not, as it is.
    pub fn find(r: &ngx_http_request_t) -> Option<Rc<Self>> {
        Self::current(r).or_else(|| Self::wiped(r))
    }

    /// The request's context, unless there is none or an internal redirect has wiped it.
    pub fn current(r: &ngx_http_request_t) -> Option<Rc<Self>> {
        let index = CorefnModule::module().ctx_index;
        // SAFETY: nginx allocated a pointer for each module; ours is null or a context of the
        // request, which is alive.
        unsafe {
            let context = *r.ctx.add(index);
            (!context.is_null()).then(|| Self::share(context))
        }
    }

    /// The context that a pointer of nginx's leads to.
    ///
    /// # Safety
    /// The pointer is a context's whose request has not ended.
    pub unsafe fn share(context: *mut c_void) -> Rc<Self> {
        let context = context.cast::<Self>().cast_const();
        // SAFETY: create() made it, and the request's pool keeps a count of it.
        unsafe {
            Rc::increment_strong_count(context);
            Rc::from_raw(context)
        }
    }

    /// A subrequest has its own context in the pool of the main request.
    fn wiped(r: &ngx_http_request_t) -> Option<Rc<Self>> {
        // SAFETY: the pool's cleanups are a list that ends with null; one with our handler has a
        // context as data.
        unsafe {
            let mut cleanup = (*r.pool).cleanup;
            while let Some(this) = cleanup.as_ref() {
                if is_ours(this) {
                    let context = Self::share(this.data);
                    if ptr::eq(context.request.as_ptr(), r) {
                        return Some(context);
                    }
                }
                cleanup = this.next;
            }
        }
        None
    }

    fn create(r: &mut ngx_http_request_t) -> Option<Rc<Self>> {
        let context = Rc::new_cyclic(|this| Self {
            request: NonNull::from(&mut *r),
            this: this.clone(),
            state: RefCell::default(),
            function: RefCell::default(),
            prefix: Cell::new(0),
            start: Cell::new(Start::Warm),
            attempts: Cell::new(0),
            proxying: Proxying::default(),
            error_page: RefCell::default(),
            received: Cell::new(0),
            waited: Cell::new(0),
            patience: Cell::new(0),
            past: RefCell::default(),
            place: RefCell::default(),
            timer: Callback::default(),
            soon: Callback::default(),
        });
        // SAFETY: a valid request; the result is checked. Its pool, and so the context, outlives
        // these cleanups.
        let cleanup = unsafe { ngx_http_cleanup_add(r, 0).as_mut()? };
        cleanup.handler = Some(leave);
        cleanup.data = Rc::as_ptr(&context).cast_mut().cast();
        // SAFETY: a valid pool; the result is checked.
        let cleanup = unsafe { ngx_pool_cleanup_add(r.pool, 0).as_mut()? };
        cleanup.handler = Some(drop_context);
        cleanup.data = Rc::into_raw(context.clone()).cast_mut().cast();
        Some(context)
    }

    /// The request has ended: gives everything back. Nothing may ask for the request any more.
    fn close(&self) {
        self.reset();
        self.soon.cancel();
        self.past.take();
    }

    fn reset(&self) {
        self.release();
        self.stop_waiting();
        let released = self.state.borrow_mut().on_reset();
        self.let_go(released);
        self.place.take();
        self.proxying.reset();
        self.error_page.take();
        self.function.take();
        self.attempts.set(0);
    }

    /// The instance the request goes to.
    pub fn peer(&self) -> Option<Rc<Peer<Endpoint>>> {
        self.state.borrow().grant().map(|grant| grant.peer.clone())
    }

    /// nginx's request, which is there until the context is closed.
    pub fn request(&self) -> *mut ngx_http_request_t {
        self.request.as_ptr()
    }

    /// Gives the request an instance: from now on it counts as work there.
    pub fn grant(&self, peer: Rc<Peer<Endpoint>>) {
        self.release();
        let key = peer.endpoint.enter(self.this.clone());
        let released = self.state.borrow_mut().on_grant(Grant { peer, key });
        self.let_go(released);
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.state.borrow().stage()
    }

    /// The request gets an error.
    pub fn fail(&self, code: ErrorCode) {
        let released = self.state.borrow_mut().on_failure(code);
        self.let_go(released);
    }

    /// The attempt to send the request has failed, and another is to be made.
    pub fn lose(&self) {
        self.state.borrow_mut().on_loss();
    }

    /// Gives back what the request held. nginx may still name its instance in its log.
    fn let_go(&self, released: Released<Wait, Grant>) {
        if let Released::Grant(grant) = released {
            self.past.borrow_mut().push(grant.peer.clone());
        }
    }

    /// Whether the request counts among those that are under way at its function.
    pub fn has_place(&self) -> bool {
        self.place.borrow().is_some()
    }

    /// Counts the request, until it ends, among those that are under way at its function.
    pub fn take_place(&self, place: Place) {
        self.place.replace(Some(place));
    }

    /// After how many seconds trying again makes sense, when the request fails with `code`.
    pub fn retry_after(&self, code: ErrorCode) -> Option<u64> {
        let function = self.function.borrow();
        let backed_off = function.as_ref().and_then(|f| f.backed_off(now()));
        match backed_off {
            Some((cause, left)) if cause == code => Some(left.div_ceil(1000)),
            _ => code.retry_after().map(u64::from),
        }
    }

    /// Takes the instance back. nginx may still name it in its log.
    pub fn release(&self) {
        let grant = self.state.borrow_mut().end_grant();
        if let Some(grant) = grant {
            self.let_go(Released::Grant(grant));
        }
    }

    /// The limits of its function.
    pub fn limits(&self) -> Option<Limits> {
        let function = self.function.borrow();
        Some(function.as_ref()?.deployment.config.limits)
    }

    /// How many milliseconds the request waited for an instance, in all.
    pub fn waited(&self) -> u64 {
        self.waited.get()
    }

    /// Suspends the request: its phases are not run until it is resumed. Whether
    /// the client goes away is watched for, and the body may keep arriving. It waits for `timeout`
    /// in all, however often it is suspended, and `on_timeout` is called when that is over.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] when nginx can't watch the connection.
    pub fn suspend(
        &self,
        r: &mut ngx_http_request_t,
        ticket: Ticket,
        timeout: Duration,
        on_timeout: Call<Self>,
    ) -> Result<(), ErrorCode> {
        // SAFETY: a request has a connection with a read event.
        let watched = unsafe {
            let event = (*r.connection).read;
            if (*event).ready() != 0 {
                // Perhaps the client has gone already: nginx isn't told of that again.
                ngx_post_event(event, &raw mut ngx_posted_events);
                NGX_OK as ngx_int_t
            } else {
                ngx_handle_read_event(event, 0)
            }
        };
        if watched != NGX_OK as ngx_int_t {
            return Err(ErrorCode::Internal);
        }
        r.read_event_handler = Some(ngx_http_test_reading);
        r.write_event_handler = Some(ngx_http_request_empty_handler);
        self.wait(ticket, timeout, on_timeout);
        Ok(())
    }

    /// Waits; as of [`Context::suspend`].
    pub fn wait(&self, ticket: Ticket, timeout: Duration, on_timeout: Call<Self>) {
        let wait = Wait {
            _ticket: ticket,
            since: now(),
        };
        let released = self.state.borrow_mut().on_wait(wait);
        self.let_go(released);
        let patience = timeout.as_millis() as u64;
        self.patience.set(patience);
        let left = Duration::from_millis(patience.saturating_sub(self.waited.get()));
        self.call_after(left + TIMER_SLACK, on_timeout);
    }

    /// Has it called after a time, unless the request ends or waits before.
    pub fn call_after(&self, time: Duration, call: Call<Self>) {
        if let Some(log) = self.log() {
            self.timer.after(time, log, self.this.clone(), call);
        }
    }

    /// Has it called when nginx has returned, unless the request ends before.
    pub fn call_soon(&self, call: Call<Self>) {
        if let Some(log) = self.log() {
            self.soon.soon(log, self.this.clone(), call);
        }
    }

    fn log(&self) -> Option<NonNull<ngx_log_t>> {
        // SAFETY: the request is alive, and its connection outlives it.
        NonNull::new(unsafe { (*(*self.request()).connection).log })
    }

    /// The wait has ended: it counts as time waited.
    pub fn end_wait(&self) {
        let wait = self.state.borrow_mut().end_wait();
        if let Some(wait) = wait {
            let waited = now().saturating_sub(wait.since);
            self.waited.set(self.waited.get() + waited);
        }
        self.timer.cancel();
    }

    /// Whether a good part of the time that the request may wait is left.
    pub fn has_time(&self) -> bool {
        self.waited.get() < self.patience.get() / 10 * 9
    }

    /// Leaves the place among those who wait.
    pub fn stop_waiting(&self) {
        let wait = self.state.borrow_mut().end_wait();
        drop(wait);
        self.timer.cancel();
    }

    /// Takes the request's instance away: one that went wrong on its way to a function is not sent
    /// there.
    pub fn revoke(&self) {
        self.fail(ErrorCode::Internal);
    }
}

fn is_ours(cleanup: &ngx_pool_cleanup_t) -> bool {
    let ours: unsafe extern "C" fn(*mut c_void) = drop_context;
    cleanup
        .handler
        .is_some_and(|handler| ptr::fn_addr_eq(handler, ours))
}

/// The request is over, and only its log is still to be written.
unsafe extern "C" fn leave(data: *mut c_void) {
    guard::twice("leave", || {
        // SAFETY: the data is the context, whose pool is not destroyed yet.
        let context = unsafe { Context::share(data) };
        context.stop_waiting();
        context.place.take();
    });
}

unsafe extern "C" fn drop_context(data: *mut c_void) {
    // SAFETY: nginx calls this once, with the count that create() has given to the pool.
    let context = unsafe { Rc::from_raw(data.cast::<Context>().cast_const()) };
    guard::twice("drop_context", || context.close());
    // (Where it could not be closed, what it owns is given back by its parts.)
    guard::nothing("forget_context", move || drop(context));
}
