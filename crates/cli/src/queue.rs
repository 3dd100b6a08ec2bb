//! `corefn queue`: the invocations that wait, and those that are not called again.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use corefn_core::function::FunctionName;
use corefn_core::invocation::{InvocationId, Next, State};
use corefn_engine::store::{Depth, Listed};

use crate::args::QueueCommand;
use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, confirm, remark, span};
use crate::unknown::no_function;

/// How many invocations are retried or removed in one step.
const BATCH: usize = 500;

/// How many invocations a function has.
#[derive(Serialize)]
struct Queue {
    function: FunctionName,
    waiting: u64,
    calling: u64,
    retrying: u64,
    dead: u64,
}

/// An invocation.
#[derive(Serialize)]
struct Row {
    id: InvocationId,
    state: State,
    /// When it was accepted, RFC 3339; none before it was called.
    accepted: Option<Timestamp>,
    calls: u32,
    /// When the last call ended, and what came of it.
    last: Option<Timestamp>,
    result: Option<String>,
    /// When it is called again.
    next: Option<Timestamp>,
}

impl QueueCommand {
    /// The function that is concerned; none if all are.
    pub fn function(&self) -> Option<&FunctionName> {
        match self {
            Self::List { function, .. } => function.as_ref(),
            Self::Retry { function, .. } | Self::Rm { function, .. } => Some(function),
        }
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::List { .. })
    }
}

/// Runs one of the commands.
pub async fn run(
    here: &Installation,
    printer: &Printer,
    command: &QueueCommand,
) -> Result<(), Error> {
    match command {
        QueueCommand::List { function: None, .. } => list_functions(here, printer).await,
        QueueCommand::List {
            function: Some(function),
            most,
        } => list(here, printer, function, *most as usize).await,
        QueueCommand::Retry {
            function,
            invocations,
        } => retry(here, printer, function, invocations).await,
        QueueCommand::Rm {
            function,
            invocations,
            yes,
            ..
        } => remove(here, printer, function, invocations, *yes).await,
    }
}

async fn list_functions(here: &Installation, printer: &Printer) -> Result<(), Error> {
    let mut rows = Vec::new();
    for function in here.store.invoked_functions().await? {
        if !here.shows(&function) {
            continue;
        }
        let Depth {
            waiting,
            calling,
            retrying,
            dead,
        } = here.store.depth(&function).await?;
        rows.push(Queue {
            function,
            waiting,
            calling,
            retrying,
            dead,
        });
    }
    let head = ["FUNCTION", "WAITING", "CALLING", "RETRYING", "DEAD"];
    printer.rows(head, &rows, |row| {
        [
            row.function.to_string(),
            row.waiting.to_string(),
            row.calling.to_string(),
            row.retrying.to_string(),
            row.dead.to_string(),
        ]
    })
}

async fn list(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    most: usize,
) -> Result<(), Error> {
    let depth = depth(here, function).await?;
    let listed = here.store.invocations(function, most).await?;
    let rows: Vec<_> = listed.into_iter().map(row).collect();
    let now = Timestamp::now();
    let since = |time: Option<Timestamp>| {
        let time = time.and_then(|time| Duration::try_from(now.duration_since(time)).ok());
        time.map_or_else(String::new, |time| format!("{} ago", span(time)))
    };
    let until = |time: Option<Timestamp>| {
        let time =
            time.map(|time| Duration::try_from(time.duration_since(now)).unwrap_or_default());
        time.map_or_else(String::new, |time| format!("in {}", span(time)))
    };
    let head = ["INVOCATION", "STATE", "CALLS", "LAST", "RESULT", "NEXT"];
    printer.rows(head, &rows, |row| {
        [
            row.id.to_string(),
            state(row.state).to_owned(),
            row.calls.to_string(),
            since(row.last),
            row.result.clone().unwrap_or_default(),
            until(row.next),
        ]
    })?;
    let all = depth.waiting + depth.calling + depth.retrying + depth.dead;
    let more = all.saturating_sub(rows.len() as u64);
    if more > 0 && !printer.is_json() {
        remark(&format!("and {more} more: -n shows more of each state"));
    }
    Ok(())
}

