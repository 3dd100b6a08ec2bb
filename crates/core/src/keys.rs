//! Every Redis key, in one place.
//!
//! All keys start with the installation's namespace, `corefn` by default, and a colon. The image
//! store is the truth about deployments; [`Keys::functions`] and everything below it can be
//! rebuilt from image and container labels, but for `schedules`, whose lines begin anew, and for the queues, which the
//! dispatcher has in its folder.
//!
//! | key | type | holds | TTL | written by | read by |
//! |---|---|---|---|---|---|
//! | `epoch` | string | random text; its absence says that Redis was emptied | none | whoever rebuilds | router, cleaner |
//! | `functions` | hash | function name → JSON of [`Deployment`](crate::deployment::Deployment) | none | builder, `corefn rm`, rebuild | router, CLI |
//! | `routes` | hash | route → function name | none | builder, `corefn rm`, rebuild | builder (to refuse a claimed one), CLI |
//! | `instances` | hash | instance → JSON of [`Instance`](crate::instance::Instance), ready and draining ones | none | starter, cleaner | router, cleaner, CLI |
//! | `ready:<function>` | set | instances that may get work | none | starter, cleaner | router |
//! | `lease:<instance>` | string | its own time in milliseconds: somebody may send work | idle time | router | cleaner, CLI |
//! | `frozen:<function>` | set | instances whose containers are paused, and that may be thawed | none | cleaner | router, cleaner, CLI |
//! | `kept:<instance>` | string | `1`: it is frozen, or about to be, and is not to be stopped yet | idle time less that until it is frozen | cleaner | router, cleaner, CLI |
//! | `start:<function>:<revision>` | string | token of the one starter | [`START_LOCK_TTL`], renewed | router | router, cleaner |
//! | `starting` | set | `<function>:<revision>` whose starter holds a permit, which a start from a sandbox need not; one without its `start:` is a dead starter's | none | router | router |
//! | `waiting` | sorted set | `<function>:<revision>` that wait for a permit, in their order | none | router | router |
//! | `waits:<function>:<revision>` | string | `sandbox` or `image`: somebody still waits for that permit, and whether a sandbox would do | [`TURN_TTL`], renewed | router | router |
//! | `failures:<function>` | string | failures in a row ([`crate::backoff`]) | pause and [`MEMORY`](crate::backoff::MEMORY), [`QUICK`](crate::backoff::QUICK) once an instance is ready | router; builder deletes | router |
//! | `pause:<function>` | string | JSON of the [`Failure`](crate::error::Failure) it isn't started for | the pause | router; builder deletes | router |
//! | `young:<instance>` | string | its revision: if it dies now that is a failure | [`QUICK`](crate::backoff::QUICK) | router, cleaner | router |
//! | `claim:<instance>` | string | `1`: a push is starting it as the first of its revision | [`START_LOCK_TTL`], renewed | builder | builder, cleaner |
//! | `rebuild` | string | token of the one who rebuilds | [`START_LOCK_TTL`] | router, cleaner | router, cleaner |
//! | `addresses` | hash | `count` of the container addresses given out, from a random beginning, and when in Redis' life it began, as `since` | none | router, builder | router, builder |
//! | `pulse` | string | `1`: written to see whether Redis takes writes | one minute | router, cleaner | nobody |
//! | `watch:<token>` | string | `1`: the cleaner of that token has written a moment ago, and Redis did not hang since | [`WATCH_TTL`], renewed | cleaner | cleaner |
//! | `schedules` | hash | `<function> <line of its schedule>` → JSON of [`Calls`](crate::schedule::Calls) | none | dispatcher | dispatcher, CLI |
//! | `dispatcher:<token>` | string | `1`: the dispatcher of that token is at work | [`DISPATCHER_TTL`], renewed | dispatcher | dispatcher, CLI |
//! | `spool` | string | `<name> <run> <time as master>`: of which dispatcher's folder the queues are, and when in Redis' life they were made from it; empty while they are being filled; its absence says that Redis was emptied | none | dispatcher | dispatcher |
//! | `queues` | set | functions that have a `queue:` or a `later:` | none | dispatcher, CLI | dispatcher, CLI |
//! | `queue:<function>` | stream | invocations that are to be called, each as its field `id`; its one group has those that are being called | none | dispatcher, CLI | dispatcher, CLI |
//! | `later:<function>` | sorted set | invocations that are to be called again, by the time, in seconds since 1970 | none | dispatcher, CLI | dispatcher, CLI |
//! | `tried` | hash | `<function> <invocation>` → JSON of [`Tried`](crate::invocation::Tried), of those that have been called and will be again | none | dispatcher, CLI | dispatcher, CLI |
//! | `dead` | set | functions that have a `dead:` | none | dispatcher, CLI | CLI |
//! | `dead:<function>` | hash | invocation → JSON of the same, of those that are not called again | none | dispatcher, CLI | dispatcher, CLI |
//! | `removed` | set | `<function> <invocation>` that somebody has removed, and of which the dispatcher is to remove the file | none | CLI | dispatcher |
//! | `done:<function>:<invocation>` | string | JSON of the same: it has ended well | [`KNOWN`](crate::invocation::KNOWN) | dispatcher | dispatcher |
//! | `starts` | list | the last [`STARTS`](crate::survey::STARTS) as JSON of [`Started`](crate::survey::Started), the newest first | none | router | router |
//! | `builds` | hash | `<revision> <repository>` → JSON of [`Build`](crate::survey::Build), of the last [`BUILDS`](crate::survey::BUILDS) | none | builder | router |
//! | `built` | hash | `deployed` and `rejected`: how many builds have ended so | none | builder | router |
//! | `log:<revision> <repository>` | string | the end of a build's log; that of one that has not ended is there only while somebody is at it | [`LOG_TTL`], [`RUNNING_TTL`] until the build has ended | builder | router |
//! | `events` | channel | JSON of [`Event`](crate::event::Event) | – | all | router |
//!
//! An instance that is in `instances` but not in `ready:<function>` gets no work. If it is in `frozen:<function>` it may be
//! thawed, for which it is taken out of both, as one that has yet to be started. Else it is draining, and the cleaner stops
//! it when its lease has ended.

