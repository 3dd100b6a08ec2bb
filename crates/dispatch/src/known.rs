//! The lines that are known, and when each is to be looked at.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::schedule::{LATEST, Line};
use corefn_schedule::{Times, TimesError};

/// How often a line is looked at whose last call is under way, in seconds: whoever makes it may die.
const AGAIN: i64 = 5;

/// A line that is known.
#[derive(Debug)]
struct Known {
    times: Arc<Times>,
    /// When it is to be looked at, in seconds since 1970.
    look_at: i64,
}

/// The lines of all functions.
#[derive(Debug, Default)]
pub struct Lines {
    known: HashMap<Line, Known>,
    /// Those that are being looked at, or whose function is being called, though they may be known no more.
    busy: HashSet<Line>,
    /// When they were last asked for.
    now: i64,
}

/// What has changed with a deployment.
#[derive(Debug, Default)]
pub struct Changed {
    /// Lines that are no more, as Redis has them.
    pub gone: Vec<String>,
    /// Lines that have no times on this host, and why.
    pub wrong: Vec<(Line, TimesError)>,
}

/// A line that is to be looked at.
#[derive(Debug)]
pub struct Look {
    /// The line.
    pub line: Line,
    /// Its times.
    pub times: Arc<Times>,
}

impl Lines {
    /// Takes the schedule of a deployment in the place of what was known of its function.
    pub fn take(&mut self, deployment: &Deployment, now: i64) -> Changed {
        let function = &deployment.function;
        let schedule = &deployment.config.schedule;
        let is_gone =
            |line: &Line| line.function == *function && !schedule.contains(&line.schedule);
        let mut changed = Changed {
            gone: self.drop_those(is_gone),
            wrong: Vec::new(),
        };
        for schedule in schedule {
            let line = Line {
                function: function.clone(),
                schedule: schedule.clone(),
            };
            if self.known.contains_key(&line) {
                continue;
            }
            match Times::new(schedule) {
                Ok(times) => {
                    let known = Known {
                        times: Arc::new(times),
                        look_at: now,
                    };
                    self.known.insert(line, known);
                }
                Err(error) => changed.wrong.push((line, error)),
            }
        }
        changed
    }

    /// Forgets the lines of a function. Gives those that were known.
    pub fn remove(&mut self, function: &FunctionName) -> Vec<String> {
        self.drop_those(|line| line.function == *function)
    }

    /// Forgets the lines of all functions but these.
    pub fn keep(&mut self, functions: &HashSet<FunctionName>) {
        self.drop_those(|line| !functions.contains(&line.function));
    }

    fn drop_those(&mut self, is_gone: impl Fn(&Line) -> bool) -> Vec<String> {
        let gone = self.known.extract_if(|line, _| is_gone(line));
        gone.map(|(line, _)| line.to_string()).collect()
    }

    /// All lines, as Redis has them.
    pub fn names(&self) -> HashSet<String> {
        self.known.keys().map(ToString::to_string).collect()
    }

    /// Those that are to be looked at now. Each is busy from now on.
    pub fn due(&mut self, now: i64) -> Vec<Look> {
        // Where the clock was put back, what they are to be looked at by then may be far away.
        if now < self.now - LATEST {
            let all = self.known.values_mut();
            all.for_each(|known| known.look_at = now);
        }
        self.now = now;
        let all = self.known.iter_mut();
        let due =
            all.filter(|(line, known)| known.look_at <= now && self.busy.insert((*line).clone()));
        due.map(|(line, known)| Look {
            line: line.clone(),
            times: known.times.clone(),
        })
        .collect()
    }

    /// Notes up to when all of a line is settled, which is busy no more: it is looked at when its next time comes, or soon if
    /// `is_pending`.
    pub fn looked(&mut self, line: &Line, settled: i64, is_pending: bool, now: i64) {
        self.busy.remove(line);
        if let Some(known) = self.known.get_mut(line) {
            let next = known.times.after(settled).unwrap_or(i64::MAX);
            known.look_at = match is_pending {
                true => next.clamp(now + 1, now + AGAIN),
                false => next,
            };
        }
    }

