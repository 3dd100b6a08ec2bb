//! The figures: JSON for programs, and [`text`] for people.

mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::bombs::Bombs;
use crate::cold::{Cold, Parts};
use crate::cpu::Pinning;
use crate::error::BenchError;
use crate::gate::Gate;
use crate::growth::Growth;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::refill::Refill;
use crate::stats::{Compared, Summary};
use crate::warm::Warm;
use crate::wrk::{PERCENTILES, RATE};

/// Plain nginx's own figures differ by less than this factor on a machine that does nothing else.
const STEADY: f64 = 1.5;

/// All figures. The keys of the JSON are the names of the fields.
///
/// Ratios are CoreFn's figure divided by that of doing without it, computed for each pair of
/// measurements that followed each other; the median of these is given. Those of the top level are
/// of the largest number of connections. A spread is the smallest and the largest value.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When, in RFC 3339.
    time: String,
    /// Whether it was a quick run, whose figures mean little.
    quick: bool,
    /// Whether plain nginx alone was now much faster and now much slower: then something else used
    /// the machine, and ratios are the less sure the wider their spread is.
    noisy: bool,
    /// Throughput against plain nginx's.
    warm_throughput_ratio: f64,
    warm_throughput_ratio_spread: [f64; 2],
    /// Median latency against plain nginx's.
    warm_p50_ratio: f64,
    warm_p50_ratio_spread: [f64; 2],
    /// Latency of the 99th percentile against plain nginx's.
    warm_p99_ratio: f64,
    warm_p99_ratio_spread: [f64; 2],
    /// Processor time of nginx for a request against plain nginx's; none if the kernel doesn't
    /// count it.
    warm_cpu_ratio: Option<f64>,
    warm_cpu_ratio_spread: Option<[f64; 2]>,
    /// Throughput of a function that serves on a unix socket, against plain nginx's to one at a port.
    warm_unix_throughput_ratio: f64,
    warm_unix_throughput_ratio_spread: [f64; 2],
    /// Milliseconds to the first answer of a function that doesn't run, from a sandbox.
    cold_ms: f64,
    cold_ms_spread: [f64; 2],
    /// The same of any image.
    cold_image_ms: f64,
    cold_image_ms_spread: [f64; 2],
    /// Milliseconds to the first answer of a container that the Docker API creates and starts.
    docker_cold_ms: f64,
    docker_cold_ms_spread: [f64; 2],
    /// The first against the third.
    cold_ratio: f64,
    cold_ratio_spread: [f64; 2],
    /// The 99th percentile of the first against that of the third.
    cold_p99_ratio: f64,
    /// The second against the third.
    cold_image_ratio: f64,
    cold_image_ratio_spread: [f64; 2],
    /// The same of functions that a runtime serves, against a container of the same image; of the runtime that takes the most.
    cold_runtime_ratio: f64,
    cold_runtime_ratio_spread: [f64; 2],
    /// Milliseconds to the first answer with nginx behind the gate, against the same with nginx having all of Docker: from a
    /// sandbox, and of any image.
    gate_cold_ratio: f64,
    gate_cold_ratio_spread: [f64; 2],
    gate_cold_image_ratio: f64,
    gate_cold_image_ratio_spread: [f64; 2],
    /// Milliseconds until the last of [`BURST`](crate::site::BURST) functions that were asked for at once, and did not run, has answered.
    cold_burst_ms: f64,
    cold_burst_ms_spread: [f64; 2],
    /// Latency of the 99th percentile of warm requests that leave the machine room, while sandboxes are made, against the
    /// same while none are.
    warm_refill_p99_ratio: f64,
    warm_refill_p99_ratio_spread: [f64; 2],
    /// The same of requests that take all of the machine that they can get.
    warm_refill_full_p99_ratio: f64,
    warm_refill_full_p99_ratio_spread: [f64; 2],
    /// The same of the first beside a function that uses all that it gets, of what is felt the most.
    warm_bomb_p99_ratio: f64,
    warm_bomb_p99_ratio_spread: [f64; 2],
    /// Latency of the 99th percentile of a crowd's requests to a function of which nothing runs, in its first seconds, against
    /// the time that one request takes, of which nothing runs either.
    crowd_p99_ratio: f64,
    crowd_p99_ratio_spread: [f64; 2],
    /// How many sandboxes a second are made.
    sandboxes_per_second: f64,
    sandboxes_per_second_spread: [f64; 2],
    /// Milliseconds to the first answer of a function whose instance is frozen.
    thaw_ms: f64,
    thaw_ms_spread: [f64; 2],
    /// The same against the Docker API's call that has the container go on, and an answer.
    thaw_ratio: f64,
    thaw_ratio_spread: [f64; 2],
    /// By number of connections.
    warm: BTreeMap<u32, WarmReport>,
    /// The same of a function that serves on a unix socket, against plain nginx to one at a port.
    warm_unix: BTreeMap<u32, WarmReport>,
    /// The same against another system, if one was named.
    peer: Option<PeerReport>,
    cold: ColdReport,
    growth: GrowthReport,
    setup: Setup,
    machine: Machine,
}

