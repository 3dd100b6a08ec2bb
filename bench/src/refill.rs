//! What warm requests feel of it when sandboxes are made: the latency of a load while the keeper makes up for those that
//! were taken, against that of the same load while it has nothing to do.

use corefn_core::config::Network;
use corefn_sandbox::claim::{Claimed, Kind, claim};

use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::site::{BURST, Site};
use crate::stats::Compared;
use crate::wrk::load;

/// Measures pairs of loads, each the other way round than the one before; microseconds within which 99 of 100 requests
/// were answered.
///
/// # Errors
/// [`BenchError`] when a single request fails, or there are too few sandboxes.
pub async fn measure(
    site: &Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Compared, BenchError> {
    let url = site.corefn_url();
    let script = site.script();
    let mut pairs = Vec::new();
    for repeat in 0..plan.refill_repeats {
        let mut pair = (0.0, 0.0);
        for side in 0..2 {
            site.until_full().await;
            // (Those that are taken end when they are dropped, and are told nothing.)
            let is_refilled = (side + repeat).is_multiple_of(2);
            let taken = if is_refilled {
                take(site).await?
            } else {
                Vec::new()
            };
            let load = load(&url, &script, pinning, connections, plan.seconds).await?;
            drop(taken);
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
    Compared::of(&pairs).ok_or_else(|| BenchError::BadLoad {
        url,
        why: "a figure is zero".to_owned(),
    })
}

/// Takes all that wait of a kind.
async fn take(site: &Site) -> Result<Vec<Claimed>, BenchError> {
    let kind = Kind {
        image: corefn_sandbox::image(site.home.namespace()),
        network: Network::default(),
    };
    let mut taken = Vec::new();
    for _ in 0..BURST {
        let claimed = claim(&site.keeper.socket(), &kind).await;
        taken.push(claimed.ok().flatten().ok_or(BenchError::NoSandbox)?);
    }
    Ok(taken)
}
