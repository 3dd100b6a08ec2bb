//! The platform's errors, as responses.

use ngx::core::Pool;
use ngx::ffi::{
    NGX_DONE, NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_buf_t, ngx_chain_t,
    ngx_create_temp_buf, ngx_http_discard_request_body, ngx_http_err_page_t,
    ngx_http_finalize_request, ngx_http_output_filter, ngx_http_request_t, ngx_http_send_header,
    ngx_int_t, ngx_list_part_t, ngx_list_push, ngx_str_t, ngx_table_elt_t, ngx_uint_t, off_t,
};
use ngx::http::{HttpModuleLocationConf, NgxHttpCoreModule};

use corefn_core::error::{ErrorCode, html, problem};
use corefn_core::names::header;

use crate::context::Context;
use crate::error_page::ErrorPage;

const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";

/// What a request gets of us.
pub enum Answer {
    /// A status for nginx, which does the rest.
    Status(ngx_int_t),
    /// A body; the header is made.
    Body(String),
}

/// Makes the response of an error. Where the operator has an `error_page` for the status, that is
/// the answer, with the header that names the error.
pub fn error(r: &mut ngx_http_request_t, context: &Context, code: ErrorCode) -> Answer {
    answer(r, context, code).unwrap_or(Answer::Status(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t))
}

fn answer(r: &mut ngx_http_request_t, context: &Context, code: ErrorCode) -> Option<Answer> {
    name_error(r, context, code)?;
    let status = ngx_uint_t::from(code.status());
    if has_error_page(r, status as ngx_int_t) {
        return Some(Answer::Status(status as ngx_int_t));
    }
    // SAFETY: a valid request.
    let discarded = unsafe { ngx_http_discard_request_body(r) };
    if discarded != NGX_OK as ngx_int_t {
        return Some(Answer::Status(discarded));
    }
    describe(r, context, code).map(Answer::Body)
}

/// Gives the answer. The result is for the phase engine; with [`NGX_DONE`] the request may be gone.
///
/// # Safety
/// The request is valid, and no reference to it is used any more.
pub unsafe fn finish(r: *mut ngx_http_request_t, answer: Answer) -> ngx_int_t {
    match answer {
        Answer::Status(status) => status,
        Answer::Body(body) => {
            // SAFETY: the caller's.
            unsafe { send(r, &body) };
            NGX_DONE as ngx_int_t
        }
    }
}

/// Names the error that nginx is about to answer with; its page becomes ours, if it isn't the
/// operator's.
pub fn announce(r: &mut ngx_http_request_t, context: &Context, code: ErrorCode) {
    if name_error(r, context, code).is_some() {
        context.error_page.replace(ErrorPage::Due(code));
    }
}

fn name_error(r: &mut ngx_http_request_t, context: &Context, code: ErrorCode) -> Option<()> {
    set_header(r, header::ERROR, code.as_str())?;
    if let Some(seconds) = context.retry_after(code) {
        set_header(r, "Retry-After", &seconds.to_string())?;
    }
    Some(())
}

/// Makes the header of an error's response, and returns its body.
pub fn describe(r: &mut ngx_http_request_t, context: &Context, code: ErrorCode) -> Option<String> {
    let function = context.function.borrow();
    let function = function.as_ref().map(|f| f.deployment.function.as_str());
    let (kind, body) = if wants_html(r) {
        (HTML, html(code, function))
    } else {
        (PROBLEM, problem(code, function))
    };
    r.headers_out.status = ngx_uint_t::from(code.status());
    r.headers_out.status_line.len = 0;
    r.headers_out.content_type = text(r, kind)?;
    r.headers_out.content_type_len = kind.len();
    r.headers_out.content_type_lowcase = std::ptr::null_mut();
    r.headers_out.content_length_n = body.len() as off_t;
    set_header(r, "Cache-Control", "no-store")?;
    Some(body)
}

