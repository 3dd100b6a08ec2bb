//! Directives: what they set, and what must hold when all are read.

pub mod http;
pub mod location;

use ngx::ffi::ngx_conf_t;
use ngx::http::HttpModuleMainConf;

use crate::CorefnModule;
use crate::ngx::Directive;

pub use http::{MainConf, Sources};
pub use location::LocationConf;

/// A directive's whole number of 32 bits, `least` at the least; `what` is what it is called in
/// errors.
fn number(directive: &Directive<'_>, least: u32, what: &str) -> Result<u32, String> {
    let value = directive.value()?;
    let number = value.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        format!(
            "{value:?} is no {what} for {}: write a whole number, {least} to {}",
            directive.name(),
            u32::MAX
        )
    })
}

/// Why a directive that has been set can't be set again.
fn duplicate(directive: &Directive<'_>) -> String {
    let name = directive.name();
    format!("{name} is set twice: delete one of the two")
}

/// Begins the configuration, before any of it is read and when the module's variables are declared.
///
/// # Errors
/// There is no memory.
pub fn begin(cf: &mut ngx_conf_t) -> Result<(), String> {
    let main = CorefnModule::main_conf_mut(cf).ok_or("there is no configuration to begin")?;
    main.find_sources(cf)
        .ok_or_else(|| "there is no memory left".to_owned())
}

/// Completes the configuration when all of it is read. Whether some location is for functions.
///
/// # Errors
/// What is wrong with it.
pub fn complete(cf: &mut ngx_conf_t) -> Result<bool, String> {
    let main = CorefnModule::main_conf_mut(cf).ok_or("there is no configuration to complete")?;
    if main.used {
        main.complete(cf)?;
    }
    Ok(main.used)
}
