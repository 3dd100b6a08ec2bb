//! The instances that a router knows, and the last that have ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};

/// How many of those that have ended are remembered: more than may end while Redis is asked to forget them.
const ENDED: usize = 256;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    instances: Mutex<HashMap<InstanceId, Entry>>,
    /// Those that have ended, which Redis may name for a while yet.
    ended: Mutex<VecDeque<Ended>>,
}

#[derive(Debug)]
struct Ended {
    id: InstanceId,
    function: FunctionName,
    /// Docker's identifier of its container, if it was known.
    container: Option<String>,
}

#[derive(Debug)]
struct Entry {
    instance: Instance,
    /// Whether it may get work. One that may not is known as long as it may hold some.
    ready: bool,
    /// Whether it has yet to be registered, since Redis was out of reach.
    unregistered: bool,
}

impl Known {
    /// An instance is there.
    pub fn add(&self, instance: Instance, ready: bool) {
        let id = instance.id;
        let entry = Entry {
            instance,
            ready,
            unregistered: false,
        };
        self.all().insert(id, entry);
    }

    /// An instance is there, which must be registered when Redis is back.
    pub fn add_unregistered(&self, instance: Instance) {
        let id = instance.id;
        let entry = Entry {
            instance,
            ready: true,
            unregistered: true,
        };
        self.all().insert(id, entry);
    }

    /// Replaces what is known by what Redis knows. What is not registered stays, and is returned.
    pub fn replace(
        &self,
        ready: impl Iterator<Item = Instance>,
        withheld: Vec<Instance>,
    ) -> Vec<Instance> {
        self.all()
            .retain(|_, entry| entry.ready && entry.unregistered);
        for instance in ready {
            self.add(instance, true);
        }
        for instance in withheld {
            self.add(instance, false);
        }
        self.unregistered()
    }

    /// An instance may not get work any more, and may hold some.
    pub fn withhold(&self, id: InstanceId) {
        if let Some(entry) = self.all().get_mut(&id) {
            entry.ready = false;
        }
    }

    /// An instance is not there.
    pub fn remove(&self, id: InstanceId) {
        self.all().remove(&id);
    }

    /// An instance of a function has ended, and will not be there again.
    pub fn end(&self, id: InstanceId, function: &FunctionName) {
        let container = self.find(id).map(|instance| instance.container);
        let mut ended = self.ended();
        if !ended.iter().any(|it| it.id == id) {
            ended.truncate(ENDED - 1);
            ended.push_front(Ended {
                id,
                function: function.clone(),
                container,
            });
        }
    }

    /// Whether an instance is known to have ended.
    pub fn has_ended(&self, id: InstanceId) -> bool {
        self.ended().iter().any(|it| it.id == id)
    }

    /// Of which function an instance is that is known, or has ended, and which container is its own, if that is known.
    pub fn identify(&self, id: InstanceId) -> Option<(FunctionName, Option<String>)> {
        if let Some(instance) = self.find(id) {
            return Some((instance.function, Some(instance.container)));
        }
        let ended = self.ended();
        let found = ended.iter().find(|it| it.id == id)?;
        Some((found.function.clone(), found.container.clone()))
    }

    /// One that is known.
    pub fn find(&self, id: InstanceId) -> Option<Instance> {
        self.all().get(&id).map(|entry| entry.instance.clone())
    }

    /// All that are known.
    pub fn list(&self) -> Vec<Instance> {
        self.select(|_| true)
    }

    /// Those of a deployment that may get work.
    pub fn of(&self, deployment: &Deployment) -> Vec<Instance> {
        let Deployment {
            function, revision, ..
        } = deployment;
        self.select(|entry| {
            let instance = &entry.instance;
            entry.ready && instance.function == *function && instance.revision == *revision
        })
    }

    /// Those that may get no work.
    pub fn withheld(&self) -> HashSet<InstanceId> {
        let withheld = self.select(|entry| !entry.ready);
        withheld.into_iter().map(|instance| instance.id).collect()
    }

    /// Those that may get work and are not registered.
    pub fn unregistered(&self) -> Vec<Instance> {
        self.select(|entry| entry.ready && entry.unregistered)
    }

    /// Whether one is not registered.
    pub fn is_unregistered(&self, id: InstanceId) -> bool {
        self.all().get(&id).is_some_and(|entry| entry.unregistered)
    }

    /// One is registered.
    pub fn mark_registered(&self, id: InstanceId) {
        if let Some(entry) = self.all().get_mut(&id) {
            entry.unregistered = false;
        }
    }

    fn select(&self, which: impl Fn(&Entry) -> bool) -> Vec<Instance> {
        let all = self.all();
        let selected = all.values().filter(|entry| which(entry));
        selected.map(|entry| entry.instance.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceId, Entry>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::function::RevisionId;

    fn instance(number: u64) -> Instance {
        Instance {
            id: InstanceId::from_random(number),
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r1".into()),
            container: format!("c{number}"),
            address: "10.0.0.1:80".parse().unwrap(),
        }
    }

    fn ids(instances: &[Instance]) -> Vec<u64> {
        let mut ids: Vec<_> = instances.iter().map(|it| it.id.get()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn what_is_not_registered_stays() {
        let known = Known::default();
        known.add(instance(1), true);
        known.add_unregistered(instance(2));
        known.add_unregistered(instance(3));
        known.withhold(instance(3).id);
        let unregistered = known.replace([instance(4)].into_iter(), vec![instance(5)]);
        assert_eq!(ids(&unregistered), [2]);
        assert_eq!(ids(&known.list()), [2, 4, 5]);
        assert_eq!(known.withheld(), HashSet::from([instance(5).id]));
        known.mark_registered(instance(2).id);
        assert!(!known.is_unregistered(instance(2).id));
        known.replace([].into_iter(), Vec::new());
        assert!(known.list().is_empty());
    }

    #[test]
    fn the_last_that_have_ended() {
        let known = Known::default();
        for number in 1..=300 {
            let Instance { id, function, .. } = instance(number);
            known.end(id, &function);
            known.end(id, &function);
        }
        assert!(!known.has_ended(instance(44).id));
        assert!(known.has_ended(instance(45).id));
        assert!(known.has_ended(instance(300).id));
    }

    #[test]
    fn of_which_function_one_was() {
        let known = Known::default();
        let Instance { id, function, .. } = instance(1);
        assert_eq!(known.identify(id), None);
        known.add(instance(1), true);
        let own = Some((function.clone(), Some("c1".to_owned())));
        assert_eq!(known.identify(id), own);
        known.end(id, &function);
        known.remove(id);
        assert_eq!(known.identify(id), own);
        known.end(instance(2).id, &function);
        assert_eq!(known.identify(instance(2).id), Some((function, None)));
    }
}
