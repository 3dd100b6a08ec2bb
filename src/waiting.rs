//! The requests that wait: for the table to be filled, or for an instance of a function.
//!
//! A request is found again by its ticket, a number that is used once; one that has gone away is
//! simply not found.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::ptr::NonNull;

use ngx::ffi::NGX_LOG_WARN;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_core::names::directive;
use corefn_engine::acquire::Start;

use crate::context::Context;
use crate::raw::now;
use crate::worker::{self, Worker};
use crate::zone::Slot;
use crate::{guard, log};

/// Who waits for what.
#[derive(Default)]
pub struct Waiting {
    requests: RefCell<HashMap<u64, NonNull<Context>>>,
    next: Cell<u64>,
    for_table: RefCell<Vec<u64>>,
    for_function: RefCell<HashMap<FunctionName, Vec<u64>>>,
    /// Those who wait no more, and are to go on.
    due: RefCell<VecDeque<(u64, Result<Start, ErrorCode>)>>,
}

/// A request's place among those who wait; dropping it leaves the place.
pub struct Ticket {
    number: u64,
    /// Where it counts: among all who wait on the host, and among those who wait for its function.
    places: [Option<Slot>; 2],
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(worker) = worker::get() {
            worker.waiting.requests.borrow_mut().remove(&self.number);
        }
        for place in self.places.iter().flatten() {
            place.end(now());
        }
    }
}

impl Waiting {
    /// A request waits until the table is filled.
    ///
    /// # Errors
    /// [`ErrorCode::QueueFull`] when as many wait on this host as may.
    pub fn join_table(&self, worker: &Worker, context: &Context) -> Result<Ticket, ErrorCode> {
        let ticket = self.ticket(context, [Some(host_place(worker)?), None]);
        self.add(&mut self.for_table.borrow_mut(), ticket.number);
        Ok(ticket)
    }

    /// A request waits for an instance of a function, of which at most `queue` may do so on this
    /// host. Returns with the ticket whether it is the first of this worker: then an instance must
    /// be asked for.
    ///
    /// # Errors
    /// [`ErrorCode::QueueFull`], also when as many wait on this host in all as may.
    pub fn join(
        &self,
        worker: &Worker,
        function: &FunctionName,
        context: &Context,
        queue: u32,
    ) -> Result<(Ticket, bool), ErrorCode> {
        let host = host_place(worker)?;
        let slot = worker.lane.function(function).ok_or(ErrorCode::QueueFull)?;
        if slot.load() >= queue {
            let (who, limit) = (format!("for {function}"), directive::QUEUE);
            return Err(full(&slot, &who, queue, limit));
        }
        let ticket = self.ticket(context, [Some(host), Some(slot)]);
        let mut queues = self.for_function.borrow_mut();
        let first = !queues.contains_key(function);
        self.add(queues.entry(function.clone()).or_default(), ticket.number);
        Ok((ticket, first))
    }

    /// The table is filled: whoever waited for it goes on.
    pub fn table_filled(&self) {
        self.resume_all(self.for_table.take(), Ok(Start::Warm));
    }

    /// The table can't be filled for now: whoever waited for it fails.
    pub fn table_failed(&self, failure: &Failure) {
        self.resume_all(self.for_table.take(), Err(failure.code));
    }

    /// An update was lost, perhaps the one that they wait for: all fail.
    pub fn give_up(&self) {
        let mut numbers = self.for_table.take();
        numbers.extend(self.for_function.take().into_values().flatten());
        self.resume_all(numbers, Err(ErrorCode::Internal));
    }

    /// There is an instance of the function, or there won't be: whoever waited for it goes on.
    pub fn outcome(&self, function: &FunctionName, result: Result<Start, Failure>) {
        let numbers = self.for_function.borrow_mut().remove(function);
        self.resume_all(
            numbers.unwrap_or_default(),
            result.map_err(|failure| failure.code),
        );
    }

    /// Adds a request to a queue. Those who have left it are taken out when it would grow, so that
    /// it is never much longer than most requests waited at once.
    fn add(&self, queue: &mut Vec<u64>, number: u64) {
        if queue.len() == queue.capacity() {
            let requests = self.requests.borrow();
            queue.retain(|number| requests.contains_key(number));
            queue.reserve(queue.len().max(8));
        }
        queue.push(number);
    }

    fn ticket(&self, context: &Context, places: [Option<Slot>; 2]) -> Ticket {
        for place in places.iter().flatten() {
            place.begin();
        }
        let number = self.next.get();
        self.next.set(number + 1);
        self.requests
            .borrow_mut()
            .insert(number, NonNull::from(context));
        Ticket { number, places }
    }

    fn resume_all(&self, numbers: Vec<u64>, result: Result<Start, ErrorCode>) {
        let due = numbers.into_iter().map(|number| (number, result));
        self.due.borrow_mut().extend(due);
    }

    /// Resumes the first of those who are to go on; false if there is none. It may end others,
    /// which then aren't found any more.
    pub fn resume_next(&self) -> bool {
        let next = self.due.borrow_mut().pop_front();
        let Some((number, result)) = next else {
            return false;
        };
        if !guard::nothing("resume", || self.resume(number, result)) {
            guard::nothing("resume", || self.resume(number, Err(ErrorCode::Internal)));
        }
        true
    }

    fn resume(&self, number: u64, result: Result<Start, ErrorCode>) {
        let context = self.requests.borrow().get(&number).copied();
        if let Some(context) = context {
            // SAFETY: a context leaves the map when it is dropped, at the latest.
            unsafe { context.as_ref() }.resume(result);
        }
    }
}

/// A place among all who wait on this host.
fn host_place(worker: &Worker) -> Result<Slot, ErrorCode> {
    let slot = worker.lane.host().ok_or(ErrorCode::QueueFull)?;
    if slot.load() >= worker.host_queue {
        return Err(full(
            &slot,
            "on this host",
            worker.host_queue,
            directive::HOST_QUEUE,
        ));
    }
    Ok(slot)
}

/// Refuses a request, and tells of it once a minute.
fn full(slot: &Slot, who: &str, most: u32, limit: &CStr) -> ErrorCode {
    if slot.may_tell(now()) {
        let limit = limit.to_string_lossy();
        let text = format!("{most} requests wait {who}: {limit} allows no more, others get 503");
        log::cycle(NGX_LOG_WARN, &text);
    }
    ErrorCode::QueueFull
}
