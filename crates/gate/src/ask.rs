//! What is asked of Docker, understood to the last byte.
//!
//! The paths and parameters are those of Docker's Engine API, 1.41 and later
//! (<https://docs.docker.com/reference/api/engine/>).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::json;

/// The oldest version of the API that is spoken. In older ones, the start of a container can say what that may.
pub const OLDEST: Version = Version {
    major: 1,
    minor: 41,
};

/// How many lines of a log may be asked for.
const MOST_LINES: u32 = 10_000;

/// A version of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

/// Docker's identifier of a container or a network: 64 hexadecimal digits. (A name may be another's a moment later.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DockerId(String);

impl DockerId {
    /// It as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DockerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DockerId {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(Self(text.to_owned())),
            false => Err(Refused::new(format!("{text:?} is no whole identifier"))),
        }
    }
}

/// Why something is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// With what is wrong, for a person.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The limits of a container, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ContainerLimits {
    /// Bytes.
    pub memory: u64,
    /// Bytes, those that are swapped out and those that aren't.
    pub memory_swap: u64,
    /// Billionths of a CPU.
    pub nano_cpus: u64,
    /// Processes and threads.
    pub pids_limit: u32,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Whether Docker is there, and how new it is.
    Ping,
    /// The installation's containers, with these labels.
    Containers(Vec<String>),
    /// All about a container.
    Inspect(DockerId),
    /// A new container of this name.
    Create(String, Value),
    /// That a container be started.
    Start(DockerId),
    /// That a container go on that is paused.
    Unpause(DockerId),
    /// The end of a container.
    Wait(DockerId),
    /// That a container be removed at once, whatever it does.
    Remove(DockerId),
    /// The last lines that a container has written.
    Logs(DockerId, u32),
    /// That a container have other limits.
    Limit(DockerId, ContainerLimits),
    /// That a container have this name.
    Rename(DockerId, String),
    /// The installation's images, with these labels.
    Images(Vec<String>),
    /// All networks.
    Networks,
    /// A new network.
    CreateNetwork(Value),
    /// That a network be removed.
    RemoveNetwork(DockerId),
    /// What happens, of these kinds, to the installation's containers with these labels.
    Events(Vec<String>, Vec<String>),
}

impl Ask {
    /// Understands a request; with the version of the API that it is in, if it says so.
    ///
    /// # Errors
    /// [`Refused`] for all that is not understood, or can be understood in two ways.
    pub fn read(
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<(Option<Version>, Self), Refused> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (version, words) = split(path)?;
        let mut query = Query::read(query)?;
        let ask = match (method, &words[..]) {
            ("GET" | "HEAD", ["_ping"]) => Self::Ping,
            ("GET", ["containers", "json"]) => {
                query.ignore(&["all", "limit", "size"]);
                Self::Containers(query.labels()?)
            }
            ("GET", ["containers", id, "json"]) => {
                query.only("size", &["", "false"])?;
                Self::Inspect(id.parse()?)
            }
            ("POST", ["containers", "create"]) => {
                query.only("platform", &[""])?;
                Self::Create(query.take("name")?, read_json(body)?)
            }
            ("POST", ["containers", id, "start"]) => {
                query.only("detachKeys", &[""])?;
                Self::Start(id.parse()?)
            }
            ("POST", ["containers", id, "unpause"]) => Self::Unpause(id.parse()?),
            ("POST", ["containers", id, "wait"]) => {
                query.only("condition", &["", "not-running"])?;
                Self::Wait(id.parse()?)
            }
            ("DELETE", ["containers", id]) => {
                query.only("link", &["", "false"])?;
                query.only("force", &["true"])?;
                query.only("v", &["true"])?;
                Self::Remove(id.parse()?)
            }
            ("GET", ["containers", id, "logs"]) => {
                for (name, value) in [
                    ("follow", "false"),
                    ("stdout", "true"),
                    ("stderr", "true"),
                    ("since", "0"),
                    ("until", "0"),
                    ("timestamps", "false"),
                ] {
                    query.only(name, &[value])?;
                }
                let lines = query.take("tail")?.parse().ok();
                let lines = lines.filter(|lines| *lines <= MOST_LINES);
                let too_many = || Refused::new(format!("more than {MOST_LINES} lines of a log"));
                Self::Logs(id.parse()?, lines.ok_or_else(too_many)?)
            }
            ("POST", ["containers", id, "update"]) => {
                let limits = serde_json::from_value(read_json(body)?);
                let limits = limits.map_err(|error| Refused::new(error.to_string()))?;
                Self::Limit(id.parse()?, limits)
            }
            ("POST", ["containers", id, "rename"]) => {
                Self::Rename(id.parse()?, query.take("name")?)
            }
            ("GET", ["images", "json"]) => {
                query.ignore(&["all", "shared-size", "digests", "manifests"]);
                Self::Images(query.labels()?)
            }
            ("GET", ["networks"]) => {
                query.only("filters", &["", "{}"])?;
                Self::Networks
            }
            ("POST", ["networks", "create"]) => Self::CreateNetwork(read_json(body)?),
            ("DELETE", ["networks", id]) => Self::RemoveNetwork(id.parse()?),
            ("GET", ["events"]) => {
                query.only("since", &[""])?;
                query.only("until", &[""])?;
                let mut filters = query.filters()?;
                if filters.remove("type") != Some(vec!["container".to_owned()]) {
                    return Err(Refused::new("events of what is no container"));
                }
                let kinds = filters.remove("event").unwrap_or_default();
                Self::Events(kinds, only_labels(filters)?)
            }
            _ => return Err(Refused::new("nobody needs that")),
        };
        query.end()?;
        let takes_body = matches!(
            ask,
            Self::Create(..) | Self::Limit(..) | Self::CreateNetwork(_)
        );
        match takes_body || body.is_empty() {
            true => Ok((version, ask)),
            false => Err(Refused::new("a body where none belongs")),
        }
    }
}

