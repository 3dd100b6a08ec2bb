//! What a router does not know by itself, and looks for when somebody wants to see it: what Redis keeps of starts and builds,
//! the instances that get no work, and the sandboxes that wait.

use serde::{Deserialize, Serialize};

use crate::function::{FunctionName, RevisionId};
use crate::instance::InstanceId;
use crate::network::Network;
use crate::start::{Phase, StartWay};

/// How many of the last starts are kept.
pub const STARTS: usize = 50;

/// How many of the last builds are kept, with their logs.
pub const BUILDS: usize = 50;

/// How much of a build's log is kept, in bytes: its end.
pub const LOG_SIZE: usize = 128 * 1024;

/// A start that has ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Of which function.
    pub function: FunctionName,
    /// Of which revision.
    pub revision: RevisionId,
    /// The instance.
    pub instance: InstanceId,
    /// What it was started from.
    pub way: StartWay,
    /// When it had ended, in milliseconds since 1970.
    pub at: u64,
    /// Its steps, and how long each took, in microseconds.
    pub phases: Vec<(Phase, u64)>,
}

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// It is under way.
    Running,
    /// What it made is deployed.
    Deployed,
    /// The push was rejected.
    Rejected,
    /// It was broken off, and nobody has said what came of it.
    Lost,
}

impl BuildState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Deployed => "deployed",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// What a push had built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The repository: `account/name`, or `account`.
    pub repository: String,
    /// The revision that it makes.
    pub revision: RevisionId,
    /// Who pushed, where it came over ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// How it stands.
    pub state: BuildState,
    /// How long it took, in milliseconds, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Why the push was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Build {
    /// What it is called: the revision, and then the repository. Revisions begin with their time, so the oldest comes first.
    pub fn id(&self) -> String {
        format!("{} {}", self.revision, self.repository)
    }
}

/// How many builds have ended, since Redis was last emptied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildCounts {
    /// Those whose push was deployed.
    pub deployed: u64,
    /// Those whose push was rejected.
    pub rejected: u64,
}

/// An instance that gets no work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Which one.
    pub id: InstanceId,
    /// Of which function.
    pub function: FunctionName,
    /// Of which revision.
    pub revision: RevisionId,
    /// Whether it is frozen, and may be thawed. If not it ends when what it has under way is done.
    pub frozen: bool,
}

/// The sandboxes of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxCount {
    /// The runtime that waits in them: a stack, or Docker's identifier of its image. Nothing for those that become executables.
    pub runtime: Option<String>,
    /// What they can reach; without a value they have no network.
    pub network: Option<Network>,
    /// How many wait.
    pub waiting: usize,
    /// How many should.
    pub wanted: usize,
}

impl SandboxCount {
    /// The runtime, as a label has it.
    pub fn runtime(&self) -> &str {
        self.runtime.as_deref().unwrap_or_default()
    }

    /// The network, as a label has it: nothing where they have none.
    pub fn network_label(&self) -> String {
        let network = self.network.map(|network| network.to_string());
        network.unwrap_or_default()
    }
}

/// What Redis says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// The instances that get no work.
    pub withheld: Vec<Withheld>,
    /// The last starts, the newest first.
    pub starts: Vec<Started>,
    /// The last builds, the newest first.
    pub builds: Vec<Build>,
    /// How many have ended.
    pub counts: BuildCounts,
}

impl Records {
    /// How many instances get no work that are frozen, or are not.
    pub fn count_withheld(&self, frozen: bool) -> usize {
        let found = self.withheld.iter().filter(|it| it.frozen == frozen);
        found.count()
    }

    /// How many builds are under way.
    pub fn count_running(&self) -> usize {
        let running = self.builds.iter();
        running.filter(|it| it.state == BuildState::Running).count()
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What Redis says; nothing while it is out of reach.
    pub records: Option<Records>,
    /// What the keeper says; nothing where there is none, or it does not answer.
    pub sandboxes: Option<Vec<SandboxCount>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_redis_keeps_them() {
        let started = Started {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r1".to_owned()),
            instance: InstanceId::from_random(1),
            way: StartWay::Sandbox,
            at: 7,
            phases: vec![(Phase::HandedOver, 900), (Phase::Ready, 400)],
        };
        let text = serde_json::to_string(&started).unwrap();
        assert_eq!(
            text,
            r#"{"function":"demo/hello","revision":"r1","instance":"0000000000000001","way":"sandbox","at":7,"phases":[["handed_over",900],["ready",400]]}"#
        );
        assert_eq!(serde_json::from_str::<Started>(&text).unwrap(), started);
        let build = Build {
            repository: "demo".to_owned(),
            revision: RevisionId("r1".to_owned()),
            account: None,
            began: 7,
            state: BuildState::Running,
            took_ms: None,
            error: None,
        };
        let text = serde_json::to_string(&build).unwrap();
        assert_eq!(
            text,
            r#"{"repository":"demo","revision":"r1","began":7,"state":"running"}"#
        );
        assert_eq!(serde_json::from_str::<Build>(&text).unwrap(), build);
        assert_eq!(build.id(), "r1 demo");
    }

    #[test]
    fn words_are_their_serialized_forms() {
        for state in [
            BuildState::Running,
            BuildState::Deployed,
            BuildState::Rejected,
            BuildState::Lost,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for way in StartWay::ALL {
            assert_eq!(serde_json::to_value(way).unwrap(), way.label());
        }
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.label());
        }
    }
}
