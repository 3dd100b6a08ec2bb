//! What a worker keeps of an instance.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use slab::Slab;

use corefn_core::table::Peer;

use crate::line::{Line, Room};
use crate::ngx::{Address, now};
use crate::zone::{RowIndex, Slot};

/// A request that is under way at an instance.
pub trait ActiveRequest {
    /// The instance is no more.
    fn on_instance_ended(&self);
}

/// What a worker keeps of an instance: the shared slot, the address, and the requests that are under
/// way there.
pub struct Endpoint {
    /// What the workers share of it.
    pub counters: Slot,
    /// Where the instance listens.
    pub address: Rc<Address>,
    /// Where its function's requests are counted.
    pub row: RowIndex,
    active: RefCell<Slab<Weak<dyn ActiveRequest>>>,
    ejected: Cell<bool>,
    readmissions: Cell<u32>,
    reported: Cell<bool>,
}

impl Endpoint {
    /// One at an address.
    pub fn new(counters: Slot, address: Address, row: RowIndex) -> Self {
        Self {
            counters,
            address: Rc::new(address),
            row,
            active: RefCell::default(),
            ejected: Cell::new(false),
            readmissions: Cell::new(0),
            reported: Cell::new(false),
        }
    }

    /// Whether the instance may be relied on at `now`.
    pub fn is_usable(&self, now: u64) -> bool {
        self.counters.until() > now && !self.ejected.get()
    }

    /// No request goes there until it is readmitted. Returns whether that is new.
    pub fn eject(&self) -> bool {
        !self.ejected.replace(true)
    }

    /// The instance was looked at and serves.
    pub fn readmit(&self) {
        self.ejected.set(false);
        self.readmissions.set(self.readmissions.get() + 1);
    }

    /// How often it was readmitted.
    pub fn readmissions(&self) -> u32 {
        self.readmissions.get()
    }

    /// Whether its trouble is yet to be reported. It counts as reported from then on.
    pub fn may_report(&self) -> bool {
        !self.reported.replace(true)
    }

    /// A request that has a seat goes there; the key is for [`Endpoint::leave`].
    pub fn enter(&self, request: Weak<dyn ActiveRequest>) -> usize {
        self.active.borrow_mut().insert(request)
    }

    /// A request has ended.
    pub fn leave(&self, key: usize) {
        self.active.borrow_mut().remove(key);
    }

    /// The instance is no more: whoever can go elsewhere does.
    pub fn on_ended(&self) {
        // Whoever is here has a request, and nothing enters or leaves within the call.
        let active = self.active.borrow();
        for request in active.iter().filter_map(|(_, it)| it.upgrade()) {
            request.on_instance_ended();
        }
    }
}

/// A request's place at an instance: it counts as work there until this is dropped.
pub struct Seat {
    peer: Rc<Peer<Endpoint>>,
    /// Of those who may wait for it.
    line: Option<Rc<Line>>,
}

impl Seat {
    /// One at an instance that takes as many requests as there are.
    pub fn take(peer: Rc<Peer<Endpoint>>) -> Self {
        peer.endpoint.counters.begin();
        Self { peer, line: None }
    }

    /// One at an instance that takes only so many, if it has room.
    pub fn take_within(peer: &Rc<Peer<Endpoint>>, room: &Room) -> Option<Self> {
        let counters = &peer.endpoint.counters;
        counters.begin_within(room.most.get()).then(|| Self {
            peer: peer.clone(),
            line: Some(room.line.clone()),
        })
    }

    /// The instance.
    pub fn peer(&self) -> &Rc<Peer<Endpoint>> {
        &self.peer
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.peer.endpoint.counters.end(now());
        if let Some(line) = &self.line {
            line.pass_on();
        }
    }
}
