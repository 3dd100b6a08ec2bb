//! A request of nginx's, as it came.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use ngx::core::Pool;
use ngx::ffi::{
    NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_OPTIONS, NGX_HTTP_PROPFIND,
    NGX_HTTP_PUT, NGX_HTTP_TRACE, ngx_cached_time, ngx_escape_uri, ngx_http_request_t,
    ngx_http_upstream_conf_t, ngx_module_t, ngx_str_t, ngx_uint_t,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};

use super::log;

/// Methods whose requests may be seen twice (RFC 9110, 9.2.2).
const IDEMPOTENT: u32 = NGX_HTTP_GET
    | NGX_HTTP_HEAD
    | NGX_HTTP_PUT
    | NGX_HTTP_DELETE
    | NGX_HTTP_OPTIONS
    | NGX_HTTP_TRACE
    | NGX_HTTP_PROPFIND;

/// `NGX_HTTP_VERSION_30`, which older versions of nginx don't have. There `:authority` is made no header of, and only `host_start` and
/// `host_end` have it (`ngx_http_v3_request.c`).
const HTTP_3: usize = 3000;

unsafe extern "C" {
    /// nginx's own module that proxies. No header of nginx's has it.
    static ngx_http_proxy_module: ngx_module_t;
}

/// A request that has not ended.
///
/// It is a pointer, and borrows nothing: nginx and its modules change the request at any time. What is read of it is
/// the request's pool's, or the configuration's, and so is there for as long.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    raw: NonNull<ngx_http_request_t>,
    lives: PhantomData<&'r ngx_http_request_t>,
}

impl<'r> Request<'r> {
    /// The request that nginx passes to an entry point.
    ///
    /// # Safety
    /// It is one of nginx's, and does not end for as long as this is used.
    pub(super) unsafe fn new(raw: *mut ngx_http_request_t) -> Self {
        Self {
            // SAFETY: the caller's.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lives: PhantomData,
        }
    }

    /// nginx's pointer to it.
    pub(super) fn as_ptr(self) -> *mut ngx_http_request_t {
        self.raw.as_ptr()
    }

    /// What nginx has of it. Nothing of nginx's may be called while this is used.
    pub(super) fn fields(&self) -> &ngx_http_request_t {
        // SAFETY: the request has not ended, as of new().
        unsafe { self.raw.as_ref() }
    }

    /// As [`Request::fields`], to be changed.
    pub(super) fn fields_mut(&mut self) -> &mut ngx_http_request_t {
        // SAFETY: as of fields(); only this thread works with requests.
        unsafe { self.raw.as_mut() }
    }

