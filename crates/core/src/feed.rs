//! What the page is told: at first all there is, in pieces, and from then on what has changed.
//!
//! Each message is one event of a stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), a line of JSON.
//! Nothing but what is measured is remembered of a function on which nothing happens, so a look at ten thousand of them takes
//! no more than at those that something happens on.

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use crate::error::ErrorCode;
use crate::function::FunctionName;
use crate::metrics::{Snapshot, json_of_host};
use crate::problems::{Problem, Signs, problems};
use crate::survey::{Build, Started};
use crate::view::{FailureView, FunctionView};

/// The media type of the stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// How many functions a message tells of at most that nothing has happened on.
const PIECE: usize = 500;

/// For how long errors count, in milliseconds.
const RECENT: u64 = 60_000;

/// What a router knows.
pub trait Source {
    /// What is measured, less what is of single functions, and what was found.
    fn snapshot(&self) -> &Snapshot;
    /// Whether a keeper is to keep sandboxes.
    fn has_keeper(&self) -> bool;
    /// The time, in milliseconds since 1970.
    fn time(&self) -> u64;
    /// How often what is deployed has changed.
    fn changes(&self) -> u64;
    /// The functions that have changed since it had changed so often, each at least once; nothing if that is not known.
    fn changed_since(&self, changes: u64) -> Option<Vec<FunctionName>>;
    /// All functions.
    fn all(&self) -> Vec<FunctionName>;
    /// Those that are not quiet ([`FunctionView::is_quiet`]).
    fn active(&self) -> Vec<FunctionName>;
    /// A function, if it is deployed.
    fn function(&self, name: &FunctionName) -> Option<FunctionView>;
    /// Those that could not be started of late, or are not.
    fn failures(&self) -> Vec<(FunctionName, FailureView)>;
}

/// What one page was told.
#[derive(Debug, Default)]
pub struct Feed {
    /// Whether it was told anything.
    has_begun: bool,
    changes: u64,
    /// What it was told of functions that are not quiet.
    told: HashMap<FunctionName, FunctionView>,
    /// Those of which it is to be told yet.
    rest: VecDeque<FunctionName>,
    starts: Vec<Started>,
    builds: Vec<Build>,
    /// How often each error had been answered at a time, of the last minute.
    errors: VecDeque<(u64, [u64; ErrorCode::ALL.len()])>,
}

#[derive(Serialize)]
struct Message<'a> {
    /// Whether all that the page knew is out of date.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reset: bool,
    /// How many functions it is yet to be told of.
    rest: usize,
    time: u64,
    host: Value,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    functions: Vec<FunctionView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<FunctionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<&'a [Started]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builds: Option<&'a [Build]>,
}

impl Feed {
    /// Whether there are functions that it is yet to be told of, however little happens.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next event of the stream.
    pub fn next(&mut self, source: &impl Source) -> String {
        let mut names = BTreeSet::new();
        let changed = match self.has_begun {
            true => source.changed_since(self.changes),
            false => None,
        };
        let reset = changed.is_none();
        match changed {
            Some(changed) => names.extend(changed),
            None => {
                self.told.clear();
                self.rest = source.all().into();
            }
        }
        (self.has_begun, self.changes) = (true, source.changes());
        names.extend(source.active());
        names.extend(self.told.keys().cloned());
        let (mut functions, mut removed) = (Vec::new(), Vec::new());
        for name in names {
            match source.function(&name) {
                Some(view) if self.is_news(&view) => functions.push(view),
                Some(_) => {}
                None => {
                    self.told.remove(&name);
                    removed.push(name);
                }
            }
        }
        let piece = self.rest.len().min(PIECE);
        for name in self.rest.drain(..piece) {
            // (One that was told of above is told of twice, which does no harm.)
            functions.extend(source.function(&name).filter(FunctionView::is_quiet));
        }
        let time = source.time();
        let snapshot = source.snapshot();
        let failures = source.failures();
        let errors = self.recent_errors(time, &snapshot.errors);
        let problems = problems(&Signs {
            snapshot,
            has_keeper: source.has_keeper(),
            failures: &failures,
            errors: &errors,
        });
        let records = snapshot.survey.records.as_ref();
        let starts = records.is_some_and(|it| replace(&mut self.starts, &it.starts) || reset);
        let builds = records.is_some_and(|it| replace(&mut self.builds, &it.builds) || reset);
        let message = Message {
            reset,
            rest: self.rest.len(),
            time,
            host: json_of_host(snapshot),
            problems,
            functions,
            removed,
            starts: starts.then_some(&self.starts),
            builds: builds.then_some(&self.builds),
        };
        // (What is made of strings and numbers has its JSON.)
        let json = serde_json::to_string(&message).unwrap_or_default();
        format!("data: {json}\n\n")
    }