/// The version that a path begins with, and its segments.
fn split(path: &str) -> Result<(Option<Version>, Vec<&str>), Refused> {
    let odd = || Refused::new("a path that can be read in two ways");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let mut words: Vec<_> = path.strip_prefix('/').ok_or_else(odd)?.split('/').collect();
    let is_word = |word: &&str| {
        !word.is_empty() && !word.contains("..") && *word != "." && word.bytes().all(is_plain)
    };
    if !words.iter().all(is_word) {
        return Err(odd());
    }
    let number = |text: &str| {
        let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_whole)
    };
    let version = words.first().and_then(|word| {
        let (major, minor) = word.strip_prefix('v')?.split_once('.')?;
        let (major, minor) = (number(major)?, number(minor)?);
        Some(Version { major, minor })
    });
    if version.is_some() {
        words.remove(0);
    }
    match version {
        Some(version) if version < OLDEST => Err(Refused::new(format!(
            "{version} of the API, before {OLDEST}"
        ))),
        version => Ok((version, words)),
    }
}

fn read_json(body: &[u8]) -> Result<Value, Refused> {
    json::read(body).map_err(Refused::new)
}

/// The parameters of a request.
struct Query(BTreeMap<String, String>);

impl Query {
    fn read(text: &str) -> Result<Self, Refused> {
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if let Some(_former) = all.insert(name.clone().into_owned(), value.into_owned()) {
                return Err(Refused::new(format!("{name:?} twice")));
            }
        }
        Ok(Self(all))
    }

    fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Takes a parameter which must be one of these, or absent where nothing is one.
    fn only(&mut self, name: &str, values: &[&str]) -> Result<(), Refused> {
        let value = self.0.remove(name);
        match values.contains(&value.as_deref().unwrap_or_default()) {
            true => Ok(()),
            false => Err(Refused::new(format!(
                "{name}={}",
                value.unwrap_or_default()
            ))),
        }
    }

    fn take(&mut self, name: &str) -> Result<String, Refused> {
        let value = self.0.remove(name);
        value.ok_or_else(|| Refused::new(format!("no {name}")))
    }

    fn filters(&mut self) -> Result<BTreeMap<String, Vec<String>>, Refused> {
        let filters = read_json(self.take("filters")?.as_bytes())?;
        let filters = serde_json::from_value(filters);
        filters.map_err(|error| Refused::new(format!("filters: {error}")))
    }

    /// The labels that are filtered by, and nothing else.
    fn labels(&mut self) -> Result<Vec<String>, Refused> {
        only_labels(self.filters()?)
    }

    fn end(self) -> Result<(), Refused> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Refused::new(format!("a parameter {name:?}"))),
        }
    }
}