    /// What the module has of the location that the request is in.
    pub fn location_conf<M: HttpModuleLocationConf<LocationConf: 'static>>(
        self,
    ) -> Option<&'r M::LocationConf> {
        M::location_conf(self.fields())
    }

    /// What the module has of the whole configuration.
    pub fn main_conf<M: HttpModuleMainConf<MainConf: 'static>>(self) -> Option<&'r M::MainConf> {
        M::main_conf(self.fields())
    }

    /// The host that the client names, as it is written; none if it names none.
    pub fn host_as_written(self) -> Option<&'r [u8]> {
        let fields = self.fields();
        // SAFETY: a header that is found is the request's.
        if let Some(header) = unsafe { fields.headers_in.host.as_ref() } {
            return Some(self.bytes(header.value));
        }
        // (Of HTTP/1, what is there is of the request line, and without the port.)
        if fields.http_version != HTTP_3 || fields.host_start.is_null() {
            return None;
        }
        let len = (fields.host_end as usize).checked_sub(fields.host_start as usize)?;
        Some(self.bytes(ngx_str_t {
            data: fields.host_start,
            len,
        }))
    }

    /// The host it is for, less a port; empty if it names none.
    pub fn host(self) -> &'r [u8] {
        self.bytes(self.fields().headers_in.server)
    }

    /// The path, as nginx goes by it.
    pub fn path(self) -> &'r [u8] {
        self.bytes(self.fields().uri)
    }

    /// The query, as nginx goes by it.
    pub fn query(self) -> &'r [u8] {
        self.bytes(self.fields().args)
    }

    /// The target as the client sent it; none if nginx has rewritten it.
    pub fn target(self) -> Option<&'r [u8]> {
        let fields = self.fields();
        (fields.valid_unparsed_uri() != 0).then(|| self.bytes(fields.unparsed_uri))
    }

    /// The status that the client got, as the log has it; 0 for none.
    pub fn status(self) -> u16 {
        let fields = self.fields();
        let status = match fields.err_status {
            0 => fields.headers_out.status,
            status => status,
        };
        u16::try_from(status).unwrap_or(0)
    }

    /// How long ago its first byte came, by nginx's clock.
    pub fn age(self) -> Duration {
        let fields = self.fields();
        // SAFETY: nginx keeps its cached time for as long as the process lives.
        let (sec, msec) = unsafe {
            let time = &*ngx_cached_time;
            (time.sec, time.msec)
        };
        let seconds = sec - fields.start_sec;
        let millis = seconds * 1000 + msec as i64 - fields.start_msec as i64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Whether nginx's proxy looks for the answer in a cache before it asks anybody for it, in the request's location.
    pub fn is_cached(self) -> bool {
        let fields = self.fields();
        // SAFETY: nginx sets the module's index before it reads a configuration, and what the module has of a location begins
        // with what it has of its upstream (ngx_http_proxy_module.c).
        let conf = unsafe {
            let own = *fields.loc_conf.add(ngx_http_proxy_module.ctx_index);
            own.cast::<ngx_http_upstream_conf_t>().as_ref()
        };
        conf.is_some_and(|conf| conf.cache() != 0 && fields.method & conf.cache_methods != 0)
    }

    /// The request of which this is a copy that nginx makes to fetch an answer, or a part of one, for its cache.
    pub fn original(self) -> Option<Self> {
        let fields = self.fields();
        let raw = NonNull::new(fields.parent)?;
        let original = Self {
            raw,
            lives: PhantomData,
        };
        // (Nothing else has its location and its path.)
        let of = original.fields();
        (of.loc_conf == fields.loc_conf && original.path() == self.path()).then_some(original)
    }

    /// Whether a client has made it, and not nginx for a part of another.
    pub fn is_main(self) -> bool {
        std::ptr::eq(self.as_ptr(), self.fields().main)
    }

    /// Whether more of its body is yet to be read and forgotten.
    pub fn is_discarding(self) -> bool {
        self.fields().discard_body() != 0
    }

    /// Whether it is a GET or a HEAD.
    pub fn is_read(self) -> bool {
        self.fields().method as u32 & (NGX_HTTP_GET | NGX_HTTP_HEAD) != 0
    }

    /// How many bytes the body has, if that is known.
    pub fn content_length(self) -> Option<u64> {
        u64::try_from(self.fields().headers_in.content_length_n).ok()
    }

    /// Whether its body is passed on as it comes, and so is not there any more when it is to be sent again.
    pub fn is_streamed(self) -> bool {
        self.fields().request_body_no_buffering() != 0
    }

    /// Whether its method is idempotent.
    pub fn is_idempotent(self) -> bool {
        self.fields().method & IDEMPOTENT as ngx_uint_t != 0
    }

    /// Whether it asks for another protocol.
    pub fn asks_for_upgrade(self) -> bool {
        !self.fields().headers_in.upgrade.is_null()
    }

    /// The values of its headers of a name.
    pub fn headers(self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        // SAFETY: a request has a list of headers, which is the request's pool's.
        let headers = unsafe { ngx::http::list_iterator(&(*self.as_ptr()).headers_in.headers) };
        headers.filter_map(move |(key, value)| {
            let found = key.as_bytes().eq_ignore_ascii_case(name.as_bytes());
            found.then(|| value.as_bytes())
        })
    }

    /// A header of what nginx is being answered with by whom it proxies to, whether it passes that on or not.
    pub fn upstream_header(self, name: &str) -> Option<&'r [u8]> {
        // SAFETY: a request's upstream is there for as long as the request, and so is its list of headers, which is the
        // request's pool's.
        let mut headers = unsafe {
            let upstream = self.fields().upstream.as_ref()?;
            ngx::http::list_iterator(&upstream.headers_in.headers)
        };
        let found = headers.find(|(key, _)| key.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_bytes())
    }

    /// Logs a line about it, with what nginx adds of the request.
    pub fn log(self, level: u32, text: &str) {
        // SAFETY: a request's connection is there for as long as the request, and has a log.
        unsafe { log::write(level, (*self.fields().connection).log, text) }
    }

    /// A string of several parts, in the request's pool; none if there is no memory.
    pub fn join(self, parts: &[&[u8]]) -> Option<&'r [u8]> {
        let room = self.room(parts.iter().map(|part| part.len()).sum())?;
        let mut rest = &mut *room;
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        Some(room)
    }

    /// A path with what must be escaped in it escaped, as nginx does it; as of [`Request::join`].
    pub fn escape(self, path: &[u8]) -> Option<&'r [u8]> {
        const ESCAPE_URI: ngx_uint_t = 0;
        let from = path.as_ptr().cast_mut();
        // SAFETY: with no place to write to, nginx counts the bytes that must be escaped.
        let count = unsafe { ngx_escape_uri(std::ptr::null_mut(), from, path.len(), ESCAPE_URI) };
        if count == 0 {
            return self.join(&[path]);
        }
        // Each takes two bytes more.
        let room = self.room(path.len() + 2 * count)?;
        // SAFETY: there is room for the path and what is added to it.
        unsafe { ngx_escape_uri(room.as_mut_ptr(), from, path.len(), ESCAPE_URI) };
        Some(room)
    }

    /// Bytes of the request's pool, all 0.
    fn room(self, len: usize) -> Option<&'r mut [u8]> {
        let data = self.pool().alloc_unaligned(len.max(1)).cast::<u8>();
        // SAFETY: so many bytes were allocated, if any, and belong to nobody else.
        unsafe {
            let data = NonNull::new(data)?.as_ptr();
            data.write_bytes(0, len);
            Some(std::slice::from_raw_parts_mut(data, len))
        }
    }

    /// The pool that ends with the request.
    pub(super) fn pool(self) -> Pool {
        // SAFETY: a request has a pool.
        unsafe { Pool::from_ngx_pool(self.fields().pool) }
    }

    fn bytes(self, string: ngx_str_t) -> &'r [u8] {
        if string.data.is_null() {
            return b"";
        }
        // SAFETY: a string of the request's, whose bytes are in its pool.
        unsafe { std::slice::from_raw_parts(string.data, string.len) }
    }
}

/// nginx's form of a constant.
pub const fn constant(text: &'static CStr) -> ngx_str_t {
    ngx_str_t {
        len: text.to_bytes().len(),
        data: text.as_ptr().cast_mut().cast(),
    }
}
