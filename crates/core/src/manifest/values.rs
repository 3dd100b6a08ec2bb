//! The values of the manifest's keys: their types, ranges and forms.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::example;
use super::problem::Position;
use super::reader::{Entry, Reader};
use crate::environment;
use crate::lease::MIN_IDLE;
use crate::network::Network;
use crate::path::check_target;
use crate::quantity::{parse_duration, parse_size};
use crate::release::Sticky;
use crate::route::Route;
use crate::schedule::{self, Schedule};

/// What is counted by `max` and `min`.
const INSTANCES: &str = "a number of instances";

/// The least memory Docker gives a container.
const MIN_MEMORY: u64 = 6 << 20;
/// The most memory Docker can be asked for: its API has a signed number of 64 bits.
const MAX_MEMORY: u64 = i64::MAX as u64;
/// The least share of a processor Docker gives a container.
const MIN_CPUS: f64 = 0.01;
/// More processors than any machine that Docker runs on has.
const MAX_CPUS: f64 = 8192.0;
/// The most processes 64-bit Linux can number (`PID_MAX_LIMIT`).
const MAX_PIDS: i64 = 1 << 22;
/// The most instances that a function may have at once: a bound on what a mistake costs.
const MOST_INSTANCES: u32 = 1000;
/// The longest idle time, a year. It keeps sums of times far from overflow.
const MAX_IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The longest time to an answer: nginx waits for an hour at the most, as `proxy.conf` has it.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn routes(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Vec<Route> {
    let (mut routes, mut seen) = (Vec::new(), HashSet::new());
    let DeValue::Array(values) = entry.value.get_ref() else {
        reader.wrong_type(entry, "an array of strings", example("routes"));
        return routes;
    };
    for value in values {
        let one = Entry { value, ..*entry };
        let Some(text) = reader.text(&one, example("routes")) else {
            continue;
        };
        let route = text.parse::<Route>().map_err(|e| e.to_string());
        let Some(route) = reader.check(&one, route) else {
            continue;
        };
        if seen.insert(route.clone()) {
            routes.push(route);
        } else {
            reader.problem(value.span(), format!("routes has {text:?} twice: keep one"));
        }
    }
    routes
}

/// Checks the path of a folder from the repository's root.
pub(super) fn check_path(text: &str) -> Result<(), String> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if text.split('/').all(plain) && !text.contains('\0') {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no folder of the repository: write its path from the root, such as {}",
        example("path")
    ))
}

pub(super) fn sticky(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<Sticky> {
    let text = reader.text(entry, example("sticky"))?;
    let sticky = text.parse::<Sticky>().map_err(|e| e.to_string());
    reader.check(entry, sticky)
}

pub(super) fn health(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    let text = reader.text(entry, example("health"))?;
    let checked = check_target(text).map(|()| text.to_owned());
    reader.check(entry, checked)
}

pub(super) fn env(reader: &mut Reader<'_>, entry: &Entry<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let Some(table) = reader.table(entry, example("env")) else {
        return variables;
    };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let Err(why) = environment::check_name(name) {
            reader.problem(key.span(), format!("env: {why}"));
        }
        let one = Entry { key: name, value };
        let Some(text) = reader.text(&one, &format!("{name} = \"…\", in quotes")) else {
            continue;
        };
        if let Err(why) = environment::check_value(name, text) {
            reader.problem(value.span(), format!("env: {why}"));
            continue;
        }
        variables.insert(name.to_owned(), text.to_owned());
    }
    let checked = environment::check_size(&variables);
    reader.check(entry, checked);
    variables
}

