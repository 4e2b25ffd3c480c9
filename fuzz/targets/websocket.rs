//! The fuzzer around `signalhouse_fuzz::target::websocket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::websocket::run(data));
