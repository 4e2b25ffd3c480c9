//! What a client does with what it reads.

use signalhouse_core::ConnectionId;
use signalhouse_core::wire::packet::{Ack, ClientPacket, ConnAck, OutboundPublish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, OutboundPacketId, Version};

use super::client::{Asked, Request};
use super::world::World;

impl World {
    /// The client reads one packet and puts down what it will answer.
    pub(crate) fn read(&mut self, id: ConnectionId, packet: ServerPacket) {
        match packet {
            ServerPacket::ConnAck(connack) => self.read_connack(id, &connack),
            ServerPacket::Publish(publish) => self.read_publish(id, &publish),
            ServerPacket::PubAck(ack) => self.answered(id, ack.packet_id.0.value()),
            ServerPacket::PubComp(ack) => self.answered(id, ack.packet_id.0.value()),
            ServerPacket::SubAck(suback) => self.answered(id, suback.packet_id.0.value()),
            ServerPacket::UnsubAck(unsuback) => self.answered(id, unsuback.packet_id.0.value()),
            ServerPacket::PubRec(ack) => {
                let packet_id = ack.packet_id.0.value();
                if ack.reason.is_error() {
                    self.answered(id, packet_id);
                } else if let Some(request) = self.request_of(id, packet_id) {
                    request.what = Asked::Release;
                    let pubrel = Ack::new(ack.packet_id, ReasonCode::Success);
                    self.owe(id, ClientPacket::PubRel(pubrel));
                }
            }
            ServerPacket::PubRel(ack) => {
                let memory = self.memory_of(id);
                let had = memory.is_some_and(|memory| memory.held.remove(&ack.packet_id.0.value()));
                let is_v5 = self.link(id).is_some_and(|link| link.version == Version::V5);
                let reason = if had || !is_v5 {
                    ReasonCode::Success
                } else {
                    ReasonCode::PacketIdentifierNotFound
                };
                self.owe(id, ClientPacket::PubComp(Ack::new(ack.packet_id, reason)));
            }
            ServerPacket::PingResp | ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
        }
    }

    fn memory_of(&mut self, id: ConnectionId) -> Option<&mut super::client::Memory> {
        let key = self.link(id)?.key.clone();
        self.memories.get_mut(&key)
    }

    fn request_of(&mut self, id: ConnectionId, packet_id: u16) -> Option<&mut Request> {
        self.memory_of(id)?.requests.get_mut(&packet_id)
    }

    fn answered(&mut self, id: ConnectionId, packet_id: u16) {
        if let Some(memory) = self.memory_of(id) {
            memory.requests.remove(&packet_id);
        }
    }

    fn owe(&mut self, id: ConnectionId, packet: ClientPacket) {
        if let Some(Some(link)) = self.links.get_mut(id.index as usize)
            && link.id == id
        {
            link.replies.push(packet);
        }
    }

    /// The session is the one remembered, or everything remembered is void.
    fn read_connack(&mut self, id: ConnectionId, connack: &ConnAck) {
        if connack.reason.is_error() {
            return;
        }
        let Some(session) = self.link(id).and_then(|link| link.session) else { return };
        let Some(memory) = self.memory_of(id) else { return };
        let is_same = memory.session == Some(session);
        if !is_same {
            memory.begin(session, id);
        }
        let mut again: Vec<(u64, u16)> = memory
            .requests
            .iter()
            .filter(|(_, request)| request.sent_on != id)
            .map(|(packet_id, request)| (request.order, *packet_id))
            .collect();
        again.sort_unstable();
        let mut packets = Vec::new();
        for (_, packet_id) in again {
            let Some(request) = memory.requests.get_mut(&packet_id) else { continue };
            request.sent_on = id;
            match &request.what {
                Asked::Publish(publish) => {
                    let mut publish = publish.clone();
                    publish.dup = true;
                    packets.push(ClientPacket::Publish(*publish));
                }
                Asked::Release => {
                    let ack = Ack::new(super::client::inbound(packet_id), ReasonCode::Success);
                    packets.push(ClientPacket::PubRel(ack));
                }
                Asked::Other => {
                    memory.requests.remove(&packet_id);
                }
            }
        }
        if let Some(Some(link)) = self.links.get_mut(id.index as usize)
            && link.id == id
        {
            link.live = true;
        }
        if let Some(check) = &mut self.check {
            check.connack_read(id, session, is_same && connack.session_present);
        }
        for packet in packets {
            self.send(id, packet);
        }
    }

    fn read_publish(&mut self, id: ConnectionId, publish: &OutboundPublish) {
        let Some(session) = self.link(id).and_then(|link| link.session) else { return };
        let is_v5 = self.link(id).is_some_and(|link| link.version == Version::V5);
        let refuses = is_v5 && self.rng.chance(2);
        let reason = if refuses {
            ReasonCode::ImplementationSpecificError
        } else if is_v5 && self.rng.chance(5) {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        };
        match publish.delivery {
            Delivery::AtMostOnce => self.taken(session, publish),
            Delivery::AtLeastOnce(packet_id) => {
                if !refuses {
                    self.taken(session, publish);
                }
                self.owe(id, ClientPacket::PubAck(Ack::new(packet_id, reason)));
            }
            Delivery::ExactlyOnce(packet_id) => {
                self.read_exactly_once(id, publish, packet_id, reason);
            }
        }
    }

    fn read_exactly_once(
        &mut self,
        id: ConnectionId,
        publish: &OutboundPublish,
        packet_id: OutboundPacketId,
        reason: ReasonCode,
    ) {
        let Some(session) = self.link(id).and_then(|link| link.session) else { return };
        let Some(memory) = self.memory_of(id) else { return };
        let number = packet_id.0.value();
        let mut reason = reason;
        if memory.held.contains(&number) {
            reason = ReasonCode::Success;
        } else if !reason.is_error() {
            memory.held.insert(number);
            self.taken(session, publish);
        }
        self.owe(id, ClientPacket::PubRec(Ack::new(packet_id, reason)));
    }

    /// The client's program has got a message.
    fn taken(&mut self, session: super::client::Session, publish: &OutboundPublish) {
        if let Some(check) = &mut self.check {
            check.taken(session, publish);
        }
    }
}
