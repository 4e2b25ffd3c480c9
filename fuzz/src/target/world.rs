//! The core's random worlds, in which bytes choose what happens: clients that mean no good, a slow disk, power cuts.
//!
//! Where `broker` is any list of inputs, these are whole exchanges, and by the same books every promise is judged: that
//! a delivery is what was published, in order, once at QoS 2, marked, allowed, within the window, not before it is
//! durable; and at the end that nothing owed is lost.

#[path = "../../../core/tests/random/acting.rs"]
mod acting;
#[path = "../../../core/tests/random/check.rs"]
pub(super) mod check;
#[path = "../../../core/tests/random/client.rs"]
pub(super) mod client;
#[path = "../../../core/tests/random/ending.rs"]
pub(super) mod ending;
#[path = "../../../core/tests/random/reading.rs"]
mod reading;
#[path = "../../../core/tests/random/rng.rs"]
mod rng;
#[path = "../../../core/tests/random/sent.rs"]
mod sent;
#[path = "../../../core/tests/random/world.rs"]
#[allow(
    clippy::module_inception,
    dead_code,
    reason = "the core's tests name it so, and use the rest"
)]
mod world;

use rng::Rng;
use world::{Shape, World};

/// Inputs of one world, at most: those behind the last byte are no longer chosen.
const INPUTS: u64 = 1_000;

/// Plays the world that the bytes behind the first choose; that is the number of clients.
///
/// # Panics
/// If a promise is broken.
pub fn run(data: &[u8]) {
    let Some((clients, choices)) = data.split_first() else { return };
    let clients = 2 + usize::from(clients % 5);
    let shape = Shape { seed: 0, clients, inputs: INPUTS, checked: true, traced: false };
    let mut world = World::chosen_by(&shape, Rng::of_bytes(choices));
    while !world.rng.is_spent() && world.inputs < shape.inputs && world.is_sound() {
        world.step();
    }
    if world.is_sound() {
        world.end();
    }
    let problems = world.problems();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
