//! A broker's packets made of typed fields, as [`made`](super::made) makes those of clients.

use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;
use signalhouse_core::message::{self, MessageId};
use signalhouse_core::wire::packet::{
    Auth, ConnAck, Disconnect, OutboundPublish, ServerPacket, SubAck, UnsubAck,
};
use signalhouse_core::wire::property::SubscriptionIds;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, OutboundPacketId, QoS, Version};

use crate::target::values::{
    Details, Message, Pairs, ack_of, inbound, outbound, pairs_of, qos_of, reason_of,
    subscription_id_of, text_of, topic_of, version_of,
};

const CONNACKS: [u8; 22] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
/// Those that an older version has a return code for, which stands for the same again.
const OLDER_CONNACKS: [u8; 6] = [0x00, 0x84, 0x85, 0x88, 0x86, 0x87];
const RECEIPTS: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASES: [u8; 2] = [0x00, 0x92];
const SUBACKS: [u8; 12] = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const OLDER_SUBACKS: [u8; 4] = [0x00, 0x01, 0x02, 0x80];
const UNSUBACKS: [u8; 7] = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECTS: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

/// A packet and its version.
#[derive(Arbitrary, Debug)]
pub(super) struct Served<'a> {
    version: u8,
    packet: Packet<'a>,
}

#[derive(Arbitrary, Debug)]
enum Packet<'a> {
    ConnAck(Box<Welcome<'a>>),
    Publish {
        dup: bool,
        retain: bool,
        qos: u8,
        id: u16,
        ids: Vec<u32>,
        message: Message<'a>,
    },
    Ack {
        kind: u8,
        id: u16,
        reason: u8,
        details: Details<'a>,
    },
    SubAck {
        id: u16,
        reasons: Vec<u8>,
        details: Details<'a>,
    },
    UnsubAck {
        id: u16,
        reasons: Vec<u8>,
        details: Details<'a>,
    },
    Ping,
    Disconnect {
        reason: u8,
        reference: Option<&'a str>,
        details: Details<'a>,
    },
    Auth {
        more: bool,
        method: &'a str,
        data: Option<&'a [u8]>,
        details: Details<'a>,
    },
    /// A success that says nothing.
    Authenticated,
}

#[derive(Arbitrary, Debug)]
struct Welcome<'a> {
    session_present: bool,
    reason: u8,
    expiry_s: Option<u32>,
    receive_maximum: Option<u16>,
    maximum_qos: Option<bool>,
    maximum_packet_size_bytes: Option<u32>,
    topic_alias_maximum: Option<u16>,
    keep_alive_s: Option<u16>,
    /// Retained messages, wildcards, identifiers, shares.
    available: [Option<bool>; 4],
    client_id: Option<&'a str>,
    response_information: Option<&'a str>,
    reference: Option<&'a str>,
    method: Option<(&'a str, Option<&'a [u8]>)>,
    text: Option<&'a str>,
    user: Pairs<'a>,
}

impl Served<'_> {
    /// The version, and the packet if the version has such a one.
    pub(super) fn packet(&self) -> (Version, Option<ServerPacket>) {
        let version = version_of(self.version);
        (version, self.packet.of(version))
    }
}

impl Packet<'_> {
    fn of(&self, version: Version) -> Option<ServerPacket> {
        let is_5 = version == Version::V5;
        Some(match self {
            Packet::ConnAck(welcome) => ServerPacket::ConnAck(Box::new(welcome.of(version))),
            Packet::Publish { dup, retain, qos, id, ids, message } => {
                let id = outbound(*id);
                let delivery = match qos_of(*qos) {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
                    QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
                };
                let mut publish = publish(message, *dup, *retain, delivery, version);
                if is_5 {
                    publish.subscription_ids =
                        ids.iter().map(|id| subscription_id_of(*id)).collect();
                }
                ServerPacket::Publish(publish)
            }
            Packet::Ack { kind, id, reason, details } => ack(*kind, *id, *reason, details, version),
            Packet::SubAck { id, reasons, details } => ServerPacket::SubAck(Box::new(SubAck {
                packet_id: inbound(*id),
                reasons: reasons_of(if is_5 { &SUBACKS } else { &OLDER_SUBACKS }, reasons),
                details: details.of(version),
            })),
            Packet::UnsubAck { id, reasons, details } => {
                ServerPacket::UnsubAck(Box::new(UnsubAck {
                    packet_id: inbound(*id),
                    reasons: if is_5 { reasons_of(&UNSUBACKS, reasons) } else { Vec::new() },
                    details: details.of(version),
                }))
            }
            Packet::Ping => ServerPacket::PingResp,
            Packet::Disconnect { reason, reference, details } if is_5 => {
                ServerPacket::Disconnect(Box::new(Disconnect {
                    reason: reason_of(&DISCONNECTS, *reason),
                    session_expiry_interval_s: None,
                    server_reference: reference.map(text_of),
                    reason_string: details.reason.map(text_of),
                    user_properties: pairs_of(&details.user),
                }))
            }
            Packet::Auth { more, method, data, details } if is_5 => {
                let reasons = [ReasonCode::Success, ReasonCode::ContinueAuthentication];
                ServerPacket::Auth(Box::new(Auth {
                    reason: reasons[usize::from(*more)],
                    method: Some(text_of(method)),
                    data: data.map(Bytes::copy_from_slice),
                    reason_string: details.reason.map(text_of),
                    user_properties: pairs_of(&details.user),
                }))
            }
            Packet::Authenticated if is_5 => ServerPacket::Auth(Box::default()),
            Packet::Disconnect { .. } | Packet::Auth { .. } | Packet::Authenticated => return None,
        })
    }
}

