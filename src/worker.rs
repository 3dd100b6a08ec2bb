//! What a worker process has: the table, the requests that wait, its shard and its runtime thread.
//!
//! All of it belongs to the event loop's thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ngx::ffi::ngx_cycle_t;
use ngx::http::HttpModuleMainConf;
use tracing::Level;

use corefn_core::compact::{Compact, Packed};
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::{self, Instance, InstanceId};
use corefn_core::table::{Found, Function, Peer, Table};
use corefn_engine::log::lines;
use corefn_engine::runtime::{Command, Runtime, Update};
use corefn_engine::start::random_id;

use crate::CorefnModule;
use crate::conf::MainConf;
use crate::endpoint::{Endpoint, Seat};
use crate::inbox::{Inbox, Message};
use crate::line::{Line, Room, Terms};
use crate::ngx::{
    Address, Callback, SharedZone, guard, log, now, pin, reserve_descriptors, serves_requests,
    with_cycle, with_signals_blocked,
};
use crate::recent::Recent;
use crate::viewers::Viewers;
use crate::waiting::{Resumption, Waiting};
use crate::zone::{Place, Shard, Slot, Taken};

/// One worker's state. Fields are dropped in their order: the thread ends before the inbox it
/// writes to is closed.
pub struct Worker {
    /// The thread that does what takes time.
    pub runtime: Runtime,
    inbox: Inbox,
    /// The thread's messages that are yet to be handled.
    messages: RefCell<VecDeque<Message>>,
    /// What is deployed and what runs.
    pub table: RefCell<Table<Endpoint>>,
    /// The table that will replace it, as far as it has been filled.
    filling: RefCell<Option<Filling>>,
    /// The table that it replaced, as far as it has not been taken apart.
    former: RefCell<Table<Endpoint>>,
    /// All instances that requests may be at, those that are no longer in the table included.
    pub endpoints: RefCell<HashMap<InstanceId, Weak<Peer<Endpoint>>>>,
    /// The requests that wait.
    pub waiting: Waiting,
    /// The dispatcher, which gets requests whose clients do not wait; none if it may get none.
    pub dispatcher: Option<Rc<Peer<Endpoint>>>,
    /// Whether the table was filled, and if not, why it can't be.
    pub filled: Cell<bool>,
    /// Why the table can't be filled, if it can't.
    pub unavailable: RefCell<Option<Failure>>,
    /// The counts of functions that take only so many requests, as far as they were needed. What
    /// is under way holds its count by itself, so an entry may go at any time.
    pub limited: RefCell<HashMap<FunctionName, Slot>>,
    /// The lines for functions whose instances take only so many requests, as far as they were needed.
    lines: RefCell<HashMap<FunctionName, Rc<Line>>>,
    /// Whether it will be looked, in a while, whether somebody in a line can go on.
    will_look: Cell<bool>,
    /// Those who look at what there is.
    pub viewers: Viewers,
    /// What is remembered for them.
    pub recent: Recent,
    /// Whether a keeper is to keep sandboxes.
    pub has_keeper: bool,
    /// Whether somebody takes spans.
    pub has_traces: bool,
    /// This worker's part of the shared memory.
    pub shard: Shard,
}

/// A snapshot that is being taken over, piece by piece. Meanwhile the table before it serves on.
struct Filling {
    table: Table<Endpoint>,
    deployments: std::vec::IntoIter<Packed>,
    instances: std::vec::IntoIter<(Instance, u64)>,
}

/// How long updates, and the requests that they let go on, may keep the event loop from others.
const BUDGET: Duration = Duration::from_millis(1);

/// How long a worker that nobody asks for functions has the processors for what else nginx does as it starts. It starts its
/// workers one after the other, and each of them asks Redis and Docker what there is, and computes for 20 ms to read ten thousand
/// functions.
const HEAD_START: Duration = Duration::from_millis(50);

/// What stands for the dispatcher's account and name where an instance has a function's. Nobody sees it.
const DISPATCHER: &str = "dispatcher";

/// How far a process is with its state.
enum Stage {
    /// It has none.
    Without,
    /// It gets one when it is first needed, or after a while.
    Starting(Rc<Starting>),
    Ready(Rc<Worker>),
}

