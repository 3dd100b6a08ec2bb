//! Filters of all responses and of all bodies.

use std::ptr;

use ngx::ffi::{
    NGX_ERROR, ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_body_filter_pt, ngx_http_request_t, ngx_http_top_body_filter,
    ngx_http_top_header_filter, ngx_http_top_request_body_filter, ngx_int_t, ngx_uint_t,
};

use super::{Request, guard};

/// What filters do. A panic of theirs leaves everything as it is.
pub trait Filters {
    /// The header of a response is about to be sent.
    fn on_header(r: Request<'_>);

    /// A part of a response's body is about to be sent. Returns the body that is sent in its place, if there is one.
    fn on_body(r: Request<'_>) -> Option<String>;

    /// A part of a request's body has come. Returns the status that the request ends with, if it does.
    fn on_request_body(r: Request<'_>, part: Chain<'_>) -> Option<ngx_uint_t>;
}

/// A part of a body.
pub struct Chain<'a>(Option<&'a ngx_chain_t>);

impl Chain<'_> {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        let mut size = 0;
        let mut next = self.0;
        while let Some(link) = next {
            // SAFETY: a link of nginx's has a buffer, and the last one's next is null.
            unsafe {
                let buffer = &*link.buf;
                size += buffer.last.offset_from(buffer.pos).unsigned_abs() as u64;
                next = link.next.as_ref();
            }
        }
        size
    }
}

static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;
static mut NEXT_REQUEST_BODY: ngx_http_request_body_filter_pt = None;

/// Puts the filters before all others, while the configuration is read. There can be one kind of filters.
pub fn install<F: Filters>() {
    // SAFETY: only the thread that reads the configuration runs, and none of the filters.
    unsafe {
        NEXT_HEADER = ngx_http_top_header_filter;
        ngx_http_top_header_filter = Some(header::<F>);
        NEXT_BODY = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body::<F>);
        NEXT_REQUEST_BODY = ngx_http_top_request_body_filter;
        ngx_http_top_request_body_filter = Some(request_body::<F>);
    }
}

unsafe extern "C" fn header<F: Filters>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::nothing("header_filter", || {
        // SAFETY: nginx passes a request, which does not end in a filter.
        F::on_header(unsafe { Request::new(r) });
    });
    // SAFETY: set by install(), before any request.
    match unsafe { NEXT_HEADER } {
        // SAFETY: as nginx called us.
        Some(next) => unsafe { next(r) },
        None => NGX_ERROR as ngx_int_t,
    }
}

unsafe extern "C" fn body<F: Filters>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    let mut own = None;
    guard::nothing("body_filter", || {
        // SAFETY: as of header().
        let r = unsafe { Request::new(r) };
        if !chain.is_null() {
            own = F::on_body(r).map(|text| r.buffer(&text));
        }
    });
    let mut link = ngx_chain_t {
        buf: ptr::null_mut(),
        next: ptr::null_mut(),
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

unsafe extern "C" fn request_body<F: Filters>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    let mut status = None;
    guard::nothing("request_body_filter", || {
        // SAFETY: as of header(); nginx passes a chain that ends with null.
        let (r, part) = unsafe { (Request::new(r), Chain(chain.as_ref())) };
        status = F::on_request_body(r, part);
    });
    if let Some(status) = status {
        return status as ngx_int_t;
    }
    // SAFETY: set by install(), before any request.
    match unsafe { NEXT_REQUEST_BODY } {
        // SAFETY: as nginx called us.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}
