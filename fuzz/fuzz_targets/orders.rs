//! [`corefn_fuzz::orders`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::orders::run(bytes));
