//! [`corefn_fuzz::host`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::host::run(bytes));
