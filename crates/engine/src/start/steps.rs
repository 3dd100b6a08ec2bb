//! The steps of a start, and when each was done.

use std::fmt;
use std::time::{Duration, Instant};

use corefn_core::start::Phase;

/// A start's steps until its container runs. What is left until its end is the wait until that is ready.
#[derive(Debug)]
pub struct Steps {
    begin: Instant,
    done: Vec<(Phase, Duration)>,
}

impl Steps {
    /// The start begins.
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            done: Vec::new(),
        }
    }

    /// A step is done.
    pub(super) fn done(&mut self, step: Phase) {
        self.done.push((step, self.begin.elapsed()));
    }

    /// How long each step took, of a start that has ended just now.
    pub fn phases(&self) -> Vec<(Phase, Duration)> {
        let end = (Phase::Ready, self.elapsed());
        let mut before = Duration::ZERO;
        let each = self.done.iter().chain([&end]).map(|(step, after)| {
            let took = after.saturating_sub(before);
            before = *after;
            (*step, took)
        });
        each.collect()
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
                (Phase::Created, Duration::from_micros(80_120)),
                (Phase::Started, Duration::from_millis(140)),
            ],
        };
        assert_eq!(
            steps.to_string(),
            "created after 80.1 ms, started after 140.0 ms"
        );
        let phases = steps.phases();
        assert_eq!(phases[0], (Phase::Created, Duration::from_micros(80_120)));
        assert_eq!(phases[1], (Phase::Started, Duration::from_micros(59_880)));
        assert_eq!((phases.len(), phases[2].0), (3, Phase::Ready));
    }
}
