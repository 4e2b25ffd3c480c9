//! What a client does with what it reads.

use super::{Client, ClientOutput, Loss, Turn};
use crate::codec::Fault;
use crate::history::{ConnectionNumber, What};
use crate::packet::{AckKind, Packet, Property, Publish, Value};

const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
const SESSION_TAKEN_OVER: u8 = 0x8E;
/// Topic Name invalid, Payload format invalid, Retain not supported, QoS not supported.
const WILL_REFUSED: [u8; 4] = [0x90, 0x99, 0x9A, 0x9B];
const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
/// Unspecified error, Implementation specific error, Not authorized, Quota exceeded, Payload format invalid.
const REFUSALS: [u8; 5] = [0x80, 0x83, 0x87, 0x97, 0x99];
/// A client that refuses does so with one message in so many.
const REFUSES_ONE_IN: u64 = 4;

impl Client {
    /// Bytes came on one of its connections.
    pub(super) fn bytes(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionNumber,
        bytes: &[u8],
    ) {
        if let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) {
            link.decoder.feed(bytes);
            self.read(turn);
        } else if let Some(at) = self.leftover(connection) {
            self.leftovers[at].decoder.feed(bytes);
            self.read_leftover(turn, at);
        }
    }

    /// Reads what there is to be read.
    pub(super) fn read(&mut self, turn: &mut Turn<'_>) {
        while self.reading {
            let Some(link) = &mut self.link else { return };
            let connection = link.connection;
            match link.decoder.next_packet() {
                Ok(None) => return,
                Ok(Some(decoded)) => {
                    turn.event(What::Received {
                        connection,
                        packet: decoded.packet.clone(),
                        alias_topic: decoded.alias_topic,
                        size_bytes: decoded.size_bytes,
                    });
                    self.packet(turn, decoded.packet);
                }
                Err(fault) => {
                    turn.event(undecodable(connection, &fault));
                    self.lose(turn, Loss::Reset);
                }
            }
        }
    }

    fn read_leftover(&mut self, turn: &mut Turn<'_>, at: usize) {
        let connection = self.leftovers[at].connection;
        let by_client = loop {
            match self.leftovers[at].decoder.next_packet() {
                Ok(None) => return,
                Ok(Some(decoded)) => {
                    if let Packet::Disconnect { .. } = decoded.packet {
                        let (packet, alias_topic) = (decoded.packet, decoded.alias_topic);
                        let size_bytes = decoded.size_bytes;
                        // A CONNACK that nobody heard may have come before it.
                        if self.leftovers[at].was_serving {
                            turn.event(What::Received {
                                connection,
                                packet,
                                alias_topic,
                                size_bytes,
                            });
                        }
                        break false;
                    }
                }
                Err(fault) => {
                    turn.event(undecodable(connection, &fault));
                    break true;
                }
            }
        };
        self.leftovers.remove(at);
        turn.out.push(ClientOutput::Close { connection, reset: by_client });
        turn.event(What::Ended { connection, by_client });
    }

    /// What the broker may not send is for the oracle to judge; here it is passed over.
    fn packet(&mut self, turn: &mut Turn<'_>, packet: Packet) {
        match packet {
            Packet::ConnAck { session_present, reason, properties } => {
                self.connack(turn, session_present, reason, &properties);
            }
            Packet::Publish(publish) => self.received_publish(turn, &publish),
            Packet::Ack { kind, id, reason, properties: _ } => self.ack(turn, kind, id, reason),
            Packet::SubAck { id, .. } | Packet::UnsubAck { id, .. } => {
                if let Some(link) = &mut self.link {
                    link.requests.remove(&id);
                }
            }
            Packet::PingResp => {
                if let Some(link) = &mut self.link {
                    link.ping_answered();
                }
            }
            Packet::Disconnect { reason, properties: _ } => {
                // Two places that both came back would take over from each other for ever.
                if reason == SESSION_TAKEN_OVER {
                    self.comes_back = false;
                }
                self.lose(turn, Loss::Told);
            }
            Packet::Auth { .. } => {}
            Packet::Connect(_)
            | Packet::Subscribe { .. }
            | Packet::Unsubscribe { .. }
            | Packet::PingReq => unreachable!("the decoder takes no such packet from a broker"),
        }
    }

    fn connack(
        &mut self,
        turn: &mut Turn<'_>,
        session_present: bool,
        reason: u8,
        properties: &[Property],
    ) {
        let Some(link) = self.link.as_mut().filter(|link| !link.is_serving) else { return };
        if reason != 0 {
            // What is refused in a will is refused again. Before level 5 there is no telling.
            if self.spec.level < 5 || WILL_REFUSED.contains(&reason) {
                self.will = None;
            }
            self.lose(turn, Loss::Told);
            return;
        }
        if !turn.session.accept(self.spec.level, session_present) {
            link.serve(turn.now_ms, &self.spec, properties);
            self.disagree(turn);
            return;
        }
        link.serve(turn.now_ms, &self.spec, properties);
        let assigned = properties.iter().find(|property| property.id == ASSIGNED_CLIENT_IDENTIFIER);
        if let Some(Property { value: Value::Text(id), .. }) = assigned {
            turn.session.assigned_id = Some(id.clone());
        }
        self.send_publications(turn);
    }

    fn received_publish(&mut self, turn: &mut Turn<'_>, publish: &Publish) {
        let Some(id) = publish.id else { return };
        if publish.qos == 1 {
            let reason = self.refusal();
            self.owe(turn, AckKind::PubAck, id, reason);
            return;
        }
        // What it has taken it cannot refuse any more.
        let is_taken = turn.session.inbound.contains(&id);
        let reason = if is_taken { 0 } else { self.refusal() };
        if reason == 0 {
            turn.session.inbound.insert(id);
        }
        self.owe(turn, AckKind::PubRec, id, reason);
    }

    /// Why it refuses the message that it reads, or 0 if it takes it. Before version 5 no client can say no.
    fn refusal(&mut self) -> u8 {
        let refuses = self.spec.refuses && self.spec.level >= 5;
        if refuses && self.refusal_chance.one_in(REFUSES_ONE_IN) {
            *self.refusal_chance.pick(&REFUSALS)
        } else {
            0
        }
    }

    fn ack(&mut self, turn: &mut Turn<'_>, kind: AckKind, id: u16, reason: u8) {
        let outbound = turn.session.find(id);
        let stage = outbound.map(|at| {
            let outbound = &turn.session.outbound[at];
            (at, outbound.publish.qos, outbound.is_released)
        });
        match (kind, stage) {
            (AckKind::PubAck, Some((at, 1, _))) | (AckKind::PubComp, Some((at, 2, true))) => {
                turn.session.outbound.remove(at);
            }
            (AckKind::PubRec, Some((at, 2, false))) if reason >= 0x80 => {
                turn.session.outbound.remove(at);
            }
            (AckKind::PubRec, Some((at, 2, _))) => {
                turn.session.outbound[at].is_released = true;
                self.owe(turn, AckKind::PubRel, id, 0);
            }
            (AckKind::PubRec, _) => {
                self.owe(turn, AckKind::PubRel, id, PACKET_IDENTIFIER_NOT_FOUND);
            }
            (AckKind::PubRel, _) => {
                let is_known = turn.session.inbound.remove(&id);
                let reason = if is_known { 0 } else { PACKET_IDENTIFIER_NOT_FOUND };
                self.owe(turn, AckKind::PubComp, id, reason);
            }
            (AckKind::PubAck | AckKind::PubComp, _) => {}
        }
        self.send_publications(turn);
    }
}

fn undecodable(connection: ConnectionNumber, fault: &Fault) -> What {
    What::Undecodable { connection, guarantee: fault.guarantee(), cause: fault.to_string() }
}
