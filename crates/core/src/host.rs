//! The installation's settings: `host.toml` in its home.

mod build;
mod revisions;
mod sandboxes;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::firewall::Destination;
use crate::function::check_segment;
use crate::names;
use crate::network::{Network, NetworkKind, NetworkName};
use crate::quantity::{parse_duration, parse_size};

pub use build::BuildLimits;
pub use revisions::Revisions;
pub use sandboxes::Sandboxes;

/// Settings of an installation, read by the builder, the cleaner and the command line. The router
/// has directives of the same names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Prefix of images, networks, containers and Redis keys.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Redis: `redis://host:port/db`, `rediss://host:port/db` or `unix:///path?db=0`, or an array of them, of which the first
    /// that answers as a master is used. Several are kept as one text, separated by spaces.
    #[serde(deserialize_with = "one_or_several")]
    pub redis: String,
    /// Docker: `unix:///path` or `tcp://host:port`.
    #[serde(default = "default_docker")]
    pub docker: String,
    /// The folder of the gate before Docker, from the home.
    #[serde(default = "default_gate")]
    pub gate: String,
    /// Where functions answer, without a slash at the end: for what is printed, and where there is no `router`.
    pub url: String,
    /// Where nginx answers on this host, `http://host[:port]`, for whoever calls functions from here; `url` without a value.
    #[serde(default)]
    pub router: Option<String>,
    /// The folder of stacks.
    pub stacks: String,
    /// The folder of repositories.
    pub projects: String,
    /// A file of certificates that builds trust beside their own, where the host's network needs
    /// them.
    #[serde(default)]
    pub ca_bundle: Option<String>,
    /// The proxy that builds use for `http` addresses, as a URL.
    #[serde(default)]
    pub http_proxy: Option<String>,
    /// The proxy that builds use for `https` addresses, as a URL.
    #[serde(default)]
    pub https_proxy: Option<String>,
    /// Hosts that builds reach without a proxy, separated by commas.
    #[serde(default)]
    pub no_proxy: Option<String>,
    /// The socket of the builder, from the home; where there is none, each push builds by itself.
    #[serde(default)]
    pub builder: Option<String>,
    /// How many bytes a push over ssh may bring, such as `1G`.
    #[serde(default = "default_max_push", deserialize_with = "bytes")]
    pub max_push: u64,
    /// How many pushes the builder builds at the same time; others wait.
    #[serde(default = "default_max_builds")]
    pub max_builds: u32,
    /// How many bytes the builder keeps of pushed files, for all pushes that it builds or that wait.
    #[serde(default = "default_max_pending", deserialize_with = "bytes")]
    pub max_pending: u64,
    /// The image that builders start from.
    #[serde(default = "default_base_image")]
    pub base_image: String,
    /// Images with a language's SDK, by the stack that builds with it in place of Debian's compiler.
    #[serde(default)]
    pub sdk_images: BTreeMap<String, String>,
    /// What a build may use.
    #[serde(default)]
    pub build: BuildLimits,
    /// What functions and builds may reach.
    #[serde(default)]
    pub firewall: Firewall,
    /// Networks that functions can be on, and what may be reached on each.
    #[serde(default)]
    pub networks: BTreeMap<NetworkName, Reach>,
    /// The folder of the values of secrets, from the home.
    #[serde(default = "default_secrets")]
    pub secrets: String,
    /// The folder of the dispatcher's invocations, from the home; without a value there are none.
    #[serde(default)]
    pub invocations: Option<String>,
    /// How many invocations of one function may wait.
    #[serde(default = "default_max_invocations")]
    pub max_invocations: u64,
    /// The sandboxes that wait; none without a value.
    #[serde(default)]
    pub sandboxes: Option<Sandboxes>,
    /// The collector of OpenTelemetry that takes spans, `http://host[:port]`, if one does.
    #[serde(default)]
    pub traces: Option<String>,
    /// Which revisions are kept.
    #[serde(default)]
    pub revisions: Revisions,
    /// Whether instances that compute for long yield to others.
    #[serde(default = "default_yielding")]
    pub yielding: bool,
}

