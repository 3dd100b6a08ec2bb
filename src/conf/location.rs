//! Directives of the levels `http`, `server` and `location`.

use std::ops::RangeInclusive;
use std::time::Duration;

use ngx::http::{HttpModuleMainConf, Merge, MergeConfigError};

use corefn_core::lease::{DEFAULT_IDLE, DEFAULT_START_TIMEOUT, MIN_IDLE};

use super::{duplicate, number};
use crate::CorefnModule;
use crate::ngx::Directive;

const LONGEST_START_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_QUEUE: u32 = 1024;

/// Settings of a location.
#[derive(Default)]
pub struct LocationConf {
    enabled: Option<bool>,
    start_timeout: Option<Duration>,
    queue: Option<u32>,
    idle: Option<Duration>,
    status: Option<()>,
}

impl LocationConf {
    /// Whether requests here are for functions.
    pub fn enabled(&self) -> bool {
        self.enabled.unwrap_or(false)
    }

    /// Whether requests here are told what is measured. That is of a location alone, and not of those within.
    pub fn is_status(&self) -> bool {
        self.status.is_some()
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
}

impl Merge for LocationConf {
    /// Takes what isn't set here from the level above.
    fn merge(&mut self, outer: &Self) -> Result<(), MergeConfigError> {
        self.enabled = self.enabled.or(outer.enabled);
        self.start_timeout = self.start_timeout.or(outer.start_timeout);
        self.queue = self.queue.or(outer.queue);
        self.idle = self.idle.or(outer.idle);
        Ok(())
    }
}

/// `corefn on | off;` default `off`.
pub fn set_enabled(
    location: &mut LocationConf,
    directive: &mut Directive<'_>,
) -> Result<(), String> {
    let on = match directive.value()? {
        "on" => true,
        "off" => false,
        value => {
            let name = directive.name();
            return Err(format!(
                "{value:?} is neither on nor off: write {name} on or off"
            ));
        }
    };
    set(&mut location.enabled, directive, on)?;
    if on {
        use_module(directive);
    }
    Ok(())
}

/// `corefn_status;`
pub fn set_status(
    location: &mut LocationConf,
    directive: &mut Directive<'_>,
) -> Result<(), String> {
    set(&mut location.status, directive, ())?;
    use_module(directive);
    Ok(())
}

/// There is a location for which the module has to do something.
fn use_module(directive: &mut Directive<'_>) {
    if let Some(main) = CorefnModule::main_conf_mut(directive.conf()) {
        main.used = true;
    }
}

/// `corefn_start_timeout TIME;` default `30s`.
pub fn set_start_timeout(
    location: &mut LocationConf,
    directive: &mut Directive<'_>,
) -> Result<(), String> {
    let range = Duration::from_millis(1)..=LONGEST_START_TIMEOUT;
    let time = time(directive, range, "1ms to 10m, such as 30s")?;
    set(&mut location.start_timeout, directive, time)
}

/// `corefn_queue NUMBER;` default `1024`.
pub fn set_queue(location: &mut LocationConf, directive: &mut Directive<'_>) -> Result<(), String> {
    let queue = number(directive, 0, "length")?;
    set(&mut location.queue, directive, queue)
}

/// `corefn_idle TIME;` default `60s`.
pub fn set_idle(location: &mut LocationConf, directive: &mut Directive<'_>) -> Result<(), String> {
    let range = MIN_IDLE..=Duration::from_secs(30 * 24 * 3600);
    let time = time(directive, range, "2s to 30d, such as 60s")?;
    set(&mut location.idle, directive, time)
}

/// Reads a time of the directive, in nginx's own form.
fn time(
    directive: &Directive<'_>,
    range: RangeInclusive<Duration>,
    form: &str,
) -> Result<Duration, String> {
    let time = directive.time().filter(|time| range.contains(time));
    time.ok_or_else(|| {
        let value = directive.value().unwrap_or_default();
        let name = directive.name();
        format!("{value:?} is no time for {name}: write a time of {form}")
    })
}

fn set<T>(field: &mut Option<T>, directive: &Directive<'_>, value: T) -> Result<(), String> {
    if field.replace(value).is_some() {
        return Err(duplicate(directive));
    }
    Ok(())
}