/// A worker that has no state yet.
#[derive(Default)]
struct Starting {
    timer: Callback<Self>,
}

thread_local! {
    /// The event loop's thread has one; the runtime thread never sees it.
    static STAGE: RefCell<Stage> = const { RefCell::new(Stage::Without) };
}

/// The worker's state; none in a process that serves no functions, and on any other thread than the
/// event loop's.
pub fn get() -> Option<Rc<Worker>> {
    let found = STAGE.try_with(|stage| match &*stage.borrow() {
        Stage::Without => Some(None),
        Stage::Starting(_) => None,
        Stage::Ready(worker) => Some(Some(worker.clone())),
    });
    found.ok()?.unwrap_or_else(begin)
}

/// Called when a process begins its work. Only workers of a configuration with functions get a
/// state: the master, nginx's cache helpers and everyone else get no thread and no connection.
///
/// A worker that can't get one serves on; its requests for functions get an error.
pub fn start(cycle: &ngx_cycle_t) {
    if !serves_requests() || CorefnModule::main_conf(cycle).is_none_or(|main| !main.used) {
        return;
    }
    let starting = Rc::new(Starting::default());
    let target = Rc::downgrade(&starting);
    let begin = |_: &Rc<Starting>| {
        guard::twice("begin", || drop(begin()));
    };
    starting.timer.in_process(HEAD_START, cycle, target, begin);
    STAGE.set(Stage::Starting(starting));
}

/// Gives the worker its state.
fn begin() -> Option<Rc<Worker>> {
    if let Stage::Starting(starting) = STAGE.replace(Stage::Without) {
        starting.timer.cancel();
    }
    let made = with_cycle(|cycle| {
        let main = CorefnModule::main_conf(cycle)?;
        match make(cycle, main) {
            Ok(worker) => Some(Rc::new(worker)),
            Err(text) => {
                let text = format!("functions can't be served: {text}");
                log::cycle(log::NGX_LOG_EMERG, &text);
                None
            }
        }
    });
    let worker = made.flatten()?;
    STAGE.set(Stage::Ready(worker.clone()));
    Some(worker)
}

fn make(cycle: &ngx_cycle_t, main: &MainConf) -> Result<Worker, String> {
    let memory = main.zone.as_ref().and_then(SharedZone::get);
    let memory = memory.ok_or("the shared memory is not there")?;
    let random = random_id().map_err(|failure| failure.detail)?;
    let Taken { shard, gauges, ear } = Shard::take(memory, random.get())
        .map_err(|error| format!("no socket is left: {error}"))?
        .ok_or("more than 128 worker processes share the zone: use fewer workers")?;
    let dispatcher = main.dispatcher().map(|at| dispatcher(&shard, at));
    let dispatcher = dispatcher.transpose()?;
    let inbox = Inbox::open(cycle, on_updates)
        .ok_or("no connection is left for the runtime thread: raise worker_connections")?;
    reserve_descriptors(cycle);
    pin();
    let notifier = inbox.notifier();
    let log = lines(move |level, text| notifier.tell(level, text));
    let settings = main.settings();
    let spawn = || Runtime::spawn(&settings, inbox.notifier(), gauges, ear, log);
    let runtime = with_signals_blocked(spawn).map_err(|error| error.to_string())?;
    Ok(Worker {
        runtime,
        inbox,
        messages: RefCell::default(),
        table: RefCell::default(),
        filling: RefCell::default(),
        former: RefCell::default(),
        endpoints: RefCell::default(),
        waiting: Waiting::new(main.host_queue()),
        dispatcher,
        filled: Cell::new(false),
        unavailable: RefCell::default(),
        limited: RefCell::default(),
        lines: RefCell::default(),
        will_look: Cell::new(false),
        viewers: Viewers::default(),
        recent: Recent::default(),
        has_keeper: settings.sandboxes.is_some(),
        has_traces: settings.traces.is_some(),
        shard,
    })
}

