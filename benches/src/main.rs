//! What Signalhouse costs, measured on the disk of this machine.
//!
//!     cargo run --release -p signalhouse-benches -- [--data FOLDER] NAME...
//!     cargo run --release -p signalhouse-benches -- bars [--binary FILE] [--turns NUMBER] [NAME...]
//!
//! The names of the first are append, steady, publish, publish-slower, recovery and scale. Results with their commands
//! are in `benches/RESULTS.md`. A disk's speed changes from minute to minute, so each figure comes with that of the
//! bare disk in the same run, in turns. Nothing here fails for being slow.

#![allow(clippy::disallowed_methods)] // real time on a real disk

mod append;
mod bare;
mod bars;
mod clients;
mod disk;
mod publish;
mod recovery;
mod scale;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

/// Turns of ours and the bare disk's.
const TURNS: usize = 5;

fn main() -> ExitCode {
    let mut folder = PathBuf::from("target/benches");
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--data" => folder = arguments.next().map_or(folder, PathBuf::from),
            "bars" => return ended(bars::run(&folder, arguments)),
            "scale" => return ended(scale::run(arguments)),
            name => names.push(name.to_owned()),
        }
    }
    let mut is_understood = !names.is_empty();
    for name in names {
        match name.as_str() {
            "append" => append::run(&folder),
            "steady" => append::run_steady(&folder),
            "publish" => publish::run(&folder),
            "publish-slower" => publish::run_slower(&folder),
            "recovery" => recovery::run(&folder),
            _ => is_understood = false,
        }
    }
    if !is_understood {
        eprintln!(
            "usage: signalhouse-benches [--data FOLDER] append|steady|publish|publish-slower|recovery|scale... | bars"
        );
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn ended(outcome: std::io::Result<()>) -> ExitCode {
    if let Err(error) = outcome {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The middle one.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
