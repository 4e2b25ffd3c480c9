//! Fuzz targets: functions from bytes to nothing, that panic when something is wrong.
//!
//! `targets/` puts a fuzzer around each; `tests/made_up.rs` runs them without one.
#![forbid(unsafe_code)]

pub mod target;