/// The dispatcher, as if it were an instance: so nginx proxies to it as it does to those.
fn dispatcher(shard: &Shard, address: instance::Address) -> Result<Rc<Peer<Endpoint>>, String> {
    let slot = shard.dispatcher().map_err(|code| code.to_string())?;
    let at = Address::new(&address).map_err(|error| format!("{address}: {error}"))?;
    let function = FunctionName::new(DISPATCHER, DISPATCHER).map_err(|error| error.to_string())?;
    let instance = Instance {
        id: InstanceId::from_random(0),
        function,
        revision: RevisionId(String::new()),
        container: String::new(),
        address,
    };
    let endpoint = Endpoint::new(slot, at, shard.metrics.row(None));
    Ok(Rc::new(Peer { instance, endpoint }))
}

/// Called when a process ends its work.
pub fn stop() {
    if let Stage::Ready(worker) = STAGE.replace(Stage::Without) {
        // What is let go of here must be let go of before another process gets the shard.
        drop((
            worker.table.take(),
            worker.former.take(),
            worker.filling.take(),
            worker.limited.take(),
            worker.lines.take(),
        ));
        worker.shard.release();
    }
}

/// Called when the runtime thread has sent updates.
fn on_updates() {
    // What is left lying wakes nobody again.
    guard::twice("on_updates", apply_updates);
}

fn apply_updates() {
    let Some(worker) = get() else {
        return;
    };
    let begin = Instant::now();
    worker.messages.borrow_mut().extend(worker.inbox.take());
    loop {
        if begin.elapsed() >= BUDGET {
            // Others have their turn, then it goes on.
            worker.inbox.notify();
            return;
        }
        if worker.waiting.resume_next() {
            continue;
        }
        let mut more = false;
        let done = guard::nothing("update", || more = worker.next());
        if !done {
            guard::twice("give_up", || worker.waiting.give_up());
            worker.runtime.send(Command::StartOver);
        } else if !more {
            return;
        }
    }
}

/// Writes a line of the runtime thread to the log.
fn write_line(level: Level, text: &str) {
    let level = match level {
        Level::ERROR => log::NGX_LOG_ERR,
        Level::WARN => log::NGX_LOG_WARN,
        _ => log::NGX_LOG_NOTICE,
    };
    log::cycle(level, text);
}

/// Says in the log that this worker sends new requests to a revision from now on.
fn report_deployed(function: &FunctionName, revision: &RevisionId) {
    log::cycle(
        log::NGX_LOG_INFO,
        &format!("{function} is at revision {revision}"),
    );
}

impl Worker {
    /// Does the next small piece of what there is to do; false if there is nothing.
    fn next(&self) -> bool {
        if let Some(mut filling) = self.filling.take() {
            if let Some(deployment) = filling.deployments.next() {
                // Of a first table, only its size is reported.
                let former = self.table.borrow();
                let Compact {
                    function, revision, ..
                } = &deployment.deployed;
                if self.filled.get() && former.revision(function) != Some(revision) {
                    report_deployed(function, revision);
                }
                drop(former);
                filling.table.on_deployed(deployment);
            } else if let Some((instance, until)) = filling.instances.next() {
                self.add_instance(&mut filling.table, instance, until);
            } else {
                self.on_filled(filling.table);
                return true;
            }
            self.filling.replace(Some(filling));
            return true;
        }
        if self.former.borrow_mut().shrink() {
            return true;
        }
        match self.messages.borrow_mut().pop_front() {
            None => return false,
            Some(Message::Line(level, text)) => write_line(level, &text),
            Some(Message::Update(update)) => self.apply(*update),
        }
        true
    }

