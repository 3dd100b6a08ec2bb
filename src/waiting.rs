//! The requests that wait: for the table to be filled, or for an instance of a function.
//!
//! A request is found again by its ticket, a number that is used once; one that has gone away is
//! simply not found.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::rc::{Rc, Weak};

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::names::directive;
use corefn_core::queue::{Queues, push};
use corefn_engine::acquire::Start;

use crate::endpoint::Seat;
use crate::line::{Line, Terms};
use crate::ngx::{guard, log, now};
use crate::zone::{Place, Shard, Slot};

/// A request that can wait.
pub trait Waiter {
    /// The wait has ended. The request may be gone when this returns.
    fn on_wait_ended(&self, resumption: Resumption);
}

/// Those who wait, by their tickets' numbers.
type Waiters = RefCell<HashMap<u64, Weak<dyn Waiter>>>;

/// Who waits for what.
pub struct Waiting {
    /// How many may wait on this host in all.
    host_queue: u32,
    requests: Rc<Waiters>,
    next: Cell<u64>,
    for_table: RefCell<Vec<u64>>,
    for_function: RefCell<Queues>,
    /// Those who wait no more, and are to go on.
    due: RefCell<VecDeque<(u64, Resumption)>>,
}

/// How a wait ended.
pub enum Resumption {
    /// With room at an instance.
    Seated(Seat),
    /// With what was waited for.
    Ready(Start),
    /// Without.
    Failed(ErrorCode),
    /// What was waited for is no longer what is needed: the request must decide anew.
    Anew,
}

/// A request's place among those who wait; dropping it leaves the place.
pub struct Ticket {
    number: u64,
    requests: Weak<Waiters>,
    /// Where it waits for room at an instance, and its number there.
    line: Option<(Rc<Line>, u32)>,
    /// Where it counts: among all who wait on the host, and among those who wait for its function.
    _places: [Option<Place>; 2],
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(requests) = self.requests.upgrade() {
            requests.borrow_mut().remove(&self.number);
        }
        if let Some((line, number)) = &self.line {
            line.leave(*number);
        }
    }
}

impl Ticket {
    /// Whether it waits for room at an instance.
    pub fn is_in_line(&self) -> bool {
        self.line.is_some()
    }
}

impl Waiting {
    /// Nobody waits; so many may on this host in all.
    pub fn new(host_queue: u32) -> Self {
        Self {
            host_queue,
            requests: Rc::default(),
            next: Cell::default(),
            for_table: RefCell::default(),
            for_function: RefCell::default(),
            due: RefCell::default(),
        }
    }

    /// A request waits until the table is filled.
    ///
    /// # Errors
    /// [`ErrorCode::QueueFull`] when as many wait on this host as may, or [`ErrorCode::ZoneFull`].
    pub fn join_table(&self, shard: &Shard, waiter: Weak<dyn Waiter>) -> Result<Ticket, ErrorCode> {
        let ticket = self.ticket(waiter, [Some(self.host_place(shard)?), None]);
        let waits = |number| self.waits(number);
        push(&mut self.for_table.borrow_mut(), ticket.number, waits);
        Ok(ticket)
    }

    /// A request waits for an instance of a function, of which at most `queue` may do so on this
    /// host. Returns with the ticket the number under which an instance must be asked for, unless
    /// one has been already.
    ///
    /// # Errors
    /// [`ErrorCode::QueueFull`], also when as many wait on this host in all as may, or
    /// [`ErrorCode::ZoneFull`].
    pub fn join(
        &self,
        shard: &Shard,
        function: &FunctionName,
        waiter: Weak<dyn Waiter>,
        queue: u32,
    ) -> Result<(Ticket, Option<u64>), ErrorCode> {
        let ticket = self.function_ticket(shard, function, waiter, queue)?;
        let mut queues = self.for_function.borrow_mut();
        let asked = queues.join(function, ticket.number, |number| self.waits(number));
        Ok((ticket, asked))
    }

    /// A request waits in line for room at an instance of a function; as of [`Waiting::join`].
    ///
    /// # Errors
    /// As of [`Waiting::join`].
    pub fn join_line(
        &self,
        shard: &Shard,
        function: &FunctionName,
        waiter: Weak<dyn Waiter>,
        queue: u32,
        line: &Rc<Line>,
        terms: Terms,
    ) -> Result<Ticket, ErrorCode> {
        let mut ticket = self.function_ticket(shard, function, waiter, queue)?;
        let number = line.join(ticket.number, terms);
        ticket.line = Some((line.clone(), number));
        Ok(ticket)
    }

