//! The runtime layer: the shipped runtime, unchanged, on a simulated network, clock and disk.
//!
//! Two hosts of `turmoil`: one has the broker's process, the other all the clients. A plan's
//! faults of single connections are in [`Stream`], between the two; those of the broker's process
//! are `turmoil`'s. Plan, clients, oracle and trace are those of the core layer.

#[cfg(not(tokio_unstable))]
compile_error!(
    "build with --cfg tokio_unstable, as .cargo/config.toml has it (RUSTFLAGS replaces it): \
    without it tokio's choices have no seed and panics of tasks are swallowed"
);

mod backup;
mod broker;
mod journal;
mod link;
mod names;
mod net;
mod operator;
mod rc;
mod shared;
mod socket;
mod stream;
mod world;

pub(crate) use shared::Shared;
pub(crate) use world::World;

pub use net::{SimListener, SimNet};
pub use rc::Recovery;
pub use stream::Stream;

use crate::clock::BUSY;
use crate::core_layer::{Outcome, panics};
use crate::history::Violation;
use crate::plan::Plan;
/// The broker's host and the clients' host.
pub(crate) const BROKER: &str = "broker";
const CLIENTS: &str = "clients";
/// Where the broker listens.
pub(crate) const PORT: u16 = 1883;

/// Runs a plan. The same plan gives the same outcome, on every machine.
///
/// # Errors
/// If the plan has a setting that is not known.
pub fn run(plan: &Plan, keeps_lines: bool) -> Result<Outcome, String> {
    run_counting(plan, keeps_lines).map(|counted| counted.outcome)
}

/// What a run came to, and what was done to its disk.
pub struct Counted {
    /// What it came to.
    pub outcome: Outcome,
    /// How many operations there were on the disk.
    pub operations: u64,
    /// How each of the broker's processes began.
    pub recoveries: Vec<Recovery>,
}

/// Runs a plan, and counts the operations on the disk. The setting `disk.cut_at` cuts the broker's
/// process off at one of them; with `disk.cut_power`, the power with it. `disk.cut_again_at`, which is
/// higher, and `disk.cut_again_power` do that once more. `disk.fail_at` has one fail.
///
/// # Errors
/// If the plan has a setting that is not known.
pub fn run_counting(plan: &Plan, keeps_lines: bool) -> Result<Counted, String> {
    let mut world = World::new(plan, keeps_lines)?;
    let panic = panics::catch(|| world.run());
    let operations = world.shared().disk.operations();
    let recoveries = world.shared().recoveries.take();
    let mut outcome = world.outcome();
    if let Some(what) = panic {
        let guarantee = if what.contains(BUSY) { "LV" } else { "PR" };
        outcome.violation = Some(Violation { guarantee, what, events: Vec::new() });
    }
    Ok(Counted { outcome, operations, recoveries })
}
