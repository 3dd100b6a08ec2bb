//! Durations and sizes as people write them, the way nginx and Docker read them.

use std::time::Duration;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is no duration.
    #[error("{0:?} is no duration: write a whole number and ms, s, m or h, such as \"60s\"")]
    Duration(String),
    /// It is no size.
    #[error(
        "{0:?} is no size: write a whole number and K, M or G (powers of 1024), such as \"128M\""
    )]
    Size(String),
}

/// Reads a duration: a whole number and its unit, `ms`, `s`, `m` or `h`.
///
/// # Errors
/// [`QuantityError::Duration`] for anything else, and for more than fits 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    number
        .filter(|_| factor > 0)
        .and_then(|number| number.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| QuantityError::Duration(text.to_owned()))
}

/// Reads a size in bytes: a whole number and its unit, `K`, `M` or `G` in either case, or none for
/// bytes.
///
/// # Errors
/// [`QuantityError::Size`] for anything else, and for more than fits 64 bits.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => 0,
    };
    number
        .filter(|_| factor > 0)
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| QuantityError::Size(text.to_owned()))
}

/// The digits at the start, if they are a number of 64 bits, and what follows them.
fn split(text: &str) -> (Option<u64>, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("60s", 60_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
        }
        for bad in [
            "",
            "60",
            "s",
            "-1s",
            "1.5s",
            "60 s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("128M", 128 << 20),
            ("1g", 1 << 30),
            ("4096", 4096),
            ("1k", 1024),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for bad in ["", "M", "1.5M", "1T", "1MB", "18446744073709551615G"] {
            assert!(parse_size(bad).is_err(), "{bad:?} was taken");
        }
    }
}
