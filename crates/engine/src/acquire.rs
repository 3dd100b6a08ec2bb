//! How a router gets an instance for a function when it holds none: lease any that is ready, else
//! start one, exactly one across all workers and hosts.
//!
//! Whoever gets the starter's lock and a permit starts; everyone else waits for the event of it, or
//! for a turn. What takes Docker little is tried first, without a permit: an instance that is frozen, then a sandbox. Lock
//! and permit outlive a dead starter by their TTL only, so waiting ends in any case.

mod ports;

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout_at};

use corefn_core::deployment::Deployment;
use corefn_core::error::{ErrorCode, Failure};
use corefn_core::event::Event;
use corefn_core::instance::Instance;
use corefn_core::keys::START_LOCK_RENEWAL;
use corefn_core::names::directive;

use crate::store::{Claim, Way};

pub use ports::{Launcher, Ledger, Need};

/// How often one who waits looks again, in case the event of an instance got lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How much longer than a start may take others wait for its event: the starter fetches the
/// function's last output first.
const REPORT: Duration = Duration::from_secs(2);

/// How an instance was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It was there.
    Warm,
    /// It was there, and frozen.
    Thawed,
    /// It was started.
    Cold,
}

/// Why there is no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub failure: Failure,
    /// Whether it was another starter that has failed, and so has logged it.
    pub is_reported: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            is_reported: false,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Of what.
    pub deployment: &'a Deployment,
    /// Of whoever asks: unique to this call.
    pub token: &'a str,
    /// For how long the instance is leased at first.
    pub idle: Duration,
    /// How long it may take.
    pub timeout: Duration,
}

/// Gets a leased instance.
///
/// `events` must have been subscribed to before the call, so that nothing that happens during it is
/// missed.
///
/// # Errors
/// [`Refusal`] with the failure of the start, whoever made it, or [`ErrorCode::StartTimeout`].
pub async fn acquire(
    ledger: &impl Ledger,
    launcher: &impl Launcher,
    events: &mut Receiver<Event>,
    order: Order<'_>,
) -> Result<(Instance, Start), Refusal> {
    let Order {
        deployment,
        token,
        idle,
        timeout,
    } = order;
    let deadline = Instant::now() + timeout;
    let mut start = Start::Warm;
    let mut claim = Claim::Held;
    let mut ways = Ways::of(deployment, launcher);
    loop {
        if let Some(instance) = ledger.lease_any(deployment, idle).await? {
            return Ok((instance, start));
        }
        if Instant::now() < deadline {
            claim = ledger.claim(deployment, token, ways.claimed).await?;
        }
        if let Claim::BackedOff(failure) = claim {
            return Err(Refusal {
                failure,
                is_reported: true,
            });
        }
        if let Claim::Granted | Claim::GrantedLock = claim {
            // Between the look and the lock another starter may have finished.
            if let Some(instance) = ledger.lease_any(deployment, idle).await? {
                let unneeded = Failure::new(ErrorCode::Internal, "an instance got ready meanwhile");
                ledger.give_up(deployment, token, unneeded).await;
                return Ok((instance, start));
            }
            let by = ways.next();
            start = match by {
                Way::Frozen => Start::Thawed,
                _ => Start::Cold,
            };
            let grant = Grant {
                deployment,
                token,
                idle,
                deadline,
            };
            match launch(ledger, launcher, events, grant, by).await? {
                Launched::Ready(instance) => return Ok((instance, start)),
                Launched::LockLost if Instant::now() < deadline => {}
                Launched::LockLost => return Err(too_late(deployment, timeout, &claim).into()),
                // The lock is still held.
                Launched::Nothing if Instant::now() < deadline => ways.on_nothing(),
                Launched::Nothing => {
                    let failure = too_late(deployment, timeout, &claim);
                    return Err(ledger.give_up(deployment, token, failure).await.into());
                }
            }
            continue;
        }
        ways.on_wait();
        // Who waits for a turn waits for nobody's report. The event that the revision
        // was replaced must have come before whoever waits can decide anew.
        let end = match claim {
            Claim::Full => deadline,
            _ => deadline + REPORT,
        };
        start = wait_for_event(events, deployment, end).await?;
        if Instant::now() >= end {
            return Err(too_late(deployment, timeout, &claim).into());
        }
    }
}