/// Warm requests under one number of connections.
#[derive(Debug, Serialize)]
struct WarmReport {
    repeats: u32,
    seconds: u32,
    /// Requests a second.
    throughput: Compared,
    p50_us: Compared,
    p99_us: Compared,
    /// By percentile.
    latency_us: Vec<(f64, Compared)>,
    nginx_cpu_us: Option<Compared>,
}

/// Warm requests against another system, which does with them what it does.
#[derive(Debug, Serialize)]
struct PeerReport {
    url: String,
    warm: BTreeMap<u32, WarmReport>,
}

/// Cold starts.
#[derive(Debug, Serialize)]
struct ColdReport {
    repeats: u32,
    bursts: u32,
    /// How many times instances were frozen.
    thaws: u32,
    /// How many times warm requests met the making of sandboxes.
    refills: u32,
    burst_ms: Summary,
    sandbox_ms: Compared,
    image_ms: Compared,
    /// What the two spend their time on.
    sandbox_steps_ms: Vec<(String, Summary)>,
    image_steps_ms: Vec<(String, Summary)>,
    /// With the gate and without.
    gate: Gate,
    /// By runtime.
    runtimes_ms: BTreeMap<&'static str, Compared>,
    refill_p99_us: Compared,
    /// How much of the throughput of the load that takes all the other has, which leaves room.
    refill_share: f64,
    refill_full_p99_us: Compared,
    /// How many times warm requests met each bomb.
    bomb_pairs: u32,
    /// By what is used up.
    bomb_p99_us: Bombs,
    thaw_ms: Compared,
    /// How many crowds there were, of how many seconds each.
    crowds: u32,
    crowd_seconds: u32,
    crowd_p99_ms: Compared,
    /// How many times sandboxes were made.
    rates: u32,
    /// What the time of the bare Docker API goes to.
    docker: Parts<Summary>,
}

/// Warm requests, by how much there is of something.
#[derive(Debug, Serialize)]
struct GrowthReport {
    /// Connections, which send so many requests a second together.
    connections: BTreeMap<u32, WarmReport>,
    rate: u32,
    /// Functions that are deployed.
    functions: BTreeMap<u32, WarmReport>,
    /// Instances that run besides.
    instances: BTreeMap<u32, WarmReport>,
}

/// How nginx was run.
#[derive(Debug, Serialize)]
struct Setup {
    nginx_workers: u32,
    access_log: bool,
    /// During the warm loads.
    pinning: Pinning,
}

/// What was measured of functions that don't run.
#[derive(Debug, Clone)]
pub struct Starts {
    /// Of executables, and of any image.
    pub cold: Cold,
    /// The same behind the gate.
    pub gate: Gate,
    /// Of runtimes, by their names.
    pub runtimes: BTreeMap<&'static str, Compared>,
    /// Of many at once.
    pub burst: Summary,
    /// Of warm requests meanwhile.
    pub refill: Refill,
    /// The same beside functions that use all that they get.
    pub bombs: Bombs,
    /// Of those that are frozen.
    pub thaw: Compared,
    /// Of a crowd.
    pub crowd: Compared,
    /// Of sandboxes: how many are made a second.
    pub rate: Summary,
}

