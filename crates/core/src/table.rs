//! What one router knows: functions by route, and instances by function.
//!
//! It belongs to one thread. Of each instance it keeps an endpoint, of any type `E`: what a router must know to send
//! requests there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::compact::{Compact, Packed};
use crate::error::ErrorCode;
use crate::function::{FunctionName, RevisionId};
use crate::instance::{Instance, InstanceId};
use crate::route::RouteTable;

/// An instance that a router may send work to, or has sent work to.
#[derive(Debug)]
pub struct Peer<E> {
    /// The instance.
    pub instance: Instance,
    /// What a router keeps of it.
    pub endpoint: E,
}

/// A function as it is deployed, with its instances.
#[derive(Debug)]
pub struct Function<E> {
    /// What is deployed of it.
    pub deployed: Compact,
    backed_off: Cell<Option<(ErrorCode, u64)>>,
    peers: RefCell<Vec<Rc<Peer<E>>>>,
}

impl<E> Function<E> {
    /// Why the function isn't started at `now`, and for how many milliseconds more; none if it may
    /// be. A new deployment is another [`Function`], so it always may.
    pub fn backed_off(&self, now: u64) -> Option<(ErrorCode, u64)> {
        let (code, until) = self.backed_off.get()?;
        let left = until.checked_sub(now).filter(|left| *left > 0)?;
        Some((code, left))
    }

    /// Its instances that may get work, or have got some.
    pub fn peers(&self) -> Vec<Rc<Peer<E>>> {
        self.peers.borrow().clone()
    }

    /// The least loaded of the instances that `usable` lets pass. The load is asked for only where
    /// there is a choice.
    pub fn pick(
        &self,
        usable: impl Fn(&E) -> bool,
        load: impl Fn(&E) -> u32,
    ) -> Option<Rc<Peer<E>>> {
        let peers = self.peers.borrow();
        let mut candidates = peers.iter().filter(|peer| usable(&peer.endpoint));
        let first = candidates.next()?;
        let Some(second) = candidates.next() else {
            return Some(first.clone());
        };
        [first, second]
            .into_iter()
            .chain(candidates)
            .min_by_key(|peer| load(&peer.endpoint))
            .cloned()
    }

    /// Room at one of the instances that `usable` lets pass, as far as `take` says that it has some. The least loaded
    /// comes first, and of several the one that has been known for longest: so those that are not needed get nothing.
    pub fn find_room<T>(
        &self,
        usable: impl Fn(&E) -> bool,
        load: impl Fn(&E) -> u32,
        take: impl Fn(&Rc<Peer<E>>) -> Option<T>,
    ) -> Found<T> {
        let peers = self.peers.borrow();
        let usable = peers.iter().filter(|peer| usable(&peer.endpoint));
        let mut candidates: Vec<_> = usable.map(|peer| (load(&peer.endpoint), peer)).collect();
        candidates.sort_by_key(|(load, _)| *load);
        match candidates.iter().find_map(|(_, peer)| take(peer)) {
            Some(taken) => Found::Room(taken),
            None if candidates.is_empty() => Found::Nothing,
            None => Found::Full(candidates.len()),
        }
    }
}

/// What became of looking for room at a function's instances.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There was some, and it is taken.
    Room(T),
    /// There are so many, and all are full.
    Full(usize),
    /// There is none.
    Nothing,
}

/// Functions by route, and instances by function.
#[derive(Debug)]
pub struct Table<E> {
    routes: RouteTable<Rc<Function<E>>>,
    functions: HashMap<FunctionName, Rc<Function<E>>>,
    peers: HashMap<InstanceId, Rc<Peer<E>>>,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self {
            routes: RouteTable::default(),
            functions: HashMap::new(),
            peers: HashMap::new(),
        }
    }
}

impl<E> Table<E> {
    /// An empty one with room for so many functions: it need not grow while it is filled.
    pub fn with_capacity(functions: usize) -> Self {
        Self {
            routes: RouteTable::default(),
            functions: HashMap::with_capacity(functions),
            peers: HashMap::new(),
        }
    }

