//! What warm requests feel of it when sandboxes are made: the latency of a load while the keeper makes up for those that
//! were taken, against that of the same load while it has nothing to do.
//!
//! There are two loads: one that leaves the machine room for something else, as operators see to, and one that takes all it can
//! get, which feels whatever else is done.

use std::path::Path;
use std::time::Instant;

use corefn_core::network::Network;
use corefn_sandbox::claim::{Claimed, Kind, claim};

use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::site::{BURST, Site, WARM};
use crate::stats::{Compared, Summary};
use crate::wrk::load;

/// What the two loads feel: microseconds within which 99 of 100 requests were answered.
#[derive(Debug, Clone, Copy)]
pub struct Refill {
    /// The one that leaves room.
    pub paced: Compared,
    /// How much of the other's throughput it has.
    pub paced_share: f64,
    /// The one that takes all.
    pub full: Compared,
}

/// Measures pairs of each load, each the other way round than the one before.
///
/// # Errors
/// [`BenchError`] when a single request fails, or there are too few sandboxes.
pub async fn measure(
    site: &Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Refill, BenchError> {
    let (paced, some) = pairs(site, &site.paced_script(), pinning, plan, connections).await?;
    let (full, all) = pairs(site, &site.script(), pinning, plan, connections).await?;
    Ok(Refill {
        paced,
        paced_share: some / all,
        full,
    })
}

/// Measures how many sandboxes a second are made for others that were taken, and removed, on a machine that does nothing else:
/// so many requests a second could have one each.
///
/// # Errors
/// [`BenchError`] when there are too few sandboxes.
pub async fn rate(site: &Site, repeats: u32) -> Result<Summary, BenchError> {
    let mut values = Vec::new();
    for _ in 0..repeats {
        site.until_full().await;
        let taken = take(site).await?;
        let begin = Instant::now();
        drop(taken);
        site.until_full().await;
        values.push(BURST as f64 / begin.elapsed().as_secs_f64());
    }
    Ok(Summary::of(&values).expect("there was at least one, and all take their time"))
}

/// Measures pairs of one load; with the most requests a second that there were.
async fn pairs(
    site: &Site,
    script: &Path,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<(Compared, f64), BenchError> {
    let url = site.corefn_url(WARM);
    let mut pairs = Vec::new();
    let mut most: f64 = 0.0;
    for repeat in 0..plan.refill_repeats {
        let mut pair = (0.0, 0.0);
        for side in 0..2 {
            site.until_quiet().await;
            // (Those that are taken end when they are dropped, and are told nothing.)
            let is_refilled = (side + repeat).is_multiple_of(2);
            let taken = if is_refilled {
                take(site).await?
            } else {
                Vec::new()
            };
            let load = load(&url, script, pinning, connections, plan.seconds).await?;
            drop(taken);
            most = most.max(load.throughput);
            if is_refilled {
                pair.0 = load.p99;
            } else {
                pair.1 = load.p99;
            }
        }
        eprintln!(
            "    pair {} of {}: {:.0} and {:.0} µs",
            repeat + 1,
            plan.refill_repeats,
            pair.0,
            pair.1
        );
        pairs.push(pair);
    }
    site.until_full().await;
    let compared = Compared::of(&pairs).ok_or_else(|| BenchError::BadLoad {
        url,
        why: "a figure is zero".to_owned(),
    });
    Ok((compared?, most))
}

/// Takes all that wait of a kind.
async fn take(site: &Site) -> Result<Vec<Claimed>, BenchError> {
    let kind = Kind {
        image: corefn_sandbox::image(site.home.namespace()),
        network: Some(Network::default()),
    };
    let mut taken = Vec::new();
    for _ in 0..BURST {
        let claimed = claim(&site.keeper.socket(), &kind).await;
        taken.push(claimed.ok().flatten().ok_or(BenchError::NoSandbox)?);
    }
    Ok(taken)
}
