//! What a worker keeps of an instance.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::ngx::Address;
use crate::zone::Slot;

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
    active: RefCell<Slab<Weak<dyn ActiveRequest>>>,
    ejected: Cell<bool>,
    readmissions: Cell<u32>,
    reported: Cell<bool>,
}

impl Endpoint {
    /// One at an address.
    pub fn new(counters: Slot, address: SocketAddr) -> Self {
        Self {
            counters,
            address: Rc::new(Address::new(address)),
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

    /// A request goes there; the key is for [`Endpoint::leave`].
    pub fn enter(&self, request: Weak<dyn ActiveRequest>) -> usize {
        self.counters.begin();
        self.active.borrow_mut().insert(request)
    }

    /// A request has ended, at `now`.
    pub fn leave(&self, key: usize, now: u64) {
        self.active.borrow_mut().remove(key);
        self.counters.end(now);
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
