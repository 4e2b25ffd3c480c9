//! What clients asked for and what the journal says of it: no answer for nothing, none before its
//! record is durable, and nothing twice under one exchange at QoS 2.

use std::collections::{BTreeMap, VecDeque};

use signalhouse_core::record::{Origin, SessionId};
use signalhouse_core::wire::packet::{ClientPacket, ConnAck, OutboundPublish, ServerPacket};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, OutboundPacketId, PacketId, Text};
use signalhouse_core::{ConnectionId, Record};

/// Every connection's questions, and where the records stand that answers wait for. A position is
/// the number of a record, from 1.
#[derive(Debug, Default)]
pub(super) struct Answers {
    lines: BTreeMap<ConnectionId, Line>,
    /// Whose packet the broker is looking at.
    current: Option<(ConnectionId, Kind)>,
    /// Each client's session that the journal has, and where it says that the client connected.
    sessions: BTreeMap<Text, (SessionId, u64)>,
    /// Publications at QoS 2 that were not released.
    inbound: BTreeMap<(SessionId, InboundPacketId), u64>,
    /// Deliveries at QoS 2 for which PUBREC came.
    received: BTreeMap<(SessionId, OutboundPacketId), u64>,
}

#[derive(Debug, Default)]
struct Line {
    client_id: Option<Text>,
    session: Option<SessionId>,
    owed: BTreeMap<Kind, VecDeque<Owed>>,
}

/// Packets that are answered in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    PubAck,
    PubRec,
    PubComp,
    SubAck,
    UnsubAck,
}

#[derive(Debug)]
struct Owed {
    id: PacketId,
    /// The record without which it may not be answered; 0 for none.
    after: u64,
}

