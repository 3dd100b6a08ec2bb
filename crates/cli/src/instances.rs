//! `corefn ps`: what runs, and what waits.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use serde::Serialize;

use corefn_build::output::size;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::{Address, InstanceId};
use corefn_core::names::label;
use corefn_engine::docker::Container;
use corefn_engine::store::Leased;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, span};

/// How many digits of a container's identifier people are shown, as Docker does.
const SHORT: usize = 12;

/// Of how many containers Docker is asked at once what they hold.
const AT_ONCE: usize = 16;

#[derive(Debug, Serialize)]
struct Row {
    /// None of a sandbox that waits.
    instance: Option<InstanceId>,
    /// None of a sandbox that waits.
    function: Option<FunctionName>,
    /// None of a sandbox that waits.
    revision: Option<RevisionId>,
    /// `ready`; `frozen`: its container is paused, or about to be, and goes on when it is needed; `draining`: gets no more
    /// work and is stopped next; `dead`: its container doesn't
    /// run any more; `waiting`: a sandbox that may become an instance.
    state: &'static str,
    /// What it was started from: `image` or `sandbox`; none if the container isn't there.
    from: Option<&'static str>,
    /// None of a sandbox that waits.
    address: Option<Address>,
    /// Milliseconds; none if nobody holds a lease.
    lease_ms: Option<u64>,
    /// Bytes; none if Docker can't say.
    memory: Option<u64>,
    container: String,
    /// When the container was made, RFC 3339; none if it isn't there.
    since: Option<String>,
    #[serde(skip)]
    up: Option<Duration>,
}

/// Lists all instances by function, and for the operator the sandboxes that wait.
pub async fn list(here: &Installation, printer: &Printer) -> Result<(), Error> {
    let mut instances = here.store.instances().await?;
    instances.retain(|leased| here.shows(&leased.instance.function));
    instances.sort_by(|a, b| {
        let key = |leased: &Leased| (leased.instance.function.clone(), leased.instance.id);
        key(a).cmp(&key(b))
    });
    let containers = here.docker.containers().await?;
    let now = SystemTime::now();
    let mut rows: Vec<_> = instances
        .iter()
        .map(|leased| row(leased, &containers, now))
        .collect();
    if here.shows_all() {
        rows.extend(containers.iter().filter_map(|found| waiting(found, now)));
    }
    let usage = futures_util::stream::iter(&rows).map(|row| here.docker.usage(&row.container));
    let usage: Vec<_> = usage.buffered(AT_ONCE).collect().await;
    for (row, usage) in rows.iter_mut().zip(usage) {
        row.memory = usage.map(|usage| usage.memory);
    }
    let head = [
        "INSTANCE",
        "FUNCTION",
        "REVISION",
        "STATE",
        "FROM",
        "ADDRESS",
        "LEASE",
        "MEMORY",
        "CONTAINER",
        "UP",
    ];
    printer.rows(head, &rows, |row| {
        let lease = row.lease_ms.map(Duration::from_millis);
        [
            text(row.instance.as_ref()),
            text(row.function.as_ref()),
            text(row.revision.as_ref()),
            row.state.to_owned(),
            text(row.from.as_ref()),
            text(row.address.as_ref()),
            lease.map_or_else(String::new, span),
            row.memory.map_or_else(String::new, size),
            row.container.chars().take(SHORT).collect(),
            row.up.map_or_else(String::new, span),
        ]
    })
}

fn text(value: Option<&impl ToString>) -> String {
    value.map_or_else(String::new, ToString::to_string)
}

