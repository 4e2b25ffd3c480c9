//! `sim`: runs the broker under generated workloads and faults, repeats what failed, and makes it
//! small.
#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
