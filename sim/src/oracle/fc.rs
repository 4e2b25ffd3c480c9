//! FC: what is unacknowledged at QoS 1 and 2 never exceeds the receive maximum, on both sides.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Connection, Model, Request, Seen};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};
use crate::packet::{AckKind, Packet};

/// Receive maximum where none is stated.
const NONE_STATED: u32 = 65_535;
/// The code for more publications than the receive maximum.
const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;

/// Judges FC.
#[derive(Default)]
pub(crate) struct Credit {
    /// Read and not acknowledged, with the place of the PUBLISH.
    unacknowledged: BTreeMap<ConnectionNumber, BTreeMap<u16, usize>>,
    /// Connections on which the client itself sent too much.
    overdrawn: BTreeSet<ConnectionNumber>,
}

impl Rule for Credit {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        match &event.what {
            What::Sent { connection, packet } => {
                self.sent(model, *connection, packet);
                Ok(())
            }
            What::Received { connection, packet, .. } => self.received(model, *connection, packet),
            What::Ended { connection, .. } => {
                self.unacknowledged.remove(connection);
                Ok(())
            }
            What::Opened { .. }
            | What::Undecodable { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Network { .. }
            | What::Broker(_)
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::WallClock { .. }
            | What::Dropped { .. }
            | What::Calm
            | What::End => Ok(()),
        }
    }
}

impl Credit {
    fn sent(&mut self, model: &Model, number: ConnectionNumber, packet: &Packet) {
        if let Packet::Ack { kind, id, reason, properties: _ } = packet {
            let is_last = match kind {
                AckKind::PubAck | AckKind::PubComp => true,
                AckKind::PubRec => *reason >= 0x80,
                AckKind::PubRel => false,
            };
            if is_last && let Some(known) = self.unacknowledged.get_mut(&number) {
                known.remove(id);
            }
        }
        let Some(connection) = model.connections.get(&number) else { return };
        if matches!(packet, Packet::Publish(publish) if publish.qos > 0)
            && in_use(connection) > granted(connection) as usize
        {
            self.overdrawn.insert(number);
        }
    }

    fn received(
        &mut self,
        model: &Model,
        number: ConnectionNumber,
        packet: &Packet,
    ) -> Result<(), Violation> {
        let Some(connection) = model.connections.get(&number) else { return Ok(()) };
        let now = model.now.index;
        if connection.misbehaved.is_some() {
            return Ok(());
        }
        if let Packet::Disconnect { reason: RECEIVE_MAXIMUM_EXCEEDED, .. } = packet
            && !self.overdrawn.contains(&number)
        {
            let what = format!(
                "client {:?} is sent away for exceeding the receive maximum {}, which it kept",
                connection.client_id,
                granted(connection),
            );
            return Err(violation("FC", what, [now]));
        }
        let Packet::Publish(publish) = packet else { return Ok(()) };
        let Some(id) = publish.id.filter(|_| publish.qos > 0) else { return Ok(()) };
        let known = self.unacknowledged.entry(number).or_default();
        known.insert(id, now);
        let maximum = receive_maximum(connection);
        if known.len() > maximum as usize {
            let what = format!(
                "client {:?} has {} unacknowledged messages, its receive maximum is {maximum}",
                connection.client_id,
                known.len(),
            );
            return Err(violation("FC", what, known.values().copied()));
        }
        Ok(())
    }
}

/// What a client grants to the broker.
pub(super) fn receive_maximum(connection: &Connection) -> u32 {
    connection.asked(property::RECEIVE_MAXIMUM).unwrap_or(NONE_STATED)
}

/// What the broker grants to a client.
fn granted(connection: &Connection) -> u32 {
    let stated = connection
        .connack
        .as_ref()
        .and_then(|connack| property::number(&connack.properties, property::RECEIVE_MAXIMUM));
    stated.unwrap_or(NONE_STATED)
}

/// Publications of a client that are not answered to the end, as the client sees it.
fn in_use(connection: &Connection) -> usize {
    let is_publication = |request: &Request| match request {
        Request::Publish(..) | Request::Recorded(_) | Request::Release(_) => true,
        Request::Connect | Request::Ping | Request::Subscribe(_) | Request::Unsubscribe(_) => false,
    };
    connection.outstanding.values().filter(|found| is_publication(&found.request)).count()
}

#[cfg(test)]
mod tests {
    use super::{Credit, RECEIVE_MAXIMUM_EXCEEDED};
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes};
    use crate::packet::{AckKind, Connect};

    fn with_maximum(maximum: u32) -> Told {
        let mut told = Told::new();
        let properties = vec![
            number(property::RECEIVE_MAXIMUM, maximum),
            number(property::SESSION_EXPIRY, 1000),
        ];
        told.connect(1, "a").enters(2, Connect { properties, ..connect_of("b") }, false);
        told.subscribe(2, "#", 2);
        for token in ["one", "two", "three"] {
            told.publish(1, "t", token, 2);
        }
        told
    }

    #[test]
    fn an_acknowledgement_makes_room() {
        let mut told = with_maximum(2);
        told.read_only(2, "t", "one", 2, 1).read_only(2, "t", "two", 2, 2);
        told.pubrec(2, 1).release(2, 1).read_only(2, "t", "three", 2, 3);
        passes(Credit::default(), &told);
    }

    #[test]
    fn a_new_connection_begins_with_all_its_credit() {
        let mut told = with_maximum(1);
        told.read_only(2, "t", "one", 2, 1).lose(2).resume(3, "b");
        told.read_again(3, "t", "one", 2, 1).read_only(3, "t", "two", 2, 2);
        passes(Credit::default(), &told);
    }

    #[test]
    fn one_too_many_is_wrong() {
        let mut told = with_maximum(1);
        told.read_only(2, "t", "one", 2, 1).read_only(2, "t", "two", 2, 2);
        fails(Credit::default(), &told, "FC");
    }

    #[test]
    fn pubrec_makes_no_room() {
        let mut told = with_maximum(1);
        told.read_only(2, "t", "one", 2, 1).pubrec(2, 1);
        told.got_ack(2, AckKind::PubRel, 1, 0).read_only(2, "t", "two", 2, 2);
        fails(Credit::default(), &told, "FC");
    }

    #[test]
    fn sending_away_who_kept_the_maximum_is_wrong() {
        let mut told = with_maximum(1);
        told.dismissed(1, RECEIVE_MAXIMUM_EXCEEDED);
        fails(Credit::default(), &told, "FC");
    }
}
