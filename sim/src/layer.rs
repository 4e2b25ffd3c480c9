//! The two layers in which a plan can run.

use std::fmt;
use std::str::FromStr;

use crate::canary;
use crate::core_layer::{self, Outcome};
use crate::plan::Plan;
use crate::point;
use crate::runtime_layer;

/// What a plan runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// The machine, called directly.
    #[default]
    Core,
    /// The shipped runtime on a simulated network, clock and disk.
    Runtime,
}

impl Layer {
    /// Runs a plan. The same plan gives the same outcome, on every machine.
    ///
    /// # Errors
    /// If the plan has a setting that is not known.
    pub fn run(self, plan: &Plan, keeps_lines: bool) -> Result<Outcome, String> {
        canary::switch_on(canary::name_in(plan));
        point::switch_on(plan);
        let outcome = match self {
            Layer::Core => core_layer::run(plan, keeps_lines),
            Layer::Runtime => runtime_layer::run(plan, keeps_lines),
        };
        canary::switch_on(None);
        point::switch_off();
        outcome
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Core => "core",
            Layer::Runtime => "runtime",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let layers = [Layer::Core, Layer::Runtime];
        let known = layers.into_iter().find(|layer| layer.name() == name);
        known.ok_or_else(|| format!("`{name}` is no layer; there are: core, runtime"))
    }
}