fn only_labels(mut filters: BTreeMap<String, Vec<String>>) -> Result<Vec<String>, Refused> {
    let labels = filters.remove("label");
    match (labels, filters.into_keys().next()) {
        (Some(labels), None) => Ok(labels),
        (None, _) => Err(Refused::new("no filter by labels")),
        (_, Some(name)) => Err(Refused::new(format!("a filter by {name:?}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(method: &str, target: &str, body: &str) -> Result<Ask, String> {
        let read = Ask::read(method, target, body.as_bytes());
        read.map(|(_, ask)| ask).map_err(|error| error.to_string())
    }

    fn id() -> DockerId {
        DockerId("0123456789abcdef".repeat(4))
    }

    #[test]
    fn what_is_understood() {
        let id = id();
        let own = vec!["a.label=x".to_owned()];
        let by_label = "filters=%7B%22label%22%3A%5B%22a.label%3Dx%22%5D%7D";
        let events = "filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22die%22%5D%2C%22label%22%3A%5B%22a.label%3Dx%22%5D%7D";
        let limits = r#"{"Memory": 4, "MemorySwap": 5, "NanoCpus": 6, "PidsLimit": 7}"#;
        let read_limits = ContainerLimits {
            memory: 4,
            memory_swap: 5,
            nano_cpus: 6,
            pids_limit: 7,
        };
        let v = "/v1.41";
        for (method, target, body, ask) in [
            ("GET", "/_ping".to_owned(), "", Ask::Ping),
            ("HEAD", "/_ping".to_owned(), "", Ask::Ping),
            (
                "GET",
                format!("{v}/containers/json?all=true&size=false&{by_label}"),
                "",
                Ask::Containers(own.clone()),
            ),
            (
                "GET",
                format!("{v}/images/json?all=false&digests=false&{by_label}"),
                "",
                Ask::Images(own.clone()),
            ),
            (
                "GET",
                format!("{v}/events?{events}"),
                "",
                Ask::Events(vec!["die".to_owned()], own),
            ),
            ("GET", format!("{v}/networks"), "", Ask::Networks),
            (
                "GET",
                format!("{v}/containers/{id}/json?size=false"),
                "",
                Ask::Inspect(id.clone()),
            ),
            (
                "POST",
                format!("{v}/containers/create?name=a&platform="),
                "{}",
                Ask::Create("a".to_owned(), json!({})),
            ),
            (
                "POST",
                format!("{v}/containers/{id}/start"),
                "",
                Ask::Start(id.clone()),
            ),
            (
                "POST",
                format!("{v}/containers/{id}/unpause"),
                "",
                Ask::Unpause(id.clone()),
            ),
            (
                "POST",
                format!("{v}/containers/{id}/wait?condition="),
                "",
                Ask::Wait(id.clone()),
            ),
            (
                "POST",
                format!("{v}/containers/{id}/rename?name=a--b"),
                "",
                Ask::Rename(id.clone(), "a--b".to_owned()),
            ),
            (
                "POST",
                format!("{v}/containers/{id}/update"),
                limits,
                Ask::Limit(id.clone(), read_limits),
            ),
            (
                "DELETE",
                format!("{v}/containers/{id}?v=true&force=true&link=false"),
                "",
                Ask::Remove(id.clone()),
            ),
            (
                "DELETE",
                format!("{v}/networks/{id}"),
                "",
                Ask::RemoveNetwork(id.clone()),
            ),
            (
                "POST",
                format!("{v}/networks/create"),
                r#"{"Name": "a"}"#,
                Ask::CreateNetwork(json!({"Name": "a"})),
            ),
            (
                "GET",
                format!(
                    "{v}/containers/{id}/logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=10000"
                ),
                "",
                Ask::Logs(id.clone(), MOST_LINES),
            ),
        ] {
            assert_eq!(read(method, &target, body), Ok(ask), "{method} {target}");
        }
    }

    #[test]
    fn what_is_not() {
        let id = id();
        let v = "/v1.41";
        for (method, target, body, why) in [
            ("POST", "/_ping".to_owned(), "", "nobody needs"),
            ("GET", "/_ping".to_owned(), "x", "a body where none belongs"),
            ("GET", "/_ping?x=y".to_owned(), "", "a parameter \"x\""),
            (
                "POST",
                format!("/v1.40/containers/{id}/start"),
                "",
                "v1.40 of the API, before v1.41",
            ),
            (
                "POST",
                format!("/v0.99/containers/{id}/start"),
                "",
                "before v1.41",
            ),
            (
                "POST",
                format!("/v+1.41/containers/{id}/start"),
                "",
                "two ways",
            ),
            (
                "POST",
                format!("{v}/containers/{id}/../start"),
                "",
                "two ways",
            ),
            (
                "POST",
                format!("{v}/containers/{id}/.%2e/start"),
                "",
                "two ways",
            ),
            ("POST", format!("{v}/containers//start"), "", "two ways"),
            ("POST", format!("{v}/containers/./start"), "", "two ways"),
            (
                "POST",
                format!("{v}/containers/name/start"),
                "",
                "\"name\" is no whole identifier",
            ),
            (
                "POST",
                format!("{v}/containers/{id}0/start"),
                "",
                "no whole identifier",
            ),
            (
                "POST",
                format!("{v}/containers/{id}/wait?condition=removed"),
                "",
                "condition=removed",
            ),
            (
                "DELETE",
                format!("{v}/containers/{id}?v=true&v=true"),
                "",
                "\"v\" twice",
            ),
            (
                "DELETE",
                format!("{v}/containers/{id}?v=true"),
                "",
                "force=",
            ),
            ("POST", format!("{v}/containers/create"), "{}", "no name"),
            (
                "POST",
                format!("{v}/containers/{id}/update"),
                "{}",
                "missing field",
            ),
            ("GET", format!("{v}/containers/json?filters="), "", "EOF"),
            (
                "GET",
                format!("{v}/containers/json?filters=%7B%7D"),
                "",
                "no filter by labels",
            ),
            (
                "GET",
                format!("{v}/containers/json?filters=%5B%5D"),
                "",
                "filters: ",
            ),
            (
                "GET",
                format!("{v}/events?filters=%7B%7D"),
                "",
                "events of what is no container",
            ),
            ("GET", "containers/json".to_owned(), "", "two ways"),
            ("GET", String::new(), "", "two ways"),
        ] {
            let error = read(method, &target, body).unwrap_err();
            assert!(error.contains(why), "{method} {target}: {error}");
        }
    }
}
