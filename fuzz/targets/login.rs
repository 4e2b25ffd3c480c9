//! The fuzzer around `signalhouse_fuzz::target::login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::login::run(data));
