//! A function's configuration as it is deployed: the manifest's values with defaults filled in,
//! and what the builder found.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::release::Sticky;
use crate::route::Route;
use crate::schedule::Schedule;
use crate::secrets::SecretIds;

/// Configuration of one revision. Stored as JSON in an image label and in Redis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionConfig {
    /// Path that must answer below 400 before the instance counts as ready; without one an
    /// accepted connection does.
    #[serde(skip_serializing_if = "is_default")]
    pub health: Option<String>,
    /// The function's own environment, as its manifest has it.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, String>,
    /// The variables that `corefn env set` has set: they come before those of the manifest, and stay when it is pushed anew.
    #[serde(skip_serializing_if = "is_default")]
    pub env_set: BTreeMap<String, String>,
    /// The secrets that `corefn secret set` has set, which come before both, and stay as well.
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: SecretIds,
    /// What an instance may use. It is always written: a revision keeps its limits, whatever another version's defaults are.
    pub limits: Limits,
    /// How long an instance outlives its last work, in milliseconds; without a value the router's
    /// `corefn_idle` decides.
    #[serde(skip_serializing_if = "is_default")]
    pub idle_ms: Option<u64>,
    /// How long after its last work an instance is frozen, in milliseconds, which is before it is stopped; without a value it
    /// never is.
    #[serde(skip_serializing_if = "is_default")]
    pub freeze_ms: Option<u64>,
    /// How many requests may be under way at an instance at once; without a value as many as there are.
    #[serde(skip_serializing_if = "is_default")]
    pub concurrency: Option<NonZeroU32>,
    /// How many instances there may be at once, where the number of requests at each is bounded; one without a value.
    #[serde(skip_serializing_if = "is_default")]
    pub max_instances: Option<NonZeroU32>,
    /// How many instances there are though nobody asks for them; none without a value. It is no more than there may be.
    #[serde(skip_serializing_if = "is_default")]
    pub min_instances: Option<NonZeroU32>,
    /// What an instance can reach.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Network,
    /// Where the function answers besides `/account/name`.
    #[serde(skip_serializing_if = "is_default")]
    pub routes: Vec<Route>,
    /// When it is called though nobody asks for it.
    #[serde(skip_serializing_if = "is_default")]
    pub schedule: Vec<Schedule>,
    /// What requests have in common that get the same of several revisions.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Option<Sticky>,
    /// The named entry points, if the stack knows them: a request for any other is not found.
    #[serde(skip_serializing_if = "is_default")]
    pub exports: Option<Vec<Export>>,
    /// The SHA-256 of the executable that is all of the image, in hexadecimal digits, of an image that is no more.
    #[serde(skip_serializing_if = "is_default")]
    pub executable: Option<String>,
    /// The files that the image has beside its runtime, where a runtime that waits can take them.
    #[serde(skip_serializing_if = "is_default")]
    pub archive: Option<Box<Archive>>,
    /// Whether what serves the function takes a socket to listen on ([`crate::names::env::SOCKET`]) as well as a port.
    #[serde(skip_serializing_if = "is_default")]
    pub socket: bool,
    /// `uid[:gid]` that the image asks for; [`crate::names::USER`] without one.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
}

/// A function's files for a runtime that waits for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The SHA-256 of the archive, in hexadecimal digits.
    pub digest: String,
    /// Docker's identifier of the runtime's image.
    pub runtime: String,
}

/// What is as it is without being said need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an instance may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory; there is no swap beyond it.
    pub memory: u64,
    /// Billionths of a processor.
    pub nano_cpus: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Requests that are under way at the function on one host, those that wait for an instance
    /// included; without a value as many as may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Milliseconds from when the function has a request to when it begins to answer; without a
    /// value it may take its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Bytes of a request's body; without a value only nginx's own limit counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<u64>,
}

impl Limits {
    /// How long the function may take to begin its answer.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            nano_cpus: 1_000_000_000,
            pids: 512,
            requests: None,
            timeout_ms: None,
            body: None,
        }
    }
}

