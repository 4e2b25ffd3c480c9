//! The fuzzer around `signalhouse_fuzz::target::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::decode::run(data));
