//! What the page is told: at first all there is, in pieces, and from then on what has changed.
//!
//! Each message is one event of a stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), a line of JSON.
//! Nothing is remembered of a function on which nothing has happened, and nobody looks at it: a look at ten thousand of them takes
//! no more than at those that something has happened on. It is taken in pieces, so that others have their turn in between.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

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

/// How many functions are looked at for a message at most.
const PIECE: usize = 250;

/// For how long errors count, in milliseconds.
const RECENT: u64 = 60_000;

/// What a router knows. Each answer takes little, however many functions there are, but for [`Source::all`].
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
    /// Those that have instances, or could not be started.
    fn active(&self) -> Vec<FunctionName>;
    /// How many may be counted apart.
    fn places(&self) -> usize;
    /// The one that is counted at a place, if it is deployed.
    fn counted_at(&self, place: usize) -> Option<FunctionName>;
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
    /// Those of them that had instances, or could not be started.
    active: BTreeSet<FunctionName>,
    /// Those that are to be looked at yet, since something may have happened on them, or since it was told of none.
    rest: VecDeque<FunctionName>,
    /// Which places of those that are counted are to be looked at yet.
    places: Range<usize>,
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
    /// How many functions it is yet to be told of, where that is known.
    rest: usize,
    time: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    whole: Option<Whole<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    functions: Vec<FunctionView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<FunctionName>,
}

/// What is told once for each look at everything.
#[derive(Serialize)]
struct Whole<'a> {
    host: Value,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<&'a [Started]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builds: Option<&'a [Build]>,
}

