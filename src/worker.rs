//! What a worker process has: the table, the requests that wait, its lane and its runtime thread.
//!
//! All of it belongs to the event loop's thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use ngx::ffi::{
    NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_PROCESS_SINGLE,
    NGX_PROCESS_WORKER, ngx_cycle_t, ngx_process,
};
use ngx::http::HttpModuleMainConf;

use corefn_core::error::Failure;
use corefn_core::function::Deployment;
use corefn_core::instance::Instance;
use corefn_core::names::directive;
use corefn_core::table::Table;
use corefn_engine::runtime::{Command, Level, Runtime, Update};

use crate::bridge::Bridge;
use crate::peer::Seat;
use crate::waiting::Waiting;
use crate::zone::{self, Lane};
use crate::{CorefnModule, guard, log, signals};

/// One worker's state. Fields are dropped in their order: the thread ends before the bridge it
/// rings is closed.
pub struct Worker {
    /// The thread that does what takes time.
    pub runtime: Runtime,
    bridge: Bridge,
    /// What the thread has told, and was not yet heard.
    updates: RefCell<VecDeque<Update>>,
    /// What is deployed and what runs.
    pub table: RefCell<Table<Seat>>,
    /// The table that will replace it, as far as it is made.
    filling: RefCell<Option<Filling>>,
    /// What was replaced, as far as it isn't taken apart.
    former: RefCell<Table<Seat>>,
    /// The requests that wait.
    pub waiting: Waiting,
    /// Whether the table was filled, and if not, why it can't be.
    pub filled: Cell<bool>,
    /// Why the table can't be filled, if it can't.
    pub unavailable: RefCell<Option<Failure>>,
    /// This worker's part of the shared memory.
    pub lane: Lane,
}

/// A snapshot that is being taken over, piece by piece. Meanwhile the table before it serves on.
struct Filling {
    table: Table<Seat>,
    deployments: std::vec::IntoIter<Deployment>,
    instances: std::vec::IntoIter<(Instance, u64)>,
}

/// How long updates, and the requests that they let go on, may keep the event loop from others.
const BUDGET: Duration = Duration::from_millis(1);

static WORKER: AtomicPtr<Worker> = AtomicPtr::new(ptr::null_mut());

/// The worker's state; none in a process that serves no functions.
pub fn get() -> Option<&'static Worker> {
    // SAFETY: set by start() and unset by stop(), both on this thread, the only one that calls.
    unsafe { WORKER.load(Ordering::Relaxed).as_ref() }
}

/// Called when a process begins its work. Only workers of a configuration with functions get a
/// state: the master, nginx's cache helpers and everyone else get no thread and no connection.
///
/// A worker that can't get one serves on; its requests for functions get an error.
pub fn start(cycle: &mut ngx_cycle_t) {
    // SAFETY: set by nginx before this is called.
    let process = unsafe { ngx_process } as u32;
    if ![NGX_PROCESS_WORKER, NGX_PROCESS_SINGLE].contains(&process) {
        return;
    }
    let Some(main) = CorefnModule::main_conf(cycle).filter(|main| main.used) else {
        return;
    };
    match make(cycle, main) {
        Ok(worker) => WORKER.store(Box::into_raw(Box::new(worker)), Ordering::Relaxed),
        Err(text) => log::cycle(NGX_LOG_EMERG, &format!("functions can't be served: {text}")),
    }
}

fn make(cycle: &ngx_cycle_t, main: &crate::conf::MainConf) -> Result<Worker, String> {
    let memory = zone::memory(main.zone).ok_or("the shared memory is not there")?;
    let (lane, gauges) = Lane::take(memory)
        .ok_or("more than 128 worker processes share the zone: use fewer workers")?;
    let bridge = Bridge::open(cycle)
        .ok_or("no connection is left for the runtime thread: raise worker_connections")?;
    let runtime = signals::blocked(|| Runtime::spawn(&main.settings(), bridge.doorbell(), gauges))
        .map_err(|error| error.to_string())?;
    Ok(Worker {
        runtime,
        bridge,
        updates: RefCell::default(),
        table: RefCell::default(),
        filling: RefCell::default(),
        former: RefCell::default(),
        waiting: Waiting::default(),
        filled: Cell::new(false),
        unavailable: RefCell::default(),
        lane,
    })
}

