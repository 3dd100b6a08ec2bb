//! What an installation talks to.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corefn_core::gate::Caller;
use corefn_core::host::Host;
use corefn_core::names::{DISPATCHER_SOCKET, directive, label};
use corefn_engine::agree::disagreements;
use corefn_engine::docker::Docker;
use corefn_engine::sandboxes::Sandboxes;
use corefn_engine::store::{Facts, Store, StoreError};
use tokio::net::UnixStream;

use super::files::room;
use super::finding::Finding;

/// What helps where Redis can't be used.
pub const REDIS: &str = "start it, or correct redis in host.toml";

/// How long the gate may take to pass something on.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far two clocks may be apart.
const APART: Duration = Duration::from_secs(2);

/// Redis, and who is connected with it.
pub async fn redis(store: &Store) -> Vec<Finding> {
    let check = "redis";
    // (One that answers and takes no writes is of no use.)
    let facts = async {
        store.pulse().await?;
        store.facts().await
    };
    let facts: Result<Facts, StoreError> = facts.await;
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::wrong(check, error.to_string(), REDIS)],
    };
    let mut findings = vec![match &facts.evicts {
        None => Finding::ok(check, format!("version {}", facts.version)),
        Some(policy) => Finding::wrong(
            check,
            format!(
                "it removes keys when its memory is full ({policy}), and with them leases of what is busy"
            ),
            "maxmemory-policy noeviction in redis.conf",
        ),
    }];
    let now = SystemTime::now();
    let apart = now
        .duration_since(facts.clock)
        .unwrap_or_else(|error| error.duration());
    findings.push(if apart > APART {
        let says = format!("that of Redis' machine is {apart:.0?} off this one's");
        Finding::warning("clock", says, "set both, such as with chrony")
    } else {
        Finding::ok("clock", "as that of Redis' machine")
    });
    findings.push(match facts.routers {
        0 => Finding::wrong(
            "nginx",
            "no worker of nginx hears of what is deployed here",
            format!(
                "start nginx with the module; {} and {} must be as host.toml has them. nginx -t says what is wrong with \
                 its configuration, and its error log at level notice how many functions it knows",
                directive::REDIS.to_string_lossy(),
                directive::NAMESPACE.to_string_lossy()
            ),
        ),
        count => Finding::ok("nginx", format!("{count} workers route requests")),
    });
    findings.push(if facts.is_cleaned {
        Finding::ok("cleaner", "is at work")
    } else {
        Finding::wrong(
            "cleaner",
            "none is at work, so instances are never stopped",
            "start corefn-clean",
        )
    });
    findings.extend(dispatcher(store, facts.is_dispatched).await);
    findings
}

/// The dispatcher, which there needs to be if any function has a schedule.
async fn dispatcher(store: &Store, is_there: bool) -> Option<Finding> {
    let check = "dispatcher";
    if is_there {
        return Some(Finding::ok(check, "is at work"));
    }
    let deployments = store.deployments().await.unwrap_or_default().into_iter();
    let scheduled = deployments.filter(|deployment| !deployment.config.schedule.is_empty());
    let count = scheduled.count();
    (count > 0).then(|| {
        let says = format!("none is at work, and {count} functions have a schedule");
        Finding::wrong(check, says, "start corefn-dispatch")
    })
}

/// Whether somebody takes invocations where there are to be some, and whether any are given up.
pub async fn invocations(home: &Path, host: &Host, store: &Store) -> Option<Finding> {
    let check = "invocations";
    let socket = home
        .join(host.invocations.as_ref()?)
        .join(DISPATCHER_SOCKET);
    if let Err(error) = UnixStream::connect(&socket).await {
        let says = format!("{} can't be connected to: {error}", socket.display());
        return Some(Finding::wrong(check, says, "start corefn-dispatch"));
    }
    // (That Redis can't be used is said already.)
    let mut dead = 0;
    for function in store.invoked_functions().await.unwrap_or_default() {
        dead += store.depth(&function).await.unwrap_or_default().dead;
    }
    if dead == 0 {
        return Some(Finding::ok(check, "are taken"));
    }
    let says = format!("{dead} are not called again");
    let remedy = "corefn queue ls says of which functions and why; corefn queue retry calls them again, corefn queue rm removes them";
    Some(Finding::warning(check, says, remedy))
}

/// Whether nginx has no more of Docker than it needs.
pub async fn gate(home: &Path, host: &Host) -> Finding {
    let check = "gate";
    let directive = directive::DOCKER.to_string_lossy();
    let socket = Caller::Router.socket(&home.join(&host.gate));
    if !socket.exists() {
        return Finding::warning(
            check,
            "there is none, so whoever takes a worker of nginx over may be root on Docker's host",
            format!(
                "start corefn-gate, and name its socket in {directive} for nginx (docs/gate.md)"
            ),
        );
    }
    let docker = Docker::new(&format!("unix://{}", socket.display()), &host.namespace);
    let containers = docker.within(PATIENCE, docker.containers()).await;
    match containers {
        Ok(_) => Finding::ok(check, format!("listens on {}", socket.display())),
        Err(error) => Finding::wrong(check, error.to_string(), "start corefn-gate"),
    }
}

