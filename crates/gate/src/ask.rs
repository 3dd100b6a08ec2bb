//! What is asked of Docker, understood to the last byte.
//!
//! The paths and parameters are those of Docker's Engine API, 1.41 and later
//! (<https://docs.docker.com/reference/api/engine/>).

mod build;
mod query;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use corefn_core::image::ImageReference;
use serde::Deserialize;
use serde_json::Value;

use query::{Query, number, only_labels, read_json, split};

pub use build::Build;

/// The oldest version of the API that is spoken. In older ones, the start of a container can say what that may.
pub const OLDEST: Version = Version {
    major: 1,
    minor: 41,
};

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
        match text.len() == 64 && is_hexadecimal(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(Refused::new(format!("{text:?} is no whole identifier"))),
        }
    }
}

/// A container as it is asked for: by its whole identifier, or by the twelve digits with which Docker's builder names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// By its identifier.
    Whole(DockerId),
    /// By the begin of it.
    Begin(String),
}

impl FromStr for Shown {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        match text.len() == 12 && is_hexadecimal(text) {
            true => Ok(Self::Begin(text.to_owned())),
            false => text.parse().map(Self::Whole),
        }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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

/// What of a container's log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How many of the last lines; all without a value.
    pub lines: Option<u64>,
    /// From when on: seconds since 1970.
    pub since: u64,
    /// Until when; 0 is for ever.
    pub until: u64,
    /// Whether what is written later comes, too.
    pub follow: bool,
    /// Whether each line has its time.
    pub timestamps: bool,
}

/// Which images are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// All that have a name.
    All,
    /// Those with these labels.
    Labelled(Vec<String>),
    /// Those of this name, whatever their tag.
    Named(String),
    /// Those that have no name.
    Nameless,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Whether Docker is there, and how new it is.
    Ping,
    /// Which version Docker is of, and for which machine.
    Version,
    /// What Docker is, and what it has.
    Info,
    /// The installation's containers, with these labels.
    Containers(Vec<String>),
    /// All about a container; with how much it has written, if that is wanted.
    Inspect(Shown, bool),
    /// A new container of this name, or of any, if it is empty.
    Create(String, Value),
    /// That a container be started.
    Start(DockerId),
    /// That a container end, and be killed after so many seconds.
    Stop(DockerId, u64),
    /// That a container be killed.
    Kill(Shown),
    /// That a container's processes get no time.
    Pause(DockerId),
    /// That a container go on that is paused.
    Unpause(DockerId),
    /// The end of a container.
    Wait(DockerId),
    /// That a container be removed at once, whatever it does.
    Remove(DockerId),
    /// What a container has written.
    Logs(DockerId, Log),
    /// What a container uses now.
    Stats(DockerId),
    /// That a container have other limits.
    Limit(DockerId, ContainerLimits),
    /// That a container have no more processes than so many.
    LimitProcesses(Shown, u32),
    /// That a container have this priority.
    Prioritize(DockerId, i64),
    /// That a container have this name.
    Rename(DockerId, String),
    /// What a container prints, as it does.
    Attach(DockerId),
    /// That the files which follow be put into this folder of a container.
    Upload(DockerId, String),
    /// The files of a container at this path.
    Download(DockerId, String),
    /// Images.
    Images(Listed),
    /// All about an image.
    InspectImage(String),
    /// How an image was made.
    History(String),
    /// An image and all that it is made of.
    SaveImage(String),
    /// That an image be fetched from its registry.
    Pull(ImageReference),
    /// That an image have this name, too.
    Tag(String, String),
    /// That an image lose this name, or be removed.
    RemoveImage(String),
    /// That the image which follows be there.
    Load,
    /// That an image be built of the files that follow.
    Build(Box<Build>),
    /// All networks.
    Networks,
    /// A new network.
    CreateNetwork(Value),
    /// That a network be removed.
    RemoveNetwork(DockerId),
    /// A volume.
    CreateVolume(Value),
    /// That a volume be removed.
    RemoveVolume(String),
    /// What happens, of these kinds, to the installation's containers with these labels.
    Events(Vec<String>, Vec<String>),
}

