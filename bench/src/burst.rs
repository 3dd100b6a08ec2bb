//! Bursts: as many functions as sandboxes wait are asked for at once, and none of them runs.

use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_tests::{Home, wait_until};
use futures_util::future::join_all;

use crate::cold::{PATH, milliseconds};
use crate::error::BenchError;
use crate::site::{self, BURST, SANDBOX, Site, burst};
use crate::stats::Summary;

/// How long Docker may take to know of all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures bursts, after one that isn't counted; milliseconds until the last answer.
///
/// # Errors
/// [`BenchError`] when a start fails, or is not of the kind that it should be.
pub async fn measure(site: &Site, repeats: u32) -> Result<Summary, BenchError> {
    ask(site).await?;
    let mut values = Vec::new();
    for repeat in 0..repeats {
        let took = ask(site).await?;
        eprintln!("    burst {} of {repeats}: {took:.0} ms", repeat + 1);
        values.push(took);
    }
    Ok(Summary::of(&values).expect("there was at least one, and all are finite"))
}

async fn ask(site: &Site) -> Result<f64, BenchError> {
    let home = &site.home;
    let before = site.started_from(SANDBOX);
    let client = home.client();
    let paths: Vec<_> = (0..BURST)
        .map(|number| format!("/{}{PATH}", burst(number)))
        .collect();
    let begin = Instant::now();
    let answers = join_all(paths.iter().map(|path| site::get(&client, path))).await;
    let took = milliseconds(begin.elapsed());
    for answer in answers {
        answer?;
    }
    if site.started_from(SANDBOX) != before + BURST {
        return Err(BenchError::NoSandbox);
    }
    wait_until("Docker knows them", PATIENCE, async || {
        running(home).await == BURST
    })
    .await;
    site.clear().await?;
    Ok(took)
}

async fn running(home: &Home) -> usize {
    let containers = home.docker.containers().await.unwrap_or_default();
    let is_instance = |found: &&corefn_engine::docker::Container| {
        found.running && found.labels.contains_key(label::INSTANCE)
    };
    containers.iter().filter(is_instance).count()
}
