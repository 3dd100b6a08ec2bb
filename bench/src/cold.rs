//! Cold starts: the first answer through CoreFn, with nothing running, against the first answer of
//! a container that the bare Docker API has created and started.
//!
//! Through CoreFn there are two: a function that is one executable, which a sandbox becomes that waits, and
//! one of any image. All three containers are of the same image and have the same limits; that they are ready
//! is seen in the same way. Each is gone, for Docker and for the router, and its sandbox made up for, before the
//! next is asked for.

use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_engine::docker::{Joined, Placement, Purpose};
use corefn_engine::ready::ready;
use corefn_engine::start::random_id;
use corefn_tests::{Client, Home};

use crate::error::BenchError;
use crate::site::{self, COLD, COLD_IMAGE, SANDBOX, Site};
use crate::stats::{Compared, Summary};

/// What is asked for, on any side.
pub const PATH: &str = "/status/200";

/// How the sides compare.
#[derive(Debug, Clone)]
pub struct Cold {
    /// Milliseconds until the first answer from a sandbox.
    pub sandbox: Compared,
    /// Milliseconds until the first answer of any image.
    pub image: Compared,
    /// Milliseconds of the bare side's parts.
    pub parts: Parts<Summary>,
    /// Milliseconds of what the other two spend their time on.
    pub sandbox_steps: Vec<(String, Summary)>,
    pub image_steps: Vec<(String, Summary)>,
}

/// What a router says that a start of any image was from.
pub const IMAGE: &str = "its image, on a sandbox's network";

/// What is done when the last of a start's steps is.
const READY: &str = "ready";
/// And what else there is: to find out that nothing runs, and to answer.
const REST: &str = "Redis, nginx, answer";

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

impl Parts<f64> {
    /// All of them.
    pub fn sum(&self) -> f64 {
        self.create_ms + self.start_ms + self.answer_ms
    }
}

/// One turn: a start of each.
#[derive(Debug, Clone)]
struct Turn {
    sandbox: f64,
    image: f64,
    bare: Parts<f64>,
    sandbox_steps: Vec<(String, f64)>,
    image_steps: Vec<(String, f64)>,
}

/// Measures cold starts in turns, after one that isn't counted.
///
/// # Errors
/// [`BenchError`] when a start fails, or is not of the kind that it should be.
pub async fn measure(site: &Site, repeats: u32) -> Result<Cold, BenchError> {
    let deployment = deployment(&site.home).await?;
    // The first start of an executable has it fetched.
    corefn(site, COLD).await?;
    site.until_executable(&deployment).await;
    take_turn(site, &deployment, 0).await?;
    let mut turns = Vec::new();
    for repeat in 0..repeats {
        let turn = take_turn(site, &deployment, repeat).await?;
        eprintln!(
            "    turn {} of {repeats}: {:.1}, {:.0} and {:.0} ms",
            repeat + 1,
            turn.sandbox,
            turn.image,
            turn.bare.sum()
        );
        turns.push(turn);
    }
    let compared = |value: fn(&Turn) -> f64| {
        let pairs: Vec<_> = turns
            .iter()
            .map(|turn| (value(turn), turn.bare.sum()))
            .collect();
        Compared::of(&pairs)
    };
    let part = |value: fn(&Parts<f64>) -> f64| {
        let values: Vec<_> = turns.iter().map(|turn| value(&turn.bare)).collect();
        Summary::of(&values)
    };
    let steps = |of: fn(&Turn) -> &Vec<(String, f64)>| -> Option<Vec<(String, Summary)>> {
        let names = of(turns.first()?).iter().map(|step| &step.0);
        names
            .enumerate()
            .map(|(at, name)| {
                let values = turns.iter().filter_map(|turn| Some(of(turn).get(at)?.1));
                let summary = Summary::of(&values.collect::<Vec<_>>())?;
                Some((name.clone(), summary))
            })
            .collect()
    };
    let cold = || {
        Some(Cold {
            sandbox_steps: steps(|turn| &turn.sandbox_steps)?,
            image_steps: steps(|turn| &turn.image_steps)?,
            sandbox: compared(|turn| turn.sandbox)?,
            image: compared(|turn| turn.image)?,
            parts: Parts {
                create_ms: part(|parts| parts.create_ms)?,
                start_ms: part(|parts| parts.start_ms)?,
                answer_ms: part(|parts| parts.answer_ms)?,
            },
        })
    };
    Ok(cold().expect("there was at least one turn, and no start takes no time"))
}

