//! `corefn-bench`: what CoreFn costs, side by side with doing without it.
//!
//! Warm requests go through CoreFn and through a plain `proxy_pass`, to the same container, on the
//! same nginx. Cold ones wait for a sandbox that becomes the function, an executable or a
//! runtime's; for a container that CoreFn starts, or for one that is started by the bare Docker API; or for one that is frozen
//! to go on; and a crowd waits for several. All sides take turns within one run, each time in the other order, and what is compared is always those of one
//! turn: a machine that gets slower meanwhile slows both.
//!
//! The figures are printed and written to `target/bench/latest.json`; [`report::Report`] describes
//! them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bombs;
mod burst;
mod cold;
mod cpu;
mod crowd;
mod error;
mod gate;
mod growth;
mod machine;
mod pairs;
mod plan;
mod plots;
mod refill;
mod report;
mod runtimes;
mod site;
mod stats;
mod thaw;
mod warm;
mod wrk;

use std::process::ExitCode;

use clap::Parser as _;
use corefn_tests::programs;
use tokio::signal::unix::{SignalKind, signal};

use cpu::Pinning;
use error::BenchError;
use machine::Machine;
use plan::{Args, Beside, Plan};
use report::{Report, Requests, Starts};
use site::{Site, WARM, WARM_SOCKET};
use warm::Warm;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plan = Args::parse().plan();
    // What is dropped here takes nginx, Redis and the containers with it.
    let done = tokio::select! {
        done = run(&plan) => done,
        error = interrupted() => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan) -> Result<(), BenchError> {
    if !plan.only.is_empty() {
        return run_only(plan).await;
    }
    eprintln!("Cold starts of runtimes, {} turns", plan.cold_repeats);
    let runtimes = runtimes::measure(plan.cold_repeats).await?;
    let mut site = Site::start().await;
    let machine = Machine::describe(&site.home).await;
    let pinning = Pinning::of_this_machine();
    if let Some(peer) = &plan.peer {
        warm::try_out(&site, &pinning, peer).await?;
    }
    eprintln!("Cold starts, {} turns", plan.cold_repeats);
    let cold = cold::measure(&site, plan.cold_repeats).await?;
    eprintln!("Cold starts behind the gate, {} pairs", plan.cold_repeats);
    let gate = gate::measure(&site, plan.cold_repeats).await?;
    eprintln!("Bursts, {}", plan.burst_repeats);
    let burst = burst::measure(&site, plan.burst_repeats).await?;
    eprintln!("Thaws, {}", plan.thaw_repeats);
    let thaw = thaw::measure(&mut site, plan.thaw_repeats).await?;
    eprintln!("Crowds, {}", plan.crowd_repeats);
    let crowd = crowd::measure(&site, plan).await?;
    eprintln!("Sandboxes made, {} times", plan.rate_repeats);
    let rate = refill::rate(&site, plan.rate_repeats).await?;
    site.warm_up(&pinning).await?;
    let (url, plain) = (site.corefn_url(WARM), site.plain_url());
    let warm = measure_warm(&site, [&url, &plain], &pinning, plan).await?;
    let most = plan.connections.iter().copied().max().unwrap_or(1);
    eprintln!(
        "Warm requests over a unix socket, {} pairs",
        plan.warm_repeats
    );
    let on_socket = measure_socket(&site, &pinning, plan, most).await?;
    eprintln!(
        "Warm requests while sandboxes are made, twice {} pairs",
        plan.refill_repeats
    );
    let refill = refill::measure(&site, &pinning, plan, most).await?;
    eprintln!(
        "Warm requests beside bombs, {} pairs each",
        plan.bomb_repeats
    );
    let bombs = bombs::measure(&mut site, &pinning, plan, most).await?;
    eprintln!("Growth, {} pairs each", plan.growth_repeats);
    let growth = growth::measure(&site, &pinning, plan).await?;
    let starts = Starts {
        cold,
        gate,
        runtimes,
        burst,
        refill,
        bombs,
        thaw,
        crowd,
        rate,
    };
    let requests = Requests { warm, on_socket };
    let mut report = Report::new(plan, machine, &pinning, &requests, &starts, &growth);
    if let Some(peer) = &plan.peer {
        eprintln!("The same against {peer}");
        let warm = measure_warm(&site, [&url, peer], &pinning, plan).await?;
        report.add_peer(peer, plan, &warm);
    }
    println!("{report}");
    let path = programs::target().join("bench/latest.json");
    report.write(&path)?;
    plots::draw(&report.picture(), &programs::target().join("bench"))?;
    println!(
        "\nThe same figures are in {}, with pictures beside it",
        path.display()
    );
    Ok(())
}

/// Measures what the plan names alone.
async fn run_only(plan: &Plan) -> Result<(), BenchError> {
    let mut site = Site::start().await;
    let pinning = Pinning::of_this_machine();
    let most = plan.connections.iter().copied().max().unwrap_or(1);
    if plan.only.contains(&Beside::Crowd) {
        let crowd = crowd::measure(&site, plan).await?;
        println!("crowd: {:.2}", crowd.ratio.median);
    }
    site.warm_up(&pinning).await?;
    for what in &plan.only {
        match what {
            Beside::Crowd => {}
            Beside::Socket => {
                let warm = measure_socket(&site, &pinning, plan, most).await?;
                println!("socket: {:.3}", warm.throughput.ratio.median);
            }
            Beside::Refill => {
                let refill = refill::measure(&site, &pinning, plan, most).await?;
                let [paced, full] = [refill.paced, refill.full].map(|one| one.ratio.median);
                println!("refill: {paced:.2}, with a load that takes all {full:.2}");
            }
            Beside::Bombs => {
                for (name, p99) in bombs::measure(&mut site, &pinning, plan, most).await? {
                    println!("{name}: {:.2}", p99.ratio.median);
                }
            }
        }
    }
    Ok(())
}

/// Measures warm requests over a unix socket, against plain ones over TCP.
async fn measure_socket(
    site: &Site,
    pinning: &Pinning,
    plan: &Plan,
    connections: u32,
) -> Result<Warm, BenchError> {
    let urls = [&*site.corefn_url(WARM_SOCKET), &*site.plain_url()];
    warm::measure(site, urls, &site.script(), pinning, plan, connections).await
}

/// Measures warm requests, of CoreFn's URL against another, under each number of connections.
async fn measure_warm(
    site: &Site,
    urls: [&str; 2],
    pinning: &Pinning,
    plan: &Plan,
) -> Result<Vec<Warm>, BenchError> {
    let mut warm = Vec::new();
    for &connections in &plan.connections {
        eprintln!(
            "Warm requests, connections: {connections}, {} pairs",
            plan.warm_repeats
        );
        let script = site.script();
        warm.push(warm::measure(site, urls, &script, pinning, plan, connections).await?);
    }
    Ok(warm)
}

async fn interrupted() -> BenchError {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the signals end the process, as they do by default.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    BenchError::Interrupted
}
