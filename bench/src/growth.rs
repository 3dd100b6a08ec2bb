//! How the cost of a warm request grows: with the connections that are open, with the functions that are deployed, and with
//! the instances that run. Each against plain nginx under the same.

use std::num::NonZeroU32;

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
use corefn_tests::wait_until;

use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::site::{PATIENCE, Site, WARM, executable};
use crate::warm::{self, Warm};

/// How many connections there are otherwise.
const CONNECTIONS: u32 = 32;

/// How many functions are deployed at a time.
const AT_A_TIME: usize = 100;

/// The most instances of a function.
const MOST: u32 = 10;

/// What warm requests cost, by a count of something.
#[derive(Debug, Clone)]
pub struct Growth {
    /// By connections.
    pub connections: Vec<(u32, Warm)>,
    /// By functions that are deployed.
    pub functions: Vec<(u32, Warm)>,
    /// By instances that run, besides the function's own.
    pub instances: Vec<(u32, Warm)>,
}

/// Measures it.
///
/// # Errors
/// [`BenchError`] when a request fails, or what is to be there can't be made.
pub async fn measure(site: &Site, pinning: &Pinning, plan: &Plan) -> Result<Growth, BenchError> {
    let few = Plan {
        warm_repeats: plan.growth_repeats,
        ..plan.clone()
    };
    let (corefn, plain) = (site.corefn_url(WARM), site.plain_url());
    let urls = [&*corefn, &*plain];
    let usual = async || {
        let script = site.script();
        warm::measure(site, urls, &script, pinning, &few, CONNECTIONS).await
    };
    let mut growth = Growth {
        connections: Vec::new(),
        functions: Vec::new(),
        instances: Vec::new(),
    };
    for &count in &plan.growth.connections {
        eprintln!("  {count} connections");
        let script = site.steady_script(count);
        let warm = warm::measure(site, urls, &script, pinning, &few, count).await?;
        growth.connections.push((count, warm));
    }
    let mut deployed = 0;
    for &count in &plan.growth.functions {
        eprintln!("  {count} functions");
        deploy(site, deployed, count).await?;
        deployed = count;
        growth.functions.push((count, usual().await?));
    }
    let mut running = 0;
    for &count in &plan.growth.instances {
        eprintln!("  {count} instances");
        run(site, running, count).await;
        running = count;
        growth.instances.push((count, usual().await?));
    }
    Ok(growth)
}

/// Deploys functions that nobody asks for.
async fn deploy(site: &Site, from: u32, to: u32) -> Result<(), BenchError> {
    let deployments: Vec<_> = (from..to)
        .map(|number| {
            let function = format!("bench/idle-{number}");
            let revision = RevisionId("r1".to_owned());
            Deployment {
                image: format!("corefn/{function}:{revision}"),
                function: function.parse().expect("it is a name"),
                revision,
                config: executable(),
                releases: Vec::new(),
            }
        })
        .collect();
    for some in deployments.chunks(AT_A_TIME) {
        let some: Vec<_> = some.iter().map(|deployment| (deployment, None)).collect();
        site.home.store.deploy(&some).await?;
    }
    if let Some(last) = deployments.last() {
        let revision = &last.revision.0;
        site.home.knows(last.function.as_str(), revision).await;
    }
    Ok(())
}

/// Has instances run of functions that nobody asks for.
async fn run(site: &Site, from: u32, to: u32) {
    let known = async || site.home.store.instances().await.unwrap_or_default().len();
    let before = known().await;
    let mut missing = to - from;
    while missing > 0 {
        let count = missing.min(MOST);
        let config = FunctionConfig {
            min_instances: NonZeroU32::new(count),
            max_instances: NonZeroU32::new(count),
            concurrency: NonZeroU32::new(1),
            ..executable()
        };
        let name = format!("bench/runs-{from}-{missing}");
        site.home.deploy(&name, config).await;
        missing -= count;
    }
    wait_until("the instances run", 5 * PATIENCE, async || {
        known().await == before + (to - from) as usize
    })
    .await;
}
