//! Having Docker and Redis agree on what is deployed, beside the rounds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corefn_engine::agree::{self, Disagreement, Look};
use corefn_engine::docker::Docker;
use corefn_engine::rebuild::RebuildError;
use corefn_engine::revisions::Disagreements;
use corefn_engine::store::Store;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

/// The pause between two looks: whoever deploys is between Docker and Redis for less.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// How many rounds after the first look at a Redis the second comes, which finds what it has lost.
const ROUNDS: u32 = 2;

/// What keeps the two in agreement.
pub struct Agreement {
    docker: Arc<Docker>,
    store: Arc<Store>,
    /// The time between two rounds.
    every: Duration,
    redis: Option<Run>,
    /// What they disagreed on at the last look.
    current: Disagreements,
    released: Vec<Disagreement>,
}

/// A run of Redis.
struct Run {
    id: String,
    /// What was made before this, it may not know.
    knows_since: SystemTime,
    /// When the next look is due, and how many there were.
    next: Instant,
    looks: u32,
}

impl Agreement {
    /// One that looks for another Redis so often.
    pub fn new(docker: Arc<Docker>, store: Arc<Store>, every: Duration) -> Self {
        Self {
            docker,
            store,
            every,
            redis: None,
            current: Disagreements::default(),
            released: Vec::new(),
        }
    }

    /// Runs for as long as the process does.
    pub async fn keep(mut self) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // (What goes wrong here goes wrong for the rounds, too, which tell of it.)
            let _ = self.look().await;
        }
    }

    /// Looks, if it is time to: at a Redis that is another than before, at once and again a moment later, when what it has lost
    /// is settled. All else can wait until long after the look before.
    async fn look(&mut self) -> Result<(), RebuildError> {
        let (id, _) = self.store.run().await?;
        let now = Instant::now();
        let run = match self.redis.take() {
            Some(run) if run.id == id => run,
            former => Run {
                id,
                // (One that took another's place lacks what that had not told it yet, however long it has run.)
                knows_since: match former {
                    Some(_) => SystemTime::now(),
                    None => self.store.began().await?,
                },
                next: now,
                looks: 0,
            },
        };
        let run = self.redis.insert(run);
        if now < run.next {
            return Ok(());
        }
        let look = Look {
            knows_since: run.knows_since,
            is_soon: run.looks < 2,
        };
        let pause = match run.looks {
            0 => self.every * ROUNDS,
            _ => PAUSE,
        };
        // (One that fails is none, and is made up for with the next round.)
        self.settle(look).await?;
        if let Some(run) = &mut self.redis {
            run.next = now + pause;
            run.looks = run.looks.saturating_add(1);
        }
        Ok(())
    }

    /// Settles what the two have disagreed on before, and tells of it.
    async fn settle(&mut self, look: Look) -> Result<(), RebuildError> {
        let (store, docker) = (&self.store, &self.docker);
        for (function, settled) in self.current.settle(store, docker, look).await? {
            warn!(
                "{function} was at {} in Docker and at {} in Redis, and is at {} now: whoever deployed it was killed, or Redis \
                 came back as it was before",
                settled.docker, settled.redis, settled.right
            );
        }
        for function in agree::settle(&mut self.released, store, docker, look).await? {
            warn!(
                "Docker and Redis agree again on what is released of {function}: whoever released it was killed, or Redis came back \
                 as it was before"
            );
        }
        Ok(())
    }
}
