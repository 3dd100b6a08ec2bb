//! Those who wait for room at the instances of a function which take only so many requests at once.
//!
//! Each worker has those of its own, in the order in which they came, and the workers go by what all see: whose first has
//! waited for the longest gets the next place (`corefn_sync::Line`). Whoever leaves a place tells that worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::function::FunctionName;

use crate::ngx::now;
use crate::zone::{Shard, Slot, Waker};

/// How long another instance is not asked for after none was to be had, in milliseconds.
const SCALE_PAUSE: u64 = 250;

/// A function's line, of this worker.
pub struct Line {
    shared: Slot,
    waker: Rc<Waker>,
    /// The numbers and tickets of those who wait.
    waiting: RefCell<VecDeque<(u32, u64)>>,
    /// What was last asked for on their behalf.
    terms: Cell<Terms>,
    /// Whether another instance is being asked for, and from when on one may be.
    scaling: Cell<bool>,
    not_before: Cell<u64>,
}

/// For how long an instance that is started for them is leased, and how long its start may take.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    /// The idle time.
    pub idle: Duration,
    /// The start's.
    pub timeout: Duration,
}

impl Line {
    /// Nobody of this worker waits.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn open(shard: &Shard, function: &FunctionName) -> Result<Self, ErrorCode> {
        Ok(Self {
            shared: shard.line(function)?,
            waker: shard.waker(),
            waiting: RefCell::default(),
            terms: Cell::default(),
            scaling: Cell::new(false),
            not_before: Cell::new(0),
        })
    }

    /// Whether nobody waits, on any worker: who comes now may take what is free.
    pub fn is_empty(&self) -> bool {
        self.shared.turn().is_none()
    }

    /// Whether somebody of this worker waits.
    pub fn has_waiters(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// A ticket joins the end. Its number is for [`Line::leave`].
    pub fn join(&self, ticket: u64, terms: Terms) -> u32 {
        self.terms.set(terms);
        let number = self.shared.draw();
        self.waiting.borrow_mut().push_back((number, ticket));
        self.show();
        number
    }

    /// Somebody waits no more.
    pub fn leave(&self, number: u32) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|(other, _)| *other == number) else {
            return;
        };
        waiting.remove(at);
        drop(waiting);
        if at == 0 {
            self.show();
            self.pass_on();
        }
    }

    /// The ticket of this worker's first, if it is its turn.
    pub fn first(&self) -> Option<u64> {
        let first = self.waiting.borrow().front().map(|(_, ticket)| *ticket)?;
        self.shared.is_my_turn().then_some(first)
    }

    /// The first goes.
    pub fn take_first(&self) {
        self.waiting.borrow_mut().pop_front();
        self.show();
    }

    /// Tells the worker whose turn it is that there may be room. To be called by whoever has left a place, or the line.
    pub fn pass_on(&self) {
        if let Some(worker) = self.shared.turn() {
            self.waker.wake(worker);
        }
    }

    /// What an instance that is started for them is asked for with, if it may be asked for now. [`Line::on_scaled`] must
    /// follow.
    pub fn scale(&self) -> Option<Terms> {
        if self.scaling.get() || now() < self.not_before.get() {
            return None;
        }
        self.scaling.set(true);
        Some(self.terms.get())
    }

    /// What was asked for is there, or isn't to be had: then it is not asked for again at once.
    pub fn on_scaled(&self, started: bool) {
        self.scaling.set(false);
        if !started {
            self.not_before.set(now() + SCALE_PAUSE);
        }
    }

    fn show(&self) {
        let first = self.waiting.borrow().front().map(|(number, _)| *number);
        self.shared.show(first);
    }
}

/// How many requests an instance takes, and the line of those for whom it has no room.
#[derive(Clone)]
pub struct Room {
    /// How many.
    pub most: NonZeroU32,
    /// The line.
    pub line: Rc<Line>,
}
