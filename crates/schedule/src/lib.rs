//! When a line of a function's schedule is due: what its cron fields mean in its time zone.
//!
//! The fields are read, and times found, as cron does it: where both a day of the month and one of the week are given, one of
//! them is enough. When clocks are put forward, a time of day that is left out is made up for right after; when they are put
//! back, one that comes twice counts once, and what goes by the hour goes on. Time zones are those of the host's
//! `/usr/share/zoneinfo`, or else a copy in the program.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod zoned;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use corefn_core::schedule::{Due, Schedule};

use zoned::Moment;

/// How many times are counted that have come: whoever wants to know of more has no use for the number.
const MOST_COUNTED: u64 = 10_000;

/// The times of a line.
#[derive(Debug, Clone)]
pub struct Times {
    cron: Cron,
    zone: TimeZone,
}

/// Why a line has no times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// Its fields can't be read.
    #[error(
        "{cron:?} is no cron expression ({why}): write minute, hour, day of the month, month and day of the week, such as \
         \"*/5 * * * *\""
    )]
    Cron {
        /// The fields.
        cron: String,
        /// What is wrong with them.
        why: String,
    },
    /// There is no such zone.
    #[error(
        "there is no time zone {0:?}: write one such as Europe/Berlin or UTC, or none for the host's"
    )]
    Zone(String),
    /// It never comes.
    #[error("{0:?} never comes: no month has such a day")]
    Never(String),
}

impl Times {
    /// The times of a line. Reads the host's time zones.
    ///
    /// # Errors
    /// [`TimesError`] if its fields or its zone mean nothing, or if it never comes.
    pub fn new(line: &Schedule) -> Result<Self, TimesError> {
        let zone = match line.zone() {
            Some(name) => TimeZone::get(name).map_err(|_| TimesError::Zone(name.to_owned()))?,
            None => TimeZone::system(),
        };
        Self::within(line, zone)
    }

    /// The same where the zone is known.
    fn within(line: &Schedule, zone: TimeZone) -> Result<Self, TimesError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(line.cron())
            .map_err(|error| TimesError::Cron {
                cron: line.cron().to_owned(),
                why: error.to_string(),
            })?;
        let times = Self { cron, zone };
        // (Whether it ever comes is the same at all times, but for the years without a 29th of February.)
        match times.after(0) {
            Some(_) => Ok(times),
            None => Err(TimesError::Never(line.cron().to_owned())),
        }
    }

    /// The first time after another one, both in seconds since 1970.
    pub fn after(&self, time: i64) -> Option<i64> {
        let found = self.cron.find_next_occurrence(&self.moment(time)?, false);
        Some(found.ok()?.second())
    }

    /// What has come after `settled`, up to and with `now`.
    pub fn due(&self, settled: i64, now: i64) -> Due {
        let mut due = Due::default();
        let mut last = settled;
        while let Some(next) = self.after(last).filter(|next| *next <= now) {
            due.before += u64::from(due.latest.is_some());
            due.latest = Some(next);
            last = next;
            if due.before == MOST_COUNTED {
                due.latest = self.before(now);
                break;
            }
        }
        due
    }

    /// The last time up to and with `now`.
    fn before(&self, now: i64) -> Option<i64> {
        let found = self.cron.find_previous_occurrence(&self.moment(now)?, true);
        Some(found.ok()?.second())
    }

    fn moment(&self, time: i64) -> Option<Moment> {
        let time = Timestamp::from_second(time).ok()?;
        Some(Moment(time.to_zoned_datetime(self.zone.clone())))
    }
}

#[cfg(test)]
mod tests;