impl Feed {
    /// Whether a look at everything is under way, so that there may be more to be told at once.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty() || !self.places.is_empty()
    }

    /// Goes on with a look at everything, or begins one. The next event of the stream, if there is anything to be told.
    pub fn next(&mut self, source: &impl Source) -> Option<String> {
        let begins = !self.has_rest();
        let mut reset = false;
        if begins {
            reset = self.begin(source);
        }
        let (mut functions, mut removed) = (Vec::new(), Vec::new());
        let mut left = PIECE;
        while left > 0
            && let Some(name) = self.rest.pop_front()
        {
            left -= 1;
            self.look_at(source, name, true, &mut functions, &mut removed);
        }
        for place in self.places.by_ref().take(left).collect::<Vec<_>>() {
            if let Some(name) = source.counted_at(place) {
                self.look_at(source, name, false, &mut functions, &mut removed);
            }
        }
        if !begins && functions.is_empty() && removed.is_empty() {
            return None;
        }
        let rest = self.rest.len();
        let time = source.time();
        let whole = begins.then(|| self.whole(source, time, reset));
        let message = Message {
            reset,
            rest,
            time,
            whole,
            functions,
            removed,
        };
        // (What is made of strings and numbers has its JSON.)
        let json = serde_json::to_string(&message).unwrap_or_default();
        Some(format!("data: {json}\n\n"))
    }

    /// Finds out what is to be looked at. Returns whether all that was told is out of date.
    fn begin(&mut self, source: &impl Source) -> bool {
        let changed = match self.has_begun {
            true => source.changed_since(self.changes),
            false => None,
        };
        let reset = changed.is_none();
        let mut names: BTreeSet<FunctionName> = source.active().into_iter().collect();
        names.append(&mut self.active);
        match changed {
            Some(changed) => names.extend(changed),
            None => {
                self.told.clear();
                names.clear();
            }
        }
        self.rest = names.into_iter().collect();
        if reset {
            self.rest = source.all().into();
        }
        self.places = 0..source.places();
        (self.has_begun, self.changes) = (true, source.changes());
        reset
    }

    fn look_at(
        &mut self,
        source: &impl Source,
        name: FunctionName,
        may_be_new: bool,
        functions: &mut Vec<FunctionView>,
        removed: &mut Vec<FunctionName>,
    ) {
        match source.function(&name) {
            Some(view) => {
                if !view.instances.is_empty() || view.failure.is_some() {
                    self.active.insert(name);
                }
                if self.is_news(&view, may_be_new) {
                    functions.push(view);
                }
            }
            None => {
                self.told.remove(&name);
                removed.push(name);
            }
        }
    }

    fn whole<'a>(&'a mut self, source: &impl Source, time: u64, reset: bool) -> Whole<'a> {
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
        Whole {
            host: json_of_host(snapshot),
            problems,
            starts: starts.then_some(&self.starts),
            builds: builds.then_some(&self.builds),
        }
    }

    /// Whether a function is to be told of, which it is then.
    fn is_news(&mut self, view: &FunctionView, may_be_new: bool) -> bool {
        if view.is_quiet() {
            return self.told.remove(&view.name).is_some() || may_be_new;
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
    use crate::view::{InstanceState, InstanceView};

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
            let active = self.functions.values();
            let active = active.filter(|it| !it.instances.is_empty());
            active.map(|it| it.name.clone()).collect()
        }
        fn places(&self) -> usize {
            self.functions.len() + 3
        }
        fn counted_at(&self, place: usize) -> Option<FunctionName> {
            let counted = self.functions.values();
            let mut counted = counted.filter(|it| it.cold > 0 || it.requests > 0);
            counted.nth(place).map(|it| it.name.clone())
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

    /// The next message.
    fn next(feed: &mut Feed, world: &World) -> Value {
        read(&feed.next(world).unwrap())
    }

    fn names(message: &Value, of: &str) -> Vec<String> {
        let list = message[of].as_array().cloned().unwrap_or_default();
        let names = list.iter().map(|it| it["name"].as_str().or(it.as_str()));
        let mut names: Vec<_> = names.map(|it| it.unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_at_first_and_then_what_changes() {
        let mut world = World::default();
        world.deploy("a/busy").requests = 1;
        world.deploy("a/quiet");
        // (One that is counted, and on which nothing has happened.)
        world.deploy("a/counted").cold = 1;
        let mut feed = Feed::default();
        let first = next(&mut feed, &world);
        assert_eq!(first["reset"], true);
        assert_eq!(
            names(&first, "functions"),
            ["a/busy", "a/counted", "a/quiet"]
        );
        let again = next(&mut feed, &world);
        assert_eq!(again["reset"], Value::Null);
        assert!(names(&again, "functions").is_empty(), "{again}");
        // One goes on, one is new, one is gone.
        world.functions.get_mut("a/busy").unwrap().millis = 9;
        world.deploy("a/new");
        world.functions.remove("a/quiet");
        world.changed.push("a/quiet".parse().unwrap());
        let news = next(&mut feed, &world);
        assert_eq!(names(&news, "functions"), ["a/busy", "a/new"]);
        assert_eq!(names(&news, "removed"), ["a/quiet"]);
        assert!(
            news["functions"].to_string().contains("\"millis\":9"),
            "{news}"
        );
        // An instance comes, and goes again.
        let instance = InstanceView {
            id: InstanceId::from_random(1),
            revision: RevisionId("r1".to_owned()),
            state: InstanceState::Idle,
            load: 0,
        };
        let view = world.functions.get_mut("a/new").unwrap();
        view.instances.push(instance);
        assert_eq!(names(&next(&mut feed, &world), "functions"), ["a/new"]);
        world.functions.get_mut("a/new").unwrap().instances.clear();
        assert_eq!(names(&next(&mut feed, &world), "functions"), ["a/new"]);
        assert!(names(&next(&mut feed, &world), "functions").is_empty());
        // What was missed is made up for.
        world.deploy("a/later");
        world.forgotten = world.changes();
        let anew = next(&mut feed, &world);
        assert_eq!(anew["reset"], true);
        assert_eq!(names(&anew, "functions").len(), 4);
    }

    #[test]
    fn many_come_in_pieces() {
        let mut world = World::default();
        for number in 0..1200 {
            world.deploy(&format!("a/f{number}"));
        }
        let mut feed = Feed::default();
        let mut told = BTreeSet::new();
        for left in [950, 700, 450, 200, 0] {
            let piece = next(&mut feed, &world);
            assert_eq!(piece["rest"], left);
            assert_eq!(piece["host"].is_object(), left == 950, "once");
            told.extend(names(&piece, "functions"));
        }
        assert_eq!(told.len(), 1200);
        assert!(feed.told.is_empty(), "of those nothing is remembered");
        // What is counted is looked at, too, and nothing is told of that.
        while feed.has_rest() {
            assert_eq!(feed.next(&world), None);
        }
        assert!(next(&mut feed, &world)["functions"].is_null());
    }

    #[test]
    fn starts_and_builds_are_told_of_when_there_are_others() {
        let mut world = World::default();
        let mut feed = Feed::default();
        assert_eq!(next(&mut feed, &world)["starts"], Value::Null);
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
        let message = next(&mut feed, &world);
        assert_eq!(message["starts"][0]["way"], "image");
        assert_eq!(message["builds"], Value::Null);
        assert_eq!(message["host"]["builds"]["running"], 0);
        assert_eq!(next(&mut feed, &world)["starts"], Value::Null);
    }

    #[test]
    fn errors_are_of_the_last_minute() {
        let mut world = World::default();
        let mut feed = Feed::default();
        let mut told = |world: &World| next(&mut feed, world)["problems"].to_string();
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
