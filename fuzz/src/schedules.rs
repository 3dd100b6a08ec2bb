//! Lines of schedules, which anyone who may push writes.
//!
//! A line is read as itself; what can be read has times that grow, or is refused with a cause; and nothing takes long.

use std::time::{Duration, Instant};

use corefn_core::schedule::Schedule;
use corefn_schedule::Times;

/// Far more than a line takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// When it begins: 1 January 2030.
const BEGIN: i64 = 1_893_456_000;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let begin = Instant::now();
    match text.parse::<Schedule>() {
        Ok(line) => {
            assert_eq!(line.to_string().parse().as_ref(), Ok(&line), "{text:?}");
            times(&line);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

fn times(line: &Schedule) {
    let times = match Times::new(line) {
        Ok(times) => times,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut last = BEGIN;
    for count in 0..3 {
        // (The last year there is may be near.)
        let Some(next) = times.after(last) else {
            return;
        };
        assert!(next > last, "{line}: {next} after {last}");
        let due = times.due(BEGIN, next);
        assert_eq!((due.latest, due.before), (Some(next), count), "{line}");
        last = next;
    }
}
