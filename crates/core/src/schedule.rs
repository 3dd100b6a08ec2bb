//! Schedules: when a function is called though nobody asks for it, and what came of that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::function::FunctionName;
use crate::outcome::Outcome;

/// How many lines a function's schedule may have.
pub const MOST: usize = 20;

/// How late a call may be, in seconds. What could not be done by then is missed: it is counted, and not made up for.
pub const LATEST: i64 = 60;

/// A line of a function's schedule: when it is called, in which time zone that is meant, and by which path.
///
/// As text it is five cron fields (or a name such as `@hourly`), perhaps a time zone, perhaps a path:
/// `*/5 * * * * Europe/Berlin /tick`. Whether the fields and the zone mean anything is not known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    cron: String,
    zone: Option<String>,
    path: Option<String>,
}

/// Why a text is no [`Schedule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It has too few fields.
    #[error(
        "{0:?} has fewer than five fields: minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\""
    )]
    Few(String),
    /// What follows the fields is neither a time zone nor a path.
    #[error(
        "{text:?}: {rest:?} is neither a time zone, such as Europe/Berlin, nor a path, such as /tick; there are five fields, none for \
         seconds"
    )]
    Rest {
        /// The text.
        text: String,
        /// What can't be read.
        rest: String,
    },
    /// Its path is none.
    #[error("{0}")]
    Path(String),
}

/// The most bytes of a line, which everyone is shown.
const LONGEST: usize = 200;

impl Schedule {
    /// The cron fields, or the name in place of them.
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// The time zone by the name that the IANA gave it; without one it is the host's.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The path, behind the function's prefix, that is asked for.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let few = || ScheduleError::Few(text.chars().take(LONGEST).collect());
        let mut words = text.split_ascii_whitespace();
        let first = words.next().ok_or_else(few)?;
        let mut fields = vec![first];
        if !first.starts_with('@') {
            fields.extend(words.by_ref().take(4));
            if fields.len() < 5 {
                return Err(few());
            }
        }
        let wrong = |rest: &str| ScheduleError::Rest {
            text: text.chars().take(LONGEST).collect(),
            rest: rest.chars().take(LONGEST).collect(),
        };
        let (mut zone, mut path) = (None, None);
        for word in words {
            let is_zone = word.starts_with(|c: char| c.is_ascii_alphabetic());
            match (&zone, &path) {
                (None, None) if is_zone => zone = Some(word.to_owned()),
                (_, None) if word.starts_with('/') => {
                    crate::path::check_target(word).map_err(ScheduleError::Path)?;
                    path = Some(word.to_owned());
                }
                _ => return Err(wrong(word)),
            }
        }
        if text.len() > LONGEST {
            let rest: String = text.chars().skip(LONGEST).collect();
            return Err(wrong(&rest));
        }
        let cron = fields.join(" ");
        Ok(Self { cron, zone, path })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cron)?;
        for rest in [&self.zone, &self.path].into_iter().flatten() {
            write!(f, " {rest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

/// One line of one function's schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// Which function.
    pub function: FunctionName,
    /// The line.
    pub schedule: Schedule,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.function, self.schedule)
    }
}

/// What came of a line so far. All times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Whatever was due up to this time was called for, or is missed.
    pub settled: i64,
    /// How many calls there were.
    pub called: u64,
    /// How many of them failed.
    #[serde(default)]
    pub failed: u64,
    /// How many were due and never made.
    #[serde(default)]
    pub missed: u64,
    /// The last one that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Call>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// When it was due.
    pub due: i64,
    /// When it began.
    pub began: i64,
    /// The token of the dispatcher that makes it.
    pub by: String,
    /// What came of it; nothing as long as it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// When.
    pub at: i64,
    /// How.
    pub outcome: Outcome,
}

/// What is due of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// The last time that has come and is not settled.
    pub latest: Option<i64>,
    /// How many have come before that.
    pub before: u64,
}

