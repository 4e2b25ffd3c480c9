//! The command line.

mod double;
mod explore;
mod failure;
mod repeat;
mod run;
mod seeds;
mod shrink;
mod summary;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signalhouse_sim::core_layer;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Plan, Profile, draw};

use seeds::{SeedRange, parse_profile, parse_profiles, parse_seed};

/// What a command ends with.
type Ended = Result<Verdict, String>;

/// Whether something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Violated,
}

/// Runs the broker under generated workloads and faults, and judges what its clients observe.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Arguments {
    /// What plans run on: `core`, the machine alone, or `runtime`, the shipped runtime around it
    #[arg(long, global = true, default_value = "core")]
    layer: Layer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the plans of many seeds, in parallel processes
    Run(run::RunArguments),
    /// Repeat one seed and print its whole trace
    Repro {
        /// The seed, decimal or 0x…
        #[arg(value_parser = parse_seed)]
        seed: u64,
        /// The profile that the plan is drawn for
        #[arg(long, default_value = "all", value_parser = parse_profile)]
        profile: Profile,
    },
    /// Run a plan from a file and print its whole trace
    Replay {
        /// The plan
        plan: PathBuf,
    },
    /// Run seeds twice in this process and once in another; the traces must be equal
    Double {
        /// The seeds, decimal or 0x…
        #[arg(required = true, value_parser = parse_seed)]
        seeds: Vec<u64>,
        /// The profile that the plans are drawn for, or `each`
        #[arg(long, default_value = "all", value_parser = parse_profiles)]
        profile: Profiles,
    },
    /// Visit every interleaving of small worlds
    Explore(explore::ExploreArguments),
    /// Make a failing plan small, keeping the guarantee that it breaks
    Shrink(shrink::ShrinkArguments),
    /// Print the trace of a seed, or parts of it
    Trace(repeat::TraceArguments),
    /// Print the plan of a seed
    Plan {
        /// The seed, decimal or 0x…
        #[arg(value_parser = parse_seed)]
        seed: u64,
        /// The profile that the plan is drawn for
        #[arg(long, default_value = "all", value_parser = parse_profile)]
        profile: Profile,
    },
    /// What `run` starts in parallel
    #[command(hide = true)]
    Worker {
        #[arg(long, value_parser = seeds::parse_range)]
        seeds: SeedRange,
        #[arg(long, value_parser = parse_profile)]
        profile: Profile,
        #[arg(long)]
        step: u64,
    },
}

/// Profiles named on the command line.
#[derive(Clone, Debug)]
struct Profiles(Vec<Profile>);

/// Carries out the command line.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    core_layer::quiet_panics();
    let layer = arguments.layer;
    let ended = match arguments.command {
        Command::Run(arguments) => run::run(&arguments, layer),
        Command::Repro { seed, profile } => repeat::repeat(&draw(seed, profile), layer),
        Command::Replay { plan } => read_plan(&plan).and_then(|plan| repeat::repeat(&plan, layer)),
        Command::Double { seeds, profile } => double::double(&seeds, &profile.0, layer),
        Command::Explore(arguments) => explore::explore(&arguments),
        Command::Shrink(arguments) => shrink::shrink(&arguments, layer),
        Command::Trace(arguments) => repeat::trace(&arguments, layer),
        Command::Plan { seed, profile } => {
            print!("{}", draw(seed, profile).to_text());
            Ok(Verdict::Clean)
        }
        Command::Worker { seeds, profile, step } => worker::work(seeds, profile, step, layer),
    };
    match ended {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Violated) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn read_plan(path: &std::path::Path) -> Result<Plan, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Plan::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}
