//! The module's variables, for logs, maps and what is sent to the function.

use corefn_core::names::variable;
use corefn_core::path;
use corefn_engine::acquire::Start;

use crate::context::Context;
use crate::ngx::{Attached, Request, Variable};

/// A variable's value, if it has one.
type Value<'r> = Option<&'r [u8]>;

macro_rules! variable {
    ($name:ident, $read:ident) => {
        Variable {
            name: variable::$name,
            entry: stringify!($read),
            read: $read,
            on_panic: revoke,
        }
    };
}

/// The variables, for nginx.
pub static VARIABLES: [Variable; 8] = [
    variable!(FUNCTION, get_function),
    variable!(REVISION, get_revision),
    variable!(INSTANCE, get_instance),
    variable!(START, get_start),
    variable!(WAIT, get_wait),
    variable!(URI, get_uri),
    variable!(PREFIX, get_prefix),
    variable!(CONNECTION, get_connection),
];

/// nginx takes a variable that could not be read for empty, and would send the function what isn't true.
fn revoke(r: Request<'_>) {
    if let Some(context) = Context::find(r) {
        context.revoke();
    }
}

fn get_function(r: Request<'_>) -> Value<'_> {
    let context = Context::find(r)?;
    let function = context.function.borrow();
    text(r, function.as_ref()?.deployed.function.as_str())
}

fn get_revision(r: Request<'_>) -> Value<'_> {
    text(r, &Context::find(r)?.peer()?.instance.revision.0)
}

fn get_instance(r: Request<'_>) -> Value<'_> {
    text(r, &Context::find(r)?.peer()?.instance.id.to_string())
}

fn get_start(r: Request<'_>) -> Value<'_> {
    let context = Context::find(r)?;
    context.peer()?;
    Some(match context.start.get() {
        Start::Warm => b"warm",
        Start::Thawed => b"thawed",
        Start::Cold => b"cold",
    })
}

fn get_wait(r: Request<'_>) -> Value<'_> {
    let waited = Context::find(r)?.waited();
    text(r, &format!("{}.{:03}", waited / 1000, waited % 1000))
}

/// The path and query for the function: what the client sent, byte for byte, less the prefix. If
/// nginx has rewritten the path, then that, escaped again.
fn get_uri(r: Request<'_>) -> Value<'_> {
    let prefix = Context::find(r)?.prefix.get();
    let Some(target) = r.target() else {
        return rewritten(r, prefix);
    };
    let (slash, rest) = path::behind(target, prefix)?;
    if slash.is_empty() {
        return Some(rest);
    }
    r.join(&[slash, rest])
}

fn rewritten(r: Request<'_>, prefix: usize) -> Value<'_> {
    let (slash, rest) = path::behind(r.path(), prefix)?;
    let query = r.query();
    let question: &[u8] = if query.is_empty() { b"" } else { b"?" };
    r.join(&[slash, r.escape(rest)?, question, query])
}

fn get_prefix(r: Request<'_>) -> Value<'_> {
    let prefix = Context::find(r)?.prefix.get();
    r.path().get(..prefix)
}

fn get_connection(r: Request<'_>) -> Value<'_> {
    Some(if r.asks_for_upgrade() {
        b"upgrade"
    } else {
        b""
    })
}

fn text<'r>(r: Request<'r>, text: &str) -> Value<'r> {
    r.join(&[text.as_bytes()])
}
