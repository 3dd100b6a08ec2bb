//! `corefn describe`: all there is to say of a function.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use corefn_build::output::size;
use corefn_core::config::{FunctionConfig, Limits};
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::InstanceId;
use corefn_core::network::Network;
use corefn_core::release::Release;
use corefn_core::route::Route;
use corefn_core::schedule::Schedule;
use corefn_engine::docker::Image;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::Printer;
use crate::unknown::no_function;

#[derive(Serialize)]
struct Description {
    function: FunctionName,
    revision: RevisionId,
    /// The revision that was deployed before, if it is kept.
    previous: Option<RevisionId>,
    /// The revisions that are released beside it.
    releases: Vec<Released>,
    /// What was pushed to.
    repository: Option<String>,
    commit: Option<String>,
    /// Who pushed it, where it came over ssh.
    account: Option<String>,
    /// When its image was made, RFC 3339.
    created: Option<String>,
    image: String,
    /// Bytes; none if the image isn't there.
    size: Option<i64>,
    url: String,
    /// All routes, the function's own first.
    routes: Vec<Route>,
    /// None if the stack doesn't know them.
    exports: Option<Vec<String>>,
    /// What it starts from where a sandbox waits: `sandbox`, `runtime`, or `image` if it can't start from one.
    starts_from: &'static str,
    /// Whether it can serve on a socket in place of a port.
    socket: bool,
    health: Option<String>,
    limits: Limits,
    scale: Scale,
    network: Network,
    env: BTreeMap<String, String>,
    /// The names of its secrets.
    secrets: Vec<String>,
    /// The lines of its schedule.
    schedule: Vec<Schedule>,
    instances: Vec<InstanceId>,
    /// What requests have in common that get the same of several revisions, as the manifest says it.
    sticky: Option<String>,
}

#[derive(Serialize)]
struct Released {
    revision: RevisionId,
    /// The percentage of the requests that it gets.
    weight: u8,
    /// Where it is had in any case.
    url: String,
}

#[derive(Serialize)]
struct Scale {
    /// None if nginx's `corefn_idle` says it.
    idle_ms: Option<u64>,
    /// None if it is never frozen.
    freeze_ms: Option<u64>,
    /// None if it may be any number.
    concurrency: Option<u32>,
    max: u32,
    min: u32,
}

/// Describes a function that is deployed.
pub async fn describe(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
) -> Result<(), Error> {
    let deployments = here.store.deployments().await?;
    let mut deployments = deployments.into_iter();
    let Some(deployment) = deployments.find(|deployment| deployment.function == *function) else {
        return Err(no_function(here, function).await);
    };
    let images = here.docker.images_of(function).await?;
    let find = |is: &dyn Fn(&Image) -> bool| images.iter().find(|image| is(image));
    let image = find(&|image| image.deployment.revision == deployment.revision);
    let previous = find(&|image| image.previous && !image.current);
    let running = here.store.instances().await?.into_iter();
    let mut instances: Vec<_> = running
        .filter(|leased| leased.instance.function.plain_text() == function.as_str())
        .map(|leased| leased.instance.id)
        .collect();
    instances.sort();
    let config = &deployment.config;
    let described = Description {
        previous: previous.map(|image| image.deployment.revision.clone()),
        releases: deployment
            .releases
            .iter()
            .map(|Release { revision, weight }| Released {
                revision: revision.clone(),
                weight: *weight,
                url: here.url_of(&function.at(revision)),
            })
            .collect(),
        sticky: config.sticky.as_ref().map(ToString::to_string),
        repository: image.and_then(|image| image.repository.clone()),
        commit: image.and_then(|image| image.commit.clone()),
        account: image.and_then(|image| image.account.clone()),
        created: image
            .and_then(|image| jiff::Timestamp::try_from(image.created).ok())
            .map(|time| time.to_string()),
        image: deployment.image.clone(),
        size: image.map(|image| image.size),
        url: here.url_of(function),
        routes: std::iter::once(Route::of(function))
            .chain(config.routes.iter().cloned())
            .collect(),
        exports: config.exports.as_ref().map(|exports| {
            let names = exports.iter().map(|export| export.name.clone());
            names.collect()
        }),
        starts_from: match (&config.executable, &config.archive) {
            (Some(_), _) => "sandbox",
            (None, Some(_)) => "runtime",
            (None, None) => "image",
        },
        socket: config.socket,
        health: config.health.clone(),
        limits: config.limits,
        scale: scale(config),
        network: config.network,
        env: config
            .environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        secrets: config.secrets.keys().cloned().collect(),
        schedule: config.schedule.clone(),
        instances,
        revision: deployment.revision,
        function: deployment.function,
    };
    let text = described.text();
    printer.one(&described, &text)
}

