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

mod broker;
mod clock;
mod link;
mod net;
mod shared;
mod socket;
mod stream;
mod world;

pub use clock::{SimClock, Sleep};
pub use net::{SimListener, SimNet};
pub use stream::Stream;

use crate::core_layer::{Outcome, panics};
use crate::history::Violation;
use crate::plan::Plan;
use world::World;

/// The broker's host and the clients' host.
const BROKER: &str = "broker";
const CLIENTS: &str = "clients";
/// Where the broker listens.
const PORT: u16 = 1883;

/// Runs a plan. The same plan gives the same outcome, on every machine.
///
/// # Errors
/// If the plan has a setting that is not known.
pub fn run(plan: &Plan, keeps_lines: bool) -> Result<Outcome, String> {
    let mut world = World::new(plan, keeps_lines)?;
    let panic = panics::catch(|| world.run());
    let mut outcome = world.outcome();
    if let Some(what) = panic {
        outcome.violation = Some(Violation { guarantee: "PR", what, events: Vec::new() });
    }
    Ok(outcome)
}
