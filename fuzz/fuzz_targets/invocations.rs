//! [`corefn_fuzz::invocations`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::invocations::run(bytes));
