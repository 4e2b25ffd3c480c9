//! What must be true of a world in which nothing goes wrong any more and everything has happened.

use signalhouse_core::record::{Origin, Record};
use signalhouse_core::wire::types::QoS;

use super::client::Wrong;
use super::world::World;

/// Lets `world` come to rest without further faults and checks what was owed.
pub(super) fn comes_to_rest(world: &World) -> Result<(), Wrong> {
    let mut world = world.clone();
    world.settle(true).map_err(at_rest)?;
    everything_accepted(&world).map_err(at_rest)?;
    everything_delivered(&world).map_err(at_rest)?;
    nothing_left(&world).map_err(at_rest)
}

fn at_rest(what: Wrong) -> Wrong {
    format!("{what} (at rest, without further faults)")
}

fn everything_accepted(world: &World) -> Result<(), Wrong> {
    let Some(publisher) = world.clients.first() else { return Ok(()) };
    if !publisher.is_finished() {
        return Err("AH a publication has no answer".to_owned());
    }
    let missing = (0..world.sent.len()).find(|number| !publisher.accepted.contains(number));
    missing.map_or(Ok(()), |number| Err(format!("AH message {number} was never accepted")))
}

fn everything_delivered(world: &World) -> Result<(), Wrong> {
    for receivers in &world.receivers {
        for (number, sent) in world.sent.iter().enumerate() {
            // Owed to those whose session and subscription have been there all the time. A share
            // owes it as long as one of its members has.
            let owed = receivers.iter().any(|one| {
                let before = sent.subscribed.get(*one).copied().flatten();
                let now = world.clients.get(one + 1).map(|client| client.session_number);
                before.is_some() && before == now
            });
            // At QoS 0 a fault may take it.
            let owed = owed && (sent.qos > QoS::AtMostOnce || !world.is_troubled);
            let taken: u32 = receivers.iter().map(|one| world.taken(*one, number)).sum();
            if owed && taken == 0 {
                let guarantee = match sent.qos {
                    QoS::AtMostOnce => "Q0",
                    QoS::ExactlyOnce if world.takes_once(receivers) => "Q2",
                    QoS::AtLeastOnce | QoS::ExactlyOnce => "Q1",
                };
                return Err(format!("{guarantee} message {number} was never delivered"));
            }
        }
    }
    Ok(())
}

/// The durable state holds no message, no packet identifier, nothing under way.
fn nothing_left(world: &World) -> Result<(), Wrong> {
    if let Some(connection) = world.abandoned().first() {
        return Err(format!("SO {connection} was taken over and never closed"));
    }
    for record in world.broker().snapshot() {
        let left = match &record {
            Record::Published { entries, origin, .. } => {
                !entries.is_empty() || *origin != Origin::Untracked
            }
            Record::Connected { .. }
            | Record::Disconnected { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::SessionEnded { .. }
            | Record::WillDropped { .. }
            | Record::RetainedCleared { .. }
            | Record::Counted { .. }
            | Record::Requested(_)
            | Record::Counters { .. } => false,
            Record::Requeued { .. }
            | Record::Replayed { .. }
            | Record::ReplayEnded { .. }
            | Record::Bound { .. }
            | Record::Received { .. }
            | Record::Completed { .. }
            | Record::Removed { .. }
            | Record::Moved { .. }
            | Record::InboundHeld { .. }
            | Record::InboundReleased { .. } => true,
        };
        if left {
            return Err(format!("LV this is left: {record:?}"));
        }
    }
    Ok(())
}
