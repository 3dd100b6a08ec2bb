//! Directives of the `http` level: where the services are, and the shared memory.

use std::path::{Path, PathBuf};

use ngx::ffi::ngx_conf_t;

use corefn_core::function::check_segment;
use corefn_core::gate::Caller;
use corefn_core::instance::Address;
use corefn_core::names::{DEFAULT_NAMESPACE, DISPATCHER_SOCKET, directive, variable};
use corefn_engine::docker::Docker;
use corefn_engine::runtime::Settings;
use corefn_engine::spans::Spans;
use corefn_engine::store::Store;

use super::{duplicate, number};
use crate::CorefnModule;
use crate::ngx::{Directive, Index, SharedZone, declare_zone, is_first_worker, log};
use crate::zone::{self, Memory};

const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379/0";
const DEFAULT_DOCKER: &str = "unix:///var/run/docker.sock";
const DEFAULT_ZONE: &str = "corefn";
const DEFAULT_ZONE_SIZE: usize = 8 << 20;
const DEFAULT_HOST_QUEUE: u32 = 16_384;

/// What is to be said where workers have more of Docker than they need.
const NO_GATE: &str =
    "names no socket of corefn-gate: whoever takes a worker over may be root on Docker's host";

/// The variables that the module's are made of.
pub struct Sources {
    /// nginx's `$host`: less the port, in lower case, and the server's name where the client names none.
    pub host: Index,
    /// nginx's `$request_id`.
    pub request_id: Index,
    /// What `proxy_redirect` sets.
    pub location: Index,
    /// What `proxy_cookie_path` sets.
    pub path: Index,
}

/// Settings of the `http` level.
#[derive(Default)]
pub struct MainConf {
    redis: Option<String>,
    docker: Option<String>,
    namespace: Option<String>,
    host_queue: Option<u32>,
    max_starts: Option<u32>,
    sandboxes: Option<String>,
    secrets: Option<String>,
    invocations: Option<String>,
    traces: Option<String>,
    /// The shared memory, once it is declared.
    pub zone: Option<SharedZone<Memory>>,
    /// The variables that the module's are made of, once they are found.
    pub sources: Option<Sources>,
    /// Whether any location is for functions. Without one the module does nothing at all.
    pub used: bool,
}

impl MainConf {
    /// Finds the variables that the module's are made of, when all are declared. None if there is no memory.
    pub fn find_sources(&mut self, cf: &mut ngx_conf_t) -> Option<()> {
        self.sources = Some(Sources {
            host: Index::of(cf, c"host")?,
            request_id: Index::of(cf, c"request_id")?,
            location: Index::of(cf, variable::LOCATION)?,
            path: Index::of(cf, variable::PATH)?,
        });
        Some(())
    }

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
            sandboxes: self.sandboxes.as_ref().map(PathBuf::from),
            secrets: self.secrets.as_ref().map(PathBuf::from),
            traces: self.traces.clone(),
            standby: is_first_worker(),
        }
    }

    /// Where the dispatcher takes invocations, if there are any.
    pub fn dispatcher(&self) -> Option<Address> {
        let folder = Path::new(self.invocations.as_ref()?);
        Some(Address::Socket(folder.join(DISPATCHER_SOCKET)))
    }

    /// How many requests may wait on this host in all.
    pub fn host_queue(&self) -> u32 {
        self.host_queue.unwrap_or(DEFAULT_HOST_QUEUE)
    }

    /// Declares the shared memory if no directive did, and asks the system what else no directive says: once, for all workers.
    pub fn complete(&mut self, cf: &mut ngx_conf_t) -> Result<(), String> {
        self.max_starts.get_or_insert_with(default_max_starts);
        let docker = self.docker.as_deref().unwrap_or(DEFAULT_DOCKER);
        if !Caller::Router.has_socket(Path::new(docker)) {
            let text = format!("{} {NO_GATE}", directive::DOCKER.to_string_lossy());
            log::conf(cf, log::NGX_LOG_WARN, &text);
        }
        if self.zone.is_none() {
            let zone = declare_zone::<CorefnModule, _>(cf, DEFAULT_ZONE, DEFAULT_ZONE_SIZE)?;
            self.zone = Some(zone);
        }
        Ok(())
    }
}

