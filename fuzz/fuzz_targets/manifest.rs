//! [`corefn_fuzz::manifest`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::manifest::run(bytes));
