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
use crate::pairs::{self, Pairs};
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

/// Measures pairs of each load.
///
/// # Errors
/// [`BenchError`] when a single request fails, or there are too few sandboxes.
pub async fn measure(
    site: &Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Refill, BenchError> {
    let paced = pairs(site, &site.paced_script(), pinning, plan, connections).await?;
    let full = pairs(site, &site.script(), pinning, plan, connections).await?;
    Ok(Refill {
        paced: paced.p99,
        paced_share: paced.throughput / full.throughput,
        full: full.p99,
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

/// Measures pairs of one load.
async fn pairs(
    site: &Site,
    script: &Path,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Pairs, BenchError> {
    let url = site.corefn_url(WARM);
    let pairs = pairs::measure(plan.refill_repeats, async |is_refilled| {
        site.until_quiet().await;
        // (Those that are taken end when they are dropped, and are told nothing.)
        let taken = match is_refilled {
            true => take(site).await?,
            false => Vec::new(),
        };
        let load = load(&url, script, pinning, connections, plan.seconds).await;
        drop(taken);
        load
    });
    let pairs = pairs.await?;
    site.until_full().await;
    Ok(pairs)
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
