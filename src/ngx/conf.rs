//! Directives: the rows of the table that nginx reads, and what a setter is given.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::time::Duration;

use ngx::core::NGX_CONF_ERROR;
use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF,
    NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF, NGX_HTTP_UPS_CONF, ngx_command_t, ngx_conf_t,
    ngx_parse_size, ngx_parse_time, ngx_str_t, ngx_uint_t,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};

use super::{guard, log};

/// What sets a directive in a configuration of the type `C`. An error is the text that ends nginx's start.
type Setter<C> = fn(&mut C, &mut Directive<'_>) -> Result<(), String>;

/// A directive, as it stands in the configuration.
pub struct Directive<'c> {
    cf: &'c mut ngx_conf_t,
    words: &'c [ngx_str_t],
}

impl<'c> Directive<'c> {
    /// The configuration that is being read.
    pub fn conf(&mut self) -> &mut ngx_conf_t {
        self.cf
    }

    /// Its name, for errors.
    pub fn name(&self) -> &'c str {
        self.word(0).unwrap_or_default()
    }

    /// Its value; of several, the first.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn value(&self) -> Result<&'c str, String> {
        self.word(1)
    }

    /// Its values.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn values(&self) -> Result<Vec<&'c str>, String> {
        (1..self.words.len()).map(|at| self.word(at)).collect()
    }

    /// Its value as a time, in nginx's own form.
    pub fn time(&self) -> Option<Duration> {
        // SAFETY: a string of the configuration; 0 asks for milliseconds.
        let millis = unsafe { ngx_parse_time(&mut self.words.get(1)?.clone(), 0) };
        let millis = u64::try_from(millis).ok()?;
        Some(Duration::from_millis(millis))
    }

    /// Its second value as a size in bytes, in nginx's own form.
    pub fn size(&self) -> Option<usize> {
        // SAFETY: a string of the configuration.
        let size = unsafe { ngx_parse_size(&mut self.words.get(2)?.clone()) };
        (size != NGX_ERROR as isize).then_some(size as usize)
    }

    fn word(&self, at: usize) -> Result<&'c str, String> {
        let word = self.words.get(at).map_or(&b""[..], ngx_str_t::as_bytes);
        std::str::from_utf8(word).map_err(|_| "a value is not UTF-8".to_owned())
    }
}

/// A directive of the `http` level.
pub const fn main_directive<M: HttpModuleMainConf>(
    name: &'static CStr,
    arguments: u32,
    setter: Setter<M::MainConf>,
) -> ngx_command_t {
    let place = NGX_HTTP_MAIN_CONF | arguments;
    directive(name, place, NGX_HTTP_MAIN_CONF_OFFSET, setter)
}

/// A directive of an `upstream`. nginx has no configuration of its own for it, so it gets that of the `http` level.
pub const fn upstream_directive<M: HttpModuleMainConf>(
    name: &'static CStr,
    arguments: u32,
    setter: Setter<M::MainConf>,
) -> ngx_command_t {
    let place = NGX_HTTP_UPS_CONF | arguments;
    directive(name, place, NGX_HTTP_MAIN_CONF_OFFSET, setter)
}

/// A directive of the levels `http`, `server` and `location`.
pub const fn location_directive<M: HttpModuleLocationConf>(
    name: &'static CStr,
    arguments: u32,
    setter: Setter<M::LocationConf>,
) -> ngx_command_t {
    let place = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | arguments;
    directive(name, place, NGX_HTTP_LOC_CONF_OFFSET, setter)
}

/// A directive of the level `location` alone.
pub const fn only_location_directive<M: HttpModuleLocationConf>(
    name: &'static CStr,
    arguments: u32,
    setter: Setter<M::LocationConf>,
) -> ngx_command_t {
    let place = NGX_HTTP_LOC_CONF | arguments;
    directive(name, place, NGX_HTTP_LOC_CONF_OFFSET, setter)
}

/// What the table ends with.
pub const fn directives_end() -> ngx_command_t {
    ngx_command_t::empty()
}

const fn directive<C>(
    name: &'static CStr,
    place: u32,
    offset: usize,
    setter: Setter<C>,
) -> ngx_command_t {
    ngx_command_t {
        name: super::request::constant(name),
        type_: place as ngx_uint_t,
        set: Some(set::<C>),
        conf: offset,
        offset: 0,
        // For set(): nginx does not look at it.
        post: setter as *mut c_void,
    }
}

/// Called by nginx for a directive. An error, or a panic, ends nginx's start with the text, the file and the line.
unsafe extern "C" fn set<C>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    let mut answer = NGX_CONF_ERROR as *mut c_char;
    guard::nothing("directive", || {
        // SAFETY: nginx passes the configuration that it reads, whose arguments are an array of strings that live as
        // long; the row that directive() made, whose `post` is a setter of a C; and what the module made for the
        // level of that row, which is a C.
        let (mut directive, setter, conf) = unsafe {
            let words = (*(*cf).args).as_slice::<ngx_str_t>();
            let setter = std::mem::transmute::<*mut c_void, Setter<C>>((*command).post);
            let directive = Directive {
                cf: &mut *cf,
                words,
            };
            (directive, setter, &mut *conf.cast::<C>())
        };
        match setter(conf, &mut directive) {
            Ok(()) => answer = ptr::null_mut(),
            Err(text) => log::conf(directive.cf, log::NGX_LOG_EMERG, &text),
        }
    });
    answer
}
