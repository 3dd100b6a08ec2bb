//! Thaws: the first answer of an instance that was frozen, through CoreFn, against the bare Docker API's call that has a
//! container go on, and an answer.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::instance::Instance;
use corefn_tests::{Client, wait_until};

use crate::cold::{PATH, milliseconds};
use crate::error::BenchError;
use crate::site::{self, Site, executable};
use crate::stats::Compared;

/// How many functions are frozen at a time, of which each side thaws half.
const AT_A_TIME: usize = 20;

/// Milliseconds without work after which they are frozen: the least.
const FREEZE: u64 = 2_000;

/// How long it may take until all are.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures thaws in pairs, so many times as many as are frozen at a time; milliseconds until the answer.
///
/// # Errors
/// [`BenchError`] when one fails, or was none.
pub async fn measure(site: &mut Site, repeats: u32) -> Result<Compared, BenchError> {
    let names: Vec<_> = (0..AT_A_TIME)
        .map(|n| format!("bench/freeze-{n}"))
        .collect();
    for name in &names {
        let config = FunctionConfig {
            freeze_ms: Some(FREEZE),
            ..executable()
        };
        site.home.deploy(name, config).await;
    }
    let mut pairs = Vec::new();
    for repeat in 0..repeats {
        let frozen = freeze(site, &names).await?;
        for (at, both) in frozen.chunks_exact(2).enumerate() {
            // (Each is the first in every other pair.)
            let pair = match at % 2 {
                0 => (corefn(site, &both[0]).await?, bare(site, &both[1]).await?),
                _ => {
                    let other = bare(site, &both[0]).await?;
                    (corefn(site, &both[1]).await?, other)
                }
            };
            pairs.push(pair);
        }
        eprintln!(
            "    thaws {} of {repeats}: {:.1} ms the last",
            repeat + 1,
            pairs[pairs.len() - 1].0
        );
        site.clear().await?;
    }
    Ok(Compared::of(&pairs).expect("there was at least one, and no thaw takes no time"))
}

/// Has an instance of each function frozen, by a cleaner that has ended when this returns.
async fn freeze(site: &mut Site, names: &[String]) -> Result<Vec<Instance>, BenchError> {
    let home = &mut site.home;
    for name in names {
        site::get(&home.client(), &format!("/{name}{PATH}")).await?;
    }
    home.start_cleaner(Some(1));
    let is_all = async || {
        let known = home.store.instances().await.unwrap_or_default();
        known.len() == names.len() && known.iter().all(|leased| leased.frozen)
    };
    wait_until("all are frozen", PATIENCE, is_all).await;
    home.take_cleaner().stop().await;
    let mut instances = Vec::new();
    for leased in home.store.instances().await? {
        home.until_withdrawn(&leased.instance.id.to_string()).await;
        instances.push(leased.instance);
    }
    Ok(instances)
}

/// One through CoreFn, which must be a thaw.
async fn corefn(site: &Site, instance: &Instance) -> Result<f64, BenchError> {
    let home = &site.home;
    let thaws = || home.error_log().matches("thawed instance").count();
    let before = thaws();
    let begin = Instant::now();
    site::get(&home.client(), &format!("/{}{PATH}", instance.function)).await?;
    let took = milliseconds(begin.elapsed());
    if thaws() != before + 1 {
        return Err(BenchError::NoThaw);
    }
    Ok(took)
}

/// One by the bare Docker API.
async fn bare(site: &Site, instance: &Instance) -> Result<f64, BenchError> {
    let begin = Instant::now();
    site.home.docker.unpause(&instance.container).await?;
    site::get(&Client::new(site::port(instance)?), PATH).await?;
    Ok(milliseconds(begin.elapsed()))
}
