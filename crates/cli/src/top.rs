//! `corefn top`: what functions use, over and over.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde::Serialize;

use corefn_build::output::size;
use corefn_core::function::FunctionName;
use corefn_core::quantity::parse_duration;
use corefn_engine::docker::Usage;
use corefn_engine::store::Leased;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, line};

/// Of how many containers Docker is asked at once what they use.
const AT_ONCE: usize = 16;

/// What begins a screen anew: the cursor goes to its corner, and what is behind it is erased (ECMA-48, CUP and ED).
const ANEW: &str = "\x1b[H\x1b[J";

/// How it is to be shown.
#[derive(Debug, Clone, clap::Args)]
pub struct Rounds {
    /// The time between two tables
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// End after so many tables [default: when it is interrupted]
    #[arg(short = 'n', long, value_name = "N")]
    rounds: Option<u64>,
}

/// The shortest interval: Docker computes for each answer.
const SHORTEST: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST {
        return Err(format!("{SHORTEST:?} is the shortest"));
    }
    Ok(interval)
}

/// What a function used in the last interval.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
struct Row {
    function: Option<FunctionName>,
    /// How many instances there are, the frozen ones included.
    instances: usize,
    frozen: usize,
    /// Processors: 0.5 is half of one.
    cpus: f64,
    /// Bytes.
    memory: u64,
}

/// An instance at a moment.
struct Seen {
    function: FunctionName,
    container: String,
    frozen: bool,
    usage: Option<Usage>,
}

/// Prints a table in each interval: on a terminal in the place of the one before.
pub async fn show(here: &Installation, printer: &Printer, rounds: &Rounds) -> Result<(), Error> {
    let is_screen = io::stdout().is_terminal() && !printer.is_json();
    let (mut former, mut begin) = (look(here).await?, Instant::now());
    let mut round = 0;
    while rounds.rounds.is_none_or(|rounds| round < rounds) {
        tokio::time::sleep(rounds.interval).await;
        let seen = look(here).await?;
        let rows = rows(&former, &seen, begin.elapsed());
        if is_screen {
            print!("{ANEW}");
        } else if round > 0 && !printer.is_json() {
            line("")?;
        }
        print(printer, &rows)?;
        (former, begin) = (seen, Instant::now());
        round += 1;
    }
    Ok(())
}

fn print(printer: &Printer, rows: &[Row]) -> Result<(), Error> {
    if printer.is_json() {
        let text = serde_json::to_string(rows).map_err(|error| Error::Print(error.into()))?;
        return line(&text);
    }
    let head = ["FUNCTION", "INSTANCES", "FROZEN", "CPUS", "MEMORY"];
    printer.rows(head, rows, |row| {
        let function = row.function.as_ref().map(ToString::to_string);
        [
            function.unwrap_or_else(|| "(all)".to_owned()),
            row.instances.to_string(),
            row.frozen.to_string(),
            format!("{:.2}", row.cpus),
            size(row.memory),
        ]
    })
}

/// Looks at all instances that are to be shown.
async fn look(here: &Installation) -> Result<Vec<Seen>, Error> {
    let mut instances = here.store.instances().await?;
    instances.retain(|leased| here.shows(&leased.instance.function));
    let seen = futures_util::stream::iter(instances).map(async |leased: Leased| {
        let usage = here.docker.usage(&leased.instance.container).await;
        Seen {
            function: leased.instance.function.plain(),
            container: leased.instance.container,
            frozen: leased.kept,
            usage,
        }
    });
    Ok(seen.buffered(AT_ONCE).collect().await)
}

/// What functions have used between two looks: all together first, then each, those that use most before the others.
fn rows(former: &[Seen], seen: &[Seen], between: Duration) -> Vec<Row> {
    let before: HashMap<&str, Usage> = former
        .iter()
        .filter_map(|seen| Some((seen.container.as_str(), seen.usage?)))
        .collect();
    let mut functions = BTreeMap::<&FunctionName, Row>::new();
    for it in seen {
        let row = functions.entry(&it.function).or_default();
        row.instances += 1;
        row.frozen += usize::from(it.frozen);
        let Some(usage) = it.usage else {
            continue;
        };
        row.memory += usage.memory;
        // (All of one that has come meanwhile was used since.)
        let before = before.get(it.container.as_str());
        let used = usage
            .cpu
            .saturating_sub(before.map_or(Duration::ZERO, |it| it.cpu));
        row.cpus += used.as_secs_f64() / between.as_secs_f64();
    }
    let mut rows: Vec<_> = functions
        .into_iter()
        .map(|(function, row)| Row {
            function: Some(function.clone()),
            ..row
        })
        .collect();
    rows.sort_by(|a, b| b.cpus.total_cmp(&a.cpus));
    let all = rows.iter().fold(Row::default(), |all, row| Row {
        function: None,
        instances: all.instances + row.instances,
        frozen: all.frozen + row.frozen,
        cpus: all.cpus + row.cpus,
        memory: all.memory + row.memory,
    });
    rows.insert(0, all);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(function: &str, container: &str, frozen: bool, usage: Option<(u64, u64)>) -> Seen {
        Seen {
            function: function.parse().unwrap(),
            container: container.to_owned(),
            frozen,
            usage: usage.map(|(ms, memory)| Usage {
                cpu: Duration::from_millis(ms),
                memory,
            }),
        }
    }

    #[test]
    fn what_was_used_since() {
        let former = [
            seen("a/idle", "1", true, Some((500, 10))),
            seen("a/busy", "2", false, Some((1_000, 20))),
            seen("a/busy", "gone", false, Some((9_000, 90))),
        ];
        let now = [
            seen("a/idle", "1", true, Some((500, 11))),
            seen("a/busy", "2", false, Some((2_000, 21))),
            seen("a/busy", "new", false, Some((500, 5))),
            seen("a/dead", "4", false, None),
        ];
        let rows = rows(&former, &now, Duration::from_secs(2));
        let row = |function: &str, instances, frozen, cpus, memory| Row {
            function: Some(function)
                .filter(|it| !it.is_empty())
                .map(|it| it.parse().unwrap()),
            instances,
            frozen,
            cpus,
            memory,
        };
        let want = [
            row("", 4, 1, 0.75, 37),
            row("a/busy", 2, 0, 0.75, 26),
            row("a/dead", 1, 0, 0.0, 0),
            row("a/idle", 1, 1, 0.0, 11),
        ];
        assert_eq!(rows, want);
        assert_eq!(
            super::rows(&[], &[], Duration::from_secs(1)),
            [Row::default()]
        );
    }
}