impl Welcome<'_> {
    fn of(&self, version: Version) -> ConnAck {
        let is_5 = version == Version::V5;
        let reason = reason_of(if is_5 { &CONNACKS } else { &OLDER_CONNACKS }, self.reason);
        let may_be_present = reason == ReasonCode::Success && version != Version::V31;
        let session_present = self.session_present && may_be_present;
        if !is_5 {
            return ConnAck { session_present, reason, ..ConnAck::default() };
        }
        let [retained, wildcards, identifiers, shares] = self.available;
        let qos = |is_1| if is_1 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let data = self.method.and_then(|(_, data)| data);
        ConnAck {
            session_present,
            reason,
            session_expiry_interval_s: self.expiry_s,
            receive_maximum: self.receive_maximum.map(|maximum| maximum.max(1)),
            maximum_qos: self.maximum_qos.map(qos),
            retain_available: retained,
            maximum_packet_size_bytes: self.maximum_packet_size_bytes.map(|bytes| bytes.max(1)),
            assigned_client_id: self.client_id.map(text_of),
            topic_alias_maximum: self.topic_alias_maximum,
            wildcard_subscription_available: wildcards,
            subscription_identifiers_available: identifiers,
            shared_subscription_available: shares,
            server_keep_alive_s: self.keep_alive_s,
            response_information: self.response_information.map(text_of),
            server_reference: self.reference.map(text_of),
            authentication_method: self.method.map(|(name, _)| text_of(name)),
            authentication_data: data.map(Bytes::copy_from_slice),
            reason_string: self.text.map(text_of),
            user_properties: pairs_of(&self.user),
        }
    }
}

/// As it is read: the message's number and expiry time are its broker's own.
fn publish(
    message: &Message<'_>,
    dup: bool,
    retain: bool,
    delivery: Delivery<OutboundPacketId>,
    version: Version,
) -> OutboundPublish {
    OutboundPublish {
        message: Arc::new(message::Message {
            id: MessageId::default(),
            topic: topic_of(message.topic),
            payload: Bytes::copy_from_slice(message.payload),
            qos: delivery.qos(),
            expires_at: None,
            properties: message.properties(version),
        }),
        // There is nothing to repeat at QoS 0.
        dup: dup && delivery != Delivery::AtMostOnce,
        retain,
        delivery,
        message_expiry_interval_s: message.expiry_s.filter(|_| version == Version::V5),
        subscription_ids: SubscriptionIds::None,
    }
}

fn ack(kind: u8, id: u16, reason: u8, details: &Details<'_>, version: Version) -> ServerPacket {
    match kind % 4 {
        0 => ServerPacket::PubAck(ack_of(inbound(id), &RECEIPTS, reason, details, version)),
        1 => ServerPacket::PubRec(ack_of(inbound(id), &RECEIPTS, reason, details, version)),
        2 => ServerPacket::PubRel(ack_of(outbound(id), &RELEASES, reason, details, version)),
        _ => ServerPacket::PubComp(ack_of(inbound(id), &RELEASES, reason, details, version)),
    }
}

/// One for each place, and one at least.
fn reasons_of(codes: &[u8], places: &[u8]) -> Vec<ReasonCode> {
    let places = if places.is_empty() { &[0] } else { places };
    places.iter().map(|place| reason_of(codes, *place)).collect()
}