/// Bars: the name of each, and its parts by their names.
pub type Bars = Vec<(String, Vec<(String, f64)>)>;

/// Warm requests, against plain nginx's to a function at a port.
#[derive(Debug)]
pub struct Requests {
    /// To a function at a port, under each number of connections.
    pub warm: Vec<Warm>,
    /// To one that serves on a unix socket, under the largest number.
    pub on_socket: Warm,
}

/// What there are pictures of.
#[derive(Debug)]
pub struct Picture<'a> {
    /// How many connections the latencies are of.
    pub connections: u32,
    /// Microseconds, by percentile.
    pub latency: &'a [(f64, Compared)],
    /// By what grows, the ratio of medians by how much there is of it.
    pub growth: Vec<(&'static str, BTreeMap<u32, Summary>)>,
    /// Milliseconds to the first answer: of what is quick, and of what isn't.
    pub cold: [Bars; 2],
}

impl Report {
    /// Puts the figures together.
    ///
    /// # Panics
    /// When there are none of warm requests, or of a runtime.
    pub fn new(
        plan: &Plan,
        machine: Machine,
        pinning: &Pinning,
        requests: &Requests,
        starts: &Starts,
        growth: &Growth,
    ) -> Self {
        let Starts {
            cold,
            gate,
            runtimes,
            burst,
            refill,
            bombs,
            thaw,
            crowd,
            rate,
        } = starts;
        let worst_bomb = worst(bombs.values()).expect("there is at least one bomb");
        let slowest = worst(runtimes.values()).expect("there is at least one runtime");
        let Requests { warm, on_socket } = requests;
        let most = warm
            .iter()
            .max_by_key(|warm| warm.connections)
            .expect("there is at least one number of connections");
        let cpu = most.cpu.map(|cpu| cpu.ratio);
        Self {
            time: jiff::Timestamp::now().to_string(),
            quick: plan.quick,
            noisy: warm.iter().any(|warm| {
                let plain = warm.throughput.other;
                plain.max > plain.min * STEADY
            }),
            warm_throughput_ratio: most.throughput.ratio.median,
            warm_throughput_ratio_spread: spread(most.throughput.ratio),
            warm_p50_ratio: most.p50.ratio.median,
            warm_p50_ratio_spread: spread(most.p50.ratio),
            warm_p99_ratio: most.p99.ratio.median,
            warm_p99_ratio_spread: spread(most.p99.ratio),
            warm_cpu_ratio: cpu.map(|ratio| ratio.median),
            warm_cpu_ratio_spread: cpu.map(spread),
            warm_unix_throughput_ratio: on_socket.throughput.ratio.median,
            warm_unix_throughput_ratio_spread: spread(on_socket.throughput.ratio),
            cold_ms: cold.sandbox.corefn.median,
            cold_ms_spread: spread(cold.sandbox.corefn),
            cold_image_ms: cold.image.corefn.median,
            cold_image_ms_spread: spread(cold.image.corefn),
            docker_cold_ms: cold.sandbox.other.median,
            docker_cold_ms_spread: spread(cold.sandbox.other),
            cold_ratio: cold.sandbox.ratio.median,
            cold_ratio_spread: spread(cold.sandbox.ratio),
            cold_p99_ratio: cold.sandbox.corefn.p99 / cold.sandbox.other.p99,
            cold_image_ratio: cold.image.ratio.median,
            cold_image_ratio_spread: spread(cold.image.ratio),
            cold_runtime_ratio: slowest.median,
            cold_runtime_ratio_spread: spread(slowest),
            gate_cold_ratio: gate.sandbox_ms.ratio.median,
            gate_cold_ratio_spread: spread(gate.sandbox_ms.ratio),
            gate_cold_image_ratio: gate.image_ms.ratio.median,
            gate_cold_image_ratio_spread: spread(gate.image_ms.ratio),
            cold_burst_ms: burst.median,
            cold_burst_ms_spread: spread(*burst),
            warm_refill_p99_ratio: refill.paced.ratio.median,
            warm_refill_p99_ratio_spread: spread(refill.paced.ratio),
            warm_refill_full_p99_ratio: refill.full.ratio.median,
            warm_refill_full_p99_ratio_spread: spread(refill.full.ratio),
            warm_bomb_p99_ratio: worst_bomb.median,
            warm_bomb_p99_ratio_spread: spread(worst_bomb),
            crowd_p99_ratio: crowd.ratio.median,
            crowd_p99_ratio_spread: spread(crowd.ratio),
            sandboxes_per_second: rate.median,
            sandboxes_per_second_spread: spread(*rate),
            thaw_ms: thaw.corefn.median,
            thaw_ms_spread: spread(thaw.corefn),
            thaw_ratio: thaw.ratio.median,
            thaw_ratio_spread: spread(thaw.ratio),
            warm: by_connections(plan, warm),
            warm_unix: by_connections(plan, std::slice::from_ref(on_socket)),
            peer: None,
            cold: ColdReport {
                repeats: plan.cold_repeats,
                bursts: plan.burst_repeats,
                thaws: plan.thaw_repeats,
                refills: plan.refill_repeats,
                burst_ms: *burst,
                sandbox_ms: cold.sandbox,
                image_ms: cold.image,
                sandbox_steps_ms: cold.sandbox_steps.clone(),
                image_steps_ms: cold.image_steps.clone(),
                gate: *gate,
                runtimes_ms: runtimes.clone(),
                refill_p99_us: refill.paced,
                refill_share: refill.paced_share,
                refill_full_p99_us: refill.full,
                bomb_pairs: plan.bomb_repeats,
                bomb_p99_us: bombs.clone(),
                thaw_ms: *thaw,
                crowds: plan.crowd_repeats,
                crowd_seconds: plan.crowd_seconds,
                crowd_p99_ms: *crowd,
                rates: plan.rate_repeats,
                docker: cold.parts,
            },
            growth: GrowthReport {
                connections: by_count(plan, &growth.connections),
                rate: RATE,
                functions: by_count(plan, &growth.functions),
                instances: by_count(plan, &growth.instances),
            },
            setup: Setup {
                nginx_workers: 1,
                access_log: false,
                pinning: pinning.clone(),
            },
            machine,
        }
    }

