//! The search for a canary of the store. A seed stands for two plans: one that is small by hand, so that
//! nothing has to be made smaller, with a place on the disk drawn at which the broker is cut off or let
//! down; and the one that is drawn from it for the profile `disk`. The former come first.

use std::path::Path;

use signalhouse_sim::canary::{self, Expected};
use signalhouse_sim::chance::Streams;
use signalhouse_sim::history::Violation;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Plan;
use signalhouse_sim::runtime_layer;

use super::CanaryArguments;
use super::hunt::{self, Found, STEPS};
use super::stored;
use crate::commands::cuts::Cut;
use crate::commands::source::read_plan;

/// Looks for a canary.
pub(super) fn hunt(canary: Expected, arguments: &CanaryArguments) -> Result<Found, String> {
    let start = std::time::Instant::now();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Found {
        name: canary.name.to_owned(),
        guarantee: "-".to_owned(),
        seed: 0,
        profile: "hand".to_owned(),
        tried: 0,
        steps: 0,
        ms: 0,
        fault: "not found".to_owned(),
    };
    let path = stored::path(canary);
    if arguments.quick && path.exists() {
        found.look_at(canary, &read_plan(&path)?)?;
    }
    let small = read_plan(&folder.join("cuts/small.plan"))?;
    for seed in 0..arguments.seeds.min(hunt::bound(Layer::Runtime)) {
        if found.guarantee != "-" {
            break;
        }
        let mut plan = cut_somewhere(&small, seed)?;
        canary::add_to(&mut plan, canary.name);
        if found.look_at(canary, &plan)? && found.fault.is_empty() && arguments.write {
            let text = format!(
                "# {}, with the canary {}; nothing without it.\n{}",
                found.guarantee,
                found.name,
                plan.to_text()
            );
            std::fs::write(&path, text)
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
    }
    if found.guarantee == "-" {
        found = hunt::hunt(canary, arguments)?;
    }
    found.ms = start.elapsed().as_millis();
    Ok(found)
}

/// The plan under a seed, from which the place and the kind of a cut are drawn too.
fn cut_somewhere(plan: &Plan, seed: u64) -> Result<Plan, String> {
    let plan = Plan { seed, ..plan.clone() };
    let operations = runtime_layer::run_counting(&plan, false)?.operations;
    let mut chance = Streams::new(seed).stream("cut");
    let at = 1 + chance.below(operations);
    Ok(chance.pick(&Cut::EACH).at(at, &plan))
}

impl Found {
    /// Runs a plan. True if the canary showed in it, and nothing without it.
    fn look_at(&mut self, canary: Expected, plan: &Plan) -> Result<bool, String> {
        self.tried += 1;
        let Some(violation) = violation(plan)? else { return Ok(false) };
        if violation_without(plan)?.is_some() {
            return Ok(false);
        }
        (self.seed, self.steps) = (plan.seed, plan.steps.len());
        self.guarantee = violation.guarantee.to_owned();
        self.fault = if violation.guarantee != canary.guarantee {
            format!("it breaks {}, not {}: {}", canary.guarantee, self.guarantee, violation.what)
        } else if self.steps > STEPS {
            format!("{} steps, at most {STEPS} allowed", self.steps)
        } else {
            String::new()
        };
        Ok(true)
    }
}

fn violation(plan: &Plan) -> Result<Option<Violation>, String> {
    Ok(Layer::Runtime.run(plan, false)?.violation)
}

fn violation_without(plan: &Plan) -> Result<Option<Violation>, String> {
    violation(&canary::without(plan))
}
