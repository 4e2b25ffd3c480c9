//! The search for one canary: a seed that finds it, and the smallest plan that still does.

use signalhouse_sim::canary::{self, Expected, STORE};
use signalhouse_sim::history::Violation;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Plan, Profile, draw};
use signalhouse_sim::shrink;

use super::CanaryArguments;
use super::stored::{self, Stored};
use crate::commands::source::read_plan;

/// The most steps of a plan that shows a canary.
pub(super) const STEPS: usize = 12;

/// How many seeds that find a canary are shrunk, if the plans of the first stay too long.
const FINDS: usize = 6;

/// The most plans that shrinking tries.
const TRIES: usize = 6_000;

/// How many seeds may be tried until a canary of a layer is found.
pub(super) const fn bound(layer: Layer) -> u64 {
    match layer {
        Layer::Core => 1_000,
        Layer::Runtime => 200,
    }
}

/// What came of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    /// The guarantee that was reported first; `-` if nothing was.
    pub(super) guarantee: String,
    pub(super) seed: u64,
    pub(super) profile: String,
    /// How many seeds were tried.
    pub(super) tried: u64,
    /// How many steps the smallest plan has; 0 if it was not shrunk.
    pub(super) steps: usize,
    pub(super) ms: u128,
    /// What is wrong with that, if anything.
    pub(super) fault: String,
}

/// Looks for a canary.
pub(super) fn hunt(canary: Expected, arguments: &CanaryArguments) -> Result<Found, String> {
    let start = std::time::Instant::now();
    let is_stored = arguments.quick && canary.group != STORE;
    let stored = if is_stored { Stored::read(canary)? } else { None };
    let mut seeds = stored.iter().map(|stored| (stored.seed, stored.profile)).collect::<Vec<_>>();
    let all = match canary.layer() {
        Layer::Core => 0..arguments.seeds,
        Layer::Runtime => 0..arguments.seeds.min(bound(Layer::Runtime)),
    };
    // What the disk loses shows soonest where the disk is attacked.
    if canary.layer() == Layer::Runtime && matches!(canary.guarantee, "DU" | "RC") {
        seeds.extend(all.map(|seed| (seed, Profile::Disk)));
    } else {
        seeds.extend(all.zip(Profile::EACH.into_iter().cycle()));
    }
    let mut known = stored.map(|stored| stored.plan).filter(|plan| is_shown_by(canary, plan));
    let mut seeds = seeds.into_iter();
    let mut found = search(canary, &mut seeds, 0)?;
    for _ in 0..FINDS {
        if !found.fault.is_empty() {
            break;
        }
        let small = known.take().map_or_else(|| shrink_for(canary, &found), Ok)?;
        found.steps = small.steps.len();
        if found.steps <= STEPS {
            if arguments.write {
                Stored::write(canary, &found, &small)?;
            }
            found.ms = start.elapsed().as_millis();
            return Ok(found);
        }
        // Another seed may find it in a simpler way.
        let earlier = found.clone();
        found = search(canary, &mut seeds, earlier.tried)?;
        if !found.fault.is_empty() {
            found = Found {
                fault: format!("{} steps, at most {STEPS} allowed", earlier.steps),
                ..earlier
            };
        }
    }
    if found.fault.is_empty() {
        found.fault = format!("no plan of at most {STEPS} steps from {FINDS} seeds");
    }
    // Few seeds find one in the runtime: it is found all the same if an earlier search left a small plan.
    let is_right = canary.guarantee == found.guarantee;
    if is_right && canary.layer() == Layer::Runtime {
        let kept = read_plan(&stored::path(canary)).ok();
        if let Some(kept) = kept.filter(|plan| is_shown_by(canary, plan)) {
            (found.steps, found.fault) = (kept.steps.len(), String::new());
        }
    }
    found.ms = start.elapsed().as_millis();
    Ok(found)
}

/// Tries seeds, over all profiles in turn, until something is reported that is not reported
/// without the canary, and under the right code: where two rules see it, another may come first.
fn search(
    canary: Expected,
    seeds: &mut impl Iterator<Item = (u64, Profile)>,
    tried: u64,
) -> Result<Found, String> {
    let mut found = Found {
        name: canary.name.to_owned(),
        guarantee: "-".to_owned(),
        seed: 0,
        profile: "-".to_owned(),
        tried,
        steps: 0,
        ms: 0,
        fault: "not found".to_owned(),
    };
    for (seed, profile) in seeds {
        found.tried += 1;
        let plan = with(canary, &draw(seed, profile));
        let Some(violation) = violation(canary, &plan)? else { continue };
        if self::violation(canary, &canary::without(&plan))?.is_some() {
            continue;
        }
        found.guarantee = violation.guarantee.to_owned();
        (found.seed, found.profile) = (seed, profile.name().to_owned());
        if violation.guarantee == canary.guarantee {
            found.fault = String::new();
            break;
        }
        found.fault = format!("it breaks {}, not {}", canary.guarantee, violation.guarantee);
    }
    Ok(found)
}

/// Whether a plan is small, shows the canary under a right code, and is clean without it.
fn is_shown_by(canary: Expected, plan: &Plan) -> bool {
    let shown = violation(canary, &with(canary, plan)).ok().flatten();
    plan.steps.len() <= STEPS
        && shown.is_some_and(|violation| violation.guarantee == canary.guarantee)
        && violation(canary, &canary::without(plan)).is_ok_and(|violation| violation.is_none())
}

fn shrink_for(canary: Expected, found: &Found) -> Result<Plan, String> {
    let profile = Profile::from_name(&found.profile).ok_or("a profile that is not known")?;
    let plan = with(canary, &draw(found.seed, profile));
    let is_shown = |plan: &Plan| {
        let shown = violation(canary, plan).ok().flatten();
        canary::name_in(plan).is_some()
            && shown.is_some_and(|violation| violation.guarantee == found.guarantee)
            && violation(canary, &canary::without(plan)).is_ok_and(|violation| violation.is_none())
    };
    Ok(shrink::shrink(&plan, TRIES, &mut |plan| Some(is_shown(plan))))
}

fn with(canary: Expected, plan: &Plan) -> Plan {
    let mut plan = canary::without(plan);
    canary::add_to(&mut plan, canary.name);
    plan
}

/// In the layer in which `canary` shows.
fn violation(canary: Expected, plan: &Plan) -> Result<Option<Violation>, String> {
    Ok(canary.layer().run(plan, false)?.violation)
}

impl Found {
    /// Finds fault with it if it took more seeds than it may in its layer.
    pub(super) fn keep_to_bound(&mut self, layer: Layer) {
        let (tried, bound) = (self.tried, bound(layer));
        if self.fault.is_empty() && tried > bound {
            self.fault = format!("found only at the seed number {tried}, at most {bound} allowed");
        }
    }

    /// As one line for the process that asked.
    pub(super) fn line(&self) -> String {
        let Found { name, guarantee, seed, profile, tried, steps, ms, fault } = self;
        format!("{name}\t{guarantee}\t{seed}\t{profile}\t{tried}\t{steps}\t{ms}\t{fault}")
    }

    /// Reads such a line.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.split('\t');
        let mut text = || parts.next().map(str::to_owned);
        Some(Found {
            name: text()?,
            guarantee: text()?,
            seed: text()?.parse().ok()?,
            profile: text()?,
            tried: text()?.parse().ok()?,
            steps: text()?.parse().ok()?,
            ms: text()?.parse().ok()?,
            fault: text()?,
        })
    }
}