fn scale(config: &FunctionConfig) -> Scale {
    Scale {
        idle_ms: config.idle_ms,
        freeze_ms: config.freeze_ms,
        concurrency: config.concurrency.map(Into::into),
        max: config.most_instances(),
        min: config.min_instances.map_or(0, Into::into),
    }
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} %, {})", self.revision, self.weight, self.url)
    }
}

impl Description {
    fn text(&self) -> String {
        let Limits {
            memory,
            nano_cpus,
            pids,
            requests,
            timeout_ms,
            body,
        } = self.limits;
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let bytes = |bytes: Option<u64>| bytes.map(binary);
        let time = |ms: Option<u64>| ms.map(duration);
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let text = |text: &Option<String>| dash(text.clone());
        let image = match self.size {
            Some(bytes) => format!("{}, {}", self.image, size(bytes.unsigned_abs())),
            None => format!("{}, which is not there", self.image),
        };
        let of = |all: Vec<String>| dash(Some(all.join(", ")).filter(|text| !text.is_empty()));
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let rows = [
            ("function", self.function.to_string()),
            ("url", self.url.clone()),
            (
                "routes",
                of(self.routes.iter().map(ToString::to_string).collect()),
            ),
            ("exports", dash(self.exports.clone().map(of))),
            ("revision", self.revision.to_string()),
            (
                "previous",
                dash(self.previous.as_ref().map(ToString::to_string)),
            ),
            (
                "released",
                of(self.releases.iter().map(ToString::to_string).collect()),
            ),
            ("sticky", text(&self.sticky)),
            ("pushed to", text(&self.repository)),
            ("commit", text(&self.commit)),
            ("account", text(&self.account)),
            ("created", text(&self.created)),
            ("image", image),
            ("starts from", self.starts_from.to_owned()),
            (
                "serves on",
                ["a port", "a socket"][usize::from(self.socket)].to_owned(),
            ),
            ("health", text(&self.health)),
            ("memory", binary(memory)),
            ("cpus", format!("{}", nano_cpus as f64 / 1e9)),
            ("pids", pids.to_string()),
            ("requests", dash(number(requests))),
            ("timeout", dash(time(timeout_ms))),
            ("body", dash(bytes(body))),
            ("idle", {
                let idle = time(self.scale.idle_ms);
                idle.unwrap_or_else(|| "as nginx has it".to_owned())
            }),
            ("freeze", dash(time(self.scale.freeze_ms))),
            ("concurrency", dash(number(self.scale.concurrency))),
            ("instances", self.instances()),
            ("network", self.network.to_string()),
            ("env", of(env.collect())),
            ("secrets", of(self.secrets.clone())),
            (
                "schedule",
                of(self.schedule.iter().map(ToString::to_string).collect()),
            ),
        ];
        let rows = rows.map(|(name, value)| format!("{name:12} {value}"));
        rows.join("\n")
    }

    fn instances(&self) -> String {
        let (Scale { min, max, .. }, count) = (&self.scale, self.instances.len());
        format!("{count}, from {min} to {max}")
    }
}

/// Bytes in the unit of powers of 1024 that a manifest can say them in, such as `128M`.
fn binary(bytes: u64) -> String {
    for (unit, power) in [("G", 30), ("M", 20), ("K", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= power {
            return format!("{}{unit}", bytes >> power);
        }
    }
    bytes.to_string()
}

/// Milliseconds as a manifest can say them, such as `60s`.
fn duration(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_manifest_says_it() {
        let sizes = [
            (0, "0"),
            (1, "1"),
            (1 << 10, "1K"),
            (128 << 20, "128M"),
            (3 << 30, "3G"),
            (1500, "1500"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(binary(bytes), text);
        }
        assert_eq!(
            (duration(60_000), duration(1_500)),
            ("60s".into(), "1500ms".into())
        );
    }
}
