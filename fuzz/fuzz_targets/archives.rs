//! [`corefn_fuzz::archives`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::archives::run(bytes));
