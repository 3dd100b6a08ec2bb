//! Instances that compute for long yield to others.
//!
//! To the kernel, who answers within a millisecond and who computes without a pause are due equally often, and a processor is taken
//! from the one for the other by the tick of its clock, some milliseconds later: most requests beside such a function would
//! wait for that. With a low [`Priority`] it gets what others leave, which is all of it while nobody else wants any.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::instance::Instance;
use corefn_engine::docker::{Docker, Priority};
use corefn_engine::processors::Times;
use corefn_engine::store::Store;
use tracing::{info, warn};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How long Docker may take to say what an instance has used.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many instances are looked at in one look, each of which takes Docker a few milliseconds; when there are more they take
/// turns.
const MOST: usize = 16;

/// Which share of all processors' time must be used for instances to be looked at.
const BUSY: f64 = 0.5;

/// Who uses as much of a processor, from one look to the next, yields.
const HEAVY: f64 = 0.5;

/// Who uses less than this for [`CALM`] yields no longer.
const LIGHT: f64 = 0.25;
const CALM: Duration = Duration::from_secs(10);

/// What gives instances their priorities.
pub struct Yielding {
    docker: Arc<Docker>,
    store: Arc<Store>,
    /// The processors, as of the last look.
    times: Times,
    /// By container.
    uses: HashMap<String, Use>,
}

/// What an instance has used until a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Use {
    at: Instant,
    used: Duration,
    priority: Priority,
    /// Since when it has used little.
    calm_since: Option<Instant>,
    /// Whether it was told that it can't be given another priority.
    is_told: bool,
}

impl Use {
    fn new(at: Instant, used: Duration, priority: Priority) -> Self {
        Self {
            at,
            used,
            priority,
            calm_since: None,
            is_told: false,
        }
    }

    /// The priority that it should have, if it is another than it has, since it has used so much at `at`.
    fn prioritize(&mut self, at: Instant, used: Duration) -> Option<Priority> {
        let passed = at.saturating_duration_since(self.at);
        let share = used.saturating_sub(self.used).as_secs_f64() / passed.as_secs_f64().max(1e-3);
        (self.at, self.used) = (at, used);
        self.calm_since = match share < LIGHT {
            true => self.calm_since.or(Some(at)),
            false => None,
        };
        let is_calm = self
            .calm_since
            .is_some_and(|since| at.saturating_duration_since(since) >= CALM);
        match self.priority {
            Priority::Normal if share >= HEAVY => Some(Priority::Low),
            Priority::Low if is_calm => Some(Priority::Normal),
            Priority::Normal | Priority::Low => None,
        }
    }
}

impl Yielding {
    /// One that knows of no instance yet.
    pub fn new(docker: Arc<Docker>, store: Arc<Store>) -> Self {
        Self {
            docker,
            store,
            times: Times::now(),
            uses: HashMap::new(),
        }
    }

    /// Runs for as long as the process does.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let times = Times::now();
            let busy = times.since(self.times).busy;
            self.times = times;
            let yields = |it: &Use| it.priority == Priority::Low;
            if busy >= BUSY || self.uses.values().any(yields) {
                self.look().await;
            }
        }
    }

    /// Looks at what runs, those first that were looked at the longest ago.
    async fn look(&mut self) {
        // (The rounds tell of a Redis that is out of reach.)
        let Ok(known) = self.store.instances().await else {
            return;
        };
        let awake = known.into_iter().filter(|leased| !leased.frozen);
        let mut instances: Vec<Instance> = awake.map(|leased| leased.instance).collect();
        let is_there = |container: &String| {
            let mut there = instances.iter();
            there.any(|instance| instance.container == *container)
        };
        self.uses.retain(|container, _| is_there(container));
        instances.sort_by_key(|instance| self.uses.get(&instance.container).map(|it| it.at));
        for instance in instances.iter().take(MOST) {
            self.look_at(instance).await;
        }
    }

    /// Looks at one.
    async fn look_at(&mut self, instance: &Instance) {
        let Instance {
            id,
            function,
            container,
            ..
        } = instance;
        // (It may have ended, of which Docker may not tell who asks just then.)
        let usage = tokio::time::timeout(PATIENCE, self.docker.usage(container)).await;
        let Ok(Some(usage)) = usage else {
            return;
        };
        let at = Instant::now();
        let Some(known) = self.uses.get_mut(container) else {
            // (A former cleaner may have had it yield.)
            if let Some(priority) = self.docker.priority(container).await {
                let known = Use::new(at, usage.cpu, priority);
                self.uses.insert(container.clone(), known);
            }
            return;
        };
        let Some(priority) = known.prioritize(at, usage.cpu) else {
            return;
        };
        if let Err(error) = self.docker.prioritize(container, priority).await {
            let is_there = self.docker.is_running(container).await;
            if !known.is_told && matches!(is_there, Ok(true)) {
                known.is_told = true;
                warn!("instance {id} of {function}: {error}");
            }
            return;
        }
        known.priority = priority;
        match priority {
            Priority::Low => info!(
                "instance {id} of {function} uses processors without a pause: it yields to others"
            ),
            Priority::Normal => {
                info!("instance {id} of {function} is calm: it yields no longer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it should have after each second in which it has used so many milliseconds, where it gets what it should have.
    fn priorities(used: &[u64]) -> Vec<Option<Priority>> {
        let mut at = Instant::now();
        let mut all = Duration::from_secs(100);
        let mut it = Use::new(at, all, Priority::Normal);
        let mut priorities = Vec::new();
        for milliseconds in used {
            at += Duration::from_secs(1);
            all += Duration::from_millis(*milliseconds);
            let priority = it.prioritize(at, all);
            it.priority = priority.unwrap_or(it.priority);
            priorities.push(priority);
        }
        priorities
    }

    #[test]
    fn who_computes_yields_at_once() {
        assert_eq!(priorities(&[499, 500]), [None, Some(Priority::Low)]);
        assert_eq!(
            priorities(&[2000, 2000, 100]),
            [Some(Priority::Low), None, None]
        );
    }

    #[test]
    fn who_is_calm_for_long_does_not() {
        let mut used = vec![900];
        used.extend([0; 10]);
        let calm = priorities(&used);
        assert_eq!(calm[0], Some(Priority::Low));
        assert!(calm[1..].iter().all(Option::is_none), "{calm:?}");
        used.extend([0, 0]);
        assert_eq!(priorities(&used)[11..], [Some(Priority::Normal), None]);
    }

    #[test]
    fn who_computes_now_and_then_goes_on_yielding() {
        let mut used = vec![900];
        for _ in 0..5 {
            used.extend([0, 0, 0, 0, 0, 0, 300]);
        }
        let priorities = priorities(&used);
        assert!(
            priorities[1..].iter().all(Option::is_none),
            "{priorities:?}"
        );
    }

    #[test]
    fn time_that_stands_still() {
        let at = Instant::now();
        let mut it = Use::new(at, Duration::ZERO, Priority::Normal);
        assert_eq!(it.prioritize(at, Duration::ZERO), None);
    }
}
