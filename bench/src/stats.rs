//! Medians with their spread, of one side's figures and of the two sides' ratios.

use std::fmt;

use serde::Serialize;

/// A figure that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Half of the values are below and half above.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// 99 of 100 values are as small, or smaller: of fewer than 100, the largest.
    pub p99: f64,
}

/// A figure of the two sides, measured in turns, and how they compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// With CoreFn.
    pub corefn: Summary,
    /// Without.
    pub other: Summary,
    /// With CoreFn divided by without, for each turn: not the ratio of the two medians.
    pub ratio: Summary,
}

impl Summary {
    /// Sums up values; none if there are none, or one of them is no finite number.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        let p99 = sorted[(sorted.len() * 99).div_ceil(100) - 1];
        Some(Self {
            median,
            min,
            max,
            p99,
        })
    }
}

impl Compared {
    /// Compares pairs of a value with CoreFn and one without; none where [`Summary::of`] has none,
    /// such as for a ratio to nothing.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let each = |value: fn(&(f64, f64)) -> f64| {
            Summary::of(&pairs.iter().map(value).collect::<Vec<_>>())
        };
        Some(Self {
            corefn: each(|pair| pair.0)?,
            other: each(|pair| pair.1)?,
            ratio: each(|pair| pair.0 / pair.1)?,
        })
    }
}

/// `median (min–max)`; the formatter's precision is of all three.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(0);
        let Self {
            median, min, max, ..
        } = self;
        let text = format!("{median:.precision$} ({min:.precision$}–{max:.precision$})");
        match f.width() {
            Some(width) => write!(f, "{text:<width$}"),
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        let odd = Summary::of(&[3.0, 1.0, 20.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 20.0));
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of(&[7.0]).unwrap().median, 7.0);
    }

    #[test]
    fn percentile() {
        let of = |count: u32| {
            let values: Vec<_> = (1..=count).map(f64::from).collect();
            Summary::of(&values).unwrap().p99
        };
        assert_eq!(
            [1, 20, 100, 101, 200].map(of),
            [1.0, 20.0, 99.0, 100.0, 198.0]
        );
    }

    #[test]
    fn nothing_to_sum_up() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Compared::of(&[(1.0, 0.0)]), None);
    }

    #[test]
    fn ratios_are_of_pairs() {
        // The machine got three times slower; in each pair CoreFn costs a tenth.
        let compared = Compared::of(&[(11.0, 10.0), (33.0, 30.0), (22.0, 20.0)]).unwrap();
        assert!((compared.ratio.min - 1.1).abs() < 1e-9 && (compared.ratio.max - 1.1).abs() < 1e-9);
        assert_eq!(
            (compared.corefn.median, compared.other.median),
            (22.0, 20.0)
        );
    }

    #[test]
    fn shown() {
        let summary = Summary::of(&[1.0, 2.0, 4.0]).unwrap();
        assert_eq!(format!("{summary:.1}"), "2.0 (1.0–4.0)");
        assert_eq!(format!("{summary:<10}|"), "2 (1–4)   |");
    }
}
