//! [`corefn_fuzz::redis_values`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::redis_values::run(bytes));