/// A named entry point of a function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Export {
    /// Its name, the first segment of the path behind the function's prefix.
    pub name: String,
    /// What its request's body is: `none`, `text` or `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// What its response's body is: `none`, `text` or `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// An example of a request's body, to be shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl FunctionConfig {
    /// The function's own environment, as far as it is no secret.
    pub fn environment(&self) -> BTreeMap<&str, &str> {
        let all = self.env.iter().chain(&self.env_set);
        all.filter(|(name, _)| !self.secrets.contains_key(*name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// The names of all variables of the function's own.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let secrets = self.secrets.keys().map(String::as_str);
        self.environment().into_keys().chain(secrets)
    }

    /// For how long after its last work an instance is leased, and may get more: until it is frozen, or else stopped. It is
    /// `fallback` where the function doesn't say.
    pub fn lease(&self, fallback: Duration) -> Duration {
        self.lease_ms().map_or(fallback, Duration::from_millis)
    }

    /// For how long a frozen instance is kept before it is stopped, `fallback` after its last work where the function doesn't
    /// say; nothing if its instances are not frozen.
    pub fn kept(&self, fallback: Duration) -> Option<Duration> {
        let idle = self.idle_ms.map_or(fallback, Duration::from_millis);
        let freeze = Duration::from_millis(self.freeze_ms?);
        idle.checked_sub(freeze).filter(|left| !left.is_zero())
    }

    /// How many instances there may be at once.
    pub fn most_instances(&self) -> u32 {
        self.max_instances.map_or(1, NonZeroU32::get)
    }

    /// How many instances there are though nobody asks for them.
    pub fn least_instances(&self) -> u32 {
        self.min_instances.map_or(0, NonZeroU32::get)
    }

    /// The time of a lease in milliseconds, if the function says it.
    pub(crate) fn lease_ms(&self) -> Option<u64> {
        self.freeze_ms.or(self.idle_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SecretId;

    #[test]
    fn what_is_set_comes_first() {
        let of = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect::<BTreeMap<_, _>>()
        };
        let config = FunctionConfig {
            env: of(&[("A", "1"), ("B", "2")]),
            env_set: of(&[("B", "3"), ("C", "4")]),
            ..FunctionConfig::default()
        };
        let want = BTreeMap::from([("A", "1"), ("B", "3"), ("C", "4")]);
        assert_eq!(config.environment(), want);
        let secret = |name: &str| (name.to_owned(), SecretId::from_random(7));
        let config = FunctionConfig {
            secrets: [secret("C"), secret("D")].into(),
            ..config
        };
        assert_eq!(
            config.environment(),
            BTreeMap::from([("A", "1"), ("B", "3")])
        );
        assert_eq!(config.variables().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
    }

    #[test]
    fn time_of_a_lease() {
        let (own, fallback) = (Duration::from_secs(5), Duration::from_secs(60));
        let mut config = FunctionConfig::default();
        assert_eq!(config.lease(fallback), fallback);
        config.idle_ms = Some(5000);
        assert_eq!(config.lease(fallback), own);
        config.freeze_ms = Some(2000);
        assert_eq!(config.lease(fallback), Duration::from_secs(2));
        assert_eq!(config.kept(fallback), Some(Duration::from_secs(3)));
        config.idle_ms = None;
        assert_eq!(config.kept(fallback), Some(Duration::from_secs(58)));
        config.freeze_ms = Some(60_000);
        assert_eq!(config.kept(fallback), None);
        config.freeze_ms = None;
        assert_eq!(config.kept(fallback), None);
    }

    #[test]
    fn json_round_trip() {
        let config = FunctionConfig {
            idle_ms: Some(5000),
            network: Network::None,
            ..FunctionConfig::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<FunctionConfig>(&text).unwrap(),
            config
        );
        assert_eq!(
            serde_json::from_str::<FunctionConfig>("{}").unwrap(),
            FunctionConfig::default()
        );
    }
}
