//! `corefn schedules`: what is called though nobody asks for it, when, and what came of that.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use corefn_core::function::FunctionName;
use corefn_core::outcome::Outcome;
use corefn_core::schedule::{Call, Calls, Line, Schedule};
use corefn_engine::store::{Store, StoreError};
use corefn_schedule::Times;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, span};
use crate::unknown::no_function;

#[derive(Serialize)]
struct Row {
    function: FunctionName,
    /// The line.
    schedule: Schedule,
    /// When it is due next, RFC 3339; none if it has no times on this host.
    next: Option<Timestamp>,
    /// When the last call was due; none if there was none yet.
    last: Option<Timestamp>,
    /// When it began, and ended.
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// The status of its answer and the platform's code, or why there is none, or `under way`, or `broken off`.
    result: Option<String>,
    called: u64,
    failed: u64,
    missed: u64,
}

/// Lists the lines of all functions' schedules, or of one's.
pub async fn list(
    here: &Installation,
    printer: &Printer,
    function: Option<&FunctionName>,
) -> Result<(), Error> {
    let mut deployments = here.functions().await?;
    deployments.retain(|deployment| here.shows(&deployment.function));
    if let Some(function) = function {
        deployments.retain(|deployment| deployment.function == *function);
        if deployments.is_empty() {
            return Err(no_function(here, function).await);
        }
    }
    deployments.sort_by(|a, b| a.function.cmp(&b.function));
    let noted = here.store.all_calls().await?;
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for deployment in deployments {
        for schedule in deployment.config.schedule {
            let line = Line {
                function: deployment.function.clone(),
                schedule,
            };
            let calls = noted.get(&line.to_string());
            rows.push(row(&here.store, line, calls, now).await?);
        }
    }
    let head = [
        "FUNCTION", "SCHEDULE", "NEXT", "LAST", "RESULT", "CALLED", "FAILED", "MISSED",
    ];
    let until = |time: Option<Timestamp>| {
        let time = time.and_then(|time| Duration::try_from(time.duration_since(now)).ok());
        time.map_or_else(String::new, |time| format!("in {}", span(time)))
    };
    let since = |time: Option<Timestamp>| {
        let time = time.and_then(|time| Duration::try_from(now.duration_since(time)).ok());
        time.map_or_else(String::new, |time| format!("{} ago", span(time)))
    };
    printer.rows(head, &rows, |row| {
        [
            row.function.to_string(),
            row.schedule.to_string(),
            until(row.next),
            since(row.last),
            row.result.clone().unwrap_or_default(),
            row.called.to_string(),
            row.failed.to_string(),
            row.missed.to_string(),
        ]
    })
}

async fn row(
    store: &Store,
    line: Line,
    calls: Option<&Calls>,
    now: Timestamp,
) -> Result<Row, StoreError> {
    let time = |second: i64| Timestamp::from_second(second).ok();
    let next = Times::new(&line.schedule).ok();
    let last = calls.and_then(|calls| calls.last.as_ref());
    let end = last.and_then(|call| call.end.as_ref());
    Ok(Row {
        next: next
            .and_then(|times| times.after(now.as_second()))
            .and_then(time),
        last: last.and_then(|call| time(call.due)),
        began: last.and_then(|call| time(call.began)),
        ended: end.and_then(|end| time(end.at)),
        result: match last {
            Some(call) => Some(result(store, call).await?),
            None => None,
        },
        called: calls.map_or(0, |calls| calls.called),
        failed: calls.map_or(0, |calls| calls.failed),
        missed: calls.map_or(0, |calls| calls.missed),
        function: line.function,
        schedule: line.schedule,
    })
}

async fn result(store: &Store, call: &Call) -> Result<String, StoreError> {
    Ok(match &call.end {
        Some(end) => end.outcome.to_string(),
        None if store.is_dispatching(&call.by).await? => "under way".to_owned(),
        // Whoever made it has not been followed by anybody yet.
        None => Outcome::BrokenOff.to_string(),
    })
}
