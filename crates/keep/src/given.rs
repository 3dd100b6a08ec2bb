//! Sandboxes that were given away, to become an instance or to hold the network of one: they get their names, or are
//! removed.

use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_engine::docker::{Container, Docker};
use corefn_engine::rebuild::instance;
use corefn_engine::store::Store;
use tracing::{info, warn};

/// How often it is looked whether one has its name, which it gets soon.
const LOOK: Duration = Duration::from_secs(5);

/// For how long Docker is asked nothing: whoever has one starts something from it, and perhaps others do.
const STARTS: Duration = Duration::from_millis(200);

/// How long one may be without a name that Redis doesn't know either. It was given to somebody who died.
const STARTING: Duration = Duration::from_secs(60);

/// Looks after a sandbox that was given away, until it has its name or is gone.
pub async fn until_settled(docker: &Docker, store: &Store, container: &str) {
    let begin = Instant::now();
    tokio::time::sleep(STARTS).await;
    tokio::select! {
        () = tokio::time::sleep(LOOK) => {}
        // It ends when whoever has it does before it is told what to become.
        _ = docker.exit_code(container) => {}
    }
    while !is_settled(docker, store, container, begin.elapsed()).await {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether there is nothing more to do for one that was given away so long ago.
async fn is_settled(docker: &Docker, store: &Store, container: &str, ago: Duration) -> bool {
    let Ok(containers) = docker.containers().await else {
        return false;
    };
    let Some(found) = containers.iter().find(|found| found.id == container) else {
        return true;
    };
    let has_name = |found: &Container| {
        found.labels.contains_key(label::FUNCTION) || found.has(label::ROLE, label::ROLE_HOLDER)
    };
    if has_name(found) {
        return true;
    }
    if found.running {
        let mut held = containers
            .iter()
            .filter(|other| other.has(label::HOLDER, container));
        if let Some(instance) = held.find_map(instance) {
            return docker.name_holder(container, &instance).await.is_ok();
        }
        // A Redis that refuses writes may not have been told of it.
        let known = match store.pulse().await {
            Ok(()) => store.instances().await,
            Err(error) => Err(error),
        };
        let Ok(known) = known else {
            return false;
        };
        let mut known = known.into_iter().map(|leased| leased.instance);
        if let Some(instance) = known.find(|instance| instance.container == container) {
            return docker.name_sandbox(&instance).await.is_ok();
        }
        if ago < STARTING {
            return false;
        }
    }
    info!("the sandbox {container} was given away and has become nothing: it is removed");
    if let Err(error) = docker.remove(container).await {
        warn!("{error}");
    }
    true
}
