//! `sim cuts`: plans whose broker is cut off at every single operation on its disk.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use signalhouse_sim::plan::Plan;
use signalhouse_sim::runtime_layer;

use super::source::read_plan;
use super::{Ended, Verdict};

/// What `cuts` is told.
#[derive(Debug, Args)]
pub(super) struct CutsArguments {
    /// Files with plans
    #[arg(required = true)]
    plans: Vec<PathBuf>,
    /// How many seeds decide, for each cut, what of the unsynced writes is left
    #[arg(long, default_value_t = 2)]
    seeds: u64,
}

/// Runs every plan once for every operation and kind of cut.
pub(super) fn cuts(arguments: &CutsArguments) -> Ended {
    let mut verdict = Verdict::Clean;
    for path in &arguments.plans {
        let plan = read_plan(path)?;
        for seed in 0..arguments.seeds {
            let plan = Plan { seed: plan.seed.wrapping_add(seed), ..plan.clone() };
            if cut_everywhere(path, &plan)? {
                verdict = Verdict::Violated;
            }
        }
    }
    Ok(verdict)
}

/// True if something was violated.
fn cut_everywhere(path: &Path, plan: &Plan) -> Result<bool, String> {
    let (whole, operations) = runtime_layer::run_counting(plan, false)?;
    let name = format!("{} seed={:#x}", path.display(), plan.seed);
    if let Some(violation) = whole.violation {
        println!("FAIL {} {name}: {}", violation.guarantee, violation.what);
        return Ok(true);
    }
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (at, power) = (number / 2 + 1, number % 2);
                    if at > operations {
                        return;
                    }
                    let mut plan = plan.clone();
                    plan.settings.push(("disk.cut_at".to_owned(), at));
                    plan.settings.push(("disk.cut_power".to_owned(), power));
                    let what =
                        match runtime_layer::run(&plan, false).map(|outcome| outcome.violation) {
                            Ok(None) => continue,
                            Ok(Some(violation)) => {
                                format!("{}: {}", violation.guarantee, violation.what)
                            }
                            Err(error) => error,
                        };
                    if let Ok(mut failures) = failures.lock() {
                        failures.push((at, power, what));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort();
    for (at, power, what) in &failures {
        println!(
            "FAIL {name} with `set disk.cut_at {at}` and `set disk.cut_power {power}`: {what}"
        );
    }
    println!(
        "{name}: killed and without power at each of {operations} disk operations, {} failed",
        failures.len()
    );
    Ok(!failures.is_empty())
}
