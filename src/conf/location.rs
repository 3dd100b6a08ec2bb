//! Directives of the levels `http`, `server` and `location`.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use ngx::ffi::{NGX_ERROR, ngx_command_t, ngx_conf_t, ngx_parse_time, ngx_str_t};
use ngx::http::HttpModuleMainConf;

use corefn_core::lease::{DEFAULT_IDLE, MIN_IDLE};
use corefn_core::names::directive;

use super::http::duplicate;
use super::{number, set, text};
use crate::CorefnModule;

const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_START_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_QUEUE: u32 = 1024;

/// Settings of a location.
#[derive(Default)]
pub struct LocationConf {
    enabled: Option<bool>,
    start_timeout: Option<Duration>,
    queue: Option<u32>,
    idle: Option<Duration>,
}

impl LocationConf {
    /// Whether requests here are for functions.
    pub fn enabled(&self) -> bool {
        self.enabled.unwrap_or(false)
    }

    /// How long a request may wait for an instance.
    pub fn start_timeout(&self) -> Duration {
        self.start_timeout.unwrap_or(DEFAULT_START_TIMEOUT)
    }

    /// How many requests may wait for one function on this host.
    pub fn queue(&self) -> u32 {
        self.queue.unwrap_or(DEFAULT_QUEUE)
    }

    /// The idle time of functions that set none.
    pub fn idle(&self) -> Duration {
        self.idle.unwrap_or(DEFAULT_IDLE)
    }

    /// Takes what isn't set here from the level above.
    pub fn inherit(&mut self, outer: &Self) {
        self.enabled = self.enabled.or(outer.enabled);
        self.start_timeout = self.start_timeout.or(outer.start_timeout);
        self.queue = self.queue.or(outer.queue);
        self.idle = self.idle.or(outer.idle);
    }
}

/// `corefn on | off;` default `off`.
pub unsafe extern "C" fn set_enabled(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set(cf, |cf, words| {
        let on = match words[1].as_bytes() {
            b"on" => true,
            b"off" => false,
            _ => {
                return Err(format!(
                    "{:?} is neither on nor off: write {} on or off",
                    text(&words[1])?,
                    directive::COREFN.to_string_lossy()
                ));
            }
        };
        fill(conf, words, |location| &mut location.enabled, on)?;
        if on && let Some(main) = CorefnModule::main_conf_mut(cf) {
            main.used = true;
        }
        Ok(())
    })
}

/// `corefn_start_timeout TIME;` default `30s`.
pub unsafe extern "C" fn set_start_timeout(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set(cf, |_, words| {
        let range = Duration::from_millis(1)..=LONGEST_START_TIMEOUT;
        let time = time(words, range, "1ms to 10m, such as 30s")?;
        fill(conf, words, |location| &mut location.start_timeout, time)
    })
}

/// `corefn_queue NUMBER;` default `1024`.
pub unsafe extern "C" fn set_queue(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set(cf, |_, words| {
        let queue = number(words, 0, "length")?;
        fill(conf, words, |location| &mut location.queue, queue)
    })
}

/// `corefn_idle TIME;` default `60s`.
pub unsafe extern "C" fn set_idle(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set(cf, |_, words| {
        let range = MIN_IDLE..=Duration::from_secs(30 * 24 * 3600);
        let time = time(words, range, "2s to 30d, such as 60s")?;
        fill(conf, words, |location| &mut location.idle, time)
    })
}

/// Reads a time of the directive, in nginx's own form.
fn time(
    words: &[ngx_str_t],
    range: std::ops::RangeInclusive<Duration>,
    form: &str,
) -> Result<Duration, String> {
    // SAFETY: the word is a valid string; 0 asks for milliseconds.
    let millis = unsafe { ngx_parse_time(&mut words[1].clone(), 0) };
    u64::try_from(millis)
        .ok()
        .filter(|_| millis != NGX_ERROR as isize)
        .map(Duration::from_millis)
        .filter(|time| range.contains(time))
        .ok_or_else(|| {
            let (name, value) = (text(&words[0]), text(&words[1]));
            format!(
                "{:?} is no time for {}: write a time of {form}",
                value.unwrap_or_default(),
                name.unwrap_or_default()
            )
        })
}

fn fill<T>(
    conf: *mut c_void,
    words: &[ngx_str_t],
    field: impl FnOnce(&mut LocationConf) -> &mut Option<T>,
    value: T,
) -> Result<(), String> {
    // SAFETY: nginx passes the configuration that create_loc_conf made.
    let field = field(unsafe { &mut *conf.cast::<LocationConf>() });
    if field.replace(value).is_some() {
        return Err(duplicate(words));
    }
    Ok(())
}
