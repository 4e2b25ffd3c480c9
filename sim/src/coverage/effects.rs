//! Points that are hit by what comes of an order, not by the order: data that was held back, not a network
//! that was told to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::Point;
use super::scene::{Inbound, Outbound, Scene, Scenes};
use crate::history::{Beside, ConnectionNumber, Event, What};
use crate::packet::{AckKind, Packet, Publish};
use crate::plan::{BrokerFault, ClientIndex, NetworkFault};

/// So soon what an order did may not be on the disk, in milliseconds.
const RIGHT_BEHIND_MS: u64 = 20;

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
    /// When the operator gave an order last.
    ordered_ms: Option<u64>,
    has_dead: bool,
}

impl Effects {
    /// Clients stay away for the end.
    pub(super) fn dead_for_ever(&mut self) {
        self.has_dead = true;
    }

    /// What an observation shows to have happened; `scenes` are as of before it.
    pub(super) fn event(&mut self, event: &Event, scenes: &Scenes) -> Vec<Point> {
        let (at_ms, what) = (event.at_ms, &event.what);
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
            What::Beside(
                Beside::SentAway { client_id: Some(client_id), .. }
                | Beside::SessionEnded { client_id },
            ) => {
                self.ordered_ms = Some(at_ms);
                let ends = matches!(what, What::Beside(Beside::SessionEnded { .. }));
                scenes.scene(client_id, at_ms).map_or(Vec::new(), |scene| ordered(&scene, ends))
            }
            What::Broker(BrokerFault::Kill | BrokerFault::PowerCut)
                if self.ordered_ms.is_some_and(|order_ms| at_ms <= order_ms + RIGHT_BEHIND_MS) =>
            {
                vec![Point::CrashBehindOrder]
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

/// What an order meets.
fn ordered(scene: &Scene<'_>, ends_session: bool) -> Vec<Point> {
    let session = scene.session;
    let is_in_qos2 = session.inbound.values().any(|one| *one != Inbound::Published(1))
        || session.outbound.values().any(|one| *one != Outbound::Published(1));
    let has_session = !scene.is_away() || session.expiry_s > 0;
    let in_delay = session.will_waits && session.will_delay_s > Some(0);
    let points = [
        (Point::OrderedAway, !ends_session && !scene.is_away()),
        (Point::OrderToNobody, !ends_session && scene.is_away()),
        (Point::OrderedOut, ends_session && has_session),
        (Point::OrderedOutAway, ends_session && scene.is_away() && has_session),
        (Point::OrderedOutWithBacklog, ends_session && session.missed > 0 && has_session),
        (Point::OrderInQos2, is_in_qos2 && has_session),
        (Point::OrderInWillDelay, ends_session && in_delay && has_session),
    ];
    points.into_iter().filter(|(_, is_hit)| *is_hit).map(|(point, _)| point).collect()
}

/// What a publication that asks for an answer makes of what is retained.
fn retains(publish: &Publish, scenes: &Scenes) -> Option<(u16, Point)> {
    let id = publish.id.filter(|_| publish.retain && scenes.has_retained(&publish.topic))?;
    let clears = publish.payload.is_empty();
    Some((id, if clears { Point::RetainedDeleted } else { Point::RetainedReplaced }))
}
