//! What a build may use: the table `build` of the settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{bytes, duration};
use crate::image::ImageReference;

/// The least memory that Docker takes, in bytes.
const MIN_MEMORY: u64 = 6 << 20;

/// What one build may use. One that wants more is ended, and its push rejected.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildLimits {
    /// How long it may take.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Memory in bytes; there is no swap beyond it.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Processors, in billionths of one. A machine with fewer gives what it has.
    #[serde(rename = "cpus", deserialize_with = "nano_cpus")]
    pub nano_cpus: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of disk that it writes, beside its account's cache.
    #[serde(deserialize_with = "bytes")]
    pub disk: u64,
    /// Bytes of the cache that the builds of an account share.
    #[serde(deserialize_with = "bytes")]
    pub cache: u64,
    /// Bytes that it prints.
    #[serde(deserialize_with = "bytes")]
    pub output: u64,
    /// The registries that images are pulled from, `host[:port]`; without a value all that have a name.
    pub registries: Option<Vec<String>>,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15 * 60),
            memory: 2 << 30,
            nano_cpus: 2_000_000_000,
            pids: 512,
            disk: 8 << 30,
            cache: 16 << 30,
            output: 32 << 20,
            registries: None,
        }
    }
}

impl BuildLimits {
    /// Whether an image may be pulled.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn may_pull(&self, image: &ImageReference) -> Result<(), String> {
        let registry = image.registry();
        match &self.registries {
            Some(named) if named.iter().any(|one| one == registry) => Ok(()),
            Some(named) => Err(format!(
                "{registry} is none of the registries that the operator allows (build.registries: {})",
                named.join(", ")
            )),
            None if image.has_bare_registry() => Err(format!(
                "{registry} is no public registry; if it is one of the operator's, build.registries of the host's settings must name it"
            )),
            None => Ok(()),
        }
    }

    /// Says which limit no build could hold to.
    pub(super) fn check(&self) -> Result<(), String> {
        let checks = [
            ("timeout", self.timeout.is_zero(), "write 1s or more"),
            ("memory", self.memory < MIN_MEMORY, "write 6M or more"),
            ("cpus", self.nano_cpus == 0, "write 0.1 or more"),
            ("pids", self.pids == 0, "write 1 or more"),
            ("disk", self.disk == 0, "write 1M or more"),
            ("cache", self.cache == 0, "write 1M or more"),
            ("output", self.output == 0, "write 1K or more"),
        ];
        match checks.into_iter().find(|(_, is_wrong, _)| *is_wrong) {
            Some((key, _, remedy)) => Err(format!("build.{key} is too little: {remedy}")),
            None => Ok(()),
        }
    }
}

fn nano_cpus<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = f64::deserialize(from)?;
    Ok((number * 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let parse = |text: &str| toml::from_str::<BuildLimits>(text);
        assert_eq!(parse("").unwrap(), BuildLimits::default());
        let all = "timeout = '2m'\nmemory = '1G'\ncpus = 0.5\npids = 7\ndisk = '3M'\ncache = '9M'\noutput = '4K'\nregistries = ['h.x']";
        let want = BuildLimits {
            timeout: Duration::from_secs(120),
            memory: 1 << 30,
            nano_cpus: 500_000_000,
            pids: 7,
            disk: 3 << 20,
            cache: 9 << 20,
            output: 4 << 10,
            registries: Some(vec!["h.x".to_owned()]),
        };
        assert_eq!(parse(all).unwrap(), want);
        assert_eq!(parse("cpus = 3").unwrap().nano_cpus, 3_000_000_000);
        for bad in [
            "colour = 1",
            "timeout = 5",
            "memory = 'much'",
            "cpus = 'x'",
            "pids = -1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for (little, key) in [
            ("timeout = '0s'", "timeout"),
            ("memory = '5M'", "memory"),
            ("cpus = 0", "cpus"),
            ("cpus = -1", "cpus"),
            ("pids = 0", "pids"),
            ("disk = '0'", "disk"),
            ("cache = '0'", "cache"),
            ("output = '0'", "output"),
        ] {
            let error = parse(little).unwrap().check().unwrap_err();
            assert!(
                error.starts_with(&format!("build.{key} is too little: write ")),
                "{error}"
            );
        }
        assert_eq!(parse("memory = '6M'").unwrap().check(), Ok(()));
    }

    #[test]
    fn registries() {
        let limits = |text: &str| toml::from_str::<BuildLimits>(text).unwrap();
        let may = |limits: &BuildLimits, image: &str| limits.may_pull(&image.parse().unwrap());
        let any = limits("");
        assert_eq!(may(&any, "debian"), Ok(()));
        assert_eq!(may(&any, "ghcr.io/a/b"), Ok(()));
        let error = may(&any, "127.0.0.1:5000/a").unwrap_err();
        assert!(
            error.starts_with("127.0.0.1:5000 is no public registry; "),
            "{error}"
        );
        let some = limits("registries = ['docker.io', '127.0.0.1:5000']");
        assert_eq!(may(&some, "debian"), Ok(()));
        assert_eq!(may(&some, "127.0.0.1:5000/a"), Ok(()));
        let error = may(&some, "ghcr.io/a/b").unwrap_err();
        assert!(
            error.contains("build.registries: docker.io, 127.0.0.1:5000"),
            "{error}"
        );
    }
}