impl Answers {
    pub(super) fn opened(&mut self, connection: ConnectionId) {
        self.lines.insert(connection, Line::default());
    }

    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
    }

    /// The client sends `packet`, and the broker looks at it until [`Self::has_looked`].
    pub(super) fn sends(&mut self, connection: ConnectionId, packet: &ClientPacket) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        let (kind, id) = match packet {
            ClientPacket::Connect(connect) => {
                line.client_id.get_or_insert_with(|| connect.client_id.clone());
                return;
            }
            ClientPacket::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => return,
                Delivery::AtLeastOnce(id) => (Kind::PubAck, id),
                Delivery::ExactlyOnce(id) => (Kind::PubRec, id),
            },
            ClientPacket::PubRel(ack) => (Kind::PubComp, ack.packet_id),
            ClientPacket::Subscribe(subscribe) => (Kind::SubAck, subscribe.packet_id),
            ClientPacket::Unsubscribe(unsubscribe) => (Kind::UnsubAck, unsubscribe.packet_id),
            ClientPacket::PubAck(_)
            | ClientPacket::PubRec(_)
            | ClientPacket::PubComp(_)
            | ClientPacket::PingReq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => return,
        };
        line.owed.entry(kind).or_default().push_back(Owed { id: id.0, after: 0 });
        self.current = Some((connection, kind));
    }

    pub(super) fn has_looked(&mut self) {
        self.current = None;
    }

    /// The journal gets `record`, the one at position `at`.
    ///
    /// # Panics
    /// If a publication is taken twice under one exchange.
    pub(super) fn persists(&mut self, at: u64, record: &Record) {
        self.remember(at, record);
        let Some((connection, kind)) = self.current else { return };
        let is_its_own = match record {
            Record::Published { origin: Origin::Inbound { .. } | Origin::Untracked, .. } => {
                matches!(kind, Kind::PubAck | Kind::PubRec)
            }
            Record::Subscribed { .. } => kind == Kind::SubAck,
            Record::Unsubscribed { .. } => kind == Kind::UnsubAck,
            Record::InboundReleased { .. } => kind == Kind::PubComp,
            Record::Published { .. }
            | Record::Connected { .. }
            | Record::Disconnected { .. }
            | Record::SessionEnded { .. }
            | Record::WillDropped { .. }
            | Record::Requeued { .. }
            | Record::Replayed { .. }
            | Record::ReplayEnded { .. }
            | Record::Bound { .. }
            | Record::Received { .. }
            | Record::Completed { .. }
            | Record::Removed { .. }
            | Record::Moved { .. }
            | Record::InboundHeld { .. }
            | Record::Requested(_)
            | Record::RetainedCleared { .. }
            | Record::Counted { .. }
            | Record::Counters { .. } => false,
        };
        let line = self.lines.get_mut(&connection).filter(|_| is_its_own);
        let owed = line.and_then(|line| line.owed.get_mut(&kind)?.back_mut());
        if let Some(owed) = owed {
            owed.after = at;
        }
    }

    fn remember(&mut self, at: u64, record: &Record) {
        match record {
            Record::Connected { session, client_id, .. } => {
                self.sessions.insert(client_id.clone(), (*session, at));
            }
            Record::SessionEnded { session } => {
                self.sessions.retain(|_, (known, _)| known != session);
                self.inbound.retain(|(known, _), _| known != session);
                self.received.retain(|(known, _), _| known != session);
            }
            Record::Published { origin: Origin::Inbound { session, packet_id }, .. } => {
                let before = self.inbound.insert((*session, *packet_id), at);
                assert!(before.is_none(), "taken twice [MQTT-4.3.3-10]: {record:?}");
            }
            Record::InboundReleased { session, packet_id } => {
                self.inbound.remove(&(*session, *packet_id));
            }
            Record::Received { session, packet_id } => {
                self.received.insert((*session, *packet_id), at);
            }
            Record::Bound { session, packet_id, .. } | Record::Completed { session, packet_id } => {
                self.received.remove(&(*session, *packet_id));
            }
            Record::Published { .. }
            | Record::Disconnected { .. }
            | Record::WillDropped { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::Requeued { .. }
            | Record::Replayed { .. }
            | Record::ReplayEnded { .. }
            | Record::Removed { .. }
            | Record::Moved { .. }
            | Record::InboundHeld { .. }
            | Record::Requested(_)
            | Record::RetainedCleared { .. }
            | Record::Counted { .. }
            | Record::Counters { .. } => {}
        }
    }

    /// The process starts again with `journal`.
    pub(super) fn crash(&mut self, journal: &[Record]) {
        *self = Answers::default();
        for (at, record) in (1..).zip(journal) {
            self.remember(at, record);
        }
    }

    /// The broker sends `packet`, with so many records durable.
    ///
    /// # Panics
    /// If it may not.
    pub(super) fn receives(
        &mut self,
        connection: ConnectionId,
        packet: &ServerPacket,
        durable: u64,
    ) {
        let (kind, id) = match packet {
            ServerPacket::ConnAck(connack) => return self.connack(connection, connack, durable),
            ServerPacket::Publish(publish) => return self.publish(connection, publish),
            ServerPacket::PubAck(ack) => (Kind::PubAck, ack.packet_id.0),
            ServerPacket::PubRec(ack) => (Kind::PubRec, ack.packet_id.0),
            ServerPacket::PubComp(ack) => (Kind::PubComp, ack.packet_id.0),
            ServerPacket::SubAck(suback) => (Kind::SubAck, suback.packet_id.0),
            ServerPacket::UnsubAck(unsuback) => (Kind::UnsubAck, unsuback.packet_id.0),
            ServerPacket::PubRel(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => return,
        };
        let line = self.lines.get_mut(&connection).expect("an open connection");
        let owed = line.owed.get_mut(&kind).and_then(VecDeque::pop_front);
        let owed = owed.unwrap_or_else(|| panic!("nothing asked for it: {packet:?}"));
        assert_eq!(owed.id, id, "answers come in order [MQTT-4.6.0-2]: {packet:?}");
        assert!(owed.after <= durable, "record {} is not durable: {packet:?}", owed.after);
        if let (ServerPacket::PubRec(ack), Some(session)) = (packet, line.session)
            && !ack.reason.is_error()
        {
            let at = self.inbound.get(&(session, ack.packet_id)).copied().unwrap_or(0);
            assert!(at <= durable, "record {at} is not durable: {packet:?}");
        }
    }

    fn connack(&mut self, connection: ConnectionId, connack: &ConnAck, durable: u64) {
        let line = self.lines.get_mut(&connection).expect("an open connection");
        if connack.reason.is_error() {
            return;
        }
        if let Some(assigned) = &connack.assigned_client_id {
            line.client_id = Some(assigned.clone());
        }
        let known = line.client_id.as_ref().and_then(|client_id| self.sessions.get(client_id));
        if let Some((session, at)) = known {
            assert!(*at <= durable, "record {at} is not durable: {connack:?}");
            line.session = Some(*session);
        }
    }

    fn publish(&self, connection: ConnectionId, publish: &OutboundPublish) {
        let session = self.lines.get(&connection).and_then(|line| line.session);
        if let (Delivery::ExactlyOnce(id), Some(session)) = (publish.delivery, session) {
            let is_received = self.received.contains_key(&(session, id));
            assert!(!is_received, "again after its PUBREC [MQTT-4.3.3-8]: {publish:?}");
        }
    }
}