/// `corefn_redis URL [URL ...];` default `redis://127.0.0.1:6379/0`.
pub fn set_redis(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    let check = |url: &str| Store::check_url(url).map_err(|error| error.to_string());
    set_once(&mut main.redis, directive, check)
}

/// `corefn_docker URL;` default `unix:///var/run/docker.sock`.
pub fn set_docker(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_once(&mut main.docker, directive, Docker::check_url)
}

/// `corefn_namespace NAME;` default `corefn`.
pub fn set_namespace(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    let check = |name: &str| check_segment(name).map_err(|error| error.to_string());
    set_once(&mut main.namespace, directive, check)
}

/// `corefn_zone NAME SIZE;` default `corefn 8m`.
pub fn set_zone(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    if main.zone.is_some() {
        return Err(duplicate(directive));
    }
    let values = directive.values()?;
    let size = directive.size().filter(|size| *size >= zone::MIN_SIZE);
    let size = size.ok_or_else(|| {
        format!(
            "{:?} is no size for {}: write a number and k or m, at least {}k, such as 8m",
            values[1],
            directive.name(),
            zone::MIN_SIZE >> 10
        )
    })?;
    let zone = declare_zone::<CorefnModule, _>(directive.conf(), values[0], size)?;
    main.zone = Some(zone);
    Ok(())
}

/// `corefn_host_queue NUMBER;` default `16384`.
pub fn set_host_queue(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_number(&mut main.host_queue, directive, 0, "length")
}

/// `corefn_max_starts NUMBER;` default twice the number of processors.
pub fn set_max_starts(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_number(&mut main.max_starts, directive, 1, "number of starts")
}

/// `corefn_sandboxes FOLDER;` no default: functions are started by Docker alone.
pub fn set_sandboxes(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_folder(&mut main.sandboxes, directive, "sandboxes")
}

/// `corefn_secrets FOLDER;` no default: functions that have secrets can't be started.
pub fn set_secrets(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_folder(&mut main.secrets, directive, "secrets")
}

/// `corefn_invocations FOLDER;` no default: every client waits for the answer.
pub fn set_invocations(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_folder(&mut main.invocations, directive, "invocations")?;
    let too_long = |socket: &Address| socket.to_string().parse::<Address>().is_err();
    match main.dispatcher().filter(too_long) {
        None => Ok(()),
        Some(socket) => Err(format!(
            "{socket} is too long for a socket: write a folder for {} whose path has {} bytes at most",
            directive.name(),
            Address::LONGEST_PATH - DISPATCHER_SOCKET.len() - 1
        )),
    }
}

/// `corefn_traces URL;` no default: nobody takes spans.
pub fn set_traces(main: &mut MainConf, directive: &mut Directive<'_>) -> Result<(), String> {
    set_once(&mut main.traces, directive, Spans::check_url)
}

/// Twice the number of processors: a start waits for disks and Docker about as long as it computes.
fn default_max_starts() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    u32::try_from(2 * processors).unwrap_or(u32::MAX)
}

/// Sets what [`number`] reads.
fn set_number(
    field: &mut Option<u32>,
    directive: &Directive<'_>,
    least: u32,
    what: &str,
) -> Result<(), String> {
    if field.is_some() {
        return Err(duplicate(directive));
    }
    *field = Some(number(directive, least, what)?);
    Ok(())
}

/// Sets a folder of the installation's home, called `example` there.
fn set_folder(
    field: &mut Option<String>,
    directive: &mut Directive<'_>,
    example: &str,
) -> Result<(), String> {
    let name = directive.name();
    let check = |folder: &str| {
        if folder.starts_with('/') {
            return Ok(());
        }
        Err(format!(
            "{folder:?} is no folder for {name}: write its path from the root, such as /var/lib/corefn/{example}"
        ))
    };
    set_once(field, directive, check)
}

fn set_once(
    field: &mut Option<String>,
    directive: &Directive<'_>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    if field.is_some() {
        return Err(duplicate(directive));
    }
    // Only the URLs of several servers are more than one word.
    let value = directive.values()?.join(" ");
    check(&value)?;
    *field = Some(value);
    Ok(())
}
