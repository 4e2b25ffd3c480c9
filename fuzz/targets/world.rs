//! The fuzzer around `signalhouse_fuzz::target::world`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::world::run(data));
