//! PUBACK, PUBREC, PUBREL and PUBCOMP from clients.

use super::Broker;
use super::deliver::completion;
use super::leave::dropped_waiting;
use crate::input::ConnectionId;
use crate::notice::{DropCause, Notice};
use crate::outbox::Outbox;
use crate::record::{LogPosition, Record};
use crate::session::SessionKey;
use crate::session::flight::Stage;
use crate::session::queue::Journaled;
use crate::wire::packet::{Ack, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{InboundPacketId, OutboundPacketId, QoS, Version};

/// What an acknowledgement finds under its packet identifier.
enum Found {
    /// A PUBLISH at this QoS.
    Publish(QoS),
    /// A PUBREL.
    Release,
    Nothing,
}

impl Broker {
    pub(super) fn puback(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        ack: &Ack<OutboundPacketId>,
        out: &mut Outbox,
    ) {
        match self.find_exchange(key, ack.packet_id) {
            Found::Publish(QoS::AtLeastOnce) => {
                self.complete(connection, key, ack.packet_id, ack.reason, out);
            }
            Found::Publish(QoS::AtMostOnce | QoS::ExactlyOnce) | Found::Release => {
                self.protocol_error(connection, "PUBACK for a delivery at QoS 2", out);
            }
            Found::Nothing => self.unknown_ack(key, "PUBACK", ack.packet_id, out),
        }
    }

    pub(super) fn pubrec(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        ack: &Ack<OutboundPacketId>,
        out: &mut Outbox,
    ) {
        match self.find_exchange(key, ack.packet_id) {
            // [MQTT-4.4.0-2] [MQTT-4.8.2-6]
            Found::Publish(QoS::ExactlyOnce) if ack.reason.is_error() => {
                self.complete(connection, key, ack.packet_id, ack.reason, out);
            }
            Found::Publish(QoS::ExactlyOnce) => self.received(connection, key, ack.packet_id, out),
            Found::Publish(QoS::AtMostOnce | QoS::AtLeastOnce) => {
                self.protocol_error(connection, "PUBREC for a delivery at QoS 1", out);
            }
            Found::Release => {
                let after = self.gate.appended();
                self.send_pubrel(connection, ack.packet_id, ReasonCode::Success, after, out);
            }
            Found::Nothing => {
                self.unknown_ack(key, "PUBREC", ack.packet_id, out);
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.send_pubrel(connection, ack.packet_id, reason, LogPosition::START, out);
            }
        }
    }

    pub(super) fn pubcomp(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        ack: &Ack<OutboundPacketId>,
        out: &mut Outbox,
    ) {
        match self.find_exchange(key, ack.packet_id) {
            Found::Release => {
                self.complete(connection, key, ack.packet_id, ReasonCode::Success, out);
            }
            Found::Publish(_) => {
                self.protocol_error(connection, "PUBCOMP before PUBREC", out);
            }
            Found::Nothing => self.unknown_ack(key, "PUBCOMP", ack.packet_id, out),
        }
    }

    pub(super) fn pubrel(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        ack: &Ack<InboundPacketId>,
        out: &mut Outbox,
    ) {
        let id = ack.packet_id;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(counted) = session.inbound.remove(id) else {
            let client_id = session.client_id.clone();
            let packet_id = id.0.value();
            out.notice(Notice::UnknownAck { client_id, packet: "PUBREL", packet_id });
            let packet = ServerPacket::PubComp(Ack::new(id, ReasonCode::PacketIdentifierNotFound));
            self.send_after(LogPosition::START, connection, packet, false, out);
            return;
        };
        if canary!(RevokedReleaseUnanswered) && !counted && !self.permissions.is_allow_all() {
            return;
        }
        let mut after = LogPosition::START;
        if session.is_durable() && !canary!(ReleaseNotRecorded) {
            let record = Record::InboundReleased { session: session.id, packet_id: id };
            after = self.gate.persist(record, out);
        }
        let packet = ServerPacket::PubComp(Ack::new(id, ReasonCode::Success)); // [MQTT-4.3.3-11]
        self.send_after(after, connection, packet, counted, out);
    }

    /// Whether a QoS 2 publication holds an identifier that came with one at QoS 1. Before version 5 no answer can say
    /// so, and a client that is closed for it does the same when it comes again: there, who uses it has given the
    /// exchange up, and it is free.
    pub(super) fn is_held_for_another(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        id: InboundPacketId,
        out: &mut Outbox,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if session.version == Version::V5 {
            return session.inbound.contains(id);
        }
        let Some(counted) = session.inbound.remove(id) else { return false };
        if session.is_durable() {
            let record = Record::InboundReleased { session: session.id, packet_id: id };
            self.gate.persist(record, out);
        }
        if let Some(link) = self.links.get_mut(connection).filter(|_| counted) {
            link.inbound_unacked -= 1;
        }
        false
    }

    fn find_exchange(&self, key: SessionKey, id: OutboundPacketId) -> Found {
        let exchange = self.sessions.get(key).and_then(|session| session.flight.get(id));
        match exchange.map(|exchange| &exchange.stage) {
            Some(Stage::Publish { entry, .. }) if entry.maybe_sent => Found::Publish(entry.qos),
            Some(Stage::Release { .. }) => Found::Release,
            Some(Stage::Publish { .. }) | None => Found::Nothing,
        }
    }

    /// A delivery is over `[MQTT-4.3.2-3]`.
    fn complete(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        id: OutboundPacketId,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        if reason.is_error() && self.mistakes_refusal(connection, key, id, out) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(exchange) = session.flight.remove(id) else { return };
        session.moved_at = self.now;
        if exchange.in_window
            && !(canary!(RefusedKeepsWindow) && reason.is_error())
            && let Some(link) = self.links.get_mut(connection)
        {
            link.in_window -= 1;
            if canary!(CreditGivenTwice) {
                link.in_window = link.in_window.saturating_sub(1);
            }
        }
        if let Some(record) = completion(session, id, &exchange) {
            self.gate.persist(record, out);
        }
        if reason.is_error()
            && let Stage::Publish { entry, .. } = &exchange.stage
        {
            self.counters.dropped += 1;
            let cause = DropCause::RefusedByClient(reason);
            out.notice(dropped_waiting(session.client_id.clone(), entry, cause));
        }
        if let Stage::Publish { entry, .. } = exchange.stage {
            self.take_back_held(entry.message);
        }
        self.count_stored(key);
        self.pump(key, out);
        if canary!(BacklogHoldsOthers) {
            self.pump_all(out);
        }
    }

    /// PUBREC came: from here on only PUBREL is sent `[MQTT-4.3.3-6]`.
    fn received(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        id: OutboundPacketId,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let session_id = session.id;
        let Some(exchange) = session.flight.get_mut(id) else { return };
        session.moved_at = self.now;
        let mut after = LogPosition::START;
        if exchange.journaled == Journaled::Here && !canary!(ReceiptNotRecorded) {
            let record = Record::Received { session: session_id, packet_id: id };
            after = self.gate.persist(record, out);
        }
        let entry = session.flight.release(id, after);
        let Some(exchange) = session.flight.get_mut(id) else { return };
        if canary!(PubrecGivesCredit)
            && core::mem::take(&mut exchange.in_window)
            && let Some(link) = self.links.get_mut(connection)
        {
            link.in_window -= 1;
        }
        if !exchange.in_window
            && let Some(link) = self.links.get_mut(connection)
        {
            // It was still to be sent again; PUBREL now goes out by itself.
            link.unsent.retain(|(other, _)| *other != id);
        }
        if let Some(entry) = entry {
            self.take_back_held(entry.message);
        }
        self.count_stored(key);
        self.send_pubrel(connection, id, ReasonCode::Success, after, out); // [MQTT-4.3.3-4]
    }

    fn send_pubrel(
        &mut self,
        connection: ConnectionId,
        id: OutboundPacketId,
        reason: ReasonCode,
        after: LogPosition,
        out: &mut Outbox,
    ) {
        let packet = ServerPacket::PubRel(Ack::new(id, reason));
        self.send_after(after, connection, packet, false, out);
    }

    fn unknown_ack(
        &mut self,
        key: SessionKey,
        packet: &'static str,
        id: OutboundPacketId,
        out: &mut Outbox,
    ) {
        if let Some(session) = self.sessions.get(key) {
            let client_id = session.client_id.clone();
            out.notice(Notice::UnknownAck { client_id, packet, packet_id: id.0.value() });
        }
    }
}
