//! [`corefn_fuzz::names`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::names::run(bytes));