/// A start of each, in an order that changes from turn to turn.
async fn take_turn(site: &Site, deployment: &Deployment, number: u32) -> Result<Turn, BenchError> {
    let mut turn = Turn {
        sandbox: 0.0,
        image: 0.0,
        bare: Parts {
            create_ms: 0.0,
            start_ms: 0.0,
            answer_ms: 0.0,
        },
        sandbox_steps: Vec::new(),
        image_steps: Vec::new(),
    };
    for at in 0..3 {
        match (at + number) % 3 {
            0 => (turn.sandbox, turn.sandbox_steps) = start(site, COLD, SANDBOX).await?,
            1 => (turn.image, turn.image_steps) = start(site, COLD_IMAGE, IMAGE).await?,
            _ => turn.bare = bare(site, deployment).await?,
        }
    }
    Ok(turn)
}

/// One through CoreFn, which must be from what the router says that it was; with what its time was spent on.
///
/// # Errors
/// [`BenchError`] when it fails, or is from something else.
pub async fn start(
    site: &Site,
    function: &str,
    from: &str,
) -> Result<(f64, Vec<(String, f64)>), BenchError> {
    let before = site.started_from(from);
    let took = corefn(site, function).await?;
    if site.started_from(from) != before + 1 {
        return Err(BenchError::NoSandbox);
    }
    Ok((took, spent(site, from, took)))
}

/// What the time of the last start was spent on, until it was answered after `took`.
fn spent(site: &Site, from: &str, took: f64) -> Vec<(String, f64)> {
    let Some((start, steps)) = site.last_start(from) else {
        return Vec::new();
    };
    let (mut parts, mut before) = (Vec::new(), 0.0);
    for (name, after) in steps {
        parts.push((name, after - before));
        before = after;
    }
    parts.push((READY.to_owned(), start - before));
    parts.push((REST.to_owned(), took - start));
    parts
}

/// What the router knows of the function.
///
/// # Errors
/// [`BenchError`] when it doesn't.
pub async fn deployment(home: &Home) -> Result<Deployment, BenchError> {
    let mut deployments = home.store.deployments().await?;
    deployments.retain(|deployment| deployment.function.as_str() == COLD);
    deployments.pop().ok_or_else(|| BenchError::Instances {
        function: COLD.to_owned(),
        want: 1,
        have: 0,
    })
}

/// One cold start through CoreFn; returns milliseconds.
///
/// # Errors
/// [`BenchError`] when it fails.
pub async fn corefn(site: &Site, function: &str) -> Result<f64, BenchError> {
    let home = &site.home;
    expect_none(home, function).await?;
    let begin = Instant::now();
    site::get(&home.client(), &format!("/{function}{PATH}")).await?;
    let took = milliseconds(begin.elapsed());
    site.clear().await?;
    Ok(took)
}

/// One by the bare Docker API.
async fn bare(site: &Site, deployment: &Deployment) -> Result<Parts<f64>, BenchError> {
    expect_none(&site.home, COLD).await?;
    let parts = start_bare(&site.home, deployment, PATH).await?;
    site.clear().await?;
    Ok(parts)
}

/// Starts a container of a deployment by the bare Docker API, and asks it for a path.
///
/// # Errors
/// [`BenchError`] when Docker can't do it, or the answer is no success.
pub async fn start_bare(
    home: &Home,
    deployment: &Deployment,
    path: &str,
) -> Result<Parts<f64>, BenchError> {
    let docker = &home.docker;
    let network = docker.network(deployment.config.network).await?;
    let placement = Placement {
        id: random_id().map_err(BenchError::Engine)?,
        ip: network.subnet.address(home.store.next_address().await?),
    };
    let begin = Instant::now();
    let joined = Joined::Network(&network);
    let container = docker.create(deployment, placement, joined, Purpose::Serve);
    let container = container.await?;
    let created = begin.elapsed();
    docker.start(&container).await?;
    let started = begin.elapsed();
    ready(
        &placement.address().into(),
        deployment.config.health.as_deref(),
    )
    .await;
    site::get(&Client::new(placement.address()), path).await?;
    let answered = begin.elapsed();
    Ok(Parts {
        create_ms: milliseconds(created),
        start_ms: milliseconds(started - created),
        answer_ms: milliseconds(answered - started),
    })
}

/// A function must have no container.
async fn expect_none(home: &Home, function: &str) -> Result<(), BenchError> {
    match home.instances(function).await.len() {
        0 => Ok(()),
        have => Err(BenchError::Instances {
            function: function.to_owned(),
            want: 0,
            have,
        }),
    }
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
