//! `host.toml`, the installation's settings.
#![no_main]

use corefn_core::function::check_segment;
use corefn_core::host::Host;
use corefn_core::names::HOST_FILE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Host::parse(HOST_FILE, text) {
        Ok(host) => assert!(check_segment(&host.namespace).is_ok()),
        Err(error) => assert!(error.to_string().starts_with(HOST_FILE)),
    }
});
