//! SO: one live connection for each client identifier; the newest wins, and the older one is told.

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Connection, Model, Seen};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// The code that tells a client that another connection has taken its session.
const TAKEN_OVER: u8 = 0x8e;

/// Judges SO.
pub(crate) struct OneConnection;

impl Rule for OneConnection {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        match &event.what {
            What::Received { connection, packet, .. } => {
                let Some(connection) = model.connections.get(connection) else { return Ok(()) };
                if let Packet::Disconnect { reason: TAKEN_OVER, .. } = packet {
                    return for_a_reason(model, connection);
                }
                served_no_more(model, connection, seen)
            }
            What::Ended { connection, by_client: false } => told_why(model, *connection),
            What::Ended { .. }
            | What::Opened { .. }
            | What::Sent { .. }
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
            | What::Calm => Ok(()),
            What::End => nobody_left(model),
        }
    }
}

/// The connection that surely took over from `connection`: its CONNECT was sent after the older
/// one's CONNACK was read, and answered.
fn successor<'a>(model: &'a Model, connection: &'a Connection) -> Option<&'a Connection> {
    let let_in = connection.connack.as_ref()?.moment.index;
    let later = model.others(connection).filter(|other| {
        let sent = other.connect.as_ref().map(|(sent, _)| sent.index);
        other.connack.is_some() && sent.is_some_and(|sent| sent > let_in)
    });
    later.min_by_key(|other| other.connack.as_ref().map(|connack| connack.moment.index))
}

fn connack_index(connection: &Connection) -> usize {
    connection.connack.as_ref().map_or(usize::MAX, |connack| connack.moment.index)
}

/// Nothing that was sent after a takeover may be answered on the older connection.
fn served_no_more(model: &Model, connection: &Connection, seen: &Seen) -> Result<(), Violation> {
    let sent = match seen {
        Seen::Answered(answered) => answered.moment.index,
        Seen::Delivered(delivery) => {
            let publication = model.deliveries[*delivery].publication;
            let Some(publication) = publication.map(|id| &model.publications[id]) else {
                return Ok(());
            };
            if publication.is_will() {
                return Ok(());
            }
            publication.first().index
        }
        Seen::Nothing | Seen::Admitted(_) | Seen::Unasked | Seen::Released(_) => return Ok(()),
    };
    let Some(newer) = successor(model, connection) else { return Ok(()) };
    if sent <= connack_index(newer) {
        return Ok(());
    }
    let what = format!(
        "connection {} of {:?} is still served after connection {} took its place",
        connection.number, connection.client_id, newer.number,
    );
    Err(violation("SO", what, [connack_index(newer), sent, model.now.index]))
}

/// Being told of a takeover needs somebody who took over.
fn for_a_reason(model: &Model, connection: &Connection) -> Result<(), Violation> {
    let let_in = connack_index(connection);
    let has_reason = model.others(connection).any(|other| {
        let is_before = connack_index(other) < let_in
            && connection
                .connect
                .as_ref()
                .is_some_and(|(sent, _)| connack_index(other) < sent.index);
        other.connect.is_some() && !is_before
    });
    if has_reason || connection.misbehaved.is_some() {
        return Ok(());
    }
    let what = format!(
        "connection {} of {:?} is told that it was taken over, and nobody did",
        connection.number, connection.client_id,
    );
    Err(violation("SO", what, [model.now.index]))
}

/// A connection that a takeover ended is told so, from version 5 on.
fn told_why(model: &Model, number: ConnectionNumber) -> Result<(), Violation> {
    let Some(connection) = model.connections.get(&number) else { return Ok(()) };
    let Some(newer) = successor(model, connection) else { return Ok(()) };
    let Some((ended, _)) = connection.ended else { return Ok(()) };
    let Some((sent, _)) = &newer.connect else { return Ok(()) };
    let started_ms = connection.connect.as_ref().map_or(0, |(sent, _)| sent.at_ms);
    let is_the_cause = sent.index < ended.index
        && connection.dismissed.is_none()
        && connection.goodbye.is_none()
        && connection.misbehaved.is_none()
        && connection.broker_gone.is_none()
        && !connection.was_reset
        && connection.level() >= 5
        && model.is_prompt(connection, started_ms);
    if !is_the_cause {
        return Ok(());
    }
    let what = format!(
        "connection {} of {:?} was closed for connection {} without DISCONNECT 0x8E",
        number, connection.client_id, newer.number,
    );
    Err(violation("SO", what, [sent.index, connack_index(newer), ended.index]))
}

/// At the end, whoever was taken over must have been closed.
fn nobody_left(model: &Model) -> Result<(), Violation> {
    for connection in model.connections.values() {
        let is_left = connection.is_open()
            && connection.misbehaved.is_none()
            && model.is_prompt(connection, model.settled_by_ms());
        if !is_left {
            continue;
        }
        let Some(newer) = successor(model, connection) else { continue };
        let let_in_ms = newer.connack.as_ref().map_or(u64::MAX, |connack| connack.moment.at_ms);
        if let_in_ms <= model.settled_by_ms() {
            let what = format!(
                "connection {} of {:?} is still open after connection {} took its place",
                connection.number, connection.client_id, newer.number,
            );
            return Err(violation("SO", what, [connack_index(newer), model.now.index]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{OneConnection, TAKEN_OVER};
    use crate::oracle::told::{Told, fails, passes};
    use crate::plan::NetworkFault;

    #[test]
    fn the_older_connection_is_told_and_closed() {
        let mut told = Told::new();
        told.durable(1, "a").resume(2, "a").dismissed(1, TAKEN_OVER).ping(2).end();
        passes(OneConnection, &told);
    }

    #[test]
    fn what_was_sent_before_may_be_answered_late() {
        let mut told = Told::new();
        told.durable(1, "a").sent(1, crate::packet::Packet::PingReq).resume(2, "a");
        told.got(1, crate::packet::Packet::PingResp).dismissed(1, TAKEN_OVER);
        passes(OneConnection, &told);
    }

    #[test]
    fn behind_a_black_hole_nobody_can_be_told() {
        let mut told = Told::new();
        told.durable(1, "a").network(1, NetworkFault::BlackHoleToClient).resume(2, "a").end();
        passes(OneConnection, &told);
    }

    #[test]
    fn serving_both_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").resume(2, "a").ping(1);
        fails(OneConnection, &told, "SO");
    }

    #[test]
    fn keeping_both_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").resume(2, "a").end();
        fails(OneConnection, &told, "SO");
    }

    #[test]
    fn closing_without_a_word_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").resume(2, "a").closed(1);
        fails(OneConnection, &told, "SO");
    }

    #[test]
    fn a_takeover_by_nobody_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").dismissed(1, TAKEN_OVER);
        fails(OneConnection, &told, "SO");
    }
}
