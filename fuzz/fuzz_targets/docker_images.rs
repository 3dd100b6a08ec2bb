//! [`corefn_fuzz::docker_images`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corefn_fuzz::docker_images::run(bytes));
