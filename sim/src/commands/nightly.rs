//! `sim nightly`: new seeds in every profile and both layers, all situations, all canaries.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::coverage::Asked;
use super::run::{self, RunArguments};
use super::seeds::{SeedRange, parse_seed};
use super::watch::{self, Watch};
use super::{Ended, Profiles, Verdict, canary};

/// Of so many seeds one is run in the runtime layer too, and at least so many of each profile: those are in
/// every situation that there is, without an exception to list.
const RUNTIME_SHARE: u64 = 40;
const RUNTIME_LEAST: u64 = 250;

/// What `nightly` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct NightlyArguments {
    /// How many seeds of each profile: by default about four hours on two cores
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    count: u64,
    /// The first seed [default: one of the present day]
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    from: Option<u64>,
    /// How many processes run at once [default: as many as there are cores]
    #[arg(short, value_name = "N")]
    jobs: Option<u64>,
}

/// Runs it all, and says all that is wrong.
pub(super) fn nightly(arguments: &NightlyArguments, layer: Layer) -> Ended {
    let first = arguments.from.unwrap_or_else(first_of_today);
    let seeds = SeedRange { first, end: first.saturating_add(arguments.count.max(1)) };
    println!("seeds {:#x}..{:#x}", seeds.first, seeds.end);
    let batch = RunArguments {
        seeds,
        profile: Profiles(Profile::EACH.to_vec()),
        jobs: arguments.jobs,
        canary: None,
        points: false,
        keep_going: true,
        strict: false,
        coverage: true,
        full: None,
    };
    let mut faults = faults_of(&batch, layer)?;
    if layer == Layer::Core && !watch::is_interrupted() {
        let few = (arguments.count / RUNTIME_SHARE).max(RUNTIME_LEAST.min(arguments.count)).max(1);
        let few = SeedRange { first, end: first.saturating_add(few) };
        let profile = Profiles(Profile::EACH.into_iter().chain([Profile::Disk]).collect());
        let batch = RunArguments { seeds: few, profile, ..batch };
        faults.extend(faults_of(&batch, Layer::Runtime)?);
    }
    if !watch::is_interrupted() && canary::all_canaries()? == Verdict::Violated {
        faults.push("a canary was not found".to_owned());
    }
    for fault in &faults {
        println!("FAIL {fault}");
    }
    watch::ended(if faults.is_empty() { Verdict::Clean } else { Verdict::Violated })
}

/// Runs the seeds on a layer, and says what is wrong with that. Of half a batch nothing is asked but
/// that no seed of it failed.
fn faults_of(batch: &RunArguments, layer: Layer) -> Result<Vec<String>, String> {
    let summary = run::batch(batch, layer, Watch::begin().logged())?;
    let asked = Asked::of(batch.full, layer, &batch.profile);
    print!("{}", summary.coverage().of(asked));
    let mut faults = Vec::new();
    if summary.failures() > 0 {
        faults.push(format!("{} seeds failed, layer={layer}", summary.failures()));
    }
    if watch::is_interrupted() {
        return Ok(faults);
    }
    let missing = summary.coverage().missing(asked).len();
    if missing > 0 {
        faults.push(format!("{missing} situations were never reached, layer={layer}"));
    }
    faults.extend(summary.weaknesses());
    Ok(faults)
}

/// A range of its own for every day.
fn first_of_today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / 86_400) << 24
}
