//! A response that is sent in parts, by a request that stays open meanwhile.

use std::cell::{OnceCell, RefCell, UnsafeCell};
use std::ptr;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_ERROR, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_connection_t,
    ngx_handle_write_event, ngx_http_finalize_request, ngx_http_output_filter,
    ngx_http_request_empty_handler, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_http_send_header, ngx_int_t,
};

use super::response::finish;
use super::{Answer, Handle, Request, guard};

/// What is being sent. There is one part at a time: so a client that reads slowly costs no more than that. It must outlive the
/// request's pool, or be dropped by a cleanup of that ([`Attached::on_end`](super::Attached::on_end)).
#[derive(Default)]
pub struct Parts {
    /// It stays as it is for as long as nginx may read it.
    text: RefCell<String>,
    /// What nginx knows it by. It stays where it is, too.
    buffer: OnceCell<Box<UnsafeCell<ngx_buf_t>>>,
}

impl Parts {
    /// Sends the header that `make` makes, after which a body comes. False if the request has ended with that, or is about
    /// to; it may be gone.
    pub fn begin(&self, handle: &Handle, make: impl FnOnce(Request<'_>) -> Option<()>) -> bool {
        let Some(request) = handle.request() else {
            return false;
        };
        let raw = request.as_ptr();
        let made = make(request).is_some();
        // SAFETY: the request has not ended, and is not touched after it is finalized.
        unsafe {
            let status = if made {
                ngx_http_send_header(raw)
            } else {
                NGX_ERROR as ngx_int_t
            };
            // (What can't be sent at once is sent with the first part.)
            let goes_on = status == NGX_OK as ngx_int_t || status == NGX_AGAIN as ngx_int_t;
            if goes_on && (*raw).header_only() == 0 {
                return true;
            }
            end_with(raw, status);
        }
        false
    }

    /// Whether nginx has sent all that it was given.
    pub fn is_sent(&self) -> bool {
        // SAFETY: filters move its position as they send what is in it, and nothing else happens meanwhile.
        let is_sent = |it: &UnsafeCell<ngx_buf_t>| unsafe { (*it.get()).pos == (*it.get()).last };
        self.buffer.get().is_none_or(|it| is_sent(it))
    }

    /// Sends a part, if the one before [is sent](Parts::is_sent). The request may be gone when this returns.
    pub fn send(&self, handle: &Handle, text: String) {
        self.give(handle, text, false);
    }

    /// Ends the response. The request may be gone when this returns.
    pub fn end(&self, handle: &Handle) {
        self.give(handle, String::new(), true);
    }

    fn give(&self, handle: &Handle, text: String, is_last: bool) {
        let Some(request) = handle.request() else {
            return;
        };
        let raw = request.as_ptr();
        if !self.is_sent() {
            // It can't be ended well.
            if is_last {
                // SAFETY: the request has not ended.
                unsafe { end_with(raw, NGX_ERROR as ngx_int_t) };
            }
            return;
        }
        // SAFETY: all zeros are a buffer with nothing in it.
        let new = || Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() }));
        let buf = self.buffer.get_or_init(new).get();
        self.text.replace(text);
        let bytes = self.text.borrow().as_bytes().as_ptr_range();
        let (start, end) = (bytes.start.cast_mut(), bytes.end.cast_mut());
        // SAFETY: nginx has done with what was in the buffer. The text stays where it is until nginx has done with it too. The
        // request has not ended, and is not touched after it is finalized.
        unsafe {
            *buf = std::mem::zeroed();
            ((*buf).start, (*buf).pos) = (start, start);
            ((*buf).end, (*buf).last) = (end, end);
            (*buf).set_memory(u32::from(start != end));
            (*buf).set_flush(1);
            (*buf).set_last_buf(u32::from(is_last));
            (*buf).set_last_in_chain(u32::from(is_last));
            let next = ptr::null_mut();
            let status = ngx_http_output_filter(raw, &mut ngx_chain_t { buf, next });
            if is_last || status == NGX_ERROR as ngx_int_t || !watch(raw) {
                let status = if is_last {
                    status
                } else {
                    NGX_ERROR as ngx_int_t
                };
                end_with(raw, status);
            }
        }
    }
}

impl Handle {
    /// Answers a request that was suspended, before anything of a response was sent. It may be gone when this returns.
    pub fn answer(&self, make: impl FnOnce(Request<'_>) -> Answer) {
        let Some(request) = self.request() else {
            return;
        };
        let raw = request.as_ptr();
        let answer = make(request);
        // SAFETY: the request has not ended; its connection's memory outlives it.
        unsafe {
            let connection: *mut ngx_connection_t = (*raw).connection;
            let status = finish(raw, answer);
            if status != NGX_DONE as ngx_int_t {
                ngx_http_finalize_request(raw, status);
            }
            ngx_http_run_posted_requests(connection);
        }
    }
}

/// Ends a request.
///
/// # Safety
/// It has not ended before, and nothing relies on it afterwards.
unsafe fn end_with(r: *mut ngx_http_request_t, status: ngx_int_t) {
    // SAFETY: the caller's; the connection's memory outlives the request.
    unsafe {
        let connection: *mut ngx_connection_t = (*r).connection;
        ngx_http_finalize_request(r, status);
        ngx_http_run_posted_requests(connection);
    }
}

/// Has nginx go on sending, as soon as it can, what could not be sent yet. False if it can't be told to.
///
/// # Safety
/// The request has not ended.
unsafe fn watch(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the caller's; a request has a connection, and that a write event.
    unsafe {
        let connection: *mut ngx_connection_t = (*r).connection;
        let is_pending = (*r).buffered() != 0 || (*connection).buffered() != 0;
        if !is_pending {
            (*r).write_event_handler = Some(ngx_http_request_empty_handler);
            return true;
        }
        (*r).write_event_handler = Some(go_on);
        ngx_handle_write_event((*connection).write, 0) == NGX_OK as ngx_int_t
    }
}

/// Called by nginx when more can be sent.
unsafe extern "C" fn go_on(r: *mut ngx_http_request_t) {
    // (nginx may not call it again for the same room.)
    guard::twice("go_on", || {
        // SAFETY: nginx passes a request that has not ended, and runs what is posted for it.
        unsafe {
            // (A limit of the rate has nginx wait.)
            let is_delayed = (*(*(*r).connection).write).delayed() != 0;
            let status = match is_delayed {
                true => NGX_OK as ngx_int_t,
                false => ngx_http_output_filter(r, ptr::null_mut()),
            };
            if status == NGX_ERROR as ngx_int_t || !watch(r) {
                ngx_http_finalize_request(r, NGX_ERROR as ngx_int_t);
            }
        }
    });
}
