//! Two cuts: the broker is cut off, and once more at every operation on its disk of the recovery that follows.
//!
//! Whatever the second one leaves must be recovered as well. Where it leaves what the first one left, a recovery finds
//! as much as it would have found undisturbed.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use signalhouse_sim::plan::Plan;
use signalhouse_sim::runtime_layer::{self, Counted, Recovery};

use super::super::watch::Watch;
use super::{Came, Cut, Failure, complaint, for_each, name_of, stem, tell, whole};

/// How often the broker is cut off first, at one place.
const FIRST: [Cut; 2] = [Cut::Kill, Cut::Power];
/// What happens in the recovery then.
const SECOND: [Cut; 3] = [Cut::Kill, Cut::Power, Cut::Fail];
/// Operations behind the recovery at which it is cut off too: what the log sees to at once.
const BEHIND: u64 = 12;

/// The first cut.
struct First {
    at: u64,
    cut: Cut,
    plan: Plan,
    /// The place of the recovery behind it, among all.
    place: usize,
    /// What that comes to, undisturbed.
    recovery: Recovery,
}

/// What was done and found for one plan.
#[derive(Default)]
struct Count {
    recoveries: AtomicU64,
    operations: AtomicU64,
    cuts: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

/// Cuts the broker off at one operation in `every`, and then at every one of the recovery.
pub(super) fn cut_everywhere(
    path: &Path,
    plan: &Plan,
    every: u64,
    watch: &Watch,
) -> Result<Came, String> {
    let Some(operations) = whole(path, plan, watch)? else {
        return Ok(Came { operations: 0, has_failed: true });
    };
    let name = name_of(path, plan);
    let count = Count::default();
    let firsts = operations.div_ceil(every) * FIRST.len() as u64;
    for_each(firsts, |number| {
        let (place, kind) = (number / FIRST.len() as u64, number % FIRST.len() as u64);
        let (at, cut) = (place * every + 1, FIRST[kind as usize]);
        match first(at, cut, plan) {
            Ok(first) => cut_recovery(path, plan, &first, &count),
            Err(wrong) => {
                let file = format!("{}-{:x}-{at}-{}", stem(path), plan.seed, cut.name());
                count.fail(file, cut.at(at, plan), format!("{name}: {wrong}"));
            }
        }
        watch.show(|| {
            let (at, cuts) = (number + 1, count.cuts.load(Ordering::Relaxed));
            format!("{name}: {at} of {firsts} first cuts, {cuts} second ones")
        });
    });
    let Count { recoveries, operations, cuts, failures } = count;
    let failures = failures.into_inner().unwrap_or_default();
    let (operations, failed) = (operations.into_inner(), failures.len());
    watch.end();
    tell(failures)?;
    println!(
        "{name}: {} second cuts (killed, without power, let down) at {operations} disk operations of {} recoveries, \
         {failed} failed",
        cuts.into_inner(),
        recoveries.into_inner(),
    );
    Ok(Came { operations, has_failed: failed > 0 })
}

/// The plan with one cut, and the recovery behind it.
fn first(at: u64, cut: Cut, plan: &Plan) -> Result<First, String> {
    let plan = cut.at(at, plan);
    let Counted { outcome, recoveries, operations } = runtime_layer::run_counting(&plan, false)?;
    if let Some(violation) = outcome.violation {
        return Err(format!("{}: {}", violation.guarantee, violation.what));
    }
    let place = recoveries.iter().position(|recovery| recovery.begins >= at);
    let place = place
        .ok_or_else(|| format!("nothing is recovered behind operation {at} of {operations}"))?;
    Ok(First { at, cut, plan, place, recovery: recoveries[place].clone() })
}

/// Cuts the broker off at every operation of the recovery.
fn cut_recovery(path: &Path, plan: &Plan, first: &First, count: &Count) {
    let Recovery { begins, ends, through: _ } = first.recovery;
    let ends = ends.unwrap_or(begins) + BEHIND;
    count.recoveries.fetch_add(1, Ordering::Relaxed);
    for at in begins + 1..=ends {
        let mut is_reached = false;
        for cut in SECOND {
            let twice = cut.again_at(at, &first.plan);
            let judged = runtime_layer::run_counting(&twice, false)
                .and_then(|counted| judge(first, at, cut, &counted));
            count.cuts.fetch_add(1, Ordering::Relaxed);
            match judged {
                Ok(reached) => is_reached |= reached,
                Err(wrong) => {
                    let (one, other) = (first.cut.name(), cut.name());
                    let file =
                        format!("{}-{:x}-{}-{one}-{at}-{other}", stem(path), plan.seed, first.at);
                    count.fail(file, twice, format!("{}: {wrong}", name_of(path, plan)));
                }
            }
        }
        count.operations.fetch_add(u64::from(is_reached), Ordering::Relaxed);
    }
}

/// Whether the second cut was reached.
///
/// # Errors
/// Says what is wrong.
fn judge(first: &First, at: u64, cut: Cut, counted: &Counted) -> Result<bool, String> {
    if let Some(violation) = &counted.outcome.violation {
        return Err(complaint("", violation));
    }
    let behind = &counted.recoveries[first.place.min(counted.recoveries.len())..];
    let Some([cut_off, next, ..]) = behind.get(..2) else { return Ok(false) };
    if next.begins < at {
        return Ok(false);
    }
    let (Some(once), Some(twice)) = (first.recovery.through, next.through) else { return Ok(true) };
    // Behind a kill, the power takes what was written and not synced; nothing else takes anything.
    let is_same = cut != Cut::Power || first.cut == Cut::Power;
    let is_right = if is_same { twice == once } else { twice <= once };
    if cut_off.ends.is_none() && !is_right {
        return Err(format!(
            "RC: a recovery finds {once}, and after one that was cut off it finds {twice}"
        ));
    }
    Ok(true)
}

impl Count {
    fn fail(&self, file: String, plan: Plan, wrong: String) {
        if let Ok(mut failures) = self.failures.lock() {
            failures.push((file, plan, wrong));
        }
    }
}