/// Docker, and the room that it has.
pub async fn docker(docker: &Docker) -> Vec<Finding> {
    let check = "docker";
    match docker.facts().await {
        Ok((version, folder)) => {
            let mut findings = vec![Finding::ok(check, format!("version {version}"))];
            // (It may be on another machine.)
            let folder = folder.filter(|folder| Path::new(folder).is_dir());
            findings.extend(folder.map(|folder| room("docker's disk", Path::new(&folder))));
            findings
        }
        Err(error) => vec![Finding::wrong(
            check,
            error.to_string(),
            "start it, let this account use its socket, or correct docker in host.toml",
        )],
    }
}

/// Whether Redis and Docker say the same of what is deployed.
pub async fn functions(store: &Store, docker: &Docker) -> Vec<Finding> {
    let (Ok(deployments), Ok(images)) = (store.deployments().await, docker.images().await) else {
        // That they can't be used is said already.
        return Vec::new();
    };
    let check = "functions";
    let mut current: HashMap<_, _> = images
        .iter()
        .filter(|image| image.current)
        .map(|image| (&image.deployment.function, &image.deployment.revision))
        .collect();
    let mut findings = Vec::new();
    let plain = deployments.iter().filter(|it| it.function.is_plain());
    for deployment in plain.clone() {
        let (function, revision) = (&deployment.function, &deployment.revision);
        let is_there = images
            .iter()
            .any(|image| image.tags.contains(&deployment.image));
        let of_docker = current.remove(function);
        if !is_there {
            findings.push(Finding::wrong(
                check,
                format!(
                    "the image of {function}, {}, is gone: no instance of it can be started",
                    deployment.image
                ),
                format!("push it again, or corefn rollback {function}"),
            ));
        } else if of_docker != Some(revision) {
            let of_docker = of_docker.map_or_else(|| "none".to_owned(), ToString::to_string);
            findings.push(Finding::wrong(
                check,
                format!("{function} is at {revision} in Redis, and at {of_docker} in Docker"),
                format!("corefn promote {function} with the revision that is meant"),
            ));
        }
    }
    for (function, revision) in current {
        findings.push(Finding::wrong(
            check,
            format!("{function} is at {revision} in Docker, and Redis doesn't know it"),
            format!("push it again, or corefn rm {function}"),
        ));
    }
    // (Where they disagree on the current revision, that is said above.)
    if findings.is_empty() {
        for disagreement in disagreements(&deployments, &images) {
            let function = disagreement.function;
            findings.push(Finding::wrong(
                check,
                format!("Docker and Redis disagree on what is released of {function} beside its current revision"),
                "wait for the cleaner, which has them agree within twenty minutes",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            check,
            format!("{} are deployed", plain.count()),
        ));
    }
    findings
}

/// The keeper of sandboxes, where there is to be one.
pub async fn keeper(home: &Path, host: &Host, docker: &Docker) -> Vec<Finding> {
    let check = "keeper";
    let Some(sandboxes) = &host.sandboxes else {
        return vec![Finding::warning(
            check,
            "there is none, so a start takes as long as Docker does",
            format!(
                "a table [sandboxes] in host.toml, corefn-keep, and {} for nginx (docs/host.md)",
                directive::SANDBOXES.to_string_lossy()
            ),
        )];
    };
    let sandboxes = Sandboxes::new(&home.join(&sandboxes.folder), &host.namespace);
    if let Err(error) = sandboxes.are_kept() {
        let says = format!("it does not answer at {error}");
        return vec![Finding::wrong(check, says, "start corefn-keep")];
    }
    let Ok(containers) = docker.containers().await else {
        return Vec::new();
    };
    let waiting = containers
        .iter()
        .filter(|container| container.has(label::ROLE, label::ROLE_SANDBOX) && container.running)
        .count();
    vec![Finding::ok(check, format!("{waiting} sandboxes wait"))]
}

/// The builder, where there is to be one.
pub async fn builder(home: &Path, host: &Host) -> Vec<Finding> {
    let check = "builder";
    let Some(builder) = &host.builder else {
        return vec![Finding::ok(check, "each push builds by itself")];
    };
    let socket = home.join(builder);
    vec![match UnixStream::connect(&socket).await {
        Ok(_) => Finding::ok(check, format!("answers at {}", socket.display())),
        Err(error) => Finding::wrong(
            check,
            format!("it does not answer at {}: {error}", socket.display()),
            "start corefn-build serve",
        ),
    }]
}