    /// The function of a lower-case host and a normalized path, and the length of the prefix.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<(&Rc<Function<E>>, usize)> {
        let named = |name: &[u8]| self.functions.get(str::from_utf8(name).ok()?);
        self.routes.find(host, path, named)
    }

    /// The function of a name.
    pub fn get(&self, name: &FunctionName) -> Option<&Rc<Function<E>>> {
        self.functions.get(name)
    }

    /// A function has this deployment now.
    pub fn on_deployed(&mut self, deployment: impl Into<Packed>) {
        let Packed { deployed, routes } = deployment.into();
        self.on_removed(&deployed.function);
        let peers = self
            .peers
            .values()
            .filter(|peer| serves(&peer.instance, &deployed))
            .cloned()
            .collect();
        let name = deployed.function.clone();
        let function = Rc::new(Function {
            deployed,
            backed_off: Cell::new(None),
            peers: RefCell::new(peers),
        });
        for route in &routes {
            self.routes.insert(route, function.clone());
        }
        self.functions.insert(name, function);
    }

    /// The functions' names.
    pub fn names(&self) -> impl Iterator<Item = &FunctionName> {
        self.functions.keys()
    }

    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there is no function.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The revision that a function is at.
    pub fn revision(&self, name: &FunctionName) -> Option<&RevisionId> {
        let function = self.functions.get(name)?;
        Some(&function.deployed.revision)
    }

    /// A revision isn't started until then, because of a failure with this code.
    pub fn on_back_off(
        &self,
        name: &FunctionName,
        revision: &RevisionId,
        code: ErrorCode,
        until: u64,
    ) {
        let function = self.functions.get(name);
        if let Some(function) = function
            && *revision == function.deployed.revision
        {
            function.backed_off.set(Some((code, until)));
        }
    }

    /// A function is no more. Its instances stay known until they are gone.
    pub fn on_removed(&mut self, name: &FunctionName) {
        if let Some(function) = self.functions.remove(name) {
            for route in &function.deployed.unpack().config.routes {
                self.routes.remove(route);
            }
        }
    }

    /// An instance may get work; `make` makes what the router keeps of it, if it isn't in this table
    /// yet. If that can't be made, the instance stays unknown.
    pub fn on_ready(
        &mut self,
        id: InstanceId,
        make: impl FnOnce() -> Option<Rc<Peer<E>>>,
    ) -> Option<&Rc<Peer<E>>> {
        if !self.peers.contains_key(&id) {
            let peer = make()?;
            if let Some(function) = self.functions.get(&peer.instance.function)
                && serves(&peer.instance, &function.deployed)
            {
                function.backed_off.set(None);
                function.peers.borrow_mut().push(peer.clone());
            }
            self.peers.insert(id, peer);
        }
        self.peers.get(&id)
    }

    /// An instance may not get work any more; false if it could not anyway.
    pub fn on_gone(&mut self, id: InstanceId) -> bool {
        let Some(peer) = self.peers.remove(&id) else {
            return false;
        };
        if let Some(function) = self.functions.get(&peer.instance.function) {
            function
                .peers
                .borrow_mut()
                .retain(|peer| peer.instance.id != id);
        }
        true
    }

    /// Takes a small part away; false if nothing is left. So a table of many functions, which takes
    /// long to drop, can be dropped in pieces.
    pub fn shrink(&mut self) -> bool {
        if let Some(id) = self.peers.keys().next().copied() {
            self.on_gone(id);
        } else if let Some(name) = self.functions.keys().next().cloned() {
            self.on_removed(&name);
        } else {
            return false;
        }
        true
    }
}