/// What is to be done about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing for now.
    Wait,
    /// This is to be known of it.
    Note(Calls),
    /// The same, and the last call of it is to be made.
    Call(Calls),
}

impl Calls {
    /// Those of a line that has been seen now for the first time: what was due before is no concern of it.
    pub fn since(now: i64) -> Self {
        Self {
            settled: now,
            ..Self::default()
        }
    }

    /// Whether the last call is under way, as far as is known.
    pub fn is_under_way(&self) -> bool {
        self.last.as_ref().is_some_and(|call| call.end.is_none())
    }

    /// Whether it says what is to come yet: the clock of whoever wrote it was wrong.
    pub fn is_ahead(&self, now: i64) -> bool {
        self.settled > now + LATEST
    }

    /// What is to be done where `due` is what has come since `settled`. `is_alive` says whether whoever made the last call
    /// is there, where that has no end; and `me` is who asks.
    ///
    /// A line's calls never overlap: the next one waits for [`LATEST`], and is missed then.
    pub fn step(&self, due: Due, now: i64, is_alive: bool, me: &str) -> Step {
        let mut next = self.clone();
        if let Some(call) = next
            .last
            .as_mut()
            .filter(|call| call.end.is_none() && !is_alive)
        {
            next.failed += 1;
            call.end = Some(End {
                at: now,
                outcome: Outcome::BrokenOff,
            });
        }
        next.missed += due.before;
        let waits = next.is_under_way();
        match due.latest {
            Some(latest) if now - latest > LATEST => {
                next.missed += 1;
                next.settled = latest;
            }
            Some(latest) if !waits => {
                next.called += 1;
                next.settled = latest;
                next.last = Some(Call {
                    due: latest,
                    began: now,
                    by: me.to_owned(),
                    end: None,
                });
                return Step::Call(next);
            }
            // What came before the latest is missed, which itself may yet be made.
            Some(latest) if due.before > 0 => next.settled = latest - 1,
            _ => {}
        }
        if next == *self {
            Step::Wait
        } else {
            Step::Note(next)
        }
    }

