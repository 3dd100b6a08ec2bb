//! Puts the platform's error in place of nginx's own page where nginx gives a function's request up,
//! and cuts bodies off that are larger than their function takes.
//!
//! These are filters of all responses and bodies: those of other requests pass with one look at a
//! pointer.

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, ngx_buf_t, ngx_chain_t,
    ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_body_filter_pt, ngx_http_request_t, ngx_http_top_body_filter,
    ngx_http_top_header_filter, ngx_http_top_request_body_filter, ngx_int_t,
};

use corefn_core::error::ErrorCode;

use crate::context::Context;
use crate::error_page::ErrorPage;
use crate::{guard, respond};

static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;
static mut NEXT_REQUEST_BODY: ngx_http_request_body_filter_pt = None;

/// Puts the filters before all others, while the configuration is read.
pub fn install() {
    // SAFETY: only the thread that reads the configuration runs, and none of the filters.
    unsafe {
        NEXT_HEADER = ngx_http_top_header_filter;
        ngx_http_top_header_filter = Some(header);
        NEXT_BODY = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body);
        NEXT_REQUEST_BODY = ngx_http_top_request_body_filter;
        ngx_http_top_request_body_filter = Some(request_body);
    }
}

unsafe extern "C" fn header(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::nothing("header_filter", || {
        // SAFETY: nginx passes a valid request.
        let r = unsafe { &mut *r };
        if let Some(context) = Context::current(r)
            && let ErrorPage::Due(code) = context.error_page.take()
            && let Some(text) = respond::describe(r, &context, code)
        {
            if r.err_status != 0 {
                // What the log says.
                r.err_status = r.headers_out.status;
            }
            context.error_page.replace(ErrorPage::Body(text));
        }
    });
    // SAFETY: set by install(), before any request.
    match unsafe { NEXT_HEADER } {
        // SAFETY: as nginx called us.
        Some(next) => unsafe { next(r) },
        None => NGX_ERROR as ngx_int_t,
    }
}

unsafe extern "C" fn body(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    let mut own = None;
    guard::nothing("body_filter", || {
        // SAFETY: nginx passes a valid request.
        let r = unsafe { &mut *r };
        if !chain.is_null()
            && let Some(context) = Context::current(r)
            && let ErrorPage::Body(text) = context.error_page.take()
        {
            own = Some(respond::buffer(r, &text));
        }
    });
    let mut link = ngx_chain_t {
        buf: std::ptr::null_mut(),
        next: std::ptr::null_mut(),
    };
    let chain = match own {
        None => chain,
        Some(Some(buffer)) => {
            link.buf = buffer;
            &raw mut link
        }
        Some(None) => return NGX_ERROR as ngx_int_t,
    };
    // SAFETY: set by install(), before any request.
    match unsafe { NEXT_BODY } {
        // SAFETY: as nginx called us; filters copy the links that they keep.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}

unsafe extern "C" fn request_body(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    let mut too_large = false;
    guard::nothing("request_body_filter", || {
        // SAFETY: nginx passes a valid request.
        let r = unsafe { &mut *r };
        if let Some(context) = Context::current(r)
            && let Some(limit) = context.limits().and_then(|limits| limits.body)
        {
            // SAFETY: nginx passes a chain that ends with null.
            let received = context.received.get() + unsafe { size(chain) };
            context.received.set(received);
            if received > limit {
                respond::announce(r, &context, ErrorCode::TooLarge);
                too_large = true;
            }
        }
    });
    if too_large {
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as ngx_int_t;
    }
    // SAFETY: set by install(), before any request.
    match unsafe { NEXT_REQUEST_BODY } {
        // SAFETY: as nginx called us.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}

/// How many bytes a chain holds.
///
/// # Safety
/// The chain is valid, or null.
unsafe fn size(mut chain: *const ngx_chain_t) -> u64 {
    let mut size = 0;
    // SAFETY: the caller's; a link has a buffer.
    unsafe {
        while let Some(link) = chain.as_ref() {
            let buffer: &ngx_buf_t = &*link.buf;
            size += buffer.last.offset_from(buffer.pos).unsigned_abs() as u64;
            chain = link.next;
        }
    }
    size
}
