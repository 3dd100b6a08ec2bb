//! The platform's errors, as responses.

use corefn_core::error::{ErrorCode, html, problem};
use corefn_core::names::header;

use crate::context::Context;
use crate::error_page::ErrorPage;
use crate::ngx::{Answer, Request};
use crate::worker;

const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";

/// The status of what ends without a response of ours.
pub const INTERNAL: u16 = 500;

/// Makes the response of an error. Where the operator has an `error_page` for the status, that is
/// the answer, with the header that names the error.
pub fn error(r: Request<'_>, context: &Context, code: ErrorCode) -> Answer {
    answer(r, context, code).unwrap_or(Answer::status(INTERNAL))
}

fn answer(r: Request<'_>, context: &Context, code: ErrorCode) -> Option<Answer> {
    name_error(r, context, code)?;
    if r.has_error_page(code.status()) {
        return Some(Answer::status(code.status()));
    }
    if let Err(status) = r.discard_body() {
        return Some(Answer::Status(status));
    }
    describe(r, context, code).map(Answer::Body)
}

/// Names the error that nginx is about to answer with; its page becomes ours, if it isn't the
/// operator's.
pub fn announce(r: Request<'_>, context: &Context, code: ErrorCode) {
    if name_error(r, context, code).is_some() {
        context.error_page.replace(ErrorPage::Due(code));
    }
}

fn name_error(r: Request<'_>, context: &Context, code: ErrorCode) -> Option<()> {
    if let Some(worker) = worker::get() {
        worker.shard.metrics.on_error(code);
    }
    r.set_header(header::ERROR, code.as_str())?;
    if let Some(seconds) = context.retry_after(code) {
        r.set_header("Retry-After", &seconds.to_string())?;
    }
    Some(())
}

/// Makes the header of an error's response, and returns its body.
pub fn describe(r: Request<'_>, context: &Context, code: ErrorCode) -> Option<String> {
    let function = context.function.borrow();
    let function = function.as_ref().map(|f| f.deployed.function.as_str());
    let (kind, body) = if wants_html(r) {
        (HTML, html(code, function))
    } else {
        (PROBLEM, problem(code, function))
    };
    r.begin_response(code.status(), kind, body.len())?;
    r.set_header("Cache-Control", "no-store")?;
    Some(body)
}

/// Whether the client asks for HTML before anything else, as a browser does.
fn wants_html(r: Request<'_>) -> bool {
    r.headers("Accept")
        .any(|value| value.starts_with(b"text/html"))
}