pub(super) fn secrets(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    env: &BTreeMap<String, String>,
) -> Vec<(String, Position)> {
    let mut names: Vec<(String, Position)> = Vec::new();
    let DeValue::Array(values) = entry.value.get_ref() else {
        reader.wrong_type(entry, "an array of strings", example("secrets"));
        return names;
    };
    for value in values {
        let one = Entry { value, ..*entry };
        let Some(name) = reader.text(&one, example("secrets")) else {
            continue;
        };
        if let Err(why) = environment::check_name(name) {
            reader.problem(value.span(), format!("secrets: {why}"));
        } else if env.contains_key(name) {
            let why = format!("{name} is in env as well: take it out of one of them");
            reader.problem(value.span(), format!("secrets: {why}"));
        } else if names.iter().any(|(other, _)| other == name) {
            reader.problem(
                value.span(),
                format!("secrets has {name:?} twice: keep one"),
            );
        } else {
            let at = reader.position(value);
            names.push((name.to_owned(), at));
        }
    }
    names
}

/// The lines of a schedule, of which there is at least one if there is any: an array of texts, or one of them alone.
pub(super) fn schedule(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Vec<(Schedule, Position)> {
    let values = match entry.value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        DeValue::String(_) => vec![entry.value],
        _ => {
            let wanted = "a string or an array of strings";
            reader.wrong_type(entry, wanted, example("schedule"));
            return Vec::new();
        }
    };
    let mut lines: Vec<(Schedule, Position)> = Vec::new();
    for value in values {
        let one = Entry { value, ..*entry };
        let Some(text) = reader.text(&one, example("schedule")) else {
            continue;
        };
        let line = text.parse::<Schedule>().map_err(|e| e.to_string());
        let Some(line) = reader.check(&one, line) else {
            continue;
        };
        if lines.iter().any(|(other, _)| *other == line) {
            let what = format!("schedule has {text:?} twice: keep one");
            reader.problem(value.span(), what);
        } else if lines.len() == schedule::MOST {
            let what = format!("schedule has more than {} lines", schedule::MOST);
            reader.problem(value.span(), what);
            break;
        } else {
            let at = reader.position(value);
            lines.push((line, at));
        }
    }
    lines
}

/// The network, and where it is named.
pub(super) fn network(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<(Network, Position)> {
    let name = reader.text(entry, example("network"))?;
    let read = name.parse::<Network>().map_err(|error| error.to_string());
    let at = reader.position(entry.value);
    reader.check(entry, read).map(|network| (network, at))
}

pub(super) fn memory(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let text = reader.text(entry, example("memory"))?;
    let checked = match parse_size(text) {
        Err(error) => Err(error.to_string()),
        Ok(size) if size < MIN_MEMORY => Err(format!(
            "{text:?} is too little: Docker gives a container 6M at the least"
        )),
        Ok(size) if size > MAX_MEMORY => {
            Err(format!("{text:?} is more than Docker can be asked for"))
        }
        Ok(size) => Ok(size),
    };
    reader.check(entry, checked)
}

pub(super) fn cpus(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let number = match entry.value.get_ref() {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        DeValue::Integer(_) => integer(entry).map(|whole| whole as f64),
        _ => {
            reader.wrong_type(entry, "a number", example("cpus"));
            return None;
        }
    };
    let checked = number
        .filter(|number| (MIN_CPUS..=MAX_CPUS).contains(number))
        .map(|number| (number * 1e9).round() as u64)
        .ok_or_else(|| {
            format!("write a number of processors from {MIN_CPUS} to {MAX_CPUS}, such as 0.5")
        });
    reader.check(entry, checked)
}

pub(super) fn pids(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u32> {
    if !entry.value.get_ref().is_integer() {
        reader.wrong_type(entry, "an integer", example("pids"));
        return None;
    }
    let checked = integer(entry)
        .filter(|number| (1..=MAX_PIDS).contains(number))
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("write a number of processes from 1 to {MAX_PIDS}, such as 64"));
    reader.check(entry, checked)
}

pub(super) fn requests(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u32> {
    if !entry.value.get_ref().is_integer() {
        reader.wrong_type(entry, "an integer", example("requests"));
        return None;
    }
    let checked = integer(entry)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            format!(
                "write a number of requests from 1 to {}, such as 100",
                u32::MAX
            )
        });
    reader.check(entry, checked)
}