    fn on_filled(&self, table: Table<Endpoint>) {
        if !self.filled.get() {
            let count = table.len();
            log::cycle(
                log::NGX_LOG_INFO,
                &format!("{count} functions are deployed"),
            );
        }
        let former = self.table.replace(table);
        for function in self.waiting.functions() {
            if former.revision(&function) != self.table.borrow().revision(&function) {
                self.waiting.on_replaced(&function);
            }
        }
        self.former.replace(former);
        self.limited.take();
        self.recent.on_all_changed();
        self.filled.set(true);
        self.unavailable.replace(None);
        self.waiting.on_table_filled();
        self.serve_lines();
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
                    self.waiting.on_table_failed(&failure);
                }
            }
            Update::Deployed(deployment) => {
                self.limited.borrow_mut().remove(&deployment.function);
                report_deployed(&deployment.function, &deployment.revision);
                let mut table = self.table.borrow_mut();
                if table.revision(&deployment.function) != Some(&deployment.revision) {
                    self.waiting.on_replaced(&deployment.function);
                }
                let function = deployment.function.clone();
                self.recent.on_changed(&function);
                table.on_deployed(*deployment);
                drop(table);
                self.serve_line(&function);
            }
            Update::Removed(function) => {
                self.limited.borrow_mut().remove(&function);
                self.table.borrow_mut().on_removed(&function);
                self.recent.on_changed(&function);
                log::cycle(log::NGX_LOG_INFO, &format!("{function} is removed"));
                self.waiting.on_replaced(&function);
                self.serve_line(&function);
            }
            Update::Ready { instance, until } => {
                let function = instance.function.clone();
                self.recent.on_started(&function);
                self.add_instance(&mut self.table.borrow_mut(), instance, until);
                self.serve_line(&function);
            }
            Update::Gone(id) => {
                if self.table.borrow_mut().on_gone(id) {
                    log::cycle(
                        log::NGX_LOG_INFO,
                        &format!("instance {id} gets no more requests"),
                    );
                    self.serve_lines();
                }
            }
            Update::Failed {
                function,
                revision,
                failure,
            } => {
                if let Some(pause) = failure.retry_ms {
                    let table = self.table.borrow();
                    table.on_back_off(&function, &revision, failure.code, now() + pause);
                }
                self.recent.on_failure(&function, &revision, failure);
            }
            Update::Ended(id) => {
                if let Some(peer) = self.endpoint(id) {
                    peer.endpoint.on_ended();
                }
            }
            Update::Healthy(id) => {
                if let Some(peer) = self.endpoint(id) {
                    peer.endpoint.readmit();
                    self.serve_line(&peer.instance.function);
                }
            }
            Update::Surveyed(survey) => self.viewers.on_survey(*survey),
            Update::Answer { number, answer } => self.viewers.on_answer(number, &answer),
            Update::Look => self.serve_lines(),
            Update::LookAgain => {
                self.will_look.set(false);
                self.serve_lines();
                self.look_again();
            }
            Update::Scaled { function, started } => {
                if let Some(line) = self.lines.borrow().get(&function) {
                    line.on_scaled(started);
                }
                self.serve_line(&function);
            }
            Update::Outcome {
                number,
                function,
                result,
            } => {
                let result = result.map(|(_, start)| start);
                self.waiting.on_outcome(&function, number, result);
            }
        }
    }

    /// Counts a request among those that are under way at a function that takes only `most`.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`], or [`ErrorCode::ZoneFull`].
    pub fn enter(&self, function: &FunctionName, most: u32) -> Result<Place, ErrorCode> {
        let mut limited = self.limited.borrow_mut();
        let slot = match limited.get(function) {
            Some(slot) => slot.clone(),
            None => {
                let slot = self.shard.requests(function)?;
                limited.insert(function.clone(), slot.clone());
                slot
            }
        };
        slot.enter(most).ok_or(ErrorCode::TooManyRequests)
    }

    /// A place for a request at an instance of its function that `usable` lets pass. Where instances take only so many,
    /// there is none for it while others wait.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn seat(
        &self,
        function: &Function<Endpoint>,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Result<Found<Seat>, ErrorCode> {
        let load = |endpoint: &Endpoint| endpoint.counters.load();
        let Some(most) = function.deployed.limits.concurrency else {
            return Ok(match function.pick(usable, load) {
                Some(peer) => Found::Room(Seat::take(peer)),
                None => Found::Nothing,
            });
        };
        let line = self.line(&function.deployed.function)?;
        let nobody_waits = line.is_empty();
        let room = Room { most, line };
        Ok(function.find_room(usable, load, |peer| {
            nobody_waits
                .then(|| Seat::take_within(peer, &room))
                .flatten()
        }))
    }

    /// The line of those who wait for room at a function's instances.
    ///
    /// # Errors
    /// [`ErrorCode::ZoneFull`].
    pub fn line(&self, function: &FunctionName) -> Result<Rc<Line>, ErrorCode> {
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.get(function) {
            return Ok(line.clone());
        }
        lines.retain(|_, line| line.has_waiters());
        let line = Rc::new(Line::open(&self.shard, function)?);
        lines.insert(function.clone(), line.clone());
        Ok(line)
    }

    /// Has those in line go on for whom there is room.
    fn serve_lines(&self) {
        let functions: Vec<FunctionName> = {
            let lines = self.lines.borrow();
            let waiting = lines.iter().filter(|(_, line)| line.has_waiters());
            waiting.map(|(function, _)| function.clone()).collect()
        };
        for function in functions {
            self.serve_line(&function);
        }
    }

    /// Has those who wait in a function's line go on, as far as it is their turn: where there is room, and where there is
    /// no instance any more, for they must have one started.
    pub fn serve_line(&self, name: &FunctionName) {
        let Some(line) = self.lines.borrow().get(name).cloned() else {
            return;
        };
        let function = self.table.borrow().get(name).cloned();
        let now = now();
        let usable = |endpoint: &Endpoint| endpoint.is_usable(now);
        let load = |endpoint: &Endpoint| endpoint.counters.load();
        let mut some_went = false;
        while let Some(ticket) = line.first() {
            let found = match &function {
                Some(function) if let Some(most) = function.deployed.limits.concurrency => {
                    let line = line.clone();
                    let room = Room { most, line };
                    function.find_room(usable, load, |peer| Seat::take_within(peer, &room))
                }
                _ => Found::Nothing,
            };
            let resumption = match found {
                Found::Room(seat) => Resumption::Seated(seat),
                Found::Nothing => Resumption::Anew,
                Found::Full(instances) => {
                    if let Some(function) = &function {
                        self.scale(function, &line, instances);
                    }
                    break;
                }
            };
            line.take_first();
            self.waiting.resume_later(ticket, resumption);
            some_went = true;
        }
        if some_went {
            line.pass_on();
            self.inbox.notify();
        }
    }

    /// Has another instance started, where there may be more and all of them are full.
    fn scale(&self, function: &Function<Endpoint>, line: &Line, instances: usize) {
        let deployed = &function.deployed;
        let may_be_more = u32::try_from(instances).is_ok_and(|it| it < deployed.limits.instances);
        if !may_be_more || function.backed_off(now()).is_some() {
            return;
        }
        if let Some(Terms { idle, timeout }) = line.scale() {
            self.runtime.send(Command::Scale {
                deployment: Arc::new(deployed.unpack()),
                idle,
                timeout,
            });
        }
    }

    /// Has it looked in a while whether those in line can go on, in case whoever should have told has died.
    pub fn look_again(&self) {
        let waits = self.lines.borrow().values().any(|line| line.has_waiters());
        if waits && !self.will_look.replace(true) {
            self.runtime.send(Command::LookAgain);
        }
    }

    fn endpoint(&self, id: InstanceId) -> Option<Rc<Peer<Endpoint>>> {
        self.endpoints.borrow().get(&id)?.upgrade()
    }

    /// The same instance has one endpoint, whatever table it is in: requests are found by it.
    fn add_instance(&self, table: &mut Table<Endpoint>, instance: Instance, until: u64) {
        let id = instance.id;
        let make = || self.endpoint(id).or_else(|| self.make_endpoint(instance));
        // Without one the zone is full, which it has logged.
        if let Some(peer) = table.on_ready(id, make) {
            peer.endpoint.counters.extend(until);
        }
    }

    fn make_endpoint(&self, instance: Instance) -> Option<Rc<Peer<Endpoint>>> {
        let id = instance.id;
        let address = Address::new(&instance.address).ok()?;
        let row = self.shard.metrics.row(Some(instance.function.plain_text()));
        let endpoint = Endpoint::new(self.shard.instance(id).ok()?, address, row);
        let peer = Rc::new(Peer { instance, endpoint });
        let mut endpoints = self.endpoints.borrow_mut();
        endpoints.retain(|_, peer| peer.strong_count() > 0);
        endpoints.insert(id, Rc::downgrade(&peer));
        Some(peer)
    }
}
