//! The load: `wrk`, and how its report is read.

use std::process::{Output, Stdio};

use corefn_engine::processors::Times;
use serde::Deserialize;
use tokio::process::Command;

use crate::cpu::Pinning;
use crate::error::BenchError;

/// Prints the line that [`Load::parse`] reads.
pub const SCRIPT: &str = include_str!("report.lua");

/// The same, and has each connection pause between its requests.
pub const PACED_SCRIPT: &str = concat!(include_str!("report.lua"), "\n", include_str!("paced.lua"));

/// About how many requests a second all connections of [`steady_script`] send together, however many they are.
pub const RATE: u32 = 2_500;

/// The same, and has each of so many connections pause, so that all together send [`RATE`].
pub fn steady_script(connections: u32) -> String {
    let most = 2 * 1000 * connections / RATE;
    format!("{SCRIPT}\nfunction delay()\n   return math.random(0, {most})\nend\n")
}

/// Of which percentiles the latencies are told. The script has the same.
pub const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// What that line begins with.
const MARK: &str = "wrk-summary ";

/// What `wrk` itself says of answers that are no success; its scripts are told of a part of them
/// only.
const NOT_A_SUCCESS: &str = "Non-2xx or 3xx responses:";

/// How a load went: every request was answered with success.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How many requests were answered.
    pub requests: u64,
    /// How many a second.
    pub throughput: f64,
    /// Within how many microseconds half of them were answered.
    pub p50: f64,
    /// Within how many microseconds 99 of 100 were.
    pub p99: f64,
    /// Within how many microseconds [`PERCENTILES`] of 100 were.
    pub percentiles: [f64; PERCENTILES.len()],
    /// The share of the processors' time that the machine's host took meanwhile, if it is a virtual one.
    pub stolen: f64,
}

#[derive(Deserialize)]
struct Line {
    requests: u64,
    microseconds: u64,
    percentiles: [u32; PERCENTILES.len()],
    connect: u64,
    read: u64,
    write: u64,
    timeout: u64,
}

/// Requests the URL over and over for some seconds, on so many connections, from one thread.
///
/// `script` is the path of a file with [`SCRIPT`] or [`PACED_SCRIPT`].
///
/// # Errors
/// [`BenchError`] when wrk can't be run, or a single request failed.
pub async fn load(
    url: &str,
    script: &std::path::Path,
    pinning: &Pinning,
    connections: u32,
    seconds: u32,
) -> Result<Load, BenchError> {
    let mut command = match &pinning.others {
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", cpus, "wrk"]);
            command
        }
        None => Command::new("wrk"),
    };
    command
        .args(["--threads", "1", "--latency", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(script)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let before = Times::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.map_err(BenchError::NoWrk)?;
    let printed = String::from_utf8_lossy(&stdout);
    if !status.success() {
        return Err(BenchError::WrkFailed {
            url: url.to_owned(),
            output: format!("{status}\n{printed}{}", String::from_utf8_lossy(&stderr)),
        });
    }
    let load = Load::parse(&printed).map_err(|why| BenchError::BadLoad {
        url: url.to_owned(),
        why,
    })?;
    Ok(Load {
        stolen: Times::now().since(before).stolen,
        ..load
    })
}

impl Load {
    /// Reads what wrk has printed.
    ///
    /// # Errors
    /// A text that says what is missing, or what failed.
    fn parse(printed: &str) -> Result<Self, String> {
        let line = printed.lines().find_map(|line| line.strip_prefix(MARK));
        let line = line.ok_or_else(|| format!("wrk has reported nothing:\n{printed}"))?;
        let line: Line = serde_json::from_str(line)
            .map_err(|error| format!("wrk's report can't be read ({error}): {line}"))?;
        let refused = printed
            .lines()
            .find_map(|line| line.trim().strip_prefix(NOT_A_SUCCESS));
        if let Some(count) = refused {
            return Err(format!(
                "{} of {} answers were no success",
                count.trim(),
                line.requests
            ));
        }
        for (count, what) in [
            (line.connect, "connections were refused"),
            (line.read, "answers broke off"),
            (line.write, "requests could not be sent"),
            (line.timeout, "requests had no answer in time"),
        ] {
            if count > 0 {
                return Err(format!("{count} {what}"));
            }
        }
        let percentiles = line.percentiles.map(f64::from);
        let [p50, .., p99, _] = percentiles;
        if [line.requests, line.microseconds].contains(&0) || p50 == 0.0 {
            return Err("no request was answered".to_owned());
        }
        Ok(Self {
            requests: line.requests,
            throughput: line.requests as f64 * 1e6 / line.microseconds as f64,
            p50,
            p99,
            percentiles,
            stolen: 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.61ms  390.12us  10.02ms   95.12%
    Req/Sec    20.03k     1.02k   21.52k    75.00%
  Latency Distribution
     50%    1.56ms
     75%    1.65ms
     90%    1.79ms
     99%    2.95ms
  40000 requests in 2.00s, 5.49MB read
Requests/sec:  20000.00
Transfer/sec:      2.74MB
wrk-summary {"requests":40000,"microseconds":2000000,"percentiles":[1560,1650,1790,1900,2950,4000],"connect":0,"read":0,"write":0,"timeout":0}
"#;

    #[test]
    fn a_good_load() {
        let load = Load::parse(GOOD).unwrap();
        assert_eq!(load.requests, 40_000);
        assert_eq!(
            (load.throughput, load.p50, load.p99),
            (20_000.0, 1560.0, 2950.0)
        );
    }

    #[test]
    fn failed_requests_spoil_it() {
        let refused = GOOD.replace(
            "Requests/sec:",
            "  Non-2xx or 3xx responses: 17\nRequests/sec:",
        );
        assert_eq!(
            Load::parse(&refused).unwrap_err(),
            "17 of 40000 answers were no success"
        );
        for (error, says) in [
            ("connect", "1 connections were refused"),
            ("read", "1 answers broke off"),
            ("write", "1 requests could not be sent"),
            ("timeout", "1 requests had no answer in time"),
        ] {
            let spoilt = GOOD.replace(&format!("\"{error}\":0"), &format!("\"{error}\":1"));
            assert_eq!(Load::parse(&spoilt).unwrap_err(), says);
        }
        let none = GOOD.replace("\"requests\":40000", "\"requests\":0");
        assert_eq!(Load::parse(&none).unwrap_err(), "no request was answered");
    }

    #[test]
    fn no_report() {
        for printed in ["", "unable to connect", "wrk-summary {\"requests\":1}"] {
            assert!(Load::parse(printed).is_err(), "{printed:?}");
        }
    }
}
