//! Fuzz targets: functions from bytes to nothing, that panic when something is wrong.
//!
//! `targets/` puts a fuzzer around each; `tests/` runs them without one, on made-up inputs and on
//! what fuzzers found worth keeping, which is in `corpora/` and read by [`corpus`].
#![forbid(unsafe_code)]

pub mod corpus;
#[cfg(feature = "runtime")]
mod surroundings;
pub mod target;
