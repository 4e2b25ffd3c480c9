//! The real binary, from outside.

mod bad_input;
mod process;
mod support;
