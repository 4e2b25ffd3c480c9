//! The fuzzer around `signalhouse_fuzz::target::http_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::http_request::run(data));
