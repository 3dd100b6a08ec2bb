//! [`corefn_fuzz::schedules`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::schedules::run(bytes));
