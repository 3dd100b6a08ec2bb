//! What warm requests feel of a function beside theirs that uses all that it gets: the latency of a load that leaves the machine
//! room, against that of the same load while the other function sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use corefn_core::config::{FunctionConfig, Limits};
use corefn_tests::Client;
use corefn_tests::{probe, wait_for};

use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::pairs;
use crate::plan::Plan;
use crate::site::{self, PATIENCE, Site, WARM};
use crate::stats::Compared;
use crate::wrk::load;

/// The function.
const FUNCTION: &str = "bench/bombs";

/// What it does, by what it is called in the report: paths of the probe. Each ends, and is asked for again.
const BOMBS: [(&str, &str); 6] = [
    ("memory", "use/memory"),
    ("threads", "use/threads"),
    ("files", "use/files"),
    ("disk", "use/disk"),
    ("processors", "use/processors/1000"),
    ("log", "use/log/4000000"),
];

/// Within what time the cleaner has noticed it.
const NOTICED: Duration = Duration::from_secs(5);

/// How the load fares beside each: microseconds within which 99 of 100 requests were answered.
pub type Bombs = BTreeMap<&'static str, Compared>;

/// Measures pairs beside each.
///
/// # Errors
/// [`BenchError`] when a single request of the load fails.
pub async fn measure(
    site: &mut Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Bombs, BenchError> {
    // (It is the cleaner who has the bomb yield.)
    site.home.start_cleaner(None);
    let all = measure_all(site, pinning, plan, connections).await;
    site.home.take_cleaner().stop().await;
    all
}

async fn measure_all(
    site: &Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Bombs, BenchError> {
    // (Its limits are those of any function, but for the memory, which would take long to fill.)
    let config = FunctionConfig {
        limits: Limits {
            memory: 64 << 20,
            ..Limits::default()
        },
        ..probe::idle(600)
    };
    site.home.deploy(FUNCTION, config).await;
    let mut all = Bombs::new();
    for (name, path) in BOMBS {
        let path = format!("/{FUNCTION}/{path}");
        until_awake(site).await;
        let _ = tokio::time::timeout(NOTICED, go_on(site.home.client(), &path)).await;
        let url = site.corefn_url(WARM);
        let script = site.paced_script();
        let pairs = pairs::measure(plan.bomb_repeats, async |is_beside| {
            until_awake(site).await;
            let load = load(&url, &script, pinning, connections, plan.seconds);
            match is_beside {
                true => tokio::select! {
                    load = load => load,
                    never = go_on(site.home.client(), &path) => match never {},
                },
                false => load.await,
            }
        });
        let compared = pairs.await?.p99;
        eprintln!("    {name}: {:.2}", compared.ratio.median);
        all.insert(name, compared);
    }
    Ok(all)
}

/// Has it do the same over and over. (What it dies of is no error here.)
async fn go_on(client: Client, path: &str) -> std::convert::Infallible {
    loop {
        let _ = client.get(path).send().await;
    }
}

/// Waits until it serves, after what it may have died of, and whatever it is backed off for.
async fn until_awake(site: &Site) {
    site.home.forgive(FUNCTION).await;
    let path = format!("/{FUNCTION}/status/200");
    wait_for("the bomb serves again", PATIENCE, async || {
        site::get(&site.home.client(), &path).await.ok()
    })
    .await;
}
