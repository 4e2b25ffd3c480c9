//! `sim cuts`: plans whose broker is cut off at every single operation on its disk, and plans of
//! which it fails.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Plan;
use signalhouse_sim::runtime_layer;

use super::revision::revision;
use super::source::read_plan;
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// Where the plans of cuts that failed are written, from the folder in which the program was started.
const FAILED: &str = "target/sim/cuts";

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

    /// Its name in those of files.
    fn name(self) -> &'static str {
        match self {
            Cut::Kill => "kill",
            Cut::Power => "power",
            Cut::Fail => "fail",
            Cut::FailThenPower => "fail-then-power",
        }
    }

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
    let plans = arguments.plans.iter().map(|path| Ok((path, read_plan(path)?)));
    let plans = plans.collect::<Result<Vec<_>, String>>()?;
    let watch = Watch::begin();
    let mut verdict = Verdict::Clean;
    for (path, plan) in plans {
        for seed in 0..arguments.seeds {
            if watch::is_interrupted() {
                break;
            }
            let plan = Plan { seed: plan.seed.wrapping_add(seed), ..plan.clone() };
            if cut_everywhere(path, &plan, &watch)? {
                verdict = Verdict::Violated;
            }
        }
    }
    watch::ended(verdict)
}

/// True if something was violated.
fn cut_everywhere(path: &Path, plan: &Plan, watch: &Watch) -> Result<bool, String> {
    let (whole, operations) = runtime_layer::run_counting(plan, false)?;
    let name = format!("{} seed={:#x}", path.display(), plan.seed);
    if let Some(violation) = whole.violation {
        watch.clear();
        println!("FAIL {} {name} rev={}: {}", violation.guarantee, revision(), violation.what);
        println!("  cargo sim replay {} --layer runtime", path.display());
        return Ok(true);
    }
    let kinds = Cut::EACH.len() as u64;
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !watch::is_interrupted() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (at, cut) = (number / kinds + 1, Cut::EACH[(number % kinds) as usize]);
                    if at > operations {
                        return;
                    }
                    let wrong = match Layer::Runtime.run(&cut.at(at, plan), false) {
                        Ok(ran) => ran.violation.map(|violation| {
                            format!(
                                "{} {name} rev={}: {}",
                                violation.guarantee,
                                revision(),
                                violation.what
                            )
                        }),
                        Err(error) => Some(format!("{name}: {error}")),
                    };
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let Ok(mut failures) = failures.lock() else { return };
                    failures.extend(wrong.map(|wrong| (at, cut, wrong)));
                    watch.show(|| {
                        let (all, failed) = (operations * kinds, failures.len());
                        format!("{name}: {done} of {all} cuts, {failed} failed")
                    });
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.sort();
    watch.end();
    for (at, cut, wrong) in &failures {
        println!("FAIL {wrong}");
        println!("  cargo sim replay {} --layer runtime", write(path, plan, *at, *cut)?.display());
    }
    println!(
        "{name}: {} cuts (killed, without power, let down) at {operations} disk operations, {} failed",
        done.into_inner(),
        failures.len()
    );
    Ok(!failures.is_empty())
}

/// Writes the plan of a cut to a file, to be run by itself.
fn write(path: &Path, plan: &Plan, at: u64, cut: Cut) -> Result<PathBuf, String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let file = format!("{stem}-{:x}-{}-{at}.plan", plan.seed, cut.name());
    let file = Path::new(FAILED).join(file);
    std::fs::create_dir_all(FAILED)
        .and_then(|()| std::fs::write(&file, cut.at(at, plan).to_text()))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    Ok(file)
}
