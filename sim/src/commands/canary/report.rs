//! All canaries, in parallel processes, and the table of what came of them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signalhouse_sim::canary::{Expected, expected};
use signalhouse_sim::layer::Layer;

use super::CanaryArguments;
use super::hunt::{Found, bound};
use crate::commands::revision::revision;
use crate::commands::watch::{self, Watch};
use crate::commands::{Ended, Verdict};

/// How often it is looked whether a process has ended.
const EVERY: Duration = Duration::from_millis(20);

/// Looks for the canaries, and prints a line for each and a sum.
pub(super) fn all(canaries: &[Expected], arguments: &CanaryArguments) -> Ended {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = arguments.jobs.unwrap_or(cores).clamp(1, canaries.len().max(1));
    println!(
        "{:<32} {:<11} {:<8} {:>5} {:>12} {:<9} {:>5} {:>7}",
        "canary", "group", "found as", "tried", "seed", "profile", "steps", "s"
    );
    let watch = Watch::begin();
    let next = AtomicUsize::new(0);
    let told = Mutex::new((BTreeSet::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(canary) = canaries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = match ask(*canary, arguments) {
                        Ok(None) => return,
                        Ok(Some(found)) => Ok(found),
                        Err(error) => Err(error),
                    };
                    let Ok(mut told) = told.lock() else { return };
                    let (groups, faults) = &mut *told;
                    watch.clear();
                    groups.insert((canary.group, canary.name));
                    let fault = found.map_or_else(
                        |error| error,
                        |found| {
                            println!("{}", row(&found));
                            found.fault
                        },
                    );
                    if !fault.is_empty() {
                        faults.push((canary.name, fault));
                    }
                    let (done, all, failed) = (groups.len(), canaries.len(), faults.len());
                    watch.show(|| format!("{done} of {all} canaries, {failed} not found"));
                }
            });
        }
    });
    let (looked_for, faults) = told.into_inner().unwrap_or_default();
    let groups: BTreeSet<_> = looked_for.iter().map(|(group, _)| group).collect();
    watch.end();
    println!(
        "{} of {} canaries found, in {} groups of guarantees; within {} seeds of the core layer, {} of the runtime's",
        looked_for.len() - faults.len(),
        looked_for.len(),
        groups.len(),
        bound(Layer::Core),
        bound(Layer::Runtime)
    );
    for (name, fault) in &faults {
        println!("FAIL {name} rev={}: {fault}\n  cargo sim canary {name}", revision());
    }
    watch::ended(if faults.is_empty() { Verdict::Clean } else { Verdict::Violated })
}

/// Has another process look for one canary. `None` if Ctrl-C ended it.
fn ask(canary: Expected, arguments: &CanaryArguments) -> Result<Option<Found>, String> {
    let failed = |error| format!("another process cannot be started: {error}");
    let mut child = watch::this_program()?;
    child.args(["canary", canary.name, "--one", "--seeds", &arguments.seeds.to_string()]);
    child.args(arguments.quick.then_some("--quick"));
    child.args(arguments.write.then_some("--write"));
    let mut child = child.stdout(Stdio::piped()).spawn().map_err(failed)?;
    while child.try_wait().map_err(failed)?.is_none() {
        if watch::is_interrupted() {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(EVERY);
    }
    let mut text = String::new();
    let output = child.stdout.take().map(|mut output| output.read_to_string(&mut text));
    output.transpose().map_err(failed)?;
    let found = text.lines().next().and_then(Found::from_line);
    found.ok_or_else(|| "its process ended without a word".to_owned()).map(Some)
}

fn row(found: &Found) -> String {
    let Found { name, guarantee, seed, profile, tried, steps, ms, fault } = found;
    let group = expected(name).map_or("-", |canary| canary.group);
    let seed = format!("{seed:#x}");
    let seconds = *ms as f64 / 1000.0;
    format!(
        "{name:<32} {group:<11} {guarantee:<8} {tried:>5} {seed:>12} {profile:<9} {steps:>5} {seconds:>7.1}{}{fault}",
        if fault.is_empty() { "" } else { "  " }
    )
}