use std::time::Duration;

use crate::function::{FunctionName, RevisionId};
use crate::instance::InstanceId;
use crate::invocation::InvocationId;

/// How long a starter's lock outlives its last renewal. It must be longer than a starter may be
/// held up (a slow disk, a stopped process) and bounds how long others wait for a dead one.
pub const START_LOCK_TTL: Duration = Duration::from_secs(10);

/// How often a starter renews its lock.
pub const START_LOCK_RENEWAL: Duration = Duration::from_secs(3);

/// How long a function keeps its turn for a permit after its last waiter has asked: longer than
/// the time between two looks, and short, since others wait behind it.
pub const TURN_TTL: Duration = Duration::from_secs(3);

/// How long the key is kept that shows that Redis takes writes.
pub const PULSE_TTL: Duration = Duration::from_secs(60);

/// How long Redis may hang until the cleaner must think that leases have ended only because of that. Of a busy instance
/// the lease lasts for a second at least, the shortest idle time less the time between two renewals.
pub const WATCH_TTL: Duration = Duration::from_millis(800);

/// How often the cleaner writes that it watches.
pub const WATCH_RENEWAL: Duration = Duration::from_millis(200);

/// How long a dispatcher counts as being at work after it has last said so; then the calls that it made are broken off.
pub const DISPATCHER_TTL: Duration = Duration::from_secs(15);

/// How often a dispatcher says that it is at work.
pub const DISPATCHER_RENEWAL: Duration = Duration::from_secs(5);

/// How long the log of a build that has ended is kept.
pub const LOG_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a build counts as being under way after its log was last written.
pub const RUNNING_TTL: Duration = Duration::from_secs(30);

/// The keys of which there is one.
const ALONE: [&str; 19] = [
    "epoch",
    "functions",
    "routes",
    "instances",
    "starting",
    "waiting",
    "rebuild",
    "addresses",
    "pulse",
    "schedules",
    "spool",
    "queues",
    "tried",
    "dead",
    "removed",
    "starts",
    "builds",
    "built",
    // (A channel; scripts are given its name as they are given keys.)
    "events",
];

/// What the keys begin with of which there are several.
const SEVERAL: [&str; 17] = [
    "ready",
    "lease",
    "frozen",
    "kept",
    "start",
    "waits",
    "failures",
    "pause",
    "young",
    "claim",
    "watch",
    "dispatcher",
    "queue",
    "later",
    "dead",
    "done",
    "log",
];

/// Spells the keys of one installation.
#[derive(Debug, Clone)]
pub struct Keys {
    namespace: String,
}