    /// With the end of the call that was due then, if it has none yet.
    pub fn ended(&self, due: i64, by: &str, end: End) -> Option<Self> {
        let mut next = self.clone();
        let mine = |call: &&mut Call| call.due == due && call.by == by && call.end.is_none();
        let call = next.last.as_mut().filter(mine)?;
        next.failed += u64::from(!end.outcome.is_good());
        call.end = Some(end);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        for (text, cron, zone, path) in [
            ("*/5 * * * *", "*/5 * * * *", None, "/"),
            (
                "0 4 * * MON Europe/Berlin",
                "0 4 * * MON",
                Some("Europe/Berlin"),
                "/",
            ),
            ("0 4 1 1 * /tick?a=b", "0 4 1 1 *", None, "/tick?a=b"),
            ("@daily UTC /", "@daily", Some("UTC"), "/"),
            ("@hourly", "@hourly", None, "/"),
        ] {
            let line: Schedule = text.parse().unwrap();
            assert_eq!((line.cron(), line.zone(), line.path()), (cron, zone, path));
            assert_eq!(line.to_string(), text);
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), line);
        }
        let head = "* * * * * /";
        let longest = format!("{head}{}", "x".repeat(LONGEST - head.len()));
        assert_eq!(longest.parse::<Schedule>().unwrap().to_string(), longest);
        assert!(format!("{longest}x").parse::<Schedule>().is_err());
        let spaced: Schedule = " 1  2 * *\t* ".parse().unwrap();
        assert_eq!(spaced.to_string(), "1 2 * * *");
        let line = Line {
            function: "a/b".parse().unwrap(),
            schedule: spaced,
        };
        assert_eq!(line.to_string(), "a/b 1 2 * * *");
    }

    #[test]
    fn what_is_no_line() {
        let long = format!("* * * * * /{}", "x".repeat(LONGEST));
        for (text, says) in [
            ("", "fewer than five fields"),
            ("* * * *", "fewer than five fields"),
            ("0 */5 * * * *", "\"*\" is neither a time zone"),
            ("* * * * * /tick UTC", "\"UTC\" is neither a time zone"),
            ("* * * * * UTC CET", "\"CET\" is neither a time zone"),
            ("* * * * * /a /b", "\"/b\" is neither a time zone"),
            ("* * * * * /ä", "is no path"),
            (&long, "is neither a time zone"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    fn due(latest: i64, before: u64) -> Due {
        Due {
            latest: Some(latest),
            before,
        }
    }

    fn good(at: i64) -> End {
        let outcome = Outcome::Answered {
            status: 204,
            error: None,
        };
        End { at, outcome }
    }

    #[test]
    fn what_is_due_is_called_once() {
        let new = Calls::since(100);
        assert_eq!(new.step(Due::default(), 101, true, "me"), Step::Wait);
        let Step::Call(called) = new.step(due(120, 0), 121, true, "me") else {
            panic!("it is due");
        };
        let call = called.last.as_ref().unwrap();
        assert_eq!((call.due, call.began, &*call.by), (120, 121, "me"));
        assert_eq!((called.settled, called.called, called.missed), (120, 1, 0));
        assert!(called.is_under_way());
        // Who is not the one, or comes too late, ends nothing.
        assert_eq!(called.ended(120, "other", good(125)), None);
        assert_eq!(called.ended(119, "me", good(125)), None);
        let ended = called.ended(120, "me", good(125)).unwrap();
        assert!(!ended.is_under_way() && ended.failed == 0);
        assert_eq!(ended.ended(120, "me", good(126)), None);
        assert_eq!(ended.step(Due::default(), 130, true, "me"), Step::Wait);
    }

    #[test]
    fn what_is_late_is_missed() {
        let calls = Calls::since(100);
        let Step::Call(called) = calls.step(due(160, 0), 160 + LATEST, true, "me") else {
            panic!("it is not late yet");
        };
        assert_eq!(called.missed, 0);
        let Step::Note(noted) = calls.step(due(160, 2), 161 + LATEST, true, "me") else {
            panic!("it is late");
        };
        assert_eq!((noted.missed, noted.settled, noted.called), (3, 160, 0));
        assert_eq!(noted.last, None);
        // Of several the latest is called, if it is not late.
        let Step::Call(called) = calls.step(due(160, 2), 161, true, "me") else {
            panic!("it is due");
        };
        assert_eq!((called.missed, called.called, called.settled), (2, 1, 160));
    }

    #[test]
    fn calls_of_a_line_do_not_overlap() {
        let Step::Call(under_way) = Calls::since(0).step(due(60, 0), 60, true, "me") else {
            panic!("it is due");
        };
        assert_eq!(under_way.step(due(120, 0), 125, true, "other"), Step::Wait);
        let Step::Note(noted) = under_way.step(due(180, 1), 185, true, "other") else {
            panic!("one is missed");
        };
        assert_eq!((noted.missed, noted.settled), (1, 179));
        assert!(noted.is_under_way());
        let Step::Note(late) = noted.step(due(180, 0), 181 + LATEST, true, "other") else {
            panic!("it is late");
        };
        assert_eq!((late.missed, late.settled), (2, 180));
        // Once the one under way has ended, the next is made.
        let ended = noted.ended(60, "me", good(190)).unwrap();
        let step = ended.step(due(180, 0), 191, true, "other");
        assert!(matches!(step, Step::Call(calls) if calls.called == 2 && calls.missed == 1));
    }

    #[test]
    fn who_dies_leaves_a_call_that_is_broken_off() {
        let Step::Call(under_way) = Calls::since(0).step(due(60, 0), 60, true, "me") else {
            panic!("it is due");
        };
        let Step::Note(noted) = under_way.step(Due::default(), 80, false, "other") else {
            panic!("it is broken off");
        };
        let end = noted.last.as_ref().unwrap().end.as_ref().unwrap();
        assert_eq!((end.at, &end.outcome), (80, &Outcome::BrokenOff));
        assert_eq!((noted.failed, noted.called), (1, 1));
        assert_eq!(noted.step(Due::default(), 81, false, "other"), Step::Wait);
        let Step::Call(next) = under_way.step(due(120, 0), 121, false, "other") else {
            panic!("the next one is due");
        };
        assert_eq!((next.failed, next.called), (1, 2));
        assert_eq!(next.last.unwrap().by, "other");
        // It was not dead, only slow: its end is of no interest any more.
        assert_eq!(noted.ended(60, "me", good(90)), None);
    }

    #[test]
    fn calls_that_fail() {
        let end = End {
            at: 1,
            outcome: Outcome::Answered {
                status: 500,
                error: None,
            },
        };
        let Step::Call(called) = Calls::since(0).step(due(1, 0), 1, true, "me") else {
            panic!("it is due");
        };
        assert_eq!(called.ended(1, "me", end).unwrap().failed, 1);
    }

    #[test]
    fn clocks_that_were_ahead() {
        let calls = Calls::since(1000);
        assert!(!calls.is_ahead(1000 - LATEST));
        assert!(calls.is_ahead(999 - LATEST));
    }

    /// What is due each minute of the time from `settled` to `now`.
    fn minutes(settled: i64, now: i64) -> Due {
        let count = now.div_euclid(60) - settled.div_euclid(60);
        Due {
            latest: (count > 0).then(|| now.div_euclid(60) * 60),
            before: u64::try_from(count - 1).unwrap_or(0),
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// So many seconds pass.
        Passes(i64),
        /// The call that is under way ends.
        Ends,
        /// Who makes it dies.
        Dies,
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (1_i64..40).prop_map(Event::Passes),
            1 => (40_i64..400).prop_map(Event::Passes),
            2 => Just(Event::Ends),
            1 => Just(Event::Dies),
        ]
    }

    proptest! {
        /// Whatever happens, each time that has come is called for or missed, once, and calls are no later than they may be.
        #[test]
        fn each_time_counts_once(events in prop::collection::vec(events(), 1..60)) {
            let (mut now, mut is_alive) = (30, true);
            let mut calls = Calls::since(now);
            let mut made = 0;
            for event in events {
                match event {
                    Event::Passes(seconds) => now += seconds,
                    Event::Dies => is_alive = false,
                    Event::Ends => {
                        let due = calls.last.as_ref().map_or(0, |call| call.due);
                        calls = calls.ended(due, "me", good(now)).unwrap_or(calls);
                    }
                }
                let was_under_way = calls.is_under_way();
                match calls.step(minutes(calls.settled, now), now, is_alive, "me") {
                    Step::Wait => {}
                    Step::Note(next) => calls = next,
                    Step::Call(next) => {
                        prop_assert!(!was_under_way || !is_alive);
                        let call = next.last.as_ref().unwrap();
                        prop_assert!((0..=LATEST).contains(&(now - call.due)));
                        prop_assert_eq!((call.due, call.began), (next.settled, now));
                        made += 1;
                        is_alive = true;
                        calls = next;
                    }
                }
                prop_assert_eq!(calls.called, made);
                prop_assert!(calls.failed <= calls.called);
                // All that is settled, and no more.
                let settled = calls.settled.div_euclid(60);
                prop_assert_eq!(calls.called + calls.missed, settled.unsigned_abs());
                // What is not is the last that has come, and waits for the one before.
                let left = now.div_euclid(60) - settled;
                prop_assert!(left <= 1, "{left} are left");
                prop_assert!(left == 0 || calls.is_under_way());
            }
        }
    }
}
