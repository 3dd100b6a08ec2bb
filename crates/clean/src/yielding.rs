//! Instances that compute for long yield to others.
//!
//! To the kernel, who answers within a millisecond and who computes without a pause are due equally often, and a processor is taken
//! from the one for the other by the tick of its clock, some milliseconds later: most requests beside such a function would
//! wait for that. With a low [`Weight`] it gets what others leave, which is all of it while nobody else wants any.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::instance::Instance;
use corefn_engine::docker::{Docker, Weight};
use corefn_engine::processors::Times;
use corefn_engine::store::Store;
use tracing::{info, warn};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

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

/// What gives instances their weights.
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
    /// Its weight; none is known of one that a former cleaner may have given another.
    weight: Option<Weight>,
    /// Since when it has used little.
    calm_since: Option<Instant>,
    /// Whether it was told that it can't be given another.
    is_told: bool,
}

impl Use {
    fn new(at: Instant, used: Duration) -> Self {
        Self {
            at,
            used,
            weight: None,
            calm_since: None,
            is_told: false,
        }
    }

    /// The weight that it should have, if it is another than it has, since it has used so much at `at`.
    fn weigh(&mut self, at: Instant, used: Duration) -> Option<Weight> {
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
        let weight = match (share >= HEAVY, is_calm) {
            (true, _) => Weight::Low,
            (_, true) => Weight::Normal,
            _ => return None,
        };
        (self.weight != Some(weight)).then_some(weight)
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
            let yields = |it: &Use| it.weight == Some(Weight::Low);
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
        // (It may have ended.)
        let Some(usage) = self.docker.usage(container).await else {
            return;
        };
        let at = Instant::now();
        let known = self.uses.entry(container.clone());
        let known = known.or_insert_with(|| Use::new(at, usage.cpu));
        if known.at == at {
            return;
        }
        let Some(weight) = known.weigh(at, usage.cpu) else {
            return;
        };
        if let Err(error) = self.docker.weigh(container, weight).await {
            let is_there = self.docker.is_running(container).await;
            if !known.is_told && matches!(is_there, Ok(true)) {
                known.is_told = true;
                warn!("instance {id} of {function}: {error}");
            }
            return;
        }
        let former = known.weight.replace(weight);
        match (former, weight) {
            (_, Weight::Low) => info!(
                "instance {id} of {function} uses processors without a pause: it yields to others"
            ),
            (Some(_), Weight::Normal) => {
                info!("instance {id} of {function} is calm: it yields no longer");
            }
            (None, Weight::Normal) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it should have after each second in which it has used so many milliseconds, where it gets what it should have.
    fn weights(used: &[u64]) -> Vec<Option<Weight>> {
        let mut at = Instant::now();
        let mut all = Duration::from_secs(100);
        let mut it = Use::new(at, all);
        let mut weights = Vec::new();
        for milliseconds in used {
            at += Duration::from_secs(1);
            all += Duration::from_millis(*milliseconds);
            let weight = it.weigh(at, all);
            it.weight = weight.or(it.weight);
            weights.push(weight);
        }
        weights
    }

    #[test]
    fn who_computes_yields_at_once() {
        assert_eq!(weights(&[499, 500]), [None, Some(Weight::Low)]);
        assert_eq!(weights(&[2000, 2000, 100]), [Some(Weight::Low), None, None]);
    }

    #[test]
    fn who_is_calm_for_long_does_not() {
        let mut used = vec![900];
        used.extend([0; 10]);
        let weights = weights(&used);
        assert_eq!(weights[0], Some(Weight::Low));
        assert!(weights[1..].iter().all(Option::is_none), "{weights:?}");
        used.push(0);
        let weights = self::weights(&used);
        assert_eq!(weights.last(), Some(&Some(Weight::Normal)));
    }

    #[test]
    fn who_computes_now_and_then_goes_on_yielding() {
        let mut used = vec![900];
        for _ in 0..5 {
            used.extend([0, 0, 0, 0, 0, 0, 300]);
        }
        let weights = weights(&used);
        assert!(weights[1..].iter().all(Option::is_none), "{weights:?}");
    }

    #[test]
    fn of_one_that_was_known_before_the_weight_is_set_anew() {
        assert_eq!(weights(&[0; 11])[10], Some(Weight::Normal));
        assert_eq!(weights(&[0; 12])[11], None);
    }

    #[test]
    fn time_that_stands_still() {
        let at = Instant::now();
        let mut it = Use::new(at, Duration::ZERO);
        assert_eq!(it.weigh(at, Duration::ZERO), None);
    }
}