fn serves(instance: &Instance, deployed: &Compact) -> bool {
    instance.function == deployed.function && instance.revision == deployed.revision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunctionConfig;
    use crate::deployment::Deployment;

    fn deployment(function: &str, revision: &str, routes: &[&str]) -> Deployment {
        Deployment {
            function: function.parse().unwrap(),
            revision: RevisionId(revision.to_owned()),
            image: String::new(),
            config: FunctionConfig {
                routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
                ..FunctionConfig::default()
            },
            releases: Vec::new(),
        }
    }

    fn instance(id: u64, function: &str, revision: &str) -> Instance {
        Instance {
            id: InstanceId::from_random(id),
            function: function.parse().unwrap(),
            revision: RevisionId(revision.to_owned()),
            container: id.to_string(),
            address: "10.0.0.2:8080".parse().unwrap(),
        }
    }

    fn ready(table: &mut Table<u32>, instance: Instance, endpoint: u32) {
        let id = instance.id;
        assert!(
            table
                .on_ready(id, || Some(Rc::new(Peer { instance, endpoint })))
                .is_some()
        );
    }

    #[test]
    fn counts_and_revisions() {
        let mut table = Table::<u32>::with_capacity(100);
        assert!(table.functions.capacity() >= 100);
        assert!(table.is_empty());
        table.on_deployed(deployment("a/b", "r1", &["h"]));
        table.on_deployed(deployment("a/c", "r1", &[]));
        table.on_deployed(deployment("a/b", "r2", &[]));
        assert_eq!(table.len(), 2);
        assert!(!table.is_empty());
        let revision = |name: &str| table.revision(&name.parse().unwrap());
        assert_eq!(revision("a/b"), Some(&RevisionId("r2".into())));
        assert_eq!(revision("a/d"), None);
    }

    fn pick(table: &Table<u32>, path: &str) -> Option<u64> {
        let (function, _) = table.find(b"", path.as_bytes())?;
        Some(function.pick(|_| true, |load| *load)?.instance.id.get())
    }

    #[test]
    fn least_loaded_of_the_current_revision() {
        let mut table = Table::default();
        ready(&mut table, instance(1, "a/f", "r1"), 5);
        table.on_deployed(deployment("a/f", "r1", &[]));
        ready(&mut table, instance(2, "a/f", "r1"), 3);
        ready(&mut table, instance(3, "a/f", "r1"), 4);
        assert_eq!(pick(&table, "/a/f"), Some(2));
        table.on_deployed(deployment("a/f", "r2", &[]));
        assert_eq!(pick(&table, "/a/f"), None);
        ready(&mut table, instance(4, "a/f", "r2"), 9);
        assert_eq!(pick(&table, "/a/f"), Some(4));
        assert!(table.on_gone(InstanceId::from_random(4)));
        assert_eq!(pick(&table, "/a/f"), None);
        assert!(!table.on_gone(InstanceId::from_random(4)), "once");
    }

    #[test]
    fn back_off_ends_with_its_time_an_instance_or_a_deployment() {
        let mut table: Table<u32> = Table::default();
        let left = |table: &Table<u32>, now| {
            let (function, _) = table.find(b"", b"/a/f").unwrap();
            function.backed_off(now)
        };
        let (name, code) = ("a/f".parse().unwrap(), ErrorCode::FunctionExited);
        table.on_deployed(deployment("a/f", "r1", &[]));
        let (r1, r2) = (RevisionId("r1".into()), RevisionId("r2".into()));
        table.on_back_off(&name, &r1, code, 500);
        assert_eq!(left(&table, 100), Some((code, 400)));
        assert_eq!(left(&table, 500), None);
        ready(&mut table, instance(1, "a/f", "r1"), 0);
        assert_eq!(left(&table, 100), None);
        table.on_back_off(&name, &r1, code, 500);
        table.on_deployed(deployment("a/f", "r2", &[]));
        assert_eq!(left(&table, 100), None);
        table.on_back_off(&name, &r1, code, 500);
        assert_eq!(left(&table, 100), None, "the event is old");
        table.on_back_off(&name, &r2, code, 500);
        assert_eq!(left(&table, 100), Some((code, 400)));
    }

    #[test]
    fn unusable_instances_are_passed_over() {
        let mut table = Table::default();
        table.on_deployed(deployment("a/f", "r1", &[]));
        ready(&mut table, instance(1, "a/f", "r1"), 0);
        let (function, _) = table.find(b"", b"/a/f").unwrap();
        assert!(function.pick(|_| false, |load| *load).is_none());
    }

    #[test]
    fn room_is_looked_for_at_the_least_loaded_first() {
        let mut table = Table::default();
        table.on_deployed(deployment("a/f", "r1", &[]));
        let (name, other) = ("a/f".parse().unwrap(), "a/g".parse().unwrap());
        assert!(table.get(&other).is_none());
        let room = |table: &Table<u32>, most: u32| {
            let function = table.get(&name).unwrap();
            let take = |peer: &Rc<Peer<u32>>| (peer.endpoint < most).then_some(peer.endpoint);
            match function.find_room(|load| *load != 9, |load| *load, take) {
                Found::Room(load) => format!("{load}"),
                Found::Nothing => "nothing".to_owned(),
                Found::Full(instances) => format!("{instances} full"),
            }
        };
        assert_eq!(room(&table, 5), "nothing");
        ready(&mut table, instance(1, "a/f", "r1"), 9);
        assert_eq!(room(&table, 50), "nothing", "it is not usable");
        ready(&mut table, instance(2, "a/f", "r1"), 4);
        ready(&mut table, instance(3, "a/f", "r1"), 3);
        assert_eq!(room(&table, 5), "3");
        assert_eq!(room(&table, 3), "2 full");
    }

    #[test]
    fn routes_follow_the_deployment() {
        let mut table: Table<u32> = Table::default();
        table.on_deployed(deployment("a/f", "r1", &["h/x"]));
        assert!(table.find(b"h", b"/x").is_some());
        table.on_deployed(deployment("a/f", "r2", &["h/y"]));
        assert!(table.find(b"h", b"/x").is_none() && table.find(b"h", b"/y").is_some());
        table.on_removed(&"a/f".parse().unwrap());
        assert!(table.find(b"h", b"/y").is_none() && table.find(b"", b"/a/f").is_none());
    }

    #[test]
    fn shrinks_to_nothing() {
        let mut table: Table<u32> = Table::with_capacity(2);
        table.on_deployed(deployment("a/f", "r1", &["h/x"]));
        table.on_deployed(deployment("a/g", "r1", &[]));
        ready(&mut table, instance(1, "a/f", "r1"), 1);
        let mut steps = 0;
        while table.shrink() {
            steps += 1;
        }
        assert_eq!(steps, 3);
        assert!(table.find(b"h", b"/x").is_none() && table.find(b"", b"/a/g").is_none());
    }
}
