//! `host.toml`, the installation's settings.

use corefn_core::function::check_segment;
use corefn_core::host::Host;
use corefn_core::names::HOST_FILE;

/// Checks one input; what is no text is passed over.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Host::parse(HOST_FILE, text) {
        Ok(host) => assert!(check_segment(&host.namespace).is_ok()),
        Err(error) => assert!(error.to_string().starts_with(HOST_FILE)),
    }
}
