//! Cold starts: the first answer through CoreFn, with nothing running, against the first answer of
//! a container that the bare Docker API has created and started.
//!
//! Both containers are created with the same body, by the same code, and both are given an address;
//! that they are ready is seen in the same way. Each is gone, for Docker and for the router, before
//! the next is made.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_engine::docker::{Placement, Purpose};
use corefn_engine::ready::ready;
use corefn_engine::start::random_id;
use corefn_tests::{Client, Home, wait_until};

use crate::error::BenchError;
use crate::site::{self, COLD};
use crate::stats::{Compared, Summary};

/// What is asked for on either side.
const PATH: &str = "/status/200";

/// How long a container's removal may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kernel takes a removed container's network apart after Docker has said that it is gone.
const SETTLE: Duration = Duration::from_millis(300);

/// How the two sides compare.
#[derive(Debug, Clone, Copy)]
pub struct Cold {
    /// Milliseconds until the first answer.
    pub answer: Compared,
    /// Milliseconds of the bare side's parts.
    pub parts: Parts<Summary>,
}

/// What the bare side's time goes to.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Parts<T> {
    /// Docker's call that creates the container.
    pub create_ms: T,
    /// Docker's call that starts it.
    pub start_ms: T,
    /// From there to the answer.
    pub answer_ms: T,
}

/// Measures pairs of cold starts, after one of each that isn't counted.
///
/// # Errors
/// [`BenchError`] when a start fails.
pub async fn measure(home: &Home, repeats: u32) -> Result<Cold, BenchError> {
    let deployment = deployment(home).await?;
    corefn(home).await?;
    bare(home, &deployment).await?;
    let (mut pairs, mut parts) = (Vec::new(), Vec::new());
    for repeat in 0..repeats {
        let (with, without);
        if repeat % 2 == 0 {
            with = corefn(home).await?;
            without = bare(home, &deployment).await?;
        } else {
            without = bare(home, &deployment).await?;
            with = corefn(home).await?;
        }
        let bare = without.create_ms + without.start_ms + without.answer_ms;
        eprintln!(
            "    pair {} of {repeats}: {with:.0} and {bare:.0} ms",
            repeat + 1
        );
        pairs.push((with, bare));
        parts.push(without);
    }
    let part =
        |value: fn(&Parts<f64>) -> f64| Summary::of(&parts.iter().map(value).collect::<Vec<_>>());
    let cold = || {
        Some(Cold {
            answer: Compared::of(&pairs)?,
            parts: Parts {
                create_ms: part(|parts| parts.create_ms)?,
                start_ms: part(|parts| parts.start_ms)?,
                answer_ms: part(|parts| parts.answer_ms)?,
            },
        })
    };
    Ok(cold().expect("there was at least one pair, and no start takes no time"))
}

/// What the router knows of the function.
async fn deployment(home: &Home) -> Result<Deployment, BenchError> {
    let mut deployments = home.store.deployments().await?;
    deployments.retain(|deployment| deployment.function.as_str() == COLD);
    deployments.pop().ok_or_else(|| BenchError::Instances {
        function: COLD.to_owned(),
        want: 1,
        have: 0,
    })
}

/// One cold start through CoreFn; returns milliseconds.
async fn corefn(home: &Home) -> Result<f64, BenchError> {
    expect_containers(home, 0).await?;
    let begin = Instant::now();
    site::get(&home.client(), &format!("/{COLD}{PATH}")).await?;
    let took = milliseconds(begin.elapsed());
    let container = expect_containers(home, 1).await?.remove(0);
    remove(home, &container).await?;
    Ok(took)
}

/// One by the bare Docker API.
async fn bare(home: &Home, deployment: &Deployment) -> Result<Parts<f64>, BenchError> {
    expect_containers(home, 0).await?;
    let docker = &home.docker;
    let network = docker.network(FunctionConfig::default().network).await?;
    let placement = Placement {
        id: random_id().map_err(BenchError::Engine)?,
        ip: network.subnet.address(home.store.next_address().await?),
    };
    let begin = Instant::now();
    let container = docker
        .create(deployment, placement, &network, Purpose::Serve)
        .await?;
    let created = begin.elapsed();
    docker.start(&container).await?;
    let started = begin.elapsed();
    ready(placement.address(), deployment.config.health.as_deref()).await;
    site::get(&Client::new(placement.address()), PATH).await?;
    let answered = begin.elapsed();
    remove(home, &container).await?;
    Ok(Parts {
        create_ms: milliseconds(created),
        start_ms: milliseconds(started - created),
        answer_ms: milliseconds(answered - started),
    })
}

/// Removes a container, and returns when nothing of it is left: not in Docker, not in Redis, and
/// so not in the router, which tells Redis after itself.
async fn remove(home: &Home, container: &str) -> Result<(), BenchError> {
    home.docker.remove(container).await?;
    wait_until("the container is gone", PATIENCE, async || {
        let listed = home.instances(COLD).await;
        let known = home.store.instances().await;
        listed.is_empty() && known.is_ok_and(|known| known.is_empty())
    })
    .await;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// The containers of the function, which must be so many.
async fn expect_containers(home: &Home, want: usize) -> Result<Vec<String>, BenchError> {
    let containers = home.instances(COLD).await;
    if containers.len() != want {
        return Err(BenchError::Instances {
            function: COLD.to_owned(),
            want,
            have: containers.len(),
        });
    }
    Ok(containers.into_iter().map(|one| one.id).collect())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