/// Gets one more instance than there are, if what it is needed for takes more; nothing if there are enough, or another starter
/// is at it. It is leased. The arguments are those of [`acquire`].
///
/// # Errors
/// As of [`acquire`]. That it took too long is none: others serve meanwhile.
pub async fn one_more(
    ledger: &impl Ledger,
    launcher: &impl Launcher,
    events: &mut Receiver<Event>,
    order: Order<'_>,
    need: Need,
) -> Result<Option<Instance>, Refusal> {
    let Order {
        deployment,
        token,
        idle,
        timeout,
    } = order;
    let deadline = Instant::now() + timeout;
    let enough = need.enough(deployment);
    let mut ways = Ways::of(deployment, launcher);
    if need == Need::Standby {
        ways.leave_frozen();
    }
    let mut is_held = false;
    while Instant::now() < deadline && ledger.count(deployment, need).await? < enough {
        match ledger.claim(deployment, token, ways.claimed).await? {
            Claim::Granted | Claim::GrantedLock => is_held = true,
            Claim::Full => {
                ways.on_wait();
                wait_for_event(events, deployment, deadline).await?;
                continue;
            }
            Claim::Held | Claim::BackedOff(_) | Claim::Superseded => break,
        }
        // Between the look and the lock another starter may have finished.
        if ledger.count(deployment, need).await? >= enough {
            break;
        }
        let grant = Grant {
            deployment,
            token,
            idle,
            deadline,
        };
        match launch(ledger, launcher, events, grant, ways.next()).await? {
            Launched::Ready(instance) => return Ok(Some(instance)),
            Launched::LockLost => return Ok(None),
            // The lock is still held.
            Launched::Nothing => ways.on_nothing(),
        }
    }
    if is_held {
        let unneeded = Failure::new(ErrorCode::Internal, "there are enough instances");
        ledger.give_up(deployment, token, unneeded).await;
    }
    Ok(None)
}

/// What a deployment is started from: what takes Docker the least comes first.
struct Ways {
    /// What the lock is asked for.
    claimed: Way,
    /// What follows a frozen instance.
    anew: Way,
    /// No sandbox waits.
    none_waits: bool,
}

impl Ways {
    fn of(deployment: &Deployment, launcher: &impl Launcher) -> Self {
        let fits = launcher.fits_sandbox(deployment);
        let anew = if fits { Way::Sandbox } else { Way::Image };
        let freezes = deployment.config.freeze_ms.is_some();
        Self {
            claimed: if freezes { Way::Frozen } else { anew },
            anew,
            none_waits: false,
        }
    }

    /// Has frozen instances be.
    fn leave_frozen(&mut self) {
        self.claimed = self.anew;
    }

    /// What is tried under the lock.
    fn next(&self) -> Way {
        if self.none_waits {
            Way::Image
        } else {
            self.claimed
        }
    }

    /// There was nothing to start it from.
    fn on_nothing(&mut self) {
        self.none_waits = self.claimed != Way::Frozen;
        self.claimed = if self.none_waits {
            Way::Either
        } else {
            self.anew
        };
    }

    /// By the time that it is its turn a sandbox may wait.
    fn on_wait(&mut self) {
        self.none_waits = false;
    }
}

/// A lock that is held, and what for.
#[derive(Clone, Copy)]
struct Grant<'a> {
    deployment: &'a Deployment,
    token: &'a str,
    /// For how long the instance is leased at first.
    idle: Duration,
    deadline: Instant,
}

/// What has become of a start under the lock.
enum Launched {
    /// It is ready and registered.
    Ready(Instance),
    /// Redis was emptied, or this starter was held up and another has taken over. What was started is removed.
    LockLost,
    /// There was nothing to start it from in the way that was asked for. The lock is still held.
    Nothing,
}

/// Starts an instance under the lock, and renews the lock meanwhile.
async fn launch(
    ledger: &impl Ledger,
    launcher: &impl Launcher,
    events: &mut Receiver<Event>,
    grant: Grant<'_>,
    way: Way,
) -> Result<Launched, Refusal> {
    let Grant {
        deployment,
        token,
        idle,
        deadline,
    } = grant;
    let mut needless = false;
    let replaced = async {
        until_replaced(events, deployment).await;
        needless = true;
    };
    let start = async {
        let mut replaced = std::pin::pin!(replaced);
        let patience = || deadline.saturating_duration_since(Instant::now());
        if way == Way::Frozen {
            let Some(frozen) = ledger.take_frozen(deployment, token).await? else {
                return Ok(None);
            };
            let thawed = launcher.thaw(deployment, frozen, patience(), replaced);
            return Ok(thawed.await);
        }
        if way != Way::Image {
            let start = launcher.launch_in_sandbox(deployment, patience(), replaced.as_mut());
            if let Some(instance) = start.await? {
                return Ok(Some(instance));
            }
        }
        if way == Way::Sandbox {
            return Ok(None);
        }
        let start = launcher.launch(deployment, patience(), replaced);
        start.await.map(Some)
    };
    let keep = async {
        loop {
            tokio::time::sleep(START_LOCK_RENEWAL).await;
            // A renewal that fails shows when the instance is registered.
            ledger.renew(deployment, token).await;
        }
    };
    let launched = tokio::select! {
        started = start => started,
        () = keep => unreachable!("the renewal never ends"),
        // The launcher has its own limits; this one holds for all that could hang in it.
        () = sleep_until(deadline + REPORT) => Err(hangs(deployment)),
    };
    let failure = match launched {
        Ok(None) | Err(_) if needless => {
            // Nobody needs the start any more: that is no failure of the function's.
            let refusal = superseded(deployment);
            let failure = refusal.failure.clone();
            ledger.give_up(deployment, token, failure).await;
            return Err(refusal);
        }
        Ok(None) => return Ok(Launched::Nothing),
        Ok(Some(instance)) => match ledger.register(&instance, token, idle, way).await {
            Ok(true) => return Ok(Launched::Ready(instance)),
            Ok(false) => {
                launcher.discard(&instance).await;
                return Ok(Launched::LockLost);
            }
            Err(failure) => {
                launcher.discard(&instance).await;
                failure
            }
        },
        Err(failure) => failure,
    };
    Err(ledger.give_up(deployment, token, failure).await.into())
}