/// Sends header and body, and ends the request.
///
/// # Safety
/// As of [`finish`].
unsafe fn send(r: *mut ngx_http_request_t, body: &str) {
    // SAFETY: the caller's. What is allocated of the request's pool is checked before it is used,
    // and the request isn't touched after it is finalized.
    unsafe {
        let mut status = ngx_http_send_header(r);
        if status == NGX_OK as ngx_int_t && (*r).header_only() == 0 {
            status = match buffer(&mut *r, body) {
                Some(buffer) => {
                    let mut chain = ngx_chain_t {
                        buf: buffer,
                        next: std::ptr::null_mut(),
                    };
                    ngx_http_output_filter(r, &mut chain)
                }
                None => NGX_ERROR as ngx_int_t,
            };
        }
        ngx_http_finalize_request(r, status);
    }
}

/// A buffer of the request's pool with the whole body.
pub fn buffer(r: &mut ngx_http_request_t, body: &str) -> Option<*mut ngx_buf_t> {
    // SAFETY: a valid pool; the buffer has room for the body, which is checked for null before.
    unsafe {
        let buffer = ngx_create_temp_buf(r.pool, body.len()).as_mut()?;
        buffer
            .last
            .copy_from_nonoverlapping(body.as_ptr(), body.len());
        buffer.last = buffer.last.add(body.len());
        buffer.set_last_buf(u32::from(std::ptr::eq(r, r.main)));
        buffer.set_last_in_chain(1);
        Some(buffer)
    }
}

fn has_error_page(r: &ngx_http_request_t, status: ngx_int_t) -> bool {
    // Within an error page's own redirect nginx doesn't look for another, unless it is told to.
    let Some(core) = NgxHttpCoreModule::location_conf(r) else {
        return false;
    };
    if core.error_pages.is_null() || (r.error_page() != 0 && core.recursive_error_pages == 0) {
        return false;
    }
    // SAFETY: nginx made the array for error pages.
    let pages = unsafe { (*core.error_pages).as_slice::<ngx_http_err_page_t>() };
    pages.iter().any(|page| page.status == status)
}

/// Whether the client asks for HTML before anything else, as a browser does.
fn wants_html(r: &ngx_http_request_t) -> bool {
    // SAFETY: a request's list of headers is valid.
    let mut headers = unsafe { ngx::http::list_iterator(&r.headers_in.headers) };
    headers.any(|(name, value)| {
        name.as_bytes().eq_ignore_ascii_case(b"accept")
            && value.as_bytes().starts_with(b"text/html")
    })
}

/// Sets a header of the response, in place of one that an earlier error of the request has set.
fn set_header(r: &mut ngx_http_request_t, name: &str, value: &str) -> Option<()> {
    let value = text(r, value)?;
    if let Some(element) = find_header(r, name) {
        element.value = value;
        return Some(());
    }
    let key = text(r, name)?;
    // SAFETY: a valid list of headers; the new element is filled whole.
    unsafe {
        let element = ngx_list_push(&mut r.headers_out.headers).cast::<ngx_table_elt_t>();
        let element = element.as_mut()?;
        *element = std::mem::zeroed();
        element.hash = 1;
        element.key = key;
        element.value = value;
    }
    Some(())
}

fn find_header<'a>(r: &'a mut ngx_http_request_t, name: &str) -> Option<&'a mut ngx_table_elt_t> {
    let mut part: *mut ngx_list_part_t = &mut r.headers_out.headers.part;
    // SAFETY: a list is a chain of parts that ends with null, each an array of headers.
    unsafe {
        while let Some(this) = part.as_ref() {
            let elements = this.elts.cast::<ngx_table_elt_t>();
            for element in (0..this.nelts).map(|at| elements.add(at)) {
                if (*element).key.as_bytes() == name.as_bytes() {
                    return element.as_mut();
                }
            }
            part = this.next;
        }
    }
    None
}

/// A copy of a text in the request's pool.
fn text(r: &ngx_http_request_t, text: &str) -> Option<ngx_str_t> {
    // SAFETY: a valid pool.
    let pool = unsafe { Pool::from_ngx_pool(r.pool) };
    // SAFETY: as above.
    unsafe { ngx_str_t::from_bytes(pool.as_ptr(), text.as_bytes()) }
}
