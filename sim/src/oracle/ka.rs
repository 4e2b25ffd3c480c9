//! KA: a silent peer is closed after one and a half times its keep alive, not earlier and not much
//! later.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Connection, Model, Moment, Seen};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// The code that tells a client that nothing was heard of it.
const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;

/// Judges KA.
#[derive(Default)]
pub(crate) struct KeepAlive {
    /// The last packets that each client sent.
    sent: BTreeMap<ConnectionNumber, Vec<Moment>>,
}

impl Rule for KeepAlive {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        match &event.what {
            What::Sent { connection, .. } => {
                let late = self.late(model, *connection);
                let sent = self.sent.entry(*connection).or_default();
                sent.push(model.now);
                late
            }
            What::Received { connection, packet, .. } => match packet {
                Packet::Disconnect { reason: KEEP_ALIVE_TIMEOUT, .. } => {
                    self.early(model, *connection)
                }
                Packet::Disconnect { .. }
                | Packet::Connect(_)
                | Packet::ConnAck { .. }
                | Packet::Publish(_)
                | Packet::Ack { .. }
                | Packet::Subscribe { .. }
                | Packet::SubAck { .. }
                | Packet::Unsubscribe { .. }
                | Packet::UnsubAck { .. }
                | Packet::PingReq
                | Packet::PingResp
                | Packet::Auth { .. } => Ok(()),
            },
            What::Ended { connection, by_client: true } => self.late(model, *connection),
            What::End => {
                let open = model.connections.values().filter(|found| found.ended.is_none());
                open.map(|found| found.number).try_for_each(|number| self.late(model, number))
            }
            What::Ended { .. }
            | What::Opened { .. }
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
        }
    }
}

impl KeepAlive {
    /// Sent away although something was sent, and had arrived, within the time.
    fn early(&self, model: &Model, number: ConnectionNumber) -> Result<(), Violation> {
        let Some((connection, silence_ms)) = watched(model, number) else { return Ok(()) };
        let now = model.now.at_ms;
        let latency_ms = model.bounds.latency_ms;
        let told_ms = model.sent_from_ms(connection, now);
        let mut arrived = self.sent.get(&number).into_iter().flatten();
        let last = arrived.rfind(|sent| sent.at_ms + latency_ms <= told_ms);
        let Some(last) = last.filter(|last| now < last.at_ms + silence_ms) else { return Ok(()) };
        if !model.is_prompt(connection, last.at_ms) {
            return Ok(());
        }
        let what = format!(
            "{:?} is sent away for silence {} ms after it sent, {silence_ms} ms are allowed",
            connection.client_id,
            now - last.at_ms,
        );
        Err(violation("KA", what, [last.index, model.now.index]))
    }

    /// Still open although nothing was sent for far too long.
    fn late(&self, model: &Model, number: ConnectionNumber) -> Result<(), Violation> {
        let Some((connection, silence_ms)) = watched(model, number) else { return Ok(()) };
        let Some(last) = self.sent.get(&number).and_then(|sent| sent.last()) else { return Ok(()) };
        let allowed_ms =
            last.at_ms + silence_ms + 2 * model.bounds.latency_ms + model.bounds.slack_ms;
        let is_excused = connection.broker_gone.is_some()
            || connection.dismissed.is_some()
            || connection.connack.is_none()
            || connection.goodbye.is_some()
            || !model.is_prompt(connection, last.at_ms);
        if model.now.at_ms <= allowed_ms || is_excused {
            return Ok(());
        }
        let what = format!(
            "{:?} is still connected {} ms after it last sent, {silence_ms} ms are allowed",
            connection.client_id,
            model.now.at_ms - last.at_ms,
        );
        Err(violation("KA", what, [last.index, model.now.index]))
    }
}

/// A connection with a keep alive, and how long it may be silent.
fn watched(model: &Model, number: ConnectionNumber) -> Option<(&Connection, u64)> {
    let connection = model.connections.get(&number)?;
    let silence_ms = u64::from(connection.keep_alive_s()) * 1500;
    (silence_ms > 0 && connection.misbehaved.is_none()).then_some((connection, silence_ms))
}

#[cfg(test)]
mod tests {
    use super::{KEEP_ALIVE_TIMEOUT, KeepAlive};
    use crate::oracle::told::{Told, connect_of, fails, passes};
    use crate::packet::Connect;
    use crate::plan::NetworkFault;

    fn with_keep_alive() -> Told {
        let mut told = Told::new();
        told.enters(1, Connect { keep_alive_s: 10, ..connect_of("a") }, false);
        told
    }

    #[test]
    fn a_silent_client_is_closed_in_time() {
        let mut told = with_keep_alive();
        told.wait(9_000).ping(1).wait(15_050).dismissed(1, KEEP_ALIVE_TIMEOUT).end();
        passes(KeepAlive::default(), &told);
    }

    #[test]
    fn a_client_whose_packets_are_held_back_is_silent_too() {
        let mut told = with_keep_alive();
        told.network(1, NetworkFault::BlackHoleToBroker).wait(9_000);
        told.sent(1, crate::packet::Packet::PingReq).wait(6_100).dismissed(1, KEEP_ALIVE_TIMEOUT);
        passes(KeepAlive::default(), &told);
    }

    #[test]
    fn closing_early_is_wrong() {
        let mut told = with_keep_alive();
        told.wait(9_000).ping(1).wait(14_000).dismissed(1, KEEP_ALIVE_TIMEOUT);
        fails(KeepAlive::default(), &told, "KA");
    }

    #[test]
    fn never_closing_is_wrong() {
        let mut told = with_keep_alive();
        told.end();
        fails(KeepAlive::default(), &told, "KA");
    }
}
