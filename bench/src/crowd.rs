//! A crowd from one moment to the next: many connections ask a function of which nothing runs and that takes its time, each
//! of whose instances takes only some requests at once. Against one request to it, of which nothing runs either.

use std::num::NonZeroU32;
use std::time::Instant;

use corefn_core::config::FunctionConfig;

use crate::cold::milliseconds;
use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::site::{self, Site, executable};
use crate::stats::Compared;
use crate::wrk::load;

/// The function.
const FUNCTION: &str = "bench/crowd";

/// How long it takes for an answer, in milliseconds.
pub const SERVICE: u32 = 50;

/// How many connections there are.
pub const CONNECTIONS: u32 = 200;

/// How many requests an instance takes at once, and how many instances there may be.
pub const CONCURRENCY: NonZeroU32 = NonZeroU32::new(10).unwrap();
pub const INSTANCES: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Measures crowds, each after a single request; milliseconds within which 99 of 100 of the crowd were answered, from its first
/// moment on, against those that the single one took.
///
/// # Errors
/// [`BenchError`] when a single request fails.
pub async fn measure(site: &Site, plan: &Plan) -> Result<Compared, BenchError> {
    let config = FunctionConfig {
        concurrency: Some(CONCURRENCY),
        max_instances: Some(INSTANCES),
        ..executable()
    };
    site.home.deploy(FUNCTION, config).await;
    let path = format!("/{FUNCTION}/sleep/{SERVICE}");
    let url = format!("http://{}{path}", site.home.nginx.address());
    let mut pairs = Vec::new();
    for repeat in 0..plan.crowd_repeats {
        let begin = Instant::now();
        site::get(&site.home.client(), &path).await?;
        let one = milliseconds(begin.elapsed());
        site.clear().await?;
        let script = site.script();
        let pinning = Pinning::default();
        let load = load(&url, &script, &pinning, CONNECTIONS, plan.crowd_seconds).await?;
        site.clear().await?;
        let crowd = load.p99 / 1000.0;
        eprintln!(
            "    crowd {} of {}: {crowd:.0} and {one:.0} ms",
            repeat + 1,
            plan.crowd_repeats
        );
        pairs.push((crowd, one));
    }
    Ok(Compared::of(&pairs).expect("there was at least one, and no answer takes no time"))
}
