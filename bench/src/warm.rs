//! Warm requests: through CoreFn against a plain `proxy_pass`, or against another system.

use std::path::Path;

use crate::cpu::{self, Pinning};
use crate::error::BenchError;
use crate::plan::Plan;
use crate::site::Site;
use crate::stats::Compared;
use crate::wrk::{Load, PERCENTILES, load};

/// Seconds of load on each side before anything is measured.
const WARM_UP: u32 = 1;

/// How the two sides compare under one number of connections.
#[derive(Debug, Clone, Copy)]
pub struct Warm {
    /// How many connections.
    pub connections: u32,
    /// Requests a second.
    pub throughput: Compared,
    /// Microseconds within which half of the requests were answered.
    pub p50: Compared,
    /// Microseconds within which 99 of 100 were.
    pub p99: Compared,
    /// Microseconds within which [`PERCENTILES`] of 100 were.
    pub latency: [Compared; PERCENTILES.len()],
    /// Microseconds of processor time that nginx's worker used for a request, all of its threads
    /// together; none if the kernel doesn't tell. Others' work on the machine hardly changes it.
    pub cpu: Option<Compared>,
}

/// One side of a pair.
struct Side {
    load: Load,
    cpu: Option<f64>,
}

/// Sees that a load of a URL succeeds.
///
/// # Errors
/// [`BenchError`] when it doesn't.
pub async fn try_out(site: &Site, pinning: &Pinning, url: &str) -> Result<(), BenchError> {
    let script = site.script();
    side(site, &script, pinning, url, 1, WARM_UP).await?;
    Ok(())
}

/// Measures pairs of loads by a script, of CoreFn's URL and of another, the first of each being the second of the one before.
///
/// # Errors
/// [`BenchError`] when a single request fails.
pub async fn measure(
    site: &Site,
    [corefn, other]: [&str; 2],
    script: &Path,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Warm, BenchError> {
    for url in [corefn, other] {
        side(site, script, pinning, url, connections, WARM_UP).await?;
    }
    let mut pairs = Vec::new();
    for repeat in 0..plan.warm_repeats {
        let corefn_first = repeat % 2 == 0;
        let (first, second) = match corefn_first {
            true => (corefn, other),
            false => (other, corefn),
        };
        let first = side(site, script, pinning, first, connections, plan.seconds).await?;
        let second = side(site, script, pinning, second, connections, plan.seconds).await?;
        let pair = match corefn_first {
            true => (first, second),
            false => (second, first),
        };
        eprintln!(
            "    pair {} of {}: {:.0} and {:.0} requests/s",
            repeat + 1,
            plan.warm_repeats,
            pair.0.load.throughput,
            pair.1.load.throughput
        );
        pairs.push(pair);
    }
    let compare = |value: &dyn Fn(&Side) -> f64| {
        let values: Vec<_> = pairs.iter().map(|(a, b)| (value(a), value(b))).collect();
        Compared::of(&values).ok_or_else(|| BenchError::BadLoad {
            url: other.to_owned(),
            why: "a figure is zero".to_owned(),
        })
    };
    let latency = (0..PERCENTILES.len())
        .map(|at| compare(&|side| side.load.percentiles[at]))
        .collect::<Result<Vec<_>, _>>()?;
    let cpu: Option<Vec<_>> = pairs.iter().map(|(a, b)| Some((a.cpu?, b.cpu?))).collect();
    Ok(Warm {
        connections,
        throughput: compare(&|side| side.load.throughput)?,
        p50: compare(&|side| side.load.p50)?,
        p99: compare(&|side| side.load.p99)?,
        latency: latency.try_into().expect("there are as many"),
        cpu: cpu.and_then(|pairs| Compared::of(&pairs)),
    })
}

async fn side(
    site: &Site,
    script: &Path,
    pinning: &Pinning,
    url: &str,
    connections: u32,
    seconds: u32,
) -> Result<Side, BenchError> {
    let worker = site.home.nginx.workers().first().copied();
    let used = || worker.and_then(cpu::used);
    let before = used();
    let load = load(url, script, pinning, connections, seconds).await?;
    let cpu = before
        .zip(used())
        .map(|(before, after)| (after - before) / load.requests as f64);
    Ok(Side { load, cpu })
}
