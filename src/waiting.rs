//! The requests that wait: for the table to be filled, or for an instance of a function.
//!
//! A request is found again by its ticket, a number that is used once; one that has gone away is
//! simply not found.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ptr::NonNull;

use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::FunctionName;
use corefn_engine::acquire::Start;

use crate::context::Context;
use crate::guard;
use crate::raw::now;
use crate::worker::{self, Worker};
use crate::zone::Slot;

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
    slot: Option<Slot>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(worker) = worker::get() {
            worker.waiting.requests.borrow_mut().remove(&self.number);
        }
        if let Some(slot) = &self.slot {
            slot.end(now());
        }
    }
}

impl Waiting {
    /// A request waits until the table is filled.
    pub fn join_table(&self, context: &Context) -> Ticket {
        let ticket = self.ticket(context, None);
        self.for_table.borrow_mut().push(ticket.number);
        ticket
    }

    /// A request waits for an instance of a function, of which at most `queue` may do so on this
    /// host. Returns with the ticket whether it is the first of this worker: then an instance must
    /// be asked for.
    ///
    /// # Errors
    /// [`ErrorCode::QueueFull`].
    pub fn join(
        &self,
        worker: &Worker,
        function: &FunctionName,
        context: &Context,
        queue: u32,
    ) -> Result<(Ticket, bool), ErrorCode> {
        let slot = worker.lane.function(function).ok_or(ErrorCode::QueueFull)?;
        if slot.load() >= queue {
            return Err(ErrorCode::QueueFull);
        }
        slot.begin();
        let ticket = self.ticket(context, Some(slot));
        let mut queues = self.for_function.borrow_mut();
        let first = !queues.contains_key(function);
        queues
            .entry(function.clone())
            .or_default()
            .push(ticket.number);
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

    fn ticket(&self, context: &Context, slot: Option<Slot>) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        self.requests
            .borrow_mut()
            .insert(number, NonNull::from(context));
        Ticket { number, slot }
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