/// What functions and builds may reach: the table `firewall` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firewall {
    /// What they may reach in any case, on the host and beyond.
    pub allow: Vec<Destination>,
    /// What they may not reach, though the host does.
    pub deny: Vec<Destination>,
}

/// What functions may reach on a network of their own: a table in `networks` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// All of it, on the host and beyond, but for the host's resolvers.
    pub allow: Vec<Destination>,
}

/// What of the settings the account needs that git runs as. Where it may not read the others, which
/// can hold the password of Redis, these are in a file of their own: `git.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitHost {
    /// The folder of repositories.
    pub projects: String,
    /// The socket of the builder, from the home.
    #[serde(default)]
    pub builder: Option<String>,
    /// How many bytes a push over ssh may bring.
    #[serde(default = "default_max_push", deserialize_with = "bytes")]
    pub max_push: u64,
}

impl GitHost {
    /// Reads the settings from the text of `file`, which is named in errors.
    ///
    /// # Errors
    /// As of [`Host::parse`].
    pub fn parse(file: &str, text: &str) -> Result<Self, HostError> {
        toml::from_str(text).map_err(|error| HostError {
            file: file.to_owned(),
            why: error.to_string(),
        })
    }
}

impl From<Host> for GitHost {
    fn from(host: Host) -> Self {
        Self {
            projects: host.projects,
            builder: host.builder,
            max_push: host.max_push,
        }
    }
}

/// Why the text of a file is no settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct HostError {
    file: String,
    why: String,
}

impl Host {
    /// Reads the settings from the text of `file`, which is named in errors.
    ///
    /// # Errors
    /// [`HostError`] with line and cause when the text is no TOML, a key is unknown or missing, or
    /// a value is of the wrong type.
    pub fn parse(file: &str, text: &str) -> Result<Self, HostError> {
        let wrong = |why: String| HostError {
            file: file.to_owned(),
            why,
        };
        let host: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        check_segment(&host.namespace).map_err(|e| wrong(format!("namespace: {e}")))?;
        if host.max_builds == 0 {
            return Err(wrong("max_builds is 0: write 1 or more".to_owned()));
        }
        host.check_bridges().map_err(wrong)?;
        host.build.check().map_err(wrong)?;
        host.revisions.check().map_err(wrong)?;
        if let Some(sandboxes) = &host.sandboxes {
            sandboxes.check().map_err(wrong)?;
        }
        Ok(host)
    }

    /// Says which two networks can't both be: their bridges would have one name.
    fn check_bridges(&self) -> Result<(), String> {
        let mut bridges = BTreeMap::new();
        for name in self.networks.keys() {
            let kind = NetworkKind::Of(Network::Named(*name));
            let bridge = names::bridge(&self.namespace, kind);
            if let Some(other) = bridges.insert(bridge, name) {
                return Err(format!(
                    "networks.{other} and networks.{name} would have a bridge of the same name: give one of them another"
                ));
            }
        }
        Ok(())
    }

