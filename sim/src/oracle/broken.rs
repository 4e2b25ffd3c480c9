//! PR, for who breaks the protocol and who does not: what the standard calls malformed or a protocol error ends its
//! connection, and nothing behind it counts; nobody else is accused of it.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Connection, Model, Moment, PublicationId, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// Malformed Packet, Protocol Error, Topic Alias invalid: only a client that breaks the protocol earns one of these.
const ACCUSATIONS: [u8; 3] = [0x81, 0x82, 0x94];

/// Judges PR by those who break the protocol.
pub(crate) struct Broken;

impl Rule for Broken {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Received { connection, packet, .. } = &event.what else { return Ok(()) };
        let Some(connection) = model.connections.get(connection) else { return Ok(()) };
        if let Seen::Delivered(delivery) = seen
            && let Some(id) = model.deliveries[*delivery].publication
        {
            behind(model, id)?;
        }
        let Some(broken) = connection.broken else { return accused(model, connection, packet) };
        let wrong = match (packet, seen) {
            (Packet::Disconnect { reason: reason @ ..0x80, .. }, _) => {
                Some(format!("is sent away with {reason:#04x}"))
            }
            (_, Seen::Answered(answered)) if answered.moment > broken => {
                Some("is answered what it asked afterwards".to_owned())
            }
            (_, Seen::Delivered(delivery)) if is_new(model, connection, *delivery, broken) => {
                Some("is sent what was published long afterwards".to_owned())
            }
            (_, _) => None,
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let what = format!("{:?} broke the protocol and {wrong}", connection.client_id);
        Err(violation("PR", what, [broken.index, model.now.index]))
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        if model.end.is_none() || !model.is_up() {
            return Vec::new();
        }
        let settled_ms = model.settled_by_ms();
        let is_left = |connection: &&Connection| {
            connection.is_open() && !connection.was_reset && model.is_prompt(connection, settled_ms)
        };
        let mut found = Vec::new();
        for connection in model.connections.values().filter(is_left) {
            let Some(broken) = connection.broken.filter(|at| at.at_ms <= settled_ms) else {
                continue;
            };
            let what = format!(
                "{:?} broke the protocol on connection {}, which was never ended",
                connection.client_id, connection.number,
            );
            found.push(violation("PR", what, [broken.index, model.now.index]));
        }
        found
    }
}

/// A client that kept the protocol is not to be told otherwise.
fn accused(model: &Model, connection: &Connection, packet: &Packet) -> Result<(), Violation> {
    let Packet::Disconnect { reason, .. } = packet else { return Ok(()) };
    if connection.misbehaved.is_some() || !ACCUSATIONS.contains(reason) {
        return Ok(());
    }
    let what = format!(
        "{:?} is sent away with {reason:#04x}, and did nothing of the kind",
        connection.client_id,
    );
    Err(violation("PR", what, [model.now.index]))
}

/// What was sent behind it on the same connection, and nowhere else, reaches nobody.
fn behind(model: &Model, id: PublicationId) -> Result<(), Violation> {
    let publication = &model.publications[id];
    let broken = |number| model.connections.get(&number).and_then(|found| found.broken);
    let is_behind = !publication.is_will()
        && publication
            .sends
            .iter()
            .all(|send| broken(send.connection).is_some_and(|broken| broken < send.moment));
    if !is_behind {
        return Ok(());
    }
    let what = format!(
        "{} on {:?} was sent by a client that had broken the protocol, and reached somebody",
        publication.name(),
        publication.topic,
    );
    let broken = broken(publication.first_connection()).map(|broken| broken.index);
    let events = [publication.first().index, model.now.index];
    Err(violation("PR", what, events.into_iter().chain(broken)))
}

/// Whether a message was published when the broker surely had read what breaks the protocol.
fn is_new(model: &Model, connection: &Connection, delivery: usize, broken: Moment) -> bool {
    let Some(id) = model.deliveries[delivery].publication else { return false };
    let publication = &model.publications[id];
    let read_by_ms = broken.at_ms + 2 * model.bounds.latency_ms;
    !publication.is_will()
        && publication.first().at_ms > read_by_ms
        && model.is_prompt(connection, broken.at_ms)
}

#[cfg(test)]
mod tests {
    use super::Broken;
    use crate::history::What;
    use crate::oracle::told::{Told, fails, passes, publish_of};
    use crate::packet::Packet;
    use crate::plan::{BrokerFault, NetworkFault};

    /// "b" subscribes, and "a" breaks the protocol.
    fn broken(must_end: bool) -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(1, "t", 1).subscribe(2, "t", 1);
        told.push(What::Misbehaved { connection: 1, must_end });
        told
    }

    #[test]
    fn who_breaks_the_protocol_is_sent_away() {
        passes(Broken, broken(true).dismissed(1, 0x81).end());
        passes(Broken, broken(true).closed(1).end());
        passes(Broken, broken(true).dismissed(1, 0x8e).end());
    }

    #[test]
    fn what_was_on_its_way_before_may_come() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(1, "t", 1).sent(1, Packet::PingReq);
        told.publish(2, "t", "one", 1).push(What::Misbehaved { connection: 1, must_end: true });
        told.got(1, Packet::PingResp).read_only(1, "t", "one", 1, 5).dismissed(1, 0x82).end();
        passes(Broken, &told);
    }

    #[test]
    fn a_network_that_loses_it_is_no_fault_of_the_brokers() {
        let mut told = Told::new();
        told.durable(1, "a").network(1, NetworkFault::BlackHoleToBroker);
        told.push(What::Misbehaved { connection: 1, must_end: true }).end();
        passes(Broken, &told);
    }

    #[test]
    fn what_is_no_whole_packet_ends_nothing() {
        passes(Broken, broken(false).ping(1).end());
    }

    #[test]
    fn never_ending_it_is_wrong() {
        fails(Broken, broken(true).end(), "PR");
    }

    #[test]
    fn going_on_as_before_is_wrong() {
        fails(Broken, broken(true).ping(1), "PR");
        let mut told = broken(true);
        told.wait(1_000).publish(2, "t", "one", 1).read_only(1, "t", "one", 1, 5);
        fails(Broken, &told, "PR");
        let mut told = broken(true);
        told.sent(1, Packet::Publish(publish_of("t", "one", 0, 0))).read(2, "t", "one", 0);
        fails(Broken, &told, "PR");
    }

    #[test]
    fn praising_it_is_wrong() {
        fails(Broken, broken(true).dismissed(1, 0x00), "PR");
    }

    #[test]
    fn accusing_somebody_else_is_wrong() {
        for reason in super::ACCUSATIONS {
            fails(Broken, broken(true).dismissed(2, reason), "PR");
        }
        let mut told = broken(true);
        told.dismissed(1, 0x81).push(What::Broker(BrokerFault::Stop));
        passes(Broken, told.dismissed(2, 0x8b));
    }
}
