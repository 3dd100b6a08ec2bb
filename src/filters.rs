//! Puts the platform's error in place of nginx's own page where nginx gives a function's request up,
//! and cuts bodies off that are larger than their function takes.
//!
//! These are filters of all responses and bodies: those of other requests pass with one look at a
//! pointer.

use ngx::ffi::ngx_uint_t;

use corefn_core::error::ErrorCode;
use corefn_core::names::header;

use crate::context::Context;
use crate::error_page::ErrorPage;
use crate::ngx::{Attached, Chain, Filters, Request};
use crate::respond;

/// The filters.
pub enum ErrorFilters {}

impl Filters for ErrorFilters {
    fn on_header(r: Request<'_>) {
        let Some(context) = Context::current(r) else {
            return;
        };
        if let ErrorPage::Due(code) = context.error_page.take() {
            if let Some(text) = respond::describe(r, &context, code) {
                r.log_response_status();
                context.error_page.replace(ErrorPage::Body(text));
            }
        } else if context.is_deferred()
            && let Some(code) = r.upstream_header(header::ERROR)
        {
            // nginx hides it, for functions must not say such things; the dispatcher is the platform's.
            r.set_header(header::ERROR, &String::from_utf8_lossy(code));
        }
    }

    fn on_body(r: Request<'_>) -> Option<String> {
        match Context::current(r)?.error_page.take() {
            ErrorPage::Body(text) => Some(text),
            ErrorPage::Due(_) | ErrorPage::Absent => None,
        }
    }

    fn on_request_body(r: Request<'_>, part: Chain<'_>) -> Option<ngx_uint_t> {
        let context = Context::current(r)?;
        let limit = context.limits()?.body?;
        let received = context.received.get() + part.size();
        context.received.set(received);
        if received <= limit {
            return None;
        }
        let code = ErrorCode::TooLarge;
        respond::announce(r, &context, code);
        Some(code.status().into())
    }
}