    /// Whether a function is to be told of, which it is then.
    fn is_news(&mut self, view: &FunctionView) -> bool {
        if view.is_quiet() {
            // (One that has changed is among those that were told of, or it has just been deployed.)
            self.told.remove(&view.name);
            return true;
        }
        if self.told.get(&view.name) == Some(view) {
            return false;
        }
        self.told.insert(view.name.clone(), view.clone());
        true
    }

    /// How often each error was answered within the last minute, as far as the page was there.
    fn recent_errors(
        &mut self,
        time: u64,
        errors: &[u64; ErrorCode::ALL.len()],
    ) -> Vec<(ErrorCode, u64)> {
        self.errors.push_back((time, *errors));
        // (The oldest that is left is the last before the minute began.)
        while let Some((second, _)) = self.errors.get(1)
            && second + RECENT < time
        {
            self.errors.pop_front();
        }
        let before = self.errors.front().map_or(*errors, |(_, before)| *before);
        let codes = ErrorCode::ALL.into_iter().zip(errors.iter().zip(before));
        let recent = codes.map(|(code, (now, before))| (code, now.saturating_sub(before)));
        recent.filter(|(_, count)| *count > 0).collect()
    }
}

/// Whether something has changed, which is remembered as it is now.
fn replace<T: Clone + PartialEq>(told: &mut Vec<T>, now: &[T]) -> bool {
    if told == now {
        return false;
    }
    *told = now.to_vec();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::RevisionId;
    use crate::instance::InstanceId;
    use crate::start::StartWay;
    use crate::survey::Records;

    #[derive(Default)]
    struct World {
        snapshot: Snapshot,
        functions: HashMap<FunctionName, FunctionView>,
        changed: Vec<FunctionName>,
        /// Before how many changes nothing is known.
        forgotten: u64,
        time: u64,
    }

    impl Source for World {
        fn snapshot(&self) -> &Snapshot {
            &self.snapshot
        }
        fn has_keeper(&self) -> bool {
            false
        }
        fn time(&self) -> u64 {
            self.time
        }
        fn changes(&self) -> u64 {
            self.changed.len() as u64
        }
        fn changed_since(&self, changes: u64) -> Option<Vec<FunctionName>> {
            (changes >= self.forgotten).then(|| self.changed[changes as usize..].to_vec())
        }
        fn all(&self) -> Vec<FunctionName> {
            self.functions.keys().cloned().collect()
        }
        fn active(&self) -> Vec<FunctionName> {
            let active = self.functions.values().filter(|it| !it.is_quiet());
            active.map(|it| it.name.clone()).collect()
        }
        fn function(&self, name: &FunctionName) -> Option<FunctionView> {
            self.functions.get(name).cloned()
        }
        fn failures(&self) -> Vec<(FunctionName, FailureView)> {
            Vec::new()
        }
    }

    impl World {
        fn deploy(&mut self, name: &str) -> &mut FunctionView {
            let name: FunctionName = name.parse().unwrap();
            let view = FunctionView::new(name.clone(), RevisionId("r1".to_owned()));
            self.changed.push(name.clone());
            self.functions.entry(name).insert_entry(view).into_mut()
        }
    }

    fn read(event: &str) -> Value {
        let json = event.strip_prefix("data: ").unwrap();
        let json = json.strip_suffix("\n\n").unwrap();
        assert!(!json.contains('\n'));
        serde_json::from_str(json).unwrap()
    }

    fn names(message: &Value, of: &str) -> Vec<String> {
        let list = message[of].as_array().cloned().unwrap_or_default();
        let names = list.iter().map(|it| it["name"].as_str().or(it.as_str()));
        names.map(|it| it.unwrap().to_owned()).collect()
    }

    #[test]
    fn all_at_first_and_then_what_changes() {
        let mut world = World::default();
        world.deploy("a/busy").requests = 1;
        world.deploy("a/quiet");
        let mut feed = Feed::default();
        let first = read(&feed.next(&world));
        assert_eq!(first["reset"], true);
        assert_eq!(names(&first, "functions"), ["a/busy", "a/quiet"]);
        let again = read(&feed.next(&world));
        assert_eq!(again["reset"], Value::Null);
        assert!(names(&again, "functions").is_empty(), "{again}");
        // One goes on, one is new, one is gone.
        world.functions.get_mut("a/busy").unwrap().millis = 9;
        world.deploy("a/new");
        world.functions.remove("a/quiet");
        world.changed.push("a/quiet".parse().unwrap());
        let news = read(&feed.next(&world));
        assert_eq!(names(&news, "functions"), ["a/busy", "a/new"]);
        assert_eq!(names(&news, "removed"), ["a/quiet"]);
        assert_eq!(news["functions"][0]["millis"], 9);
        // What was seen of one is no more.
        *world.functions.get_mut("a/busy").unwrap() =
            FunctionView::new("a/busy".parse().unwrap(), RevisionId("r1".to_owned()));
        assert_eq!(names(&read(&feed.next(&world)), "functions"), ["a/busy"]);
        assert!(names(&read(&feed.next(&world)), "functions").is_empty());
        // What was missed is made up for.
        world.deploy("a/later");
        world.forgotten = world.changes();
        let anew = read(&feed.next(&world));
        assert_eq!(anew["reset"], true);
        assert_eq!(names(&anew, "functions").len(), 3);
    }

    #[test]
    fn many_come_in_pieces() {
        let mut world = World::default();
        for number in 0..1200 {
            world.deploy(&format!("a/f{number}"));
        }
        let mut feed = Feed::default();
        let mut told = BTreeSet::new();
        for left in [700, 200, 0] {
            let piece = read(&feed.next(&world));
            assert_eq!(piece["rest"], left);
            assert_eq!(feed.has_rest(), left > 0);
            told.extend(names(&piece, "functions"));
        }
        assert_eq!(told.len(), 1200);
        assert!(feed.told.is_empty(), "of those nothing is remembered");
    }

    #[test]
    fn starts_and_builds_are_told_of_when_there_are_others() {
        let mut world = World::default();
        let mut feed = Feed::default();
        assert_eq!(read(&feed.next(&world))["starts"], Value::Null);
        world.snapshot.survey.records = Some(Records::default());
        let started = Started {
            function: "a/b".parse().unwrap(),
            revision: RevisionId("r1".to_owned()),
            instance: InstanceId::from_random(1),
            way: StartWay::Image,
            at: 5,
            phases: Vec::new(),
        };
        let records = world.snapshot.survey.records.as_mut().unwrap();
        records.starts.push(started);
        let message = read(&feed.next(&world));
        assert_eq!(message["starts"][0]["way"], "image");
        assert_eq!(message["builds"], Value::Null);
        assert_eq!(message["host"]["builds"]["running"], 0);
        assert_eq!(read(&feed.next(&world))["starts"], Value::Null);
    }

    #[test]
    fn errors_are_of_the_last_minute() {
        let mut world = World::default();
        let mut feed = Feed::default();
        let mut told = |world: &World| read(&feed.next(world))["problems"].to_string();
        world.snapshot.redis = true;
        world.snapshot.docker = true;
        world.snapshot.errors[0] = 4;
        assert_eq!(told(&world), "[]", "they are old");
        world.time = 1_000;
        world.snapshot.errors[0] = 6;
        assert!(told(&world).contains("2 answers"));
        world.time = 60_000;
        assert!(told(&world).contains("2 answers"));
        world.time = 61_500;
        assert_eq!(told(&world), "[]");
    }
}