    /// Adds what was measured of another system.
    pub fn add_peer(&mut self, url: &str, plan: &Plan, warm: &[Warm]) {
        let mut warm = by_connections(plan, warm);
        for report in warm.values_mut() {
            // (nginx has no part in what another system does.)
            report.nginx_cpu_us = None;
        }
        self.peer = Some(PeerReport {
            url: url.to_owned(),
            warm,
        });
    }

    /// What is to be drawn.
    ///
    /// # Panics
    /// When there are no warm requests.
    pub fn picture(&self) -> Picture<'_> {
        let most = self.warm.last_key_value();
        let (&connections, warm) = most.expect("there is at least one number of connections");
        let ratios = |by_count: &BTreeMap<u32, WarmReport>| {
            let each = by_count.iter();
            each.map(|(count, warm)| (*count, warm.p50_us.ratio))
                .collect()
        };
        let growth = &self.growth;
        let cold = &self.cold;
        let one = |value: f64| vec![(String::new(), value)];
        let medians = |steps: &[(String, Summary)]| {
            let each = steps.iter();
            each.map(|(name, step)| (name.clone(), step.median))
                .collect()
        };
        let mut bars: Bars = vec![("an executable".to_owned(), medians(&cold.sandbox_steps_ms))];
        for (name, runtime) in &cold.runtimes_ms {
            bars.push(((*name).to_owned(), one(runtime.corefn.median)));
        }
        bars.push((
            "a frozen instance".to_owned(),
            one(cold.thaw_ms.corefn.median),
        ));
        let mut slow: Bars = vec![("any image".to_owned(), medians(&cold.image_steps_ms))];
        let Parts {
            create_ms,
            start_ms,
            answer_ms,
        } = cold.docker;
        let parts = [
            ("create", create_ms),
            ("start", start_ms),
            ("answer", answer_ms),
        ];
        let parts = parts.map(|(name, part)| (name.to_owned(), part.median));
        slow.push(("the bare Docker API".to_owned(), parts.into()));
        Picture {
            connections,
            latency: &warm.latency_us,
            growth: vec![
                ("open connections", ratios(&growth.connections)),
                ("functions deployed", ratios(&growth.functions)),
                ("instances running", ratios(&growth.instances)),
            ],
            cold: [bars, slow],
        }
    }

    /// Writes the figures as JSON. A reader finds the old file or the new one, whole.
    ///
    /// # Errors
    /// [`BenchError::Unwritable`].
    pub fn write(&self, path: &Path) -> Result<(), BenchError> {
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let text = serde_json::to_string_pretty(self)?;
            let new = path.with_extension("new");
            fs::write(&new, text + "\n")?;
            fs::rename(&new, path)
        };
        write().map_err(|cause| BenchError::Unwritable {
            path: path.to_owned(),
            cause,
        })
    }
}

