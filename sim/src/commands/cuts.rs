//! `sim cuts`: plans whose broker is cut off at every single operation on its disk, and plans of
//! which it fails.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use signalhouse_sim::layer::Layer;
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

/// What happens at an operation on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// The broker is killed.
    Kill,
    /// The power goes.
    Power,
    /// The operation fails.
    Fail,
    /// It fails, and some operations later, when the broker is back, the power goes.
    FailThenPower,
}

impl Cut {
    /// Each of them.
    pub(super) const EACH: [Cut; 4] = [Cut::Kill, Cut::Power, Cut::Fail, Cut::FailThenPower];

    /// The operation at which the power goes after one failed: behind a recovery.
    fn power_after(at: u64) -> u64 {
        at + 14 + at % 16
    }

    /// The same plan with that at the operation `at`.
    pub(super) fn at(self, at: u64, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let settings = match self {
            Cut::Kill => vec![("disk.cut_at", at), ("disk.cut_power", 0)],
            Cut::Power => vec![("disk.cut_at", at), ("disk.cut_power", 1)],
            Cut::Fail => vec![("disk.fail_at", at)],
            Cut::FailThenPower => vec![
                ("disk.fail_at", at),
                ("disk.cut_at", Cut::power_after(at)),
                ("disk.cut_power", 1),
            ],
        };
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        plan.settings.extend(settings);
        plan
    }
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
                    let kinds = Cut::EACH.len() as u64;
                    let (at, cut) = (number / kinds + 1, Cut::EACH[(number % kinds) as usize]);
                    if at > operations {
                        return;
                    }
                    let plan = cut.at(at, plan);
                    let what = match Layer::Runtime.run(&plan, false).map(|ran| ran.violation) {
                        Ok(None) => continue,
                        Ok(Some(violation)) => {
                            format!("{}: {}", violation.guarantee, violation.what)
                        }
                        Err(error) => error,
                    };
                    if let Ok(mut failures) = failures.lock() {
                        failures.push((at, cut, what));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort();
    for (at, cut, what) in &failures {
        let set = match cut {
            Cut::Kill => format!("`set disk.cut_at {at}`"),
            Cut::Power => format!("`set disk.cut_at {at}` and `set disk.cut_power 1`"),
            Cut::Fail => format!("`set disk.fail_at {at}`"),
            Cut::FailThenPower => {
                let later = Cut::power_after(*at);
                format!(
                    "`set disk.fail_at {at}`, `set disk.cut_at {later}`, `set disk.cut_power 1`"
                )
            }
        };
        println!("FAIL {name} with {set}: {what}");
    }
    println!(
        "{name}: killed, without power and let down at each of {operations} disk operations, {} failed",
        failures.len()
    );
    Ok(!failures.is_empty())
}
