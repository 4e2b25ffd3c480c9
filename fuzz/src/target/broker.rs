//! The whole machine under any list of inputs: it never panics, keeps the driver's contract and the
//! client's limits, answers what was asked and not before it is durable, sends what the client can
//! read, and every prefix of its journal makes a broker again. What the core's random worlds judge is
//! judged here too, and at the end every client comes back and nothing is owed.

mod answers;
mod books;
mod judge;
mod names;
mod orders;
mod packets;
// What the random worlds of the core check too.
#[path = "../../../core/tests/random/recount.rs"]
mod recount;
mod requests;
mod settings;
mod step;
mod wires;
mod world;

use arbitrary::{Arbitrary, Unstructured};

use settings::Settings;
use step::Step;
use world::World;

/// Lets a broker live through the steps in `data`, as the first byte configures it.
///
/// # Panics
/// If it does what it must not.
pub fn run(data: &[u8]) {
    let Some((settings, steps)) = data.split_first() else { return };
    let mut steps = Unstructured::new(steps);
    let mut world = World::new(Settings::new(*settings));
    while !steps.is_empty() {
        let Ok(step) = Step::arbitrary(&mut steps) else { break };
        world.take(step);
    }
    world.end();
}
