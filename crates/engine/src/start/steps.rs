//! The steps of a start, and when each was done.

use std::fmt;
use std::time::{Duration, Instant};

/// A start's steps until its container runs. What is left until its end is the wait until that is ready.
#[derive(Debug)]
pub struct Steps {
    begin: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// The start begins.
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            done: Vec::new(),
        }
    }

    /// A step is done: a word for the log.
    pub(super) fn done(&mut self, step: &'static str) {
        self.done.push((step, self.begin.elapsed()));
    }

    /// How long it has taken until now.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// `created after 80.1 ms, started after 140.9 ms`.
impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (step, after)) in self.done.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let after = after.as_secs_f64() * 1000.0;
            write!(f, "{comma}{step} after {after:.1} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_log_has_them() {
        let steps = Steps {
            begin: Instant::now(),
            done: vec![
                ("created", Duration::from_micros(80_120)),
                ("started", Duration::from_millis(140)),
            ],
        };
        assert_eq!(
            steps.to_string(),
            "created after 80.1 ms, started after 140.0 ms"
        );
    }
}