fn by_connections(plan: &Plan, warm: &[Warm]) -> BTreeMap<u32, WarmReport> {
    let each = |warm: &Warm| {
        (
            warm.connections,
            WarmReport::of(warm, plan.warm_repeats, plan),
        )
    };
    warm.iter().map(each).collect()
}

fn by_count(plan: &Plan, growth: &[(u32, Warm)]) -> BTreeMap<u32, WarmReport> {
    let each = |(count, warm): &(u32, Warm)| {
        let report = WarmReport::of(warm, plan.growth_repeats, plan);
        (*count, report)
    };
    growth.iter().map(each).collect()
}

impl WarmReport {
    fn of(warm: &Warm, repeats: u32, plan: &Plan) -> Self {
        Self {
            repeats,
            seconds: plan.seconds,
            throughput: warm.throughput,
            p50_us: warm.p50,
            p99_us: warm.p99,
            latency_us: PERCENTILES.into_iter().zip(warm.latency).collect(),
            nginx_cpu_us: warm.cpu,
        }
    }
}

/// The ratio with the largest median.
fn worst<'a>(all: impl Iterator<Item = &'a Compared>) -> Option<Summary> {
    all.map(|compared| compared.ratio)
        .max_by(|a, b| a.median.total_cmp(&b.median))
}

