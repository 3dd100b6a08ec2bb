//! Directives of the `http` level: where the services are, and the shared memory.

use std::ffi::{c_char, c_void};

use ngx::ffi::{NGX_ERROR, ngx_command_t, ngx_conf_t, ngx_parse_size, ngx_shm_zone_t, ngx_str_t};

use corefn_core::function::check_segment;
use corefn_core::names::{DEFAULT_NAMESPACE, directive};
use corefn_engine::docker::Docker;
use corefn_engine::runtime::Settings;
use corefn_engine::store::Store;

use super::{number, set, text};
use crate::zone;

const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379/0";
const DEFAULT_DOCKER: &str = "unix:///var/run/docker.sock";
const DEFAULT_ZONE: &str = "corefn";
const DEFAULT_ZONE_SIZE: usize = 8 << 20;
const DEFAULT_HOST_QUEUE: u32 = 16_384;

/// Settings of the `http` level.
pub struct MainConf {
    redis: Option<String>,
    docker: Option<String>,
    namespace: Option<String>,
    host_queue: Option<u32>,
    max_starts: Option<u32>,
    /// The shared memory, once it is declared.
    pub zone: *mut ngx_shm_zone_t,
    /// Whether any location is for functions. Without one the module does nothing at all.
    pub used: bool,
}

impl Default for MainConf {
    fn default() -> Self {
        Self {
            redis: None,
            docker: None,
            namespace: None,
            host_queue: None,
            max_starts: None,
            zone: std::ptr::null_mut(),
            used: false,
        }
    }
}

impl MainConf {
    /// Where the services are, with defaults for what isn't set.
    pub fn settings(&self) -> Settings {
        let or = |value: &Option<String>, default: &str| {
            value.clone().unwrap_or_else(|| default.to_owned())
        };
        Settings {
            redis: or(&self.redis, DEFAULT_REDIS),
            docker: or(&self.docker, DEFAULT_DOCKER),
            namespace: or(&self.namespace, DEFAULT_NAMESPACE),
            starts: self.max_starts.unwrap_or_else(default_max_starts),
        }
    }

    /// How many requests may wait on this host in all.
    pub fn host_queue(&self) -> u32 {
        self.host_queue.unwrap_or(DEFAULT_HOST_QUEUE)
    }

    /// Declares the shared memory if no directive did.
    pub fn complete(&mut self, cf: &mut ngx_conf_t) -> Result<(), String> {
        if self.zone.is_null() {
            self.zone = zone::declare(cf, DEFAULT_ZONE, DEFAULT_ZONE_SIZE)?;
        }
        Ok(())
    }
}

/// `corefn_redis URL [URL ...];` default `redis://127.0.0.1:6379/0`.
pub unsafe extern "C" fn set_redis(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set_once(
        cf,
        conf,
        |main| &mut main.redis,
        |url| Store::check_url(url).map_err(|error| error.to_string()),
    )
}

/// `corefn_docker URL;` default `unix:///var/run/docker.sock`.
pub unsafe extern "C" fn set_docker(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set_once(cf, conf, |main| &mut main.docker, Docker::check_url)
}

/// `corefn_namespace NAME;` default `corefn`.
pub unsafe extern "C" fn set_namespace(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set_once(
        cf,
        conf,
        |main| &mut main.namespace,
        |name| check_segment(name).map_err(|error| error.to_string()),
    )
}

/// `corefn_zone NAME SIZE;` default `corefn 8m`.
pub unsafe extern "C" fn set_zone(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set(cf, |cf, words| {
        // SAFETY: nginx passes the configuration that create_main_conf made.
        let main = unsafe { &mut *conf.cast::<MainConf>() };
        if !main.zone.is_null() {
            return Err(duplicate(words));
        }
        // SAFETY: the word is a valid string.
        let size = unsafe { ngx_parse_size(&mut words[2].clone()) };
        if size == NGX_ERROR as isize || (size as usize) < zone::MIN_SIZE {
            return Err(format!(
                "{:?} is no size for {}: write a number and k or m, at least {}k, such as 8m",
                text(&words[2])?,
                directive::ZONE.to_string_lossy(),
                zone::MIN_SIZE >> 10
            ));
        }
        main.zone = zone::declare(cf, text(&words[1])?, size as usize)?;
        Ok(())
    })
}

/// `corefn_host_queue NUMBER;` default `16384`.
pub unsafe extern "C" fn set_host_queue(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set_number(cf, conf, |main| &mut main.host_queue, 0, "length")
}

/// `corefn_max_starts NUMBER;` default twice the number of processors.
pub unsafe extern "C" fn set_max_starts(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    set_number(cf, conf, |main| &mut main.max_starts, 1, "number of starts")
}

/// Twice the number of processors: a start waits for disks and Docker about as long as it computes.
fn default_max_starts() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    u32::try_from(2 * processors).unwrap_or(u32::MAX)
}

/// Sets what [`number`] reads.
fn set_number(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    field: impl FnOnce(&mut MainConf) -> &mut Option<u32>,
    least: u32,
    what: &str,
) -> *mut c_char {
    set(cf, |_, words| {
        // SAFETY: nginx passes the configuration that create_main_conf made.
        let field = field(unsafe { &mut *conf.cast::<MainConf>() });
        if field.is_some() {
            return Err(duplicate(words));
        }
        *field = Some(number(words, least, what)?);
        Ok(())
    })
}

fn set_once(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    field: impl FnOnce(&mut MainConf) -> &mut Option<String>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> *mut c_char {
    set(cf, |_, words| {
        // SAFETY: nginx passes the configuration that create_main_conf made.
        let field = field(unsafe { &mut *conf.cast::<MainConf>() });
        if field.is_some() {
            return Err(duplicate(words));
        }
        // Only the URLs of several servers are more than one word.
        let values = words.iter().skip(1).map(text);
        let value = values.collect::<Result<Vec<_>, _>>()?.join(" ");
        check(&value)?;
        *field = Some(value);
        Ok(())
    })
}

pub(super) fn duplicate(words: &[ngx_str_t]) -> String {
    let name = words
        .first()
        .map_or("", |word| text(word).unwrap_or_default());
    format!("{name} is set twice: delete one of the two")
}