    /// Notes that a line is busy no more, and nothing is known of it: it is looked at soon.
    pub fn failed(&mut self, line: &Line, now: i64) {
        self.busy.remove(line);
        if let Some(known) = self.known.get_mut(line) {
            known.look_at = now + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use corefn_core::config::FunctionConfig;
    use corefn_core::function::RevisionId;

    use super::*;

    fn deployment(schedule: &[&str]) -> Deployment {
        Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r1".to_owned()),
            image: String::new(),
            config: FunctionConfig {
                schedule: schedule.iter().map(|line| line.parse().unwrap()).collect(),
                ..FunctionConfig::default()
            },
            releases: Vec::new(),
        }
    }

    fn line(text: &str) -> Line {
        Line {
            function: "demo/hello".parse().unwrap(),
            schedule: text.parse().unwrap(),
        }
    }

    fn names(looks: &[Look]) -> Vec<String> {
        let mut names: Vec<_> = looks.iter().map(|look| look.line.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn lines_come_and_go_with_deployments() {
        let mut lines = Lines::default();
        let first = deployment(&["@daily UTC", "@hourly UTC", "* * * * * No/Where"]);
        let changed = lines.take(&first, 10);
        assert_eq!(changed.wrong.len(), 1);
        assert_eq!(changed.wrong[0].0, line("* * * * * No/Where"));
        let all = ["demo/hello @daily UTC", "demo/hello @hourly UTC"];
        assert_eq!(lines.names(), all.map(ToOwned::to_owned).into());
        assert_eq!(names(&lines.due(10)), all);
        // Those that stay are as they were, busy.
        let changed = lines.take(&deployment(&["@hourly UTC", "@weekly UTC"]), 11);
        assert_eq!(changed.gone, ["demo/hello @daily UTC"]);
        assert_eq!(names(&lines.due(11)), ["demo/hello @weekly UTC"]);
        let function = line("@hourly").function;
        lines.keep(&HashSet::from([function.clone()]));
        assert_eq!(lines.names().len(), 2);
        lines.keep(&HashSet::new());
        assert!(lines.names().is_empty());
        lines.take(&deployment(&["@hourly UTC"]), 12);
        assert_eq!(lines.remove(&function), ["demo/hello @hourly UTC"]);
        // What is gone and comes back is as busy as it was.
        lines.take(&deployment(&["@hourly UTC"]), 12);
        assert!(lines.due(12).is_empty());
        lines.failed(&line("@hourly UTC"), 12);
        assert_eq!(lines.due(13).len(), 1);
        lines.remove(&function);
        // Nothing comes of what is gone.
        lines.looked(&line("@hourly UTC"), 12, false, 12);
        lines.failed(&line("@hourly UTC"), 12);
        assert!(lines.due(4000).is_empty());
    }

    #[test]
    fn when_a_line_is_looked_at() {
        let mut lines = Lines::default();
        let hourly = line("@hourly UTC");
        lines.take(&deployment(&["@hourly UTC"]), 10);
        assert_eq!(lines.due(10).len(), 1);
        assert!(lines.due(11).is_empty());
        lines.looked(&hourly, 10, false, 11);
        assert!(lines.due(3599).is_empty());
        assert_eq!(lines.due(3600).len(), 1);
        // Soon, if a call is under way; but not at once.
        lines.looked(&hourly, 3600, true, 3600);
        assert!(lines.due(3599 + AGAIN).is_empty());
        assert_eq!(lines.due(3600 + AGAIN).len(), 1);
        lines.looked(&hourly, 3600, true, 8000);
        assert!(lines.due(8000).is_empty());
        assert_eq!(lines.due(8001).len(), 1);
        lines.failed(&hourly, 8001);
        assert!(lines.due(8001).is_empty());
        assert_eq!(lines.due(8002).len(), 1);
    }

    #[test]
    fn clocks_that_are_put_back() {
        let mut lines = Lines::default();
        let now = 1_000_000;
        lines.take(&deployment(&["@daily UTC"]), now);
        assert_eq!(lines.due(now).len(), 1);
        lines.looked(&line("@daily UTC"), now, false, now);
        assert!(lines.due(now - LATEST).is_empty());
        assert_eq!(lines.due(now - 3 * LATEST).len(), 1);
    }
}