/// Waits until the function has another revision, or is removed.
async fn until_replaced(events: &mut Receiver<Event>, deployment: &Deployment) {
    loop {
        match events.recv().await {
            Ok(Event::Removed { function }) if function == deployment.function => return,
            Ok(Event::Deployed { deployment: newer }) if replaces(&newer, deployment) => return,
            // An event that was missed costs a start that nobody needs.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn replaces(newer: &Deployment, deployment: &Deployment) -> bool {
    newer.function == deployment.function && newer.revision != deployment.revision
}

/// Whoever waits for the revision has been told to decide anew: so it is nobody's failure.
fn superseded(deployment: &Deployment) -> Refusal {
    let Deployment {
        function, revision, ..
    } = deployment;
    Refusal {
        failure: Failure::new(
            ErrorCode::Internal,
            format!("revision {revision} of {function} was replaced while it was started"),
        ),
        is_reported: true,
    }
}

/// Waits until there may be something new: an instance, a removal, or the time to look again. Returns how that instance was
/// come by.
async fn wait_for_event(
    events: &mut Receiver<Event>,
    deployment: &Deployment,
    deadline: Instant,
) -> Result<Start, Refusal> {
    let until = deadline.min(Instant::now() + LOOK_AGAIN);
    loop {
        let event = match timeout_at(until, events.recv()).await {
            Err(_) | Ok(Err(RecvError::Lagged(_))) => return Ok(Start::Cold),
            Ok(Err(RecvError::Closed)) => {
                sleep_until(until).await;
                return Ok(Start::Cold);
            }
            Ok(Ok(event)) => event,
        };
        match event {
            Event::Ready {
                instance, thawed, ..
            } if instance.function == deployment.function
                && instance.revision == deployment.revision =>
            {
                return Ok(if thawed { Start::Thawed } else { Start::Cold });
            }
            Event::Turn { function, revision }
                if function == deployment.function && revision == deployment.revision =>
            {
                return Ok(Start::Cold);
            }
            Event::Deployed { deployment: newer } if replaces(&newer, deployment) => {
                return Err(superseded(deployment));
            }
            Event::Failed {
                function,
                revision,
                failure,
            } if function == deployment.function
                && revision == deployment.revision
                && failure.code != ErrorCode::Internal =>
            {
                return Err(Refusal {
                    failure,
                    is_reported: true,
                });
            }
            Event::Removed { function } if function == deployment.function => {
                return Err(Refusal {
                    failure: Failure::new(
                        ErrorCode::UnknownFunction,
                        format!("{function} was removed while a request waited for it"),
                    ),
                    is_reported: true,
                });
            }
            _ => {}
        }
    }
}

fn too_late(deployment: &Deployment, timeout: Duration, claim: &Claim) -> Failure {
    let why = match claim {
        Claim::Full => format!(
            "as many others were being started as {} allows",
            directive::MAX_STARTS.to_string_lossy()
        ),
        Claim::Superseded => format!("revision {} was replaced", deployment.revision),
        _ => "another starter was at it".to_owned(),
    };
    Failure::new(
        ErrorCode::StartTimeout,
        format!(
            "no instance of {} got ready within {timeout:?}: {why}",
            deployment.function
        ),
    )
}

fn hangs(deployment: &Deployment) -> Failure {
    Failure::new(
        ErrorCode::StartTimeout,
        format!(
            "the start of {} hangs: see whether Docker answers",
            deployment.function
        ),
    )
}

#[cfg(test)]
#[path = "acquire_tests.rs"]
mod tests;
