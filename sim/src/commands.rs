//! The command line.

mod canary;
mod coverage;
mod cuts;
mod double;
mod explore;
mod failure;
mod failures;
mod first;
mod nightly;
mod repeat;
mod revision;
mod run;
mod seeds;
mod shrink;
mod source;
mod summary;
mod watch;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signalhouse_sim::core_layer;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;
use signalhouse_sim::point;

use seeds::{SeedRange, parse_profile, parse_profiles, parse_seed};
use source::Source;

/// What scripts go by.
const EXIT_CODES: &str =
    "Ends with 0 if nothing is wrong, with 1 if something is violated or was not found, with 2 if
what was asked for is refused or Ctrl-C came before anything was found.";

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
#[command(name = "sim", version, after_help = EXIT_CODES)]
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
    /// Run again the seeds that failed in the last runs
    Again,
    /// Run the plans of many seeds and print which situations they were in; fails if one was never reached
    Coverage(run::RunArguments),
    /// New seeds in every profile, all situations, all canaries
    Nightly(nightly::NightlyArguments),
    /// Repeat one seed and print its whole trace
    Repro(Source),
    /// Run a plan from a file and print its whole trace
    Replay(Source),
    /// Run seeds twice in this process and once in another; the traces must be equal
    Double {
        /// The seeds, decimal or 0x…
        #[arg(required = true, value_parser = parse_seed)]
        seeds: Vec<u64>,
        /// The profile that the plans are drawn for, or `each`
        #[arg(long, default_value = "all", value_parser = parse_profiles)]
        profile: Profiles,
        /// Switch on points at which the runtime is meddled with, drawn from the seed
        #[arg(long)]
        points: bool,
    },
    /// Visit every interleaving of small worlds
    Explore(explore::ExploreArguments),
    /// Cut the broker off at every operation on its disk, in the runtime layer
    Cuts(cuts::CutsArguments),
    /// Make a failing plan small, keeping the guarantee that it breaks
    Shrink(shrink::ShrinkArguments),
    /// Print the trace of a seed, or parts of it
    Trace(repeat::TraceArguments),
    /// Print the plan of a seed
    Plan(Source),
    /// Show that the simulator sees: search for deliberate defects of the broker
    Canary(canary::CanaryArguments),
    /// List the points at which `run --points` meddles with the runtime
    Points,
    /// What `run` starts in parallel
    #[command(hide = true)]
    Worker {
        #[arg(long, value_parser = seeds::parse_range)]
        seeds: SeedRange,
        #[arg(long, value_parser = parse_profile)]
        profile: Profile,
        #[arg(long)]
        step: u64,
        #[arg(long)]
        canary: Option<String>,
        #[arg(long)]
        points: bool,
    },
}

/// Profiles named on the command line.
#[derive(Clone, Debug)]
struct Profiles(Vec<Profile>);

/// Carries out the command line.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    core_layer::quiet_panics();
    let ended = if !cfg!(signalhouse_sim) && arguments.command.needs_canaries() {
        canary::hand_over()
    } else {
        arguments.command.carry_out(arguments.layer)
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

impl Command {
    /// Whether only the build with canaries can carry it out.
    fn needs_canaries(&self) -> bool {
        match self {
            Command::Canary(arguments) => arguments.has_canary(),
            Command::Points => true,
            Command::Repro(source) | Command::Replay(source) | Command::Plan(source) => {
                source.has_canary()
            }
            Command::Run(arguments) | Command::Coverage(arguments) => arguments.has_canary(),
            Command::Shrink(arguments) => arguments.has_canary(),
            Command::Trace(arguments) => arguments.has_canary(),
            Command::Double { points, .. } => *points,
            Command::Explore(arguments) => arguments.has_canaries(),
            Command::Worker { .. } | Command::Again | Command::Cuts(_) | Command::Nightly(_) => {
                false
            }
        }
    }

    fn carry_out(self, layer: Layer) -> Ended {
        match self {
            Command::Run(arguments) => run::run(&arguments, layer),
            Command::Again => first::again(layer),
            Command::Coverage(arguments) => coverage::coverage(&arguments, layer),
            Command::Nightly(arguments) => nightly::nightly(&arguments, layer),
            Command::Repro(source) | Command::Replay(source) => repeat::repeat(&source, layer),
            Command::Double { seeds, profile, points } => {
                double::double(&seeds, &profile.0, points, layer)
            }
            Command::Explore(arguments) => explore::explore(&arguments),
            Command::Cuts(arguments) => cuts::cuts(&arguments),
            Command::Shrink(arguments) => shrink::shrink(&arguments, layer),
            Command::Trace(arguments) => repeat::trace(&arguments, layer),
            Command::Plan(source) => source.plan().map(|plan| {
                print!("{}", plan.to_text());
                Verdict::Clean
            }),
            Command::Canary(arguments) => canary::canary(&arguments),
            Command::Points => {
                point::names().for_each(|name| println!("{name}"));
                Ok(Verdict::Clean)
            }
            Command::Worker { seeds, profile, step, canary, points } => {
                worker::work(seeds, profile, step, layer, (canary.as_deref(), points))
            }
        }
    }
}