impl Ask {
    /// Whether what is asked for comes with files, which are passed on as they come.
    pub fn takes_files(&self) -> bool {
        matches!(self, Self::Upload(..) | Self::Load | Self::Build(_))
    }

    /// Whether a request may come with files, by its method and path.
    pub fn may_take_files(method: &str, path: &str) -> bool {
        match split(path) {
            Ok((_, words)) => matches!(
                (method, &words[..]),
                ("PUT", ["containers", _, "archive"])
                    | ("POST", ["images", "load"])
                    | ("POST", ["build"])
            ),
            Err(_) => false,
        }
    }

    /// Understands a request, without the files that it comes with; with the version of the API that it is in, if it says so.
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
            ("GET", ["version"]) => Self::Version,
            ("GET", ["info"]) => Self::Info,
            ("GET", ["containers", "json"]) => {
                query.ignore(&["all", "limit", "size"]);
                Self::Containers(query.labels()?)
            }
            ("GET", ["containers", id, "json"]) => {
                let with_size = query.is("size")?;
                Self::Inspect(id.parse()?, with_size)
            }
            ("POST", ["containers", "create"]) => {
                query.only("platform", &[""])?;
                Self::Create(query.may_take("name").unwrap_or_default(), read_json(body)?)
            }
            ("POST", ["containers", id, "start"]) => {
                query.only("detachKeys", &[""])?;
                Self::Start(id.parse()?)
            }
            ("POST", ["containers", id, "stop"]) => {
                let seconds = query.number("t")?;
                let no = || Refused::new("a stop without its time");
                Self::Stop(id.parse()?, seconds.ok_or_else(no)?)
            }
            ("POST", ["containers", id, "kill"]) => {
                query.only("signal", &["SIGKILL"])?;
                Self::Kill(id.parse()?)
            }
            ("POST", ["containers", id, "pause"]) => Self::Pause(id.parse()?),
            ("POST", ["containers", id, "attach"]) => {
                for (name, value) in [
                    ("stream", "true"),
                    ("stdout", "true"),
                    ("stderr", "true"),
                    ("stdin", "false"),
                    ("logs", "false"),
                ] {
                    query.only(name, &[value])?;
                }
                Self::Attach(id.parse()?)
            }
            ("PUT", ["containers", id, "archive"]) => {
                Self::Upload(id.parse()?, query.take("path")?)
            }
            ("GET", ["containers", id, "archive"]) => {
                Self::Download(id.parse()?, query.take("path")?)
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
                query.only("stdout", &["true"])?;
                query.only("stderr", &["true"])?;
                let lines = query.take("tail")?;
                let log = Log {
                    lines: match lines.as_str() {
                        "all" => None,
                        lines => Some(number("tail", lines)?),
                    },
                    since: query.number("since")?.unwrap_or_default(),
                    until: query.number("until")?.unwrap_or_default(),
                    follow: query.is("follow")?,
                    timestamps: query.is("timestamps")?,
                };
                Self::Logs(id.parse()?, log)
            }
            ("GET", ["containers", id, "stats"]) => {
                query.only("stream", &["false"])?;
                query.only("one-shot", &["true"])?;
                Self::Stats(id.parse()?)
            }
            ("POST", ["containers", id, "update"]) => {
                let body = read_json(body)?;
                let wrong = |error: serde_json::Error| Refused::new(error.to_string());
                let of_one = body.as_object().filter(|object| object.len() == 1);
                match of_one.map(|object| object.contains_key("CpuShares")) {
                    Some(true) => {
                        let Shares { cpu_shares } = serde_json::from_value(body).map_err(wrong)?;
                        Self::Prioritize(id.parse()?, cpu_shares)
                    }
                    Some(false) => {
                        let Processes { pids_limit } =
                            serde_json::from_value(body).map_err(wrong)?;
                        Self::LimitProcesses(id.parse()?, pids_limit)
                    }
                    None => {
                        let limits = serde_json::from_value(body).map_err(wrong)?;
                        Self::Limit(id.parse()?, limits)
                    }
                }
            }
            ("POST", ["containers", id, "rename"]) => {
                Self::Rename(id.parse()?, query.take("name")?)
            }
            ("GET", ["images", "json"]) => {
                query.ignore(&["all", "shared-size", "digests", "manifests"]);
                Self::Images(Listed::read(&mut query)?)
            }
            ("POST", ["images", "create"]) => {
                query.only("platform", &[""])?;
                let (name, version) = (query.take("fromImage")?, query.take("tag")?);
                let mark = if version.contains(':') { '@' } else { ':' };
                let image: ImageReference = format!("{name}{mark}{version}")
                    .parse()
                    .map_err(|error| Refused::new(format!("{error}")))?;
                match (image.name(), image.version()) == (name, &version) {
                    true => Self::Pull(image),
                    false => return Err(Refused::new("an image by less than its whole name")),
                }
            }
            ("POST", ["images", "load"]) => {
                query.only("quiet", &["true"])?;
                Self::Load
            }
            ("GET", ["images", name @ .., "json"]) => Self::InspectImage(image(name)?),
            ("GET", ["images", name @ .., "history"]) => Self::History(image(name)?),
            ("GET", ["images", name @ .., "get"]) => Self::SaveImage(image(name)?),
            ("POST", ["images", name @ .., "tag"]) => {
                let (repository, tag) = (query.take("repo")?, query.take("tag")?);
                Self::Tag(image(name)?, format!("{repository}:{tag}"))
            }
            ("DELETE", ["images", name @ ..]) => {
                query.only("force", &["", "false"])?;
                query.only("noprune", &["", "false"])?;
                Self::RemoveImage(image(name)?)
            }
            ("POST", ["build"]) => Self::Build(Box::new(Build::read(&mut query)?)),
            ("POST", ["volumes", "create"]) => Self::CreateVolume(read_json(body)?),
            ("DELETE", ["volumes", name]) => {
                query.only("force", &["", "false"])?;
                Self::RemoveVolume((*name).to_owned())
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
            Self::Create(..)
                | Self::Limit(..)
                | Self::LimitProcesses(..)
                | Self::Prioritize(..)
                | Self::CreateNetwork(_)
                | Self::CreateVolume(_)
        );
        match takes_body || body.is_empty() {
            true => Ok((version, ask)),
            false => Err(Refused::new("a body where none belongs")),
        }
    }
}

impl Listed {
    fn read(query: &mut Query) -> Result<Self, Refused> {
        let Some(mut filters) = query.may_filters()? else {
            return Ok(Self::All);
        };
        let mut one = |name| filters.remove(name);
        let found = match (one("reference"), one("dangling"), one("label")) {
            (Some(mut names), None, None) if names.len() == 1 => Self::Named(names.remove(0)),
            (None, Some(is), None) if is == ["true"] => Self::Nameless,
            (None, None, Some(labels)) => Self::Labelled(labels),
            _ => return Err(Refused::new("a filter that nobody needs")),
        };
        match filters.into_keys().next() {
            None => Ok(found),
            Some(name) => Err(Refused::new(format!("a filter by {name:?}"))),
        }
    }
}

/// The name or identifier of an image, of the segments of a path.
fn image(segments: &[&str]) -> Result<String, Refused> {
    match segments.is_empty() {
        true => Err(Refused::new("no image")),
        false => Ok(segments.join("/")),
    }
}

/// The one limit that a container of Docker's builder gets later.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Processes {
    pids_limit: u32,
}

/// A container's priority.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Shares {
    cpu_shares: i64,
}
