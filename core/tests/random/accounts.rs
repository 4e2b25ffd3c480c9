//! Stored bytes in random worlds: every account is what a count of everything comes to.

use std::sync::Arc;

use signalhouse_core::Input;
use signalhouse_core::input::Command;
use signalhouse_core::quota::{Holder, Quota, Quotas};

use super::client::text;
use super::recount;
use super::world::World;

/// Quotas of everybody there is, some of them within reach.
fn quotas(world: &mut World) -> Quotas {
    let mut quota = || Quota {
        stored_bytes: world.rng.pick(&[0, 60, 300, 3_000, 1 << 40]),
        closes_at_qos0: world.rng.chance(30),
        ..Quota::default()
    };
    let mut quotas =
        Quotas { every_user: Some(quota()), every_address: Some(quota()), ..Quotas::default() };
    for client in 0..3 {
        quotas.of.insert(Holder::Client(text(&format!("k{client}"))), quota());
    }
    for key in 1..3 {
        quotas.of.insert(Holder::Key(text(&format!("key {key}"))), quota());
    }
    quotas
}

/// Plays a world and compares at each step. Says how large the largest account was.
pub(crate) fn play(world: &mut World, inputs: u64) -> u64 {
    let mut largest = 0;
    let mut before: Option<Arc<Quotas>> = None;
    while world.inputs < inputs {
        let crashes = world.crashes;
        if before.is_none() || world.rng.chance(1) {
            let quotas = Arc::new(quotas(world));
            world.handle(Input::Command(Command::SetQuotas(Arc::clone(&quotas))));
            before = Some(quotas);
        }
        world.step();
        let Some(quotas) = &before else { continue };
        if world.crashes > crashes {
            // As a driver does after recovery.
            world.handle(Input::Command(Command::SetQuotas(Arc::clone(quotas))));
        }
        largest = largest.max(recount::check(&world.broker, world.now, quotas));
    }
    largest
}