    /// Where nginx answers on this host.
    pub fn router(&self) -> &str {
        self.router.as_deref().unwrap_or(&self.url)
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string or an array of strings is wanted")]
    enum Urls {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Urls::deserialize(from)? {
        Urls::One(url) => url,
        Urls::Several(urls) => urls.join(" "),
    })
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_size(&text).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

fn default_max_pending() -> u64 {
    8 << 30
}

fn default_max_push() -> u64 {
    1 << 30
}

fn default_namespace() -> String {
    names::DEFAULT_NAMESPACE.to_owned()
}

fn default_docker() -> String {
    "unix:///var/run/docker.sock".to_owned()
}

fn default_max_builds() -> u32 {
    2
}

fn default_yielding() -> bool {
    true
}

fn default_max_invocations() -> u64 {
    100_000
}

fn default_gate() -> String {
    "gate".to_owned()
}

fn default_secrets() -> String {
    "secrets".to_owned()
}

fn default_base_image() -> String {
    "debian:bookworm-slim".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let least = "redis = 'unix:///r'\nurl = 'http://h'\nstacks = '/s'\nprojects = '/p'\n";
        let host = Host::parse("host.toml", least).unwrap();
        assert_eq!(host.namespace, "corefn");
        assert_eq!(host.base_image, "debian:bookworm-slim");
        assert_eq!(host.router(), "http://h");
        let with_router = Host::parse("host.toml", &format!("{least}router = 'http://r'")).unwrap();
        assert_eq!(with_router.router(), "http://r");
        assert_eq!(
            (host.invocations.as_deref(), host.max_invocations),
            (None, 100_000)
        );
        assert!(host.sdk_images.is_empty());
        assert_eq!((&*host.secrets, &*host.gate), ("secrets", "gate"));
        assert_eq!(host.docker, "unix:///var/run/docker.sock");
        assert_eq!((host.max_builds, host.builder.as_deref()), (2, None));
        assert_eq!((host.max_push, host.max_pending), (1 << 30, 8 << 30));
        let git = GitHost::from(host);
        assert_eq!(git, GitHost::parse("git.toml", "projects = '/p'").unwrap());
        let rest = "builder = 'run/b'\nmax_push = '5M'";
        let both = &format!("projects = '/p'\n{rest}");
        let with_builder = Host::parse("host.toml", &format!("{least}{rest}")).unwrap();
        assert_eq!(with_builder.max_push, 5 << 20);
        assert_eq!(
            GitHost::from(with_builder),
            GitHost::parse("git.toml", both).unwrap()
        );
        let error = GitHost::parse("git.toml", least).unwrap_err().to_string();
        assert!(error.starts_with("git.toml: "), "{error}");
        let several = least.replace("'unix:///r'", "['redis://a', 'redis://b']");
        let host = Host::parse("host.toml", &several).unwrap();
        assert_eq!(host.redis, "redis://a redis://b");
        assert_eq!(host.firewall, Firewall::default());
        let walled = format!("{least}[firewall]\nallow = ['10.0.0.5']\ndeny = ['10.0.0.0/8']");
        let firewall = Host::parse("host.toml", &walled).unwrap().firewall;
        assert_eq!(firewall.allow, ["10.0.0.5".parse().unwrap()]);
        assert_eq!(firewall.deny, ["10.0.0.0/8".parse().unwrap()]);
        let other =
            format!("{least}[networks.database]\nallow = ['10.0.0.5:5432']\n[networks.shut]");
        let networks = Host::parse("host.toml", &other).unwrap().networks;
        let reach = &networks[&"database".parse().unwrap()];
        assert_eq!(reach.allow, ["10.0.0.5:5432".parse().unwrap()]);
        assert_eq!(networks[&"shut".parse().unwrap()], Reach::default());
        let many: String = (0..2000).map(|at| format!("[networks.n{at}]\n")).collect();
        for (bad, says) in [
            (&*format!("{least}{many}"), "a bridge of the same name"),
            (&*format!("{least}[networks.none]"), "names no network"),
            (&*format!("{least}[networks.a]\ncolour = 1"), "colour"),
            ("", "redis"),
            (&format!("{least}colour = 1"), "colour"),
            (&format!("{least}namespace = 'No good'"), "namespace"),
            (&format!("{least}docker = 5"), "string"),
            (&format!("{least}max_builds = 0"), "1 or more"),
            (&format!("{least}max_push = 'much'"), "much"),
            (
                &format!("{least}build.pids = 0"),
                "build.pids is too little",
            ),
            (&format!("{least}[build]\ncolour = 1"), "colour"),
            (&format!("{least}[firewall]\ncolour = 1"), "colour"),
            (&format!("{least}[revisions]\ncolour = 1"), "colour"),
            (&format!("{least}revisions.keep = 0"), "1 or more"),
            (&format!("{least}revisions.age = '9'"), "no duration"),
            (&format!("{least}firewall.allow = ['here']"), "'here' is no"),
            (&least.replace("'unix:///r'", "5"), "a string or an array"),
        ] {
            let error = Host::parse("host.toml", bad).unwrap_err().to_string();
            assert!(
                error.starts_with("host.toml: ") && error.contains(says),
                "{error}"
            );
        }
    }
}