impl Keys {
    /// Keys under `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
        }
    }

    /// The installation's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Absent when Redis was emptied.
    pub fn epoch(&self) -> String {
        self.key("epoch")
    }

    /// Deployments by function.
    pub fn functions(&self) -> String {
        self.key("functions")
    }

    /// Functions by route.
    pub fn routes(&self) -> String {
        self.key("routes")
    }

    /// Instances by identifier.
    pub fn instances(&self) -> String {
        self.key("instances")
    }

    /// A function's instances that may get work.
    pub fn ready(&self, function: &FunctionName) -> String {
        self.key(&format!("ready:{function}"))
    }

    /// An instance's lease.
    pub fn lease(&self, instance: InstanceId) -> String {
        format!("{}{instance}", self.lease_prefix())
    }

    /// What the keys of leases start with, for scripts that make them.
    pub fn lease_prefix(&self) -> String {
        self.key("lease:")
    }

    /// A function's instances that are frozen.
    pub fn frozen(&self, function: &FunctionName) -> String {
        self.key(&format!("frozen:{function}"))
    }

    /// That an instance is to stay frozen.
    pub fn kept(&self, instance: InstanceId) -> String {
        format!("{}{instance}", self.kept_prefix())
    }

    /// What the keys of [`Keys::kept`] start with, for scripts that make them.
    pub fn kept_prefix(&self) -> String {
        self.key("kept:")
    }

    /// What a start is called in [`Keys::starting`] and [`Keys::waiting`]. Each revision has starts
    /// of its own: that of an old one must not hold up or fail that of a new one.
    pub fn start(function: &FunctionName, revision: &RevisionId) -> String {
        format!("{function}:{revision}")
    }

    /// The lock of a revision's starter.
    pub fn start_lock(&self, function: &FunctionName, revision: &RevisionId) -> String {
        self.start_lock_prefix() + &Self::start(function, revision)
    }

    /// What the keys of starters' locks start with, for scripts that make them.
    pub fn start_lock_prefix(&self) -> String {
        self.key("start:")
    }

    /// Starts that hold a permit.
    pub fn starting(&self) -> String {
        self.key("starting")
    }

    /// Starts that wait for a permit, in their order.
    pub fn waiting(&self) -> String {
        self.key("waiting")
    }

    /// What the keys of turns start with, for scripts that make them.
    pub fn turn_prefix(&self) -> String {
        self.key("waits:")
    }

    /// A function's failures in a row.
    pub fn failures(&self, function: &FunctionName) -> String {
        self.key(&format!("failures:{function}"))
    }

    /// Why a function isn't started for now.
    pub fn pause(&self, function: &FunctionName) -> String {
        self.key(&format!("pause:{function}"))
    }

    /// An instance that got ready a short time ago.
    pub fn young(&self, instance: InstanceId) -> String {
        self.key(&format!("young:{instance}"))
    }

    /// What keeps an instance that a push is starting from being taken for a left-over.
    pub fn claim(&self, instance: InstanceId) -> String {
        self.key(&format!("claim:{instance}"))
    }

    /// The lock of whoever rebuilds an emptied Redis.
    pub fn rebuild_lock(&self) -> String {
        self.key("rebuild")
    }

    /// Counts the container addresses given out.
    pub fn addresses(&self) -> String {
        self.key("addresses")
    }

    /// Written to see whether Redis takes writes.
    pub fn pulse(&self) -> String {
        self.key("pulse")
    }

    /// Shows a cleaner that Redis has not hung.
    pub fn watch(&self, token: &str) -> String {
        self.key(&format!("watch:{token}"))
    }

    /// What came of each line of the functions' schedules.
    pub fn schedules(&self) -> String {
        self.key("schedules")
    }

    /// That a dispatcher is at work.
    pub fn dispatcher(&self, token: &str) -> String {
        self.key(&format!("dispatcher:{token}"))
    }

    /// Whose the queues are.
    pub fn spool(&self) -> String {
        self.key("spool")
    }

    /// The functions that have a queue.
    pub fn queues(&self) -> String {
        self.key("queues")
    }

    /// A function's invocations that are to be called.
    pub fn queue(&self, function: &FunctionName) -> String {
        self.key(&format!("queue:{function}"))
    }

    /// A function's invocations that are to be called again.
    pub fn later(&self, function: &FunctionName) -> String {
        self.key(&format!("later:{function}"))
    }

    /// What came of invocations that are to be called again.
    pub fn tried(&self) -> String {
        self.key("tried")
    }

    /// The functions that have invocations which are not called again.
    pub fn dead_functions(&self) -> String {
        self.key("dead")
    }

    /// A function's invocations that are not called again.
    pub fn dead(&self, function: &FunctionName) -> String {
        self.key(&format!("dead:{function}"))
    }

    /// Invocations whose files are to be removed.
    pub fn removed(&self) -> String {
        self.key("removed")
    }

    /// How an invocation went.
    pub fn done(&self, function: &FunctionName, invocation: InvocationId) -> String {
        self.key(&format!("done:{function}:{invocation}"))
    }

    /// The last starts.
    pub fn starts(&self) -> String {
        self.key("starts")
    }

    /// The last builds.
    pub fn builds(&self) -> String {
        self.key("builds")
    }

    /// How many builds have ended.
    pub fn built(&self) -> String {
        self.key("built")
    }

    /// The log of a build ([`Build::id`](crate::survey::Build::id)).
    pub fn log(&self, build: &str) -> String {
        self.log_prefix() + build
    }

    /// What the keys of logs start with, for scripts that make them.
    pub fn log_prefix(&self) -> String {
        self.key("log:")
    }

    /// The channel of events.
    pub fn events(&self) -> String {
        self.key("events")
    }

    /// Patterns of Redis' ACL that are met by all of the installation's keys, and by no others.
    pub fn patterns(&self) -> Vec<String> {
        let all = ALONE.iter().map(|name| self.key(name));
        let many = SEVERAL.iter().map(|name| self.key(&format!("{name}:*")));
        all.chain(many).collect()
    }

    fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key that the table above names, once.
    #[test]
    fn spelled_as_documented() {
        let keys = Keys::new("ns");
        let function: FunctionName = "a/b".parse().unwrap();
        let revision = RevisionId("r1".into());
        let instance = InstanceId::from_random(0xab);
        assert_eq!(keys.namespace(), "ns");
        assert_eq!(Keys::start(&function, &revision), "a/b:r1");
        let spelled = [
            (keys.epoch(), "epoch"),
            (keys.functions(), "functions"),
            (keys.routes(), "routes"),
            (keys.instances(), "instances"),
            (keys.ready(&function), "ready:a/b"),
            (keys.lease(instance), "lease:00000000000000ab"),
            (keys.lease_prefix(), "lease:"),
            (keys.frozen(&function), "frozen:a/b"),
            (keys.kept(instance), "kept:00000000000000ab"),
            (keys.kept_prefix(), "kept:"),
            (keys.start_lock(&function, &revision), "start:a/b:r1"),
            (keys.start_lock_prefix(), "start:"),
            (keys.starting(), "starting"),
            (keys.waiting(), "waiting"),
            (keys.turn_prefix(), "waits:"),
            (keys.failures(&function), "failures:a/b"),
            (keys.pause(&function), "pause:a/b"),
            (keys.young(instance), "young:00000000000000ab"),
            (keys.claim(instance), "claim:00000000000000ab"),
            (keys.rebuild_lock(), "rebuild"),
            (keys.addresses(), "addresses"),
            (keys.pulse(), "pulse"),
            (keys.watch("t1"), "watch:t1"),
            (keys.schedules(), "schedules"),
            (keys.dispatcher("t1"), "dispatcher:t1"),
            (keys.spool(), "spool"),
            (keys.queues(), "queues"),
            (keys.queue(&function), "queue:a/b"),
            (keys.later(&function), "later:a/b"),
            (keys.tried(), "tried"),
            (keys.dead_functions(), "dead"),
            (keys.dead(&function), "dead:a/b"),
            (keys.removed(), "removed"),
            (
                keys.done(&function, InvocationId::from_random([0, 1])),
                "done:a/b:00000000000000000000000000000001",
            ),
            (keys.starts(), "starts"),
            (keys.builds(), "builds"),
            (keys.built(), "built"),
            (keys.log("r1 a/b"), "log:r1 a/b"),
            (keys.log_prefix(), "log:"),
            (keys.events(), "events"),
        ];
        let patterns = keys.patterns();
        for (key, rest) in &spelled {
            let of = |pattern: &&String| match pattern.strip_suffix('*') {
                Some(begin) => key.starts_with(begin),
                None => key == *pattern,
            };
            assert_eq!(patterns.iter().filter(of).count(), 1, "{rest}");
        }
        for pattern in &patterns {
            let begin = pattern.trim_end_matches('*');
            let is_met = spelled.iter().any(|(key, _)| key.starts_with(begin));
            assert!(is_met, "no key is of {pattern}");
        }
        for (key, rest) in spelled {
            assert_eq!(key, format!("ns:{rest}"));
            let name = rest.split(':').next().unwrap();
            let row = format!("//! | `{name}");
            assert!(include_str!("keys.rs").contains(&row), "{rest} has no row");
        }
    }
}