    /// The table is filled: whoever waited for it goes on.
    pub fn on_table_filled(&self) {
        self.resume_all(self.for_table.take(), || Resumption::Anew);
    }

    /// The table can't be filled for now: whoever waited for it fails.
    pub fn on_table_failed(&self, failure: &Failure) {
        self.resume_all(self.for_table.take(), || Resumption::Failed(failure.code));
    }

    /// An update was lost, perhaps the one that they wait for: all fail.
    pub fn give_up(&self) {
        let mut numbers = self.for_table.take();
        numbers.extend(self.for_function.borrow_mut().leave_all());
        self.resume_all(numbers, || Resumption::Failed(ErrorCode::Internal));
    }

    /// There is an instance of the function, or there won't be: whoever waited for this answer goes
    /// on.
    pub fn on_outcome(&self, function: &FunctionName, number: u64, result: Result<Start, Failure>) {
        let numbers = self.for_function.borrow_mut().answered(function, number);
        self.resume_all(numbers, || match &result {
            Ok(start) => Resumption::Ready(*start),
            Err(failure) => Resumption::Failed(failure.code),
        });
    }

    /// The function was deployed anew, or removed: whoever waits for it decides anew.
    pub fn on_replaced(&self, function: &FunctionName) {
        let numbers = self.for_function.borrow_mut().leave(function);
        self.resume_all(numbers, || Resumption::Anew);
    }

    /// Somebody who waits in line goes on.
    pub fn resume_later(&self, ticket: u64, resumption: Resumption) {
        self.due.borrow_mut().push_back((ticket, resumption));
    }

    /// The functions that are waited for.
    pub fn functions(&self) -> Vec<FunctionName> {
        self.for_function.borrow().functions().cloned().collect()
    }

    fn waits(&self, number: u64) -> bool {
        self.requests.borrow().contains_key(&number)
    }

    fn ticket(&self, waiter: Weak<dyn Waiter>, places: [Option<Place>; 2]) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        self.requests.borrow_mut().insert(number, waiter);
        Ticket {
            number,
            requests: Rc::downgrade(&self.requests),
            line: None,
            _places: places,
        }
    }

    fn function_ticket(
        &self,
        shard: &Shard,
        function: &FunctionName,
        waiter: Weak<dyn Waiter>,
        queue: u32,
    ) -> Result<Ticket, ErrorCode> {
        let host = self.host_place(shard)?;
        let slot = shard.function(function)?;
        let place = slot.enter(queue).ok_or_else(|| {
            let (who, limit) = (format!("for {function}"), directive::QUEUE);
            full(&slot, &who, queue, limit)
        })?;
        Ok(self.ticket(waiter, [Some(host), Some(place)]))
    }

    fn resume_all(&self, numbers: Vec<u64>, resumption: impl Fn() -> Resumption) {
        let due = numbers.into_iter().map(|number| (number, resumption()));
        self.due.borrow_mut().extend(due);
    }

    /// Resumes the first of those who are to go on; false if there is none. It may end others,
    /// which then aren't found any more.
    pub fn resume_next(&self) -> bool {
        let next = self.due.borrow_mut().pop_front();
        let Some((number, resumption)) = next else {
            return false;
        };
        if !guard::nothing("resume", || self.resume(number, resumption)) {
            let failed = Resumption::Failed(ErrorCode::Internal);
            guard::nothing("resume", || self.resume(number, failed));
        }
        true
    }

    fn resume(&self, number: u64, resumption: Resumption) {
        let waiter = self.requests.borrow().get(&number).and_then(Weak::upgrade);
        if let Some(waiter) = waiter {
            waiter.on_wait_ended(resumption);
        }
    }

    /// A place among all who wait on this host.
    fn host_place(&self, shard: &Shard) -> Result<Place, ErrorCode> {
        let slot = shard.host()?;
        let most = self.host_queue;
        slot.enter(most)
            .ok_or_else(|| full(&slot, "on this host", most, directive::HOST_QUEUE))
    }
}

/// Refuses a request, and logs that once a minute.
fn full(slot: &Slot, who: &str, most: u32, limit: &CStr) -> ErrorCode {
    if slot.may_log(now()) {
        let limit = limit.to_string_lossy();
        let text = format!("{most} requests wait {who}: {limit} allows no more, others get 503");
        log::cycle(log::NGX_LOG_WARN, &text);
    }
    ErrorCode::QueueFull
}
