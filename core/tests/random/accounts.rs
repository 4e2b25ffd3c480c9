//! Stored bytes in random worlds: every account is what a count of everything comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use signalhouse_core::input::Command;
use signalhouse_core::quota::{Holder, Quota, Quotas};
use signalhouse_core::{Broker, Input, Outbox};

use crate::client::text;
use crate::world::World;

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

fn set(broker: &mut Broker, world_now: signalhouse_core::Time, quotas: &Quotas) {
    let command = Command::SetQuotas(Arc::new(quotas.clone()));
    broker.handle(world_now, Input::Command(command), &mut Outbox::new());
}

fn accounts(broker: &Broker) -> BTreeMap<Holder, u64> {
    broker.stored_bytes().map(|(holder, bytes)| (holder.clone(), bytes)).collect()
}

/// Plays a world and compares at each step. Says how large the largest account was.
pub(crate) fn play(world: &mut World, inputs: u64) -> u64 {
    let mut largest = 0;
    let mut before: Option<Quotas> = None;
    while world.inputs < inputs {
        let crashes = world.crashes;
        if before.is_none() || world.rng.chance(1) {
            let quotas = quotas(world);
            world.handle(Input::Command(Command::SetQuotas(Arc::new(quotas.clone()))));
            before = Some(quotas);
        }
        world.step();
        let Some(quotas) = &before else { continue };
        if world.crashes > crashes {
            // As a driver does after recovery.
            world.handle(Input::Command(Command::SetQuotas(Arc::new(quotas.clone()))));
        }
        let kept = accounts(&world.broker);
        let mut again = world.broker.clone();
        set(&mut again, world.now, quotas);
        assert_eq!(kept, accounts(&again), "after {} inputs", world.inputs);
        largest = largest.max(kept.values().copied().max().unwrap_or(0));
        check_sums(&world.broker);
    }
    largest
}

/// What the count of everything goes by: the sums of each session.
fn check_sums(broker: &Broker) {
    let (sessions, _) = broker.sessions(0, usize::MAX, u32::MAX, |_| true);
    for session in sessions {
        let bytes = |deliveries: Vec<signalhouse_core::DeliveryView>| {
            deliveries.iter().map(|delivery| delivery.bytes).sum::<u64>()
        };
        let client_id = &session.client_id;
        assert_eq!(session.queued_bytes, bytes(broker.queue_of(client_id, usize::MAX)));
        assert_eq!(session.inflight_bytes, bytes(broker.inflight_of(client_id, usize::MAX)));
    }
}
