//! Points that are hit by what comes of an order, not by the order: data that was held back, not a network
//! that was told to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::Point;
use super::scene::Scenes;
use crate::history::{ConnectionNumber, What};
use crate::packet::{AckKind, Packet, Publish};
use crate::plan::{BrokerFault, ClientIndex, NetworkFault};

/// What was ordered, and waits for its effect.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Open connections.
    clients: BTreeMap<ConnectionNumber, ClientIndex>,
    held: BTreeSet<ClientIndex>,
    trickling: BTreeSet<ClientIndex>,
    unreachable: BTreeSet<ClientIndex>,
    half_closed: BTreeSet<ConnectionNumber>,
    /// Connections that come in the delay of a will.
    in_will_delay: BTreeSet<ConnectionNumber>,
    /// Publications that change what is retained, once they are accepted.
    retains: BTreeMap<(ConnectionNumber, u16), Point>,
    /// By how much the wall clock was set since the broker read it.
    ahead_ms: i64,
    has_dead: bool,
}

impl Effects {
    /// Clients stay away for the end.
    pub(super) fn dead_for_ever(&mut self) {
        self.has_dead = true;
    }

    /// What an observation shows to have happened; `scenes` are as of before it.
    pub(super) fn event(&mut self, what: &What, scenes: &Scenes) -> Vec<Point> {
        match what {
            What::Opened { client, connection } => {
                self.clients.insert(*connection, *client);
                Vec::new()
            }
            What::Ended { connection, .. } => {
                self.clients.remove(connection);
                Vec::new()
            }
            What::Sent { connection, packet } => self.sent(*connection, packet, scenes),
            What::Received { connection, packet, .. } => self.received(*connection, packet),
            What::Network { client, fault } => self.network(*client, *fault),
            What::WallClock { by_ms } => {
                self.ahead_ms = self.ahead_ms.saturating_add(*by_ms);
                Vec::new()
            }
            What::Broker(BrokerFault::Start) => match std::mem::take(&mut self.ahead_ms) {
                0 => Vec::new(),
                ..0 => vec![Point::ClockSetBack],
                1.. => vec![Point::ClockSetForward],
            },
            What::End if self.has_dead => vec![Point::DeadForEver],
            What::Undecodable { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Broker(_)
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Dropped { .. }
            | What::Absent { .. }
            | What::Calm
            | What::End => Vec::new(),
        }
    }

    fn network(&mut self, client: ClientIndex, fault: NetworkFault) -> Vec<Point> {
        let own = self.clients.iter().filter(|(_, one)| **one == client);
        let own: Vec<ConnectionNumber> = own.map(|(connection, _)| *connection).collect();
        match fault {
            NetworkFault::Hold => {
                self.held.insert(client);
            }
            NetworkFault::Drip => {
                self.trickling.insert(client);
            }
            NetworkFault::Unreachable => {
                self.unreachable.insert(client);
            }
            NetworkFault::HalfClose => self.half_closed.extend(own),
            NetworkFault::Release => {
                self.held.remove(&client);
                self.trickling.remove(&client);
                if self.unreachable.remove(&client) && own.is_empty() {
                    return vec![Point::NeverConnected];
                }
            }
            NetworkFault::BlackHoleToBroker
            | NetworkFault::BlackHoleToClient
            | NetworkFault::Reset => {}
        }
        Vec::new()
    }

    fn sent(
        &mut self,
        connection: ConnectionNumber,
        packet: &Packet,
        scenes: &Scenes,
    ) -> Vec<Point> {
        if let Packet::Connect(connect) = packet
            && scenes.has_will_waiting(&connect.client_id)
        {
            self.in_will_delay.insert(connection);
        }
        if let Packet::Publish(publish) = packet
            && let Some((id, point)) = retains(publish, scenes)
        {
            self.retains.insert((connection, id), point);
        }
        let Some(client) = self.clients.get(&connection) else { return Vec::new() };
        let states = [(&self.held, Point::Stalled), (&self.trickling, Point::Trickled)];
        let states = states.into_iter().filter(|(clients, _)| clients.contains(client));
        states.map(|(_, point)| point).collect()
    }

    fn received(&mut self, connection: ConnectionNumber, packet: &Packet) -> Vec<Point> {
        let mut points = Vec::new();
        if self.half_closed.contains(&connection) {
            points.push(Point::HalfClosed);
        }
        if let Packet::ConnAck { reason: 0, session_present: true, .. } = packet
            && self.in_will_delay.remove(&connection)
        {
            points.push(Point::WillCancelled);
        }
        if let Packet::Ack { kind: AckKind::PubAck | AckKind::PubRec, id, reason, .. } = packet
            && let Some(point) = self.retains.remove(&(connection, *id))
            && *reason < 0x80
        {
            points.push(point);
        }
        points
    }
}

/// What a publication that asks for an answer makes of what is retained.
fn retains(publish: &Publish, scenes: &Scenes) -> Option<(u16, Point)> {
    let id = publish.id.filter(|_| publish.retain && scenes.has_retained(&publish.topic))?;
    let clears = publish.payload.is_empty();
    Some((id, if clears { Point::RetainedDeleted } else { Point::RetainedReplaced }))
}
