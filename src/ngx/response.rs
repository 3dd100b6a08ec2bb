//! What a request is answered with.

use std::ptr;

use ngx::ffi::{
    NGX_AGAIN, NGX_DECLINED, NGX_DONE, NGX_ERROR, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_hash_key,
    ngx_http_discard_request_body, ngx_http_err_page_t, ngx_http_finalize_request,
    ngx_http_output_filter, ngx_http_request_t, ngx_http_send_header, ngx_int_t, ngx_list_part_t,
    ngx_list_push, ngx_str_t, ngx_table_elt_t, ngx_uint_t, off_t,
};
use ngx::http::{HttpModuleLocationConf, NgxHttpCoreModule};

use super::Request;

/// What becomes of a request for now.
pub enum Answer {
    /// Others look after it.
    Declined,
    /// It is suspended.
    Suspended,
    /// nginx goes on with this result, such as a status.
    Status(ngx_int_t),
    /// This body is the answer; its header is made.
    Body(String),
}

impl Answer {
    /// nginx answers with this status.
    pub fn status(status: u16) -> Self {
        Self::Status(as_result(status))
    }
}

fn as_result(status: u16) -> ngx_int_t {
    status as ngx_int_t
}

/// Gives the answer. The result is for the phase engine; the request may have ended.
///
/// # Safety
/// The request has not ended before, and nothing relies on it afterwards.
pub unsafe fn finish(r: *mut ngx_http_request_t, answer: Answer) -> ngx_int_t {
    match answer {
        Answer::Declined => NGX_DECLINED as ngx_int_t,
        Answer::Suspended => NGX_AGAIN as ngx_int_t,
        Answer::Status(status) => status,
        Answer::Body(body) => {
            // SAFETY: the caller's.
            unsafe { send(r, &body) };
            NGX_DONE as ngx_int_t
        }
    }
}

/// Sends header and body, and ends the request.
///
/// # Safety
/// As of [`finish`].
unsafe fn send(r: *mut ngx_http_request_t, body: &str) {
    // SAFETY: the caller's; the request is not touched after it is finalized.
    unsafe {
        let mut status = ngx_http_send_header(r);
        if status == NGX_OK as ngx_int_t && (*r).header_only() == 0 {
            status = match Request::new(r).buffer(body) {
                Some(buf) => {
                    let next = ptr::null_mut();
                    ngx_http_output_filter(r, &mut ngx_chain_t { buf, next })
                }
                None => NGX_ERROR as ngx_int_t,
            };
        }
        ngx_http_finalize_request(r, status);
    }
}

impl Request<'_> {
    /// Begins a response of ours: its status, and the type of its body, and its length if that is known. None if there is no
    /// memory.
    pub fn begin_response(
        mut self,
        status: u16,
        kind: &str,
        length: impl Into<Option<usize>>,
    ) -> Option<()> {
        let content_type = self.text(kind)?;
        let out = &mut self.fields_mut().headers_out;
        out.status = ngx_uint_t::from(status);
        out.status_line.len = 0;
        out.content_type = content_type;
        out.content_type_len = kind.len();
        out.content_type_lowcase = ptr::null_mut();
        out.content_length_n = length.into().map_or(-1, |length| length as off_t);
        Some(())
    }

    /// Has the log name the response's status, where it would name another that it was made for.
    pub fn log_response_status(mut self) {
        let fields = self.fields_mut();
        if fields.err_status != 0 {
            fields.err_status = fields.headers_out.status;
        }
    }

    /// Sets a header of the response, in place of one that has been set by this. None if there is no memory.
    pub fn set_header(mut self, name: &str, value: &str) -> Option<()> {
        let value = self.text(value)?;
        if let Some(header) = self.find_header(name) {
            header.value = value;
            return Some(());
        }
        let key = self.text(name)?;
        // SAFETY: a request has a list of headers; all zeros are one without a name, and it gets one.
        unsafe {
            let header = ngx_list_push(&mut self.fields_mut().headers_out.headers);
            let header = header.cast::<ngx_table_elt_t>().as_mut()?;
            *header = std::mem::zeroed();
            header.hash = 1;
            header.key = key;
            header.value = value;
        }
        Some(())
    }

    /// Adds a header to the request, behind those that it has: whoever it is proxied to gets it. None if there is no memory.
    pub fn add_request_header(mut self, name: &str, value: &str) -> Option<()> {
        let lower = name.to_ascii_lowercase();
        let (key, lowcase_key) = (self.text(name)?, self.text(&lower)?.data);
        let value = self.text(value)?;
        // SAFETY: as of set_header().
        unsafe {
            let header = ngx_list_push(&mut self.fields_mut().headers_in.headers);
            let header = header.cast::<ngx_table_elt_t>().as_mut()?;
            *header = std::mem::zeroed();
            header.hash = ngx_hash_key(lowcase_key, lower.len());
            header.key = key;
            header.value = value;
            header.lowcase_key = lowcase_key;
        }
        Some(())
    }

    fn find_header(&mut self, name: &str) -> Option<&mut ngx_table_elt_t> {
        let mut part: *mut ngx_list_part_t = &mut self.fields_mut().headers_out.headers.part;
        // SAFETY: a list is a chain of parts that ends with null, each an array of headers.
        unsafe {
            while let Some(this) = part.as_ref() {
                let headers = this.elts.cast::<ngx_table_elt_t>();
                for header in (0..this.nelts).map(|at| headers.add(at)) {
                    if (*header).key.as_bytes() == name.as_bytes() {
                        return header.as_mut();
                    }
                }
                part = this.next;
            }
        }
        None
    }

    /// Whether the operator has a page of their own for a status.
    pub fn has_error_page(self, status: u16) -> bool {
        // Within an error page's own redirect nginx doesn't look for another, unless it is told to.
        let fields = self.fields();
        let Some(core) = NgxHttpCoreModule::location_conf(fields) else {
            return false;
        };
        let is_nested = fields.error_page() != 0 && core.recursive_error_pages == 0;
        if core.error_pages.is_null() || is_nested {
            return false;
        }
        // SAFETY: nginx made the array for error pages.
        let pages = unsafe { (*core.error_pages).as_slice::<ngx_http_err_page_t>() };
        pages.iter().any(|page| page.status == as_result(status))
    }

    /// Has nginx read what comes of the body, and forget it.
    ///
    /// # Errors
    /// The status that nginx answers with when it can't.
    pub fn discard_body(self) -> Result<(), ngx_int_t> {
        // SAFETY: the request has not ended, and doesn't by this.
        let status = unsafe { ngx_http_discard_request_body(self.as_ptr()) };
        if status == NGX_OK as ngx_int_t {
            Ok(())
        } else {
            Err(status)
        }
    }

    /// A buffer of the request's pool with the whole body.
    pub(super) fn buffer(self, body: &str) -> Option<*mut ngx_buf_t> {
        let mut buffer = self.pool().create_buffer_from_str(body)?;
        let is_main = ptr::eq(self.as_ptr(), self.fields().main);
        let raw = ngx::core::Buffer::as_ngx_buf_mut(&mut buffer);
        // SAFETY: a buffer of the request's pool.
        unsafe {
            (*raw).set_last_buf(u32::from(is_main));
            (*raw).set_last_in_chain(1);
        }
        Some(raw)
    }

    /// nginx's form of a text, in the request's pool.
    fn text(self, text: &str) -> Option<ngx_str_t> {
        let bytes = self.join(&[text.as_bytes()])?;
        Some(ngx_str_t {
            len: bytes.len(),
            data: bytes.as_ptr().cast_mut(),
        })
    }
}
