//! All canaries, in parallel processes, and the table of what came of them.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use signalhouse_sim::canary::{Canary, expected, named};

use super::CanaryArguments;
use super::hunt::Found;
use crate::commands::{Ended, Verdict};

/// Prints names and guarantees.
pub(super) fn list(canaries: &[Canary]) {
    for canary in canaries {
        let expected = expected(*canary);
        let guarantees = expected.guarantees.join(" or ");
        println!("{:<32} {:<11} {guarantees}", canary.name(), expected.group);
    }
}

/// Looks for the canaries, and prints a line for each and a sum.
pub(super) fn all(canaries: &[Canary], arguments: &CanaryArguments) -> Ended {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = arguments.jobs.unwrap_or(cores).clamp(1, canaries.len().max(1));
    println!(
        "{:<32} {:<11} {:<8} {:>5} {:>12} {:<9} {:>5} {:>7}",
        "canary", "group", "found as", "tried", "seed", "profile", "steps", "s"
    );
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(canary) = canaries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fault = match ask(*canary, arguments) {
                        Ok(found) => {
                            println!("{}", row(&found));
                            found.fault
                        }
                        Err(error) => error,
                    };
                    if !fault.is_empty()
                        && let Ok(mut faults) = faults.lock()
                    {
                        faults.push(format!("{}: {fault}", canary.name()));
                    }
                }
            });
        }
    });
    let groups: BTreeSet<_> = canaries.iter().map(|canary| expected(*canary).group).collect();
    let faults = faults.into_inner().unwrap_or_default();
    println!(
        "{} of {} canaries found, in {} groups of guarantees",
        canaries.len() - faults.len(),
        canaries.len(),
        groups.len()
    );
    for fault in &faults {
        println!("FAIL {fault}");
    }
    Ok(if faults.is_empty() { Verdict::Clean } else { Verdict::Violated })
}

/// Has another process look for one canary.
fn ask(canary: Canary, arguments: &CanaryArguments) -> Result<Found, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program);
    child.args(["canary", canary.name(), "--one", "--seeds", &arguments.seeds.to_string()]);
    child.args(arguments.quick.then_some("--quick"));
    child.args(arguments.write.then_some("--write"));
    let output = child
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("another process cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().next().and_then(Found::from_line);
    found.ok_or_else(|| "its process ended without a word".to_owned())
}

fn row(found: &Found) -> String {
    let Found { name, guarantee, seed, profile, tried, steps, ms, fault } = found;
    let group = named(name).map_or("-", |canary| expected(canary).group);
    let seed = format!("{seed:#x}");
    let seconds = *ms as f64 / 1000.0;
    format!(
        "{name:<32} {group:<11} {guarantee:<8} {tried:>5} {seed:>12} {profile:<9} {steps:>5} {seconds:>7.1}{}{fault}",
        if fault.is_empty() { "" } else { "  " }
    )
}