fn row(leased: &Leased, containers: &[Container], now: SystemTime) -> Row {
    let instance = &leased.instance;
    let container = containers
        .iter()
        .find(|container| container.id == instance.container);
    let state = match container {
        Some(container) if container.running && leased.ready => "ready",
        Some(container) if container.running && leased.kept => "frozen",
        Some(container) if container.running => "draining",
        _ => "dead",
    };
    let from = container.map(|container| {
        if container.labels.contains_key(label::SANDBOX) {
            "sandbox"
        } else {
            "image"
        }
    });
    let made = container.and_then(made);
    Row {
        instance: Some(instance.id),
        function: Some(instance.function.plain()),
        revision: Some(instance.revision.clone()),
        state,
        from,
        address: Some(instance.address.clone()),
        lease_ms: leased
            .lease
            .and_then(|lease| u64::try_from(lease.as_millis()).ok()),
        memory: None,
        container: instance.container.clone(),
        since: made.and_then(rfc3339),
        up: made.and_then(|made| now.duration_since(made).ok()),
    }
}

/// A sandbox that waits; nothing of another container.
fn waiting(container: &Container, now: SystemTime) -> Option<Row> {
    if !container.has(label::ROLE, label::ROLE_SANDBOX) || !container.running {
        return None;
    }
    let made = made(container);
    Some(Row {
        instance: None,
        function: None,
        revision: None,
        state: "waiting",
        from: None,
        address: None,
        lease_ms: None,
        memory: None,
        container: container.id.clone(),
        since: made.and_then(rfc3339),
        up: made.and_then(|made| now.duration_since(made).ok()),
    })
}

/// When a container was made.
fn made(container: &Container) -> Option<SystemTime> {
    let seconds = u64::try_from(container.created).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn rfc3339(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::instance::Instance;

    fn leased(ready: bool, kept: bool) -> Leased {
        Leased {
            instance: Instance {
                id: InstanceId::from_random(1),
                function: "demo/hello".parse().unwrap(),
                revision: RevisionId("r".into()),
                container: "c".into(),
                address: "10.192.0.2:8080".parse().unwrap(),
            },
            lease: Some(Duration::from_millis(1_500)),
            overlong: false,
            ready,
            frozen: false,
            kept,
        }
    }

    #[test]
    fn states() {
        let container = |running| Container {
            id: "c".into(),
            name: "n".into(),
            labels: [].into(),
            running,
            paused: false,
            unstarted: false,
            created: 1_000,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_090);
        for (ready, kept, containers, state) in [
            (true, false, vec![container(true)], "ready"),
            (false, false, vec![container(true)], "draining"),
            (false, true, vec![container(true)], "frozen"),
            (true, false, vec![container(false)], "dead"),
            (false, true, vec![], "dead"),
        ] {
            assert_eq!(row(&leased(ready, kept), &containers, now).state, state);
        }
        let row = row(&leased(true, false), &[container(true)], now);
        assert_eq!(row.up.map(span).as_deref(), Some("1m"));
        let value = serde_json::to_value(&row).unwrap();
        assert_eq!(value["lease_ms"], 1_500);
        assert_eq!(value["since"], "1970-01-01T00:16:40Z");
    }

    #[test]
    fn origins() {
        let container = |labels: &[(&str, &str)]| Container {
            id: "c".into(),
            name: "n".into(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            running: true,
            paused: false,
            unstarted: false,
            created: 1_000,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_010);
        let of_image = container(&[]);
        let was_sandbox = container(&[(label::SANDBOX, "v1")]);
        let is_sandbox = container(&[(label::SANDBOX, "v1"), (label::ROLE, label::ROLE_SANDBOX)]);
        assert_eq!(
            row(&leased(true, false), &[of_image], now).from,
            Some("image")
        );
        assert_eq!(row(&leased(true, false), &[], now).from, None);
        let became = [was_sandbox];
        assert_eq!(
            row(&leased(true, false), &became, now).from,
            Some("sandbox")
        );
        assert!(waiting(&became[0], now).is_none());
        let waits = waiting(&is_sandbox, now).unwrap();
        assert_eq!(
            (waits.state, waits.up),
            ("waiting", Some(Duration::from_secs(10)))
        );
        let value = serde_json::to_value(&waits).unwrap();
        assert_eq!(value["function"], serde_json::Value::Null);
    }
}
