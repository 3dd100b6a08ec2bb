//! The module's variables, for logs, maps and what is sent to the function.

use std::ffi::CStr;

use corefn_core::names::variable;
use corefn_core::{outside, path as paths, request_id};
use corefn_engine::acquire::Start;

use crate::CorefnModule;
use crate::conf::Sources;
use crate::context::Context;
use crate::ngx::{Index, Kept, Request, Variable};

/// A variable's value, if it has one.
type Value<'r> = Option<&'r [u8]>;

macro_rules! variable {
    ($name:ident, $read:ident, $kept:ident) => {
        variable!($name, $read, $kept, revoke)
    };
    ($name:ident, $read:ident, $kept:ident, $on_panic:ident) => {
        Variable {
            name: variable::$name,
            entry: stringify!($read),
            read: Some($read),
            on_panic: $on_panic,
            kept: Kept::$kept,
        }
    };
}

/// One that only the configuration gives a value.
const fn given(name: &'static CStr) -> Variable {
    Variable {
        name,
        entry: "",
        read: None,
        on_panic: revoke,
        kept: Kept::Given,
    }
}

/// The variables, for nginx.
pub static VARIABLES: [Variable; 14] = [
    variable!(FUNCTION, get_function, Never),
    variable!(REVISION, get_revision, Never),
    variable!(INSTANCE, get_instance, Never),
    variable!(START, get_start, Never),
    variable!(WAIT, get_wait, Never),
    variable!(URI, get_uri, Never),
    variable!(PREFIX, get_prefix, Never),
    variable!(CONNECTION, get_connection, Never),
    variable!(HOST, get_host, Given),
    variable!(REQUEST_ID, get_request_id, Given),
    given(variable::LOCATION),
    variable!(LOCATION_OUTSIDE, get_location_outside, Never, location),
    given(variable::PATH),
    variable!(PATH_OUTSIDE, get_path_outside, Never, path),
];

/// nginx takes a variable that could not be read for empty, and would send the function what isn't true.
fn revoke(r: Request<'_>) -> Value<'_> {
    Context::of_request(r)?.revoke();
    None
}

fn get_function(r: Request<'_>) -> Value<'_> {
    let context = Context::of_request(r)?;
    let function = context.function.borrow();
    text(r, function.as_ref()?.deployed.function.plain_text())
}

fn get_revision(r: Request<'_>) -> Value<'_> {
    text(r, &Context::of_request(r)?.instance()?.instance.revision.0)
}

fn get_instance(r: Request<'_>) -> Value<'_> {
    text(
        r,
        &Context::of_request(r)?.instance()?.instance.id.to_string(),
    )
}

fn get_start(r: Request<'_>) -> Value<'_> {
    let context = Context::of_request(r)?;
    context.instance()?;
    Some(match context.start.get() {
        Start::Warm => b"warm",
        Start::Thawed => b"thawed",
        Start::Cold => b"cold",
    })
}

fn get_wait(r: Request<'_>) -> Value<'_> {
    let waited = Context::of_request(r)?.waited();
    text(r, &format!("{}.{:03}", waited / 1000, waited % 1000))
}

/// The path and query for the function: what the client sent, byte for byte, less the prefix. If
/// nginx has rewritten the path, then that, escaped again.
fn get_uri(r: Request<'_>) -> Value<'_> {
    let prefix = Context::of_request(r)?.prefix.get();
    let Some(target) = r.target() else {
        return rewritten(r, prefix);
    };
    let (slash, rest) = paths::behind(target, prefix)?;
    if slash.is_empty() {
        return Some(rest);
    }
    r.join(&[slash, rest])
}

fn rewritten(r: Request<'_>, prefix: usize) -> Value<'_> {
    let (slash, rest) = paths::behind(r.path(), prefix)?;
    let query = r.query();
    let question: &[u8] = if query.is_empty() { b"" } else { b"?" };
    r.join(&[slash, r.escape(rest)?, question, query])
}

fn get_prefix(r: Request<'_>) -> Value<'_> {
    let prefix = Context::of_request(r)?.prefix.get();
    r.path().get(..prefix)
}

fn get_connection(r: Request<'_>) -> Value<'_> {
    Some(if r.asks_for_upgrade() {
        b"upgrade"
    } else {
        b""
    })
}

/// As the client wrote it, with its port. HTTP/1.0 knows requests without it, HTTP/1.1 does not: they get the server's name, if
/// it has one.
fn get_host(r: Request<'_>) -> Value<'_> {
    let is_named = |host: &&[u8]| !host.is_empty();
    let written = r.host_as_written().filter(is_named);
    let host = written.or_else(|| read(r, |sources| sources.host).filter(is_named));
    Some(host.unwrap_or(b"localhost"))
}

/// One that came in is kept if it is harmless to log, else nginx makes one.
fn get_request_id(r: Request<'_>) -> Value<'_> {
    let mut sent = r.headers("X-Request-Id");
    match (sent.next(), sent.next()) {
        (Some(id), None) if request_id::is_harmless(id) => Some(id),
        _ => read(r, |sources| sources.request_id),
    }
}

/// What was taken off the path, if anything was.
fn prefix(r: Request<'_>) -> &[u8] {
    get_prefix(r).unwrap_or_default()
}

fn get_location_outside(r: Request<'_>) -> Value<'_> {
    r.join(&outside::location(prefix(r), get_host(r)?, location(r)?))
}

fn get_path_outside(r: Request<'_>) -> Value<'_> {
    r.join(&outside::cookie_path(prefix(r), path(r)?))
}

/// Where the function redirects to, as it says.
fn location(r: Request<'_>) -> Value<'_> {
    read(r, |sources| sources.location)
}

/// The path of a cookie, as the function says.
fn path(r: Request<'_>) -> Value<'_> {
    read(r, |sources| sources.path)
}

/// The value of a variable that others are made of.
fn read(r: Request<'_>, which: impl Fn(&Sources) -> Index) -> Value<'_> {
    let main = r.main_conf::<CorefnModule>()?;
    which(main.sources.as_ref()?).value(r)
}

fn text<'r>(r: Request<'r>, text: &str) -> Value<'r> {
    r.join(&[text.as_bytes()])
}
