//! `sim cuts`: plans whose broker is cut off at every single operation on its disk, and plans of
//! which it fails. With `--again`, it is cut off once more at every operation of the recovery that follows.

mod again;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use signalhouse_sim::history::Violation;
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
    /// Kill it and cut the power at some operations only, and then kill it, cut the power and fail it at each of the
    /// recovery that follows
    #[arg(long)]
    again: bool,
    /// With `--again`, at one operation in so many first
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Fail if fewer operations were reached; with `--again`, of recoveries
    #[arg(long, default_value_t = 1)]
    at_least: u64,
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

    /// A plan that has a cut already, with that at the later operation `at` as well.
    fn again_at(self, at: u64, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let power = u64::from(self == Cut::Power);
        let settings = match self {
            Cut::Kill | Cut::Power => {
                vec![("disk.cut_again_at", at), ("disk.cut_again_power", power)]
            }
            Cut::Fail | Cut::FailThenPower => vec![("disk.fail_at", at)],
        };
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        plan.settings.extend(settings);
        plan
    }
}

/// What came of all that was done to one plan's broker.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// How many operations on the disk were reached that count.
    operations: u64,
    has_failed: bool,
}

/// Runs every plan once for every operation and kind of cut.
pub(super) fn cuts(arguments: &CutsArguments) -> Ended {
    let plans = arguments.plans.iter().map(|path| Ok((path, read_plan(path)?)));
    let plans = plans.collect::<Result<Vec<_>, String>>()?;
    let watch = Watch::begin();
    let (mut verdict, mut operations) = (Verdict::Clean, 0);
    for (path, plan) in plans {
        for seed in 0..arguments.seeds {
            if watch::is_interrupted() {
                break;
            }
            let plan = Plan { seed: plan.seed.wrapping_add(seed), ..plan.clone() };
            let came = if arguments.again {
                again::cut_everywhere(path, &plan, arguments.every, &watch)?
            } else {
                cut_everywhere(path, &plan, &watch)?
            };
            operations += came.operations;
            if came.has_failed {
                verdict = Verdict::Violated;
            }
        }
    }
    if operations < arguments.at_least && !watch::is_interrupted() {
        println!(
            "only {operations} operations were reached, and at least {} are to be",
            arguments.at_least
        );
        verdict = Verdict::Violated;
    }
    watch::ended(verdict)
}

fn name_of(path: &Path, plan: &Plan) -> String {
    format!("{} seed={:#x}", path.display(), plan.seed)
}

/// Says what is wrong with a run.
fn complaint(name: &str, violation: &Violation) -> String {
    format!("{} {name} rev={}: {}", violation.guarantee, revision(), violation.what)
}

/// The plan as it is, and how many operations on the disk it has; `None` if something is wrong with it, which is said.
fn whole(path: &Path, plan: &Plan, watch: &Watch) -> Result<Option<u64>, String> {
    let whole = runtime_layer::run_counting(plan, false)?;
    let Some(violation) = whole.outcome.violation else { return Ok(Some(whole.operations)) };
    watch.clear();
    println!("FAIL {}", complaint(&name_of(path, plan), &violation));
    println!("  cargo sim replay {} --layer runtime", path.display());
    Ok(None)
}

/// Does a piece of work for every number below `count`, on all processors.
fn for_each(count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !watch::is_interrupted() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

/// A plan that failed: the name of its file, the plan, and what is wrong.
type Failure = (String, Plan, String);

/// Tells of the plans that failed, each in a file to be run by itself.
fn tell(mut failures: Vec<Failure>) -> Result<(), String> {
    failures.sort_by(|one, other| one.0.cmp(&other.0));
    for (file, plan, wrong) in &failures {
        println!("FAIL {wrong}");
        println!("  cargo sim replay {} --layer runtime", write(file, plan)?.display());
    }
    Ok(())
}

fn cut_everywhere(path: &Path, plan: &Plan, watch: &Watch) -> Result<Came, String> {
    let Some(operations) = whole(path, plan, watch)? else {
        return Ok(Came { operations: 0, has_failed: true });
    };
    let name = name_of(path, plan);
    let kinds = Cut::EACH.len() as u64;
    let done = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    for_each(operations * kinds, |number| {
        let (at, cut) = (number / kinds + 1, Cut::EACH[(number % kinds) as usize]);
        let cut_off = cut.at(at, plan);
        let wrong = match Layer::Runtime.run(&cut_off, false) {
            Ok(ran) => ran.violation.map(|violation| complaint(&name, &violation)),
            Err(error) => Some(format!("{name}: {error}")),
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        let Ok(mut failures) = failures.lock() else { return };
        let file = format!("{}-{:x}-{at}-{}", stem(path), plan.seed, cut.name());
        failures.extend(wrong.map(|wrong| (file, cut_off, wrong)));
        watch.show(|| {
            let (all, failed) = (operations * kinds, failures.len());
            format!("{name}: {done} of {all} cuts, {failed} failed")
        });
    });
    let failures: Vec<Failure> = failures.into_inner().unwrap_or_default();
    let failed = failures.len();
    watch.end();
    tell(failures)?;
    println!(
        "{name}: {} cuts (killed, without power, let down) at {operations} disk operations, {failed} failed",
        done.into_inner(),
    );
    Ok(Came { operations, has_failed: failed > 0 })
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes the plan of a cut to a file, to be run by itself.
fn write(name: &str, plan: &Plan) -> Result<PathBuf, String> {
    let file = Path::new(FAILED).join(format!("{name}.plan"));
    std::fs::create_dir_all(FAILED)
        .and_then(|()| std::fs::write(&file, plan.to_text()))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    Ok(file)
}
