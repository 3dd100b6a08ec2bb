//! Who may start a function, and when: one starter a function, so many starts at once, and none
//! for a while of a function that fails again and again.

use std::time::Duration;

use corefn_core::backoff::{MEMORY, PAUSES, PAUSES_OF_DEATHS, QUICK, is_own_fault};
use corefn_core::deployment::Deployment;
use corefn_core::error::Failure;
use corefn_core::event::Event;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::InstanceId;
use corefn_core::keys::{Keys, START_LOCK_TTL, TURN_TTL};

use super::{Store, StoreError, json, millis, read};

/// What became of the wish to start a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The token holds the starter's lock now, and a permit.
    Granted,
    /// The token holds the starter's lock now, and no permit: the way that was asked for needs none.
    GrantedLock,
    /// Another starter is at it.
    Held,
    /// As many starts are under way as may be. The function keeps its turn for as long as it is
    /// claimed again within [`TURN_TTL`].
    Full,
    /// The function isn't started for as long as the failure says.
    BackedOff(Failure),
    /// Another revision of the function is deployed by now.
    Superseded,
}

/// What a function is to be started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From an instance that is frozen, and from nothing else. It takes Docker so little that it needs no permit.
    Frozen,
    /// From a sandbox that waits, and from nothing else. Docker has no part in it, so it needs no permit.
    Sandbox,
    /// From a sandbox if one waits when it is its turn, else from its image.
    Either,
    /// From its image.
    Image,
}

/// How many of those who wait for a permit are looked at for one that a sandbox would do for.
const LOOKED_AT: u32 = 64;

impl Store {
    /// Asks for the starter's lock of a revision and one of `starts` permits, which a thaw does without, and a start from a
    /// sandbox alone unless others wait for one. Both last for [`START_LOCK_TTL`] unless [`Store::lock`] renews the lock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim(
        &self,
        deployment: &Deployment,
        token: &str,
        starts: u32,
        way: Way,
    ) -> Result<Claim, StoreError> {
        let (function, revision) = (&deployment.function, &deployment.revision);
        let pause = self.keys.pause(function);
        let mut script = self.scripts.claim.prepare_invoke();
        script
            .key(self.keys.start_lock(function, revision))
            .key(self.keys.starting())
            .key(self.keys.waiting())
            .key(&pause)
            .key(self.keys.functions())
            .arg(token)
            .arg(millis(START_LOCK_TTL))
            .arg(Keys::start(function, revision))
            .arg(starts)
            .arg(self.keys.start_lock_prefix())
            .arg(self.keys.turn_prefix())
            .arg(millis(TURN_TTL))
            .arg(function.as_str())
            .arg(&revision.0)
            .arg(way.name())
            .arg(LOOKED_AT);
        let (answer, failure, left): (i64, String, i64) = self.invoke(&script).await?;
        Ok(match answer {
            1 => Claim::Granted,
            2 => Claim::Full,
            3 => Claim::BackedOff(Failure {
                retry_ms: Some(u64::try_from(left).unwrap_or(1).max(1)),
                ..read(&pause, &failure)?
            }),
            4 => Claim::Superseded,
            5 => Claim::GrantedLock,
            _ => Claim::Held,
        })
    }

    /// Gives the starter's lock and the permit back after a failure, counts it if it is the
    /// function's own, and tells those who wait for the start. Returns for how long the function
    /// isn't started again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unlock(
        &self,
        deployment: &Deployment,
        token: &str,
        failure: &Failure,
    ) -> Result<Duration, StoreError> {
        let (function, revision) = (&deployment.function, &deployment.revision);
        let own_fault = is_own_fault(failure.code);
        let mut script = self.scripts.unlock.prepare_invoke();
        script
            .key(self.keys.start_lock(function, revision))
            .key(self.keys.events())
            .key(self.keys.starting())
            .key(self.keys.waiting())
            .key(self.keys.functions())
            .key(self.keys.failures(function))
            .key(self.keys.pause(function))
            .arg(token)
            .arg(function.as_str())
            .arg(&revision.0)
            .arg(failed(function, revision, failure))
            .arg(in_millis(&PAUSES))
            .arg(millis(MEMORY))
            .arg(i32::from(own_fault))
            .arg(self.keys.turn_prefix())
            .arg(turn(function, revision))
            .arg(Keys::start(function, revision));
        let pause: u64 = self.invoke(&script).await?;
        Ok(Duration::from_millis(pause))
    }

    /// Counts the death of an instance, if it is within [`QUICK`] of getting ready and the first
    /// to be told. Returns for how long its function isn't started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn died(
        &self,
        id: InstanceId,
        function: &FunctionName,
        failure: &Failure,
    ) -> Result<Duration, StoreError> {
        let mut script = self.scripts.died.prepare_invoke();
        script
            .key(self.keys.young(id))
            .key(self.keys.events())
            .key(self.keys.functions())
            .key(self.keys.failures(function))
            .key(self.keys.pause(function))
            .arg(function.as_str())
            .arg(failed(function, &RevisionId(String::new()), failure))
            .arg(in_millis(&PAUSES_OF_DEATHS))
            .arg(millis(MEMORY))
            .arg(self.keys.start_lock_prefix());
        let pause: u64 = self.invoke(&script).await?;
        Ok(Duration::from_millis(pause))
    }
}

impl Way {
    /// What the script calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Sandbox => "sandbox",
            Self::Either => "either",
            Self::Image => "image",
        }
    }
}

/// How long a success must last, for the script that registers an instance.
pub(super) fn quick() -> u64 {
    millis(QUICK)
}

/// The event that tells whose turn it is; the scripts put in whose.
pub(super) fn turn(function: &FunctionName, revision: &RevisionId) -> String {
    json(&Event::Turn {
        function: function.clone(),
        revision: revision.clone(),
    })
}

/// The event that tells of a failure; the scripts add the pause, and of a death the revision.
fn failed(function: &FunctionName, revision: &RevisionId, failure: &Failure) -> String {
    json(&Event::Failed {
        function: function.clone(),
        revision: revision.clone(),
        failure: failure.clone(),
    })
}

fn in_millis(pauses: &[Duration]) -> String {
    json(&pauses.iter().copied().map(millis).collect::<Vec<_>>())
}
