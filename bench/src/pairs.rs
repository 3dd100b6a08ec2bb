//! Pairs of a load, one with something beside it and one without.
//!
//! The host of a virtual machine takes processors from it now and then, for longer than most requests take. Such a pair says
//! more of that than of what is beside the load: others are measured in its place.

use crate::error::BenchError;
use crate::stats::Compared;
use crate::wrk::Load;

/// The share of the processors' time that may be taken during a load.
const QUIET: f64 = 0.005;

/// How many pairs are measured for each that is wanted, at the most.
const ATTEMPTS: u32 = 4;

/// How the loads of some pairs compare.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    /// Microseconds within which 99 of 100 requests were answered.
    pub p99: Compared,
    /// The most requests a second that there were.
    pub throughput: f64,
}

/// A pair that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    p99: (f64, f64),
    /// The larger share of the processors' time that was taken during one of its loads.
    stolen: f64,
}

/// Measures so many pairs, each the other way round than the one before. `load` is told whether there is to be something
/// beside it.
///
/// Where the machine is not quiet for so many, those count that were least disturbed of the four times as many that are
/// measured then.
///
/// # Errors
/// [`BenchError`] when a load fails.
pub async fn measure(
    wanted: u32,
    mut load: impl AsyncFnMut(bool) -> Result<Load, BenchError>,
) -> Result<Pairs, BenchError> {
    let mut all: Vec<Pair> = Vec::new();
    let mut throughput: f64 = 0.0;
    let mut quiet = 0;
    for number in 0..wanted * ATTEMPTS {
        let mut pair = Pair {
            p99: (0.0, 0.0),
            stolen: 0.0,
        };
        for side in 0..2 {
            let is_beside = (side + number).is_multiple_of(2);
            let load = load(is_beside).await?;
            throughput = throughput.max(load.throughput);
            pair.stolen = pair.stolen.max(load.stolen);
            match is_beside {
                true => pair.p99.0 = load.p99,
                false => pair.p99.1 = load.p99,
            }
        }
        quiet += u32::from(pair.stolen <= QUIET);
        eprintln!(
            "    {quiet} of {wanted} pairs: {:.0} and {:.0} µs, {:.1} % of the processors taken",
            pair.p99.0,
            pair.p99.1,
            pair.stolen * 100.0
        );
        all.push(pair);
        if quiet == wanted {
            break;
        }
    }
    let p99 = Compared::of(&quietest(all, wanted)).ok_or_else(|| BenchError::BadLoad {
        url: "all of them".to_owned(),
        why: "a figure is zero".to_owned(),
    })?;
    Ok(Pairs { p99, throughput })
}

/// The figures of so many pairs, in the order in which they were measured: those that were least disturbed.
fn quietest(mut all: Vec<Pair>, wanted: u32) -> Vec<(f64, f64)> {
    let mut stolen: Vec<f64> = all.iter().map(|pair| pair.stolen).collect();
    stolen.sort_by(f64::total_cmp);
    let wanted = wanted as usize;
    if let Some(most) = wanted.checked_sub(1).and_then(|last| stolen.get(last)) {
        all.retain(|pair| pair.stolen <= most.max(QUIET));
    }
    all.truncate(wanted);
    all.into_iter().map(|pair| pair.p99).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(p99: f64, stolen: f64) -> Load {
        Load {
            requests: 1,
            throughput: 1e6 / p99,
            p50: p99,
            p99,
            percentiles: [p99; crate::wrk::PERCENTILES.len()],
            stolen,
        }
    }

    #[tokio::test]
    async fn disturbed_pairs_are_measured_again() {
        let mut loads = [
            // (With, without; and then the other way round.)
            load(30.0, 0.0),
            load(10.0, 0.1),
            load(10.0, 0.0),
            load(20.0, 0.0),
            load(40.0, 0.001),
            load(10.0, 0.002),
        ]
        .into_iter();
        let mut sides = Vec::new();
        let pairs = measure(2, async |is_beside| {
            sides.push(is_beside);
            Ok(loads.next().expect("there is one more"))
        });
        let pairs = pairs.await.unwrap();
        assert_eq!((pairs.p99.ratio.min, pairs.p99.ratio.max), (2.0, 4.0));
        assert_eq!(pairs.throughput, 1e5);
        assert_eq!(sides, [true, false, false, true, true, false]);
    }

    #[tokio::test]
    async fn least_disturbed_count_where_none_is_quiet() {
        let mut number = 0.0;
        let pairs = measure(1, async |_| {
            number += 1.0;
            Ok(load(number, 1.0 / number))
        });
        let pairs = pairs.await.unwrap();
        // The last of four, whose loads are the other way round.
        assert_eq!(pairs.p99.ratio.median, 8.0 / 7.0);
    }
}
