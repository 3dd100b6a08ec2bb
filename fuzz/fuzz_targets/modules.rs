//! [`corefn_fuzz::modules`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::modules::run(bytes));
