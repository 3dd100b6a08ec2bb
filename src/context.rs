//! What the module knows of a request.
//!
//! It is closed when the request ends, however that comes about; that is when the instance's count goes down.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::thread::LocalKey;
use std::time::Duration;

use corefn_core::compact::RequestLimits;
use corefn_core::error::ErrorCode;
use corefn_core::request::{Stage, State};
use corefn_core::table::{Function, Peer};
use corefn_engine::acquire::Start;

use crate::CorefnModule;
use crate::endpoint::{ActiveRequest, Endpoint, Seat};
use crate::error_page::ErrorPage;
use crate::ngx::{Attached, Call, Callback, Handle, Request, Spares, now};
use crate::proxying::Proxying;
use crate::viewers::Viewing;
use crate::waiting::Ticket;
use crate::worker;
use crate::zone::{Ended, Place};

/// How much longer than the runtime thread may take a request waits: the thread knows why it
/// failed, and has the function's last output to fetch first.
const TIMER_SLACK: Duration = Duration::from_secs(5);

/// What the module knows of a request.
pub struct Context {
    handle: Handle,
    /// Where it is, and what it holds there.
    state: RefCell<State<Wait, Grant>>,
    /// The function it is for.
    pub function: RefCell<Option<Rc<Function<Endpoint>>>>,
    /// How many bytes of the path led to the function.
    pub prefix: Cell<usize>,
    /// Whether the dispatcher gets it in place of the function.
    is_deferred: Cell<bool>,
    /// Among which percent of the requests it is of a function of which several revisions are released, 0 to 99.
    pub percentile: Cell<Option<u8>>,
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
    /// The instance that it was given while it waited for room.
    seat: RefCell<Option<Seat>>,
    /// Among the requests that are under way at a function that takes only so many.
    place: RefCell<Option<Place>>,
    /// What it is told of what there is, where that is what it is for.
    pub viewing: RefCell<Option<Rc<Viewing>>>,
    /// What is due when it has waited for too long, or its instance has not begun to answer in time.
    timer: Callback<Self>,
    /// What is due when nginx has returned.
    soon: Callback<Self>,
}

/// What it holds while it waits.
struct Wait {
    ticket: Ticket,
    since: u64,
}

/// Work that is under way at an instance.
struct Grant {
    seat: Seat,
    key: usize,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.seat.peer().endpoint.leave(self.key);
    }
}

impl ActiveRequest for Context {
    fn on_instance_ended(&self) {
        if let Some(r) = self.handle.request() {
            self.proxying.on_instance_ended(r);
        }
    }
}

impl Attached for Context {
    type Module = CorefnModule;

    fn new(handle: Handle) -> Self {
        Self {
            handle,
            state: RefCell::default(),
            function: RefCell::default(),
            prefix: Cell::new(0),
            is_deferred: Cell::new(false),
            percentile: Cell::new(None),
            start: Cell::new(Start::Warm),
            attempts: Cell::new(0),
            proxying: Proxying::default(),
            error_page: RefCell::default(),
            received: Cell::new(0),
            waited: Cell::new(0),
            patience: Cell::new(0),
            seat: RefCell::default(),
            place: RefCell::default(),
            viewing: RefCell::default(),
            timer: Callback::default(),
            soon: Callback::default(),
        }
    }

    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<Context> = const { Spares::new(Vec::new()) };
        }
        &SPARES
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_redirect(&self) {
        self.stop_waiting();
        let released = self.state.borrow_mut().on_reset();
        drop(released);
        self.seat.take();
        self.place.take();
        self.proxying.reset();
        self.error_page.take();
        self.function.take();
        self.is_deferred.set(false);
        self.attempts.set(0);
    }

    fn on_leave(&self) {
        self.stop_waiting();
        self.soon.cancel();
        self.seat.take();
        self.place.take();
    }

    fn on_end(&self) {
        self.measure();
        self.on_redirect();
        self.soon.cancel();
        // (nginx has done with what it was sent.)
        self.viewing.take();
        self.proxying.upstream.forget_addresses();
    }
}

impl Context {
    /// Counts the request, which has ended, unless it was for none but what is counted.
    fn measure(&self) {
        if self.viewing.borrow().is_some() {
            return;
        }
        let (Some(r), Some(worker)) = (self.handle.request(), worker::get()) else {
            return;
        };
        let metrics = &worker.shard.metrics;
        let row = match self.instance() {
            Some(peer) => peer.endpoint.row,
            None => {
                let function = self.function.borrow();
                metrics.row(
                    function
                        .as_ref()
                        .map(|it| it.deployed.function.plain_text()),
                )
            }
        };
        let (start, waited) = (self.start.get(), self.waited.get());
        let ended = Ended {
            status: r.status(),
            took: r.age(),
            waited: (waited > 0 || start != Start::Warm)
                .then(|| (start, Duration::from_millis(waited))),
        };
        metrics.on_end(row, &ended);
    }

