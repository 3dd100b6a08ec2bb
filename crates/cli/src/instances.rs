//! `corefn ps`: what runs.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::InstanceId;
use corefn_engine::docker::Container;
use corefn_engine::store::Leased;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, span};

/// How many digits of a container's identifier people are shown, as Docker does.
const SHORT: usize = 12;

#[derive(Debug, Serialize)]
struct Row {
    instance: InstanceId,
    function: FunctionName,
    revision: RevisionId,
    /// `ready`; `draining`: gets no more work and is stopped next; `dead`: its container doesn't
    /// run any more.
    state: &'static str,
    address: SocketAddr,
    /// Milliseconds; none if nobody holds a lease.
    lease_ms: Option<u64>,
    container: String,
    /// RFC 3339; none if the container isn't there.
    since: Option<String>,
    #[serde(skip)]
    up: Option<Duration>,
}

/// Lists all instances by function.
pub async fn list(here: &Installation, printer: &Printer) -> Result<(), Error> {
    let mut instances = here.store.instances().await?;
    instances.retain(|leased| here.shows(&leased.instance.function));
    instances.sort_by(|a, b| {
        let key = |leased: &Leased| (leased.instance.function.clone(), leased.instance.id);
        key(a).cmp(&key(b))
    });
    let containers = here.docker.containers().await?;
    let now = SystemTime::now();
    let rows: Vec<_> = instances
        .iter()
        .map(|leased| row(leased, &containers, now))
        .collect();
    let head = [
        "INSTANCE",
        "FUNCTION",
        "REVISION",
        "STATE",
        "ADDRESS",
        "LEASE",
        "CONTAINER",
        "UP",
    ];
    printer.rows(head, &rows, |row| {
        let lease = row.lease_ms.map(Duration::from_millis);
        [
            row.instance.to_string(),
            row.function.to_string(),
            row.revision.to_string(),
            row.state.to_owned(),
            row.address.to_string(),
            lease.map_or_else(String::new, span),
            row.container.chars().take(SHORT).collect(),
            row.up.map_or_else(String::new, span),
        ]
    })
}

fn row(leased: &Leased, containers: &[Container], now: SystemTime) -> Row {
    let instance = &leased.instance;
    let container = containers
        .iter()
        .find(|container| container.id == instance.container);
    let since = container
        .and_then(|container| u64::try_from(container.created).ok())
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let state = match container {
        Some(container) if container.running && leased.ready => "ready",
        Some(container) if container.running => "draining",
        _ => "dead",
    };
    Row {
        instance: instance.id,
        function: instance.function.clone(),
        revision: instance.revision.clone(),
        state,
        address: instance.address,
        lease_ms: leased
            .lease
            .and_then(|lease| u64::try_from(lease.as_millis()).ok()),
        container: instance.container.clone(),
        since: since
            .and_then(|since| jiff::Timestamp::try_from(since).ok())
            .map(|since| since.to_string()),
        up: since.and_then(|since| now.duration_since(since).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::instance::Instance;

    #[test]
    fn states() {
        let leased = |ready| Leased {
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
        };
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
        for (ready, containers, state) in [
            (true, vec![container(true)], "ready"),
            (false, vec![container(true)], "draining"),
            (true, vec![container(false)], "dead"),
            (true, vec![], "dead"),
        ] {
            assert_eq!(row(&leased(ready), &containers, now).state, state);
        }
        let row = row(&leased(true), &[container(true)], now);
        assert_eq!(row.up.map(span).as_deref(), Some("1m"));
        let value = serde_json::to_value(&row).unwrap();
        assert_eq!(value["lease_ms"], 1_500);
        assert_eq!(value["since"], "1970-01-01T00:16:40Z");
    }
}
