//! The fuzzer around `signalhouse_fuzz::target::permission`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::permission::run(data));