/// How many requests an instance takes at once.
pub(super) fn concurrency(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<NonZeroU32> {
    let range = 1..=u32::MAX;
    let number = number(
        reader,
        entry,
        "a number of requests",
        range,
        example("concurrency"),
    )?;
    NonZeroU32::new(number)
}

/// How many instances there may be. More than one make sense only where they are full some time.
pub(super) fn max_instances(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    is_bounded: bool,
) -> Option<NonZeroU32> {
    let max = number(reader, entry, INSTANCES, 1..=MOST_INSTANCES, example("max"))?;
    let checked = if max == 1 || is_bounded {
        Ok(max)
    } else {
        Err(
            "another instance is started when all have as many requests as they take: say how many with concurrency, \
             such as scale = { max = 4, concurrency = 10 }"
                .to_owned(),
        )
    };
    reader.check(entry, checked).and_then(NonZeroU32::new)
}

/// How many instances there are though nobody asks for them, where there may be so many.
pub(super) fn min_instances(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    most: u32,
) -> Option<NonZeroU32> {
    let min = number(reader, entry, INSTANCES, 0..=MOST_INSTANCES, example("min"))?;
    let checked = if min <= most {
        Ok(min)
    } else {
        Err(format!(
            "{min} are more than there may be, {most}: say with max how many there may be, and with concurrency when all \
             are full, such as scale = {{ min = {min}, max = {min}, concurrency = 10 }}"
        ))
    };
    reader.check(entry, checked).and_then(NonZeroU32::new)
}

fn number(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    what: &str,
    range: RangeInclusive<u32>,
    example: &str,
) -> Option<u32> {
    if !entry.value.get_ref().is_integer() {
        reader.wrong_type(entry, "an integer", example);
        return None;
    }
    let checked = integer(entry)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (least, most) = range.into_inner();
            format!("write {what} from {least} to {most}, for example {example}")
        });
    reader.check(entry, checked)
}

pub(super) fn idle(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let text = reader.text(entry, example("idle"))?;
    let checked = match idle_time(text) {
        Ok(idle) if idle > MAX_IDLE => Err(format!(
            "{text:?} is too long: {}h, a year, is the most",
            MAX_IDLE.as_secs() / 3600
        )),
        checked => checked.map(|idle| idle.as_millis() as u64),
    };
    reader.check(entry, checked)
}

/// The time after which an instance is frozen that is stopped after `idle` milliseconds.
pub(super) fn freeze(reader: &mut Reader<'_>, entry: &Entry<'_>, idle: u64) -> Option<u64> {
    let text = reader.text(entry, example("freeze"))?;
    let idle = Duration::from_millis(idle);
    let checked = match idle_time(text) {
        Ok(freeze) if freeze >= idle => Err(format!(
            "{text:?} is too long, since an idle instance is stopped after {idle:?}: write less, or a longer idle"
        )),
        checked => checked.map(|freeze| freeze.as_millis() as u64),
    };
    reader.check(entry, checked)
}

/// A time without work that is long enough for leases to be renewed in.
fn idle_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Err(error) => Err(error.to_string()),
        Ok(time) if time < MIN_IDLE => Err(format!(
            "{text:?} is too short: {}s is the least",
            MIN_IDLE.as_secs()
        )),
        Ok(time) => Ok(time),
    }
}

pub(super) fn timeout(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let text = reader.text(entry, example("timeout"))?;
    let checked = match parse_duration(text) {
        Err(error) => Err(error.to_string()),
        Ok(time) if time.is_zero() => Err(format!(
            "{text:?} is too short: leave timeout out for no limit"
        )),
        Ok(time) if time > MAX_TIMEOUT => Err(format!(
            "{text:?} is too long: {}h is the most; leave timeout out for no limit",
            MAX_TIMEOUT.as_secs() / 3600
        )),
        Ok(time) => Ok(time.as_millis() as u64),
    };
    reader.check(entry, checked)
}

pub(super) fn body(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let text = reader.text(entry, example("body"))?;
    let checked = parse_size(text).map_err(|error| error.to_string());
    reader.check(entry, checked)
}

/// An integer in any of TOML's bases, if it fits 64 bits.
fn integer(entry: &Entry<'_>) -> Option<i64> {
    let integer = entry.value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