/// How many invocations a function has, which is deployed or has some.
async fn depth(here: &Installation, function: &FunctionName) -> Result<Depth, Error> {
    let depth = here.store.depth(function).await?;
    let is_known = depth != Depth::default()
        || here
            .functions()
            .await?
            .iter()
            .any(|deployment| deployment.function == *function);
    match is_known {
        true => Ok(depth),
        false => Err(no_function(here, function).await),
    }
}

fn row(listed: Listed) -> Row {
    let time = |second| Timestamp::from_second(second).ok();
    let Listed { id, state, tried } = listed;
    let next = tried.as_ref().filter(|_| state == State::Retrying);
    Row {
        id,
        state,
        accepted: tried.as_ref().and_then(|tried| time(tried.accepted)),
        calls: tried.as_ref().map_or(0, |tried| tried.calls),
        last: tried.as_ref().and_then(|tried| time(tried.at)),
        next: match next.map(|tried| tried.next()) {
            Some(Next::Again(at)) => time(at),
            _ => None,
        },
        result: tried.map(|tried| tried.outcome.to_string()),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Calling => "calling",
        State::Retrying => "retrying",
        State::Done => "done",
        State::Dead => "dead",
    }
}

/// Has the invocations called that are named, or else all that are dead.
async fn retry(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    invocations: &[InvocationId],
) -> Result<(), Error> {
    let mut retried = 0;
    if invocations.is_empty() {
        let mut left = depth(here, function).await?.dead;
        // (Those that die again meanwhile are not called once more.)
        while left > 0 {
            let most = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
            let dead = here.store.invocations(function, most).await?;
            let dead = dead.iter().filter(|listed| listed.state == State::Dead);
            let ids: Vec<_> = dead.map(|listed| listed.id).collect();
            let count = here.store.retry_invocations(function, &ids).await?;
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count as u64);
            retried += count;
        }
    } else {
        for batch in invocations.chunks(BATCH) {
            retried += here.store.retry_invocations(function, batch).await?;
        }
        if retried < invocations.len() {
            return Err(left(
                function,
                invocations.len() - retried,
                "called again",
                "waits to be called again or is dead",
            ));
        }
    }
    let text = format!("{retried} invocations of {function} are called again");
    printer.one(&json!({ "function": function, "retried": retried }), &text)
}

/// Removes the invocations that are named, or else all that are not being called.
async fn remove(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    invocations: &[InvocationId],
    yes: bool,
) -> Result<(), Error> {
    let depth = depth(here, function).await?;
    let all = depth.waiting + depth.retrying + depth.dead;
    let count = match invocations {
        [] => all,
        named => named.len() as u64,
    };
    confirm(yes, &format!("remove {count} invocations of {function}"))?;
    let mut removed = 0;
    if invocations.is_empty() {
        loop {
            let listed = here.store.invocations(function, BATCH).await?;
            let waiting = listed
                .iter()
                .filter(|listed| listed.state != State::Calling);
            let ids: Vec<_> = waiting.map(|listed| listed.id).collect();
            let count = match ids.is_empty() {
                true => 0,
                false => here.store.remove_invocations(function, &ids).await?.len(),
            };
            removed += count;
            // (Those that come meanwhile stay.)
            if count == 0 || removed as u64 >= all {
                break;
            }
        }
    } else {
        for batch in invocations.chunks(BATCH) {
            removed += here.store.remove_invocations(function, batch).await?.len();
        }
        if removed < invocations.len() {
            return Err(left(
                function,
                invocations.len() - removed,
                "removed",
                "waits or is dead",
            ));
        }
    }
    let text = format!("removed {removed} invocations of {function}");
    printer.one(&json!({ "function": function, "removed": removed }), &text)
}

/// Why not all that were named were concerned.
fn left(function: &FunctionName, count: usize, what: &str, of: &str) -> Error {
    Error::Refused(format!(
        "{count} of the invocations were not {what}: {function} has none of that name that {of}; corefn queue ls {function} lists \
         them"
    ))
}