/// Called when a process ends its work.
pub fn stop() {
    let worker = WORKER.swap(ptr::null_mut(), Ordering::Relaxed);
    if !worker.is_null() {
        // SAFETY: made by start(), and nobody can get it any more.
        let worker = unsafe { Box::from_raw(worker) };
        // What is let go of here must be let go of before another process gets the lane.
        drop((
            worker.table.take(),
            worker.former.take(),
            worker.filling.take(),
        ));
        worker.lane.release();
    }
}

/// Called when the runtime thread has rung.
pub fn answer() {
    let Some(worker) = get() else {
        return;
    };
    let begin = Instant::now();
    worker.updates.borrow_mut().extend(worker.bridge.take());
    loop {
        if begin.elapsed() >= BUDGET {
            // Others have their turn, then it goes on.
            worker.bridge.ring();
            return;
        }
        if worker.waiting.resume_next() {
            continue;
        }
        let mut more = false;
        let done = guard::nothing("update", || more = worker.next());
        if !done {
            guard::nothing("give_up", || worker.waiting.give_up());
            worker.runtime.send(Command::StartOver);
        } else if !more {
            return;
        }
    }
}

impl Worker {
    /// Does the next small piece of what there is to do; false if there is nothing.
    fn next(&self) -> bool {
        if let Some(mut filling) = self.filling.take() {
            if let Some(deployment) = filling.deployments.next() {
                filling.table.deployed(deployment);
            } else if let Some((instance, until)) = filling.instances.next() {
                self.ready(&mut filling.table, instance, until);
            } else {
                self.filled(filling.table);
                return true;
            }
            self.filling.replace(Some(filling));
            return true;
        }
        if self.former.borrow_mut().shrink() {
            return true;
        }
        let Some(update) = self.updates.borrow_mut().pop_front() else {
            return false;
        };
        self.apply(update);
        true
    }

    fn filled(&self, table: Table<Seat>) {
        self.former.replace(self.table.replace(table));
        self.filled.set(true);
        self.unavailable.replace(None);
        self.waiting.table_filled();
    }

    fn apply(&self, update: Update) {
        match update {
            Update::Snapshot {
                deployments,
                instances,
            } => {
                self.filling.replace(Some(Filling {
                    table: Table::with_capacity(deployments.len()),
                    deployments: deployments.into_iter(),
                    instances: instances.into_iter(),
                }));
            }
            Update::Unavailable(failure) => {
                self.unavailable.replace(Some(failure.clone()));
                if !self.filled.get() {
                    self.waiting.table_failed(&failure);
                }
            }
            Update::Deployed(deployment) => self.table.borrow_mut().deployed(deployment),
            Update::Removed(function) => self.table.borrow_mut().removed(&function),
            Update::Ready { instance, until } => {
                self.ready(&mut self.table.borrow_mut(), instance, until);
            }
            Update::Gone(id) => self.table.borrow_mut().gone(id),
            Update::Outcome { function, result } => {
                self.waiting
                    .outcome(&function, result.map(|(_, start)| start));
            }
            Update::Log(level, text) => {
                let level = match level {
                    Level::Error => NGX_LOG_ERR,
                    Level::Warn => NGX_LOG_WARN,
                    Level::Notice => NGX_LOG_NOTICE,
                };
                log::cycle(level, &text);
            }
        }
    }

    fn ready(&self, table: &mut Table<Seat>, instance: Instance, until: u64) {
        let seat = |instance: &Instance| {
            let slot = self.lane.instance(instance.id)?;
            Some(Seat::new(slot, instance.address))
        };
        match table.ready(instance, seat) {
            Some(peer) => peer.slot.slot.extend(until),
            None => log::cycle(
                NGX_LOG_ERR,
                &format!(
                    "the shared memory is full: raise the size of {}",
                    directive::ZONE.to_string_lossy()
                ),
            ),
        }
    }
}
