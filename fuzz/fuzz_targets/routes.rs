//! [`corefn_fuzz::routes`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::routes::run(bytes));