fn spread(summary: Summary) -> [f64; 2] {
    [summary.min, summary.max]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Counts;

    /// A report with two pairs of each figure.
    pub(crate) fn report() -> Report {
        let compared = |a, b| Compared::of(&[(a, b), (a * 1.2, b)]).unwrap();
        let warm = |connections, throughput| Warm {
            connections,
            throughput: compared(throughput, 10_000.0),
            p50: compared(100.0, 100.0),
            p99: compared(200.0, 160.0),
            latency: [compared(100.0, 100.0); PERCENTILES.len()],
            cpu: None,
        };
        let part = Summary::of(&[100.0]).unwrap();
        let cold = Cold {
            sandbox: compared(5.0, 300.0),
            image: compared(300.0, 300.0),
            parts: Parts {
                create_ms: part,
                start_ms: part,
                answer_ms: part,
            },
            sandbox_steps: vec![("handed over".to_owned(), part)],
            image_steps: vec![("created".to_owned(), part), ("ready".to_owned(), part)],
        };
        let machine = Machine {
            cpu: "a CPU".to_owned(),
            cores: 2,
            memory_mib: 1024,
            kernel: "6.1".to_owned(),
            nginx: "1.22.1".to_owned(),
            docker: "20.10".to_owned(),
            redis: "7.0".to_owned(),
            wrk: "4.1".to_owned(),
            corefn: "0.1.0".to_owned(),
            commit: None,
            load_average: 0.5,
        };
        let plan = Plan {
            quick: false,
            connections: vec![1, 32],
            warm_repeats: 2,
            seconds: 1,
            cold_repeats: 2,
            burst_repeats: 1,
            thaw_repeats: 1,
            refill_repeats: 1,
            bomb_repeats: 1,
            crowd_repeats: 1,
            crowd_seconds: 1,
            growth: Counts {
                connections: vec![10],
                functions: vec![10],
                instances: vec![1],
            },
            growth_repeats: 1,
            rate_repeats: 1,
            peer: None,
            only: Vec::new(),
        };
        let pinning = Pinning {
            nginx: Some(0),
            others: Some("1".to_owned()),
        };
        let on_socket = warm(32, 10_000.0);
        let warm = [warm(1, 5_000.0), warm(32, 9_000.0)];
        let starts = Starts {
            cold,
            gate: Gate {
                sandbox_ms: compared(5.0, 5.0),
                image_ms: compared(90.0, 99.0),
            },
            runtimes: [
                ("node", compared(20.0, 400.0)),
                ("python", compared(10.0, 400.0)),
            ]
            .into(),
            burst: part,
            refill: Refill {
                paced: compared(300.0, 200.0),
                paced_share: 0.25,
                full: compared(900.0, 300.0),
            },
            bombs: [
                ("log", compared(200.0, 200.0)),
                ("memory", compared(300.0, 250.0)),
            ]
            .into(),
            thaw: compared(12.0, 10.0),
            crowd: compared(150.0, 60.0),
            rate: part,
        };
        let growth = Growth {
            connections: vec![(10, warm[0]), (100, warm[1])],
            functions: vec![(10, warm[0])],
            instances: vec![(1, warm[0])],
        };
        let requests = Requests {
            warm: warm.to_vec(),
            on_socket,
        };
        let mut report = Report::new(&plan, machine, &pinning, &requests, &starts, &growth);
        report.add_peer("http://peer/", &plan, &[warm[0]]);
        report
    }

    #[test]
    fn json_has_the_figures_of_most_connections_on_top() {
        let json = serde_json::to_value(report()).unwrap();
        let near = |value: &serde_json::Value, want: f64| {
            assert!(
                (value.as_f64().unwrap() - want).abs() < 1e-6,
                "{value} is not {want}"
            );
        };
        near(&json["warm_throughput_ratio"], 0.99);
        near(&json["warm_throughput_ratio_spread"][0], 0.9);
        near(&json["warm_throughput_ratio_spread"][1], 1.08);
        near(&json["warm_unix_throughput_ratio"], 1.1);
        near(&json["warm_p50_ratio"], 1.1);
        near(&json["warm_p99_ratio"], 1.375);
        near(&json["cold_ms"], 5.5);
        near(&json["cold_image_ms"], 330.0);
        near(&json["docker_cold_ms"], 300.0);
        near(&json["cold_ratio"], 5.5 / 300.0);
        near(&json["cold_p99_ratio"], 6.0 / 300.0);
        near(&json["cold_image_ratio"], 1.1);
        near(&json["cold_runtime_ratio"], 0.055);
        near(&json["gate_cold_ratio"], 1.1);
        near(&json["gate_cold_image_ratio"], 1.0);
        near(&json["cold_burst_ms"], 100.0);
        near(&json["warm_refill_p99_ratio"], 1.65);
        near(&json["warm_refill_full_p99_ratio"], 3.3);
        near(&json["cold"]["refill_share"], 0.25);
        near(&json["warm_bomb_p99_ratio"], 1.32);
        near(&json["crowd_p99_ratio"], 2.75);
        near(&json["sandboxes_per_second"], 100.0);
        near(&json["thaw_ms"], 13.2);
        near(&json["thaw_ratio"], 1.32);
        near(&json["warm"]["1"]["throughput"]["ratio"]["median"], 0.55);
        near(&json["warm"]["32"]["throughput"]["other"]["max"], 10_000.0);
        near(
            &json["peer"]["warm"]["1"]["throughput"]["ratio"]["median"],
            0.55,
        );
        assert_eq!(json["noisy"], false);
        assert_eq!(json["machine"]["cpu"], "a CPU");
        assert!(json["machine"]["commit"].is_null());
    }
}
