//! `sim nightly`: new seeds in every profile, all situations, all canaries.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::run::{self, RunArguments};
use super::seeds::{SeedRange, parse_seed};
use super::{Ended, Profiles, Verdict, canary};

/// The least share of verdicts that must bind, in thousandths: in `calm`, and over all profiles.
const MUST_CALM: u64 = 950;
const MUST_ALL: u64 = 600;

/// What `nightly` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct NightlyArguments {
    /// How many seeds of each profile
    #[arg(long, value_name = "N", default_value_t = 20_000)]
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
        keep_going: true,
        coverage: true,
    };
    let summary = run::batch(&batch, layer)?;
    print!("{}", summary.coverage());
    let mut faults = Vec::new();
    if summary.failures() > 0 {
        faults.push(format!("{} seeds failed", summary.failures()));
    }
    let missing = summary.coverage().missing().len();
    if missing > 0 {
        faults.push(format!("{missing} situations were never reached"));
    }
    for (profile, least) in [(Some(Profile::Calm), MUST_CALM), (None, MUST_ALL)] {
        let share = summary.must_thousandths(profile).unwrap_or(0);
        if share < least {
            let name = profile.map_or("all profiles", Profile::name);
            faults
                .push(format!("{} of 1000 verdicts bind in {name}, at least {least} must", share));
        }
    }
    if canary::all_canaries()? == Verdict::Violated {
        faults.push("a canary was not found".to_owned());
    }
    for fault in &faults {
        println!("FAIL {fault}");
    }
    Ok(if faults.is_empty() { Verdict::Clean } else { Verdict::Violated })
}

/// A range of its own for every day.
fn first_of_today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / 86_400) << 24
}
