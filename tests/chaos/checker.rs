//! Which requests had to be answered.
//!
//! All of them, but for these, where nothing healthy could have answered:
//!
//! - The client's connection was held by a worker that was killed: it is cut off.
//! - The answer had begun, or the connection was upgraded, and then its instance was killed,
//!   removed or stopped by us: it is cut off.
//! - A request that must not be sent twice was under way when an instance of its function was
//!   killed, removed or stopped by us: 502 or 504, with the platform's code. That it was begins with
//!   the order to Docker, and lasts until the instance has ended.
//! - Docker was out of reach while the request waited, and no instance was there: 503,
//!   `docker-unavailable`. One was if it took new work both before and after, and if it is of the
//!   revision that was deployed: one that served before another revision was is not, and goes on
//!   serving only where that isn't known yet. While another revision is released beside that, nobody
//!   knows which one the request got.
//!
//! Whatever is done to Redis, to the cleaner or to nginx's configuration is no reason.

use std::time::Instant;

use corefn_core::error::ErrorCode;

use crate::history::{History, Outcome, Record};

/// What is to be said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered.
    Answered,
    /// It was refused, as documented, with this code.
    Refused(String),
    /// It was cut off with what held it.
    CutOff,
    /// It should have been answered.
    Failed(String),
}

impl History {
    /// Checks a request.
    pub fn check(&self, record: &Record) -> Verdict {
        let why = match &record.outcome {
            Outcome::Answered => return Verdict::Answered,
            Outcome::Refused(status, Some(code)) => {
                if documented(*status, code) && self.may_be_refused(record, *status, code) {
                    return Verdict::Refused(code.clone());
                }
                format!("refused with {status} {code}")
            }
            Outcome::Refused(status, None) => format!("status {status} of nobody"),
            Outcome::Wrong(text) => text.clone(),
            Outcome::Broken(text) => {
                if self.was_lost(record) || self.was_cut_off(record) {
                    return Verdict::CutOff;
                }
                text.clone()
            }
        };
        Verdict::Failed(why)
    }

    fn may_be_refused(&self, record: &Record, status: u16, code: &str) -> bool {
        match status {
            503 if code == ErrorCode::DockerUnavailable.as_str() => {
                let cut = self
                    .cuts
                    .iter()
                    .any(|(from, to)| *from <= record.end && record.begin <= *to);
                cut && !self.one_was_there(record)
            }
            502 | 504 => {
                !record.repeatable
                    && self.harmed(record.begin, record.end, |function, _| {
                        function == record.function
                    })
            }
            _ => false,
        }
    }

    /// Whether an instance of the function took new work both before and after the request. (Where several revisions were
    /// released, it may have been one of another than the request got.)
    fn one_was_there(&self, record: &Record) -> bool {
        if self.was_split(record) {
            return false;
        }
        let served = || {
            self.records.iter().filter(|other| {
                other.function == record.function
                    && other.outcome == Outcome::Answered
                    && other.instance.is_some()
            })
        };
        served()
            .filter(|before| before.end <= record.begin && !self.was_replaced(before, record.end))
            .any(|before| {
                served().any(|after| after.begin >= record.end && after.instance == before.instance)
            })
    }

    /// Whether the requests to the function were split among revisions at some time while one was under way.
    fn was_split(&self, record: &Record) -> bool {
        let of_it = self
            .releases
            .iter()
            .filter(|(function, ..)| *function == record.function);
        of_it
            .filter(|(_, from, _)| *from <= record.end)
            .any(|(.., to)| to.is_none_or(|to| record.begin <= to))
    }

    /// Whether the function began to be switched to another revision after the instance of a request
    /// had got it, and before `end`.
    fn was_replaced(&self, served: &Record, end: Instant) -> bool {
        self.switches
            .iter()
            .any(|(function, at)| *function == served.function && served.begin <= *at && *at <= end)
    }

    /// Whether the worker that held the connection was killed.
    fn was_lost(&self, record: &Record) -> bool {
        self.lost.iter().any(|lost| {
            lost.ports.contains(&record.port) && record.begin <= lost.at && lost.at <= record.end
        })
    }

    /// Whether its instance was ended after the answer had begun.
    fn was_cut_off(&self, record: &Record) -> bool {
        let (Some(_), Some(instance)) = (record.header, &record.instance) else {
            return false;
        };
        // (It has written the header, so it was ended after that.)
        self.harmed(record.begin, record.end, |_, harmed| harmed == instance)
    }

    fn harmed(&self, from: Instant, to: Instant, which: impl Fn(&str, &str) -> bool) -> bool {
        self.harms
            .iter()
            .filter(|harm| harm.deadly && harm.at <= to)
            .filter(|harm| harm.done.is_none_or(|done| from <= done))
            .any(|harm| which(&harm.function, &harm.instance))
    }

    /// Whether a request was certainly at this instance at that time.
    pub fn was_busy(&self, instance: &str, at: Instant) -> Option<&Record> {
        self.records.iter().find(|record| {
            // It has the header when the function has written it; before that it was at work.
            let since = match record.header {
                Some(header) => header.checked_sub(record.work).unwrap_or(header),
                None => return false,
            };
            record.instance.as_deref() == Some(instance)
                && since.max(record.begin) <= at
                && at < record.end
        })
    }
}

fn documented(status: u16, code: &str) -> bool {
    ErrorCode::ALL
        .iter()
        .any(|known| known.as_str() == code && known.status() == status)
}