    /// That of the request; of a copy that nginx has made to fetch an answer for its cache, one that is for the same function.
    pub fn of_request(r: Request<'_>) -> Option<Rc<Self>> {
        Self::find(r).or_else(|| {
            let original = Self::find(r.original()?)?;
            let copy = Self::of(r)?;
            copy.function.replace(original.function.borrow().clone());
            copy.prefix.set(original.prefix.get());
            copy.percentile.set(original.percentile.get());
            Some(copy)
        })
    }

    /// For those who may find it again later.
    pub fn weak(self: &Rc<Self>) -> Weak<Self> {
        Rc::downgrade(self)
    }

    /// The dispatcher, of this peer, gets the request in place of the function.
    pub fn defer(self: &Rc<Self>, dispatcher: Rc<Peer<Endpoint>>) {
        self.is_deferred.set(true);
        self.grant(Seat::take(dispatcher));
    }

    /// Whether it does.
    pub fn is_deferred(&self) -> bool {
        self.is_deferred.get()
    }

    /// The instance the request goes to, if it goes to one.
    pub fn instance(&self) -> Option<Rc<Peer<Endpoint>>> {
        self.peer().filter(|_| !self.is_deferred())
    }

    /// The instance the request goes to, or the dispatcher.
    pub fn peer(&self) -> Option<Rc<Peer<Endpoint>>> {
        let state = self.state.borrow();
        state.grant().map(|grant| grant.seat.peer().clone())
    }

    /// Gives the request an instance: from now on it is under way there.
    pub fn grant(self: &Rc<Self>, seat: Seat) {
        self.release();
        let key = seat.peer().endpoint.enter(self.weak());
        let released = self.state.borrow_mut().on_grant(Grant { seat, key });
        drop(released);
    }

    /// The request has waited for room at an instance, and gets it when it goes on.
    pub fn keep_seat(&self, seat: Seat) {
        self.seat.replace(Some(seat));
    }

    /// What it got while it waited for room.
    pub fn take_seat(&self) -> Option<Seat> {
        self.seat.take()
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.state.borrow().stage()
    }

    /// The request gets an error.
    pub fn fail(&self, code: ErrorCode) {
        let released = self.state.borrow_mut().on_failure(code);
        drop(released);
    }

    /// The attempt to send the request has failed, and another is to be made.
    pub fn lose(&self) {
        self.state.borrow_mut().on_loss();
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

    /// Takes the instance back.
    pub fn release(&self) {
        let grant = self.state.borrow_mut().end_grant();
        drop(grant);
    }

    /// The limits of its function.
    pub fn limits(&self) -> Option<RequestLimits> {
        let function = self.function.borrow();
        Some(function.as_ref()?.deployed.limits)
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
        self: &Rc<Self>,
        r: Request<'_>,
        ticket: Ticket,
        timeout: Duration,
        on_timeout: Call<Self>,
    ) -> Result<(), ErrorCode> {
        if !r.suspend() {
            return Err(ErrorCode::Internal);
        }
        self.wait(ticket, timeout, on_timeout);
        Ok(())
    }

    /// Waits; as of [`Context::suspend`].
    pub fn wait(self: &Rc<Self>, ticket: Ticket, timeout: Duration, on_timeout: Call<Self>) {
        let slack = if ticket.is_in_line() {
            Duration::ZERO
        } else {
            TIMER_SLACK
        };
        let wait = Wait {
            ticket,
            since: now(),
        };
        let released = self.state.borrow_mut().on_wait(wait);
        drop(released);
        let patience = timeout.as_millis() as u64;
        self.patience.set(patience);
        let left = Duration::from_millis(patience.saturating_sub(self.waited.get()));
        self.call_after(left + slack, on_timeout);
    }

    /// Has it called after a time, unless the request ends or waits before.
    pub fn call_after(self: &Rc<Self>, time: Duration, call: Call<Self>) {
        self.timer.after(time, &self.handle, self.weak(), call);
    }

    /// Has it called when nginx has returned, unless the request ends before.
    pub fn call_soon(self: &Rc<Self>, call: Call<Self>) {
        self.soon.soon(&self.handle, self.weak(), call);
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

    /// What it fails with when it has waited for too long.
    pub fn lateness(&self) -> ErrorCode {
        match &*self.state.borrow() {
            State::Waiting(wait) if wait.ticket.is_in_line() => ErrorCode::QueueTimeout,
            _ => ErrorCode::StartTimeout,
        }
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
