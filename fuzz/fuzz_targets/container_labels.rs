//! [`corefn_fuzz::container_labels`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::container_labels::run(bytes));
