//! How long a function that fails again and again isn't started.
//!
//! A failure in a row is a start that the function made fail, or the death, not by order, of an
//! instance within [`QUICK`] of getting ready. An instance that outlives that ends the row, and so
//! does a new deployment.

use std::collections::HashMap;
use std::time::Duration;

use crate::deployment::Deployment;
use crate::error::ErrorCode;
use crate::function::{FunctionName, RevisionId};

/// How long the function isn't started after the first failure in a row, the second, and so on;
/// after all further ones as after the last. The first costs nothing.
pub const PAUSES: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
    Duration::from_secs(60),
];

/// The same after deaths. A request that kills its instance, and the one that it is sent to again,
/// must not keep others waiting, so three in a row cost nothing.
pub const PAUSES_OF_DEATHS: [Duration; 10] = {
    let mut pauses = [Duration::ZERO; 10];
    let mut at = 0;
    while at < PAUSES.len() {
        pauses[at + 2] = PAUSES[at];
        at += 1;
    }
    pauses
};

/// An instance that dies sooner after it got ready has failed.
pub const QUICK: Duration = Duration::from_secs(10);

/// How long after a pause its row is remembered, if there is neither a success nor a failure.
pub const MEMORY: Duration = Duration::from_secs(600);

/// The pause after so many failures in a row.
pub fn pause(failures: usize) -> Duration {
    failures
        .checked_sub(1)
        .map_or(Duration::ZERO, |at| PAUSES[at.min(PAUSES.len() - 1)])
}

/// Whether a start that failed so is the function's own doing. What Docker, Redis or the router
/// itself can't do is not, and neither is a wait that got too long.
pub fn is_own_fault(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FunctionExited | ErrorCode::FunctionNotListening | ErrorCode::ImageMissing
    )
}

/// The failures in a row that one router counts by itself, while Redis can't count them for all.
/// All times are milliseconds of one monotonic clock.
#[derive(Debug, Default)]
pub struct Rows(HashMap<FunctionName, Row>);

#[derive(Debug)]
struct Row {
    revision: RevisionId,
    failures: usize,
    /// When it is forgotten.
    end: u64,
}

impl Rows {
    /// Counts a failed start at `now`; returns the pause.
    pub fn on_failure(&mut self, deployment: &Deployment, now: u64) -> Duration {
        self.0.retain(|_, row| row.end > now);
        let row = self.0.entry(deployment.function.clone()).or_insert(Row {
            revision: deployment.revision.clone(),
            failures: 0,
            end: 0,
        });
        if row.revision != deployment.revision {
            row.revision = deployment.revision.clone();
            row.failures = 0;
        }
        row.failures += 1;
        let pause = pause(row.failures);
        row.end = now + (pause + MEMORY).as_millis() as u64;
        pause
    }

    /// An instance of the function got ready.
    pub fn on_success(&mut self, function: &FunctionName) {
        self.0.remove(function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunctionConfig;
    use proptest::prelude::*;

    fn deployment(revision: &str) -> Deployment {
        Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId(revision.to_owned()),
            image: String::new(),
            config: FunctionConfig::default(),
            releases: Vec::new(),
        }
    }

    #[test]
    fn pauses_double_to_a_minute() {
        let seconds: Vec<u64> = (0..11).map(|count| pause(count).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(usize::MAX).as_secs(), 60);
        let deaths = PAUSES_OF_DEATHS.map(|pause| pause.as_secs());
        assert_eq!(deaths, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60]);
    }

    #[test]
    fn a_row_ends_with_a_success_a_deployment_or_by_itself() {
        let mut rows = Rows::default();
        let (one, two) = (deployment("r1"), deployment("r2"));
        let mut row = |deployment: &Deployment, now| rows.on_failure(deployment, now).as_secs();
        assert_eq!([row(&one, 0), row(&one, 1), row(&one, 2)], [0, 1, 2]);
        assert_eq!([row(&two, 3), row(&two, 4)], [0, 1]);
        assert_eq!(row(&two, 4 + 601_000), 0, "it was long ago");
        assert_eq!(row(&two, 5 + 601_000), 1);
        rows.on_success(&one.function);
        assert_eq!(rows.on_failure(&two, 6 + 601_000), Duration::ZERO);
    }

    proptest! {
        /// Whatever happens in whatever order: the pause goes by the failures since the last
        /// success, and is never longer than a minute.
        #[test]
        fn only_failures_in_a_row_count(failed in proptest::collection::vec(any::<bool>(), 0..60)) {
            let (mut rows, mut row, hello) = (Rows::default(), 0, deployment("r1"));
            for (now, failed) in failed.into_iter().enumerate() {
                if failed {
                    row += 1;
                    let got = rows.on_failure(&hello, now as u64 * 1000);
                    prop_assert_eq!(got, pause(row));
                    prop_assert!(got <= Duration::from_secs(60));
                } else {
                    row = 0;
                    rows.on_success(&hello.function);
                }
            }
        }
    }

    #[test]
    fn only_the_function_is_backed_off() {
        for code in ErrorCode::ALL {
            let own = ["function-exited", "function-not-listening", "image-missing"];
            assert_eq!(is_own_fault(code), own.contains(&code.as_str()), "{code}");
        }
    }
}
