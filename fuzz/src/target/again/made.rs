//! Clients' packets made of typed fields, so that those deep in a packet differ without its lengths having to fit.
//! What comes out is a packet that the version has: what an older one cannot say is left out.

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{
    Auth, ClientPacket, Connect, Disconnect, Publish, Subscribe, SubscriptionOptions, Unsubscribe,
    Will,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, QoS, Version};

use crate::target::values::{
    Details, Message, Pairs, ack_of, filter_of, inbound, options_of, outbound, pairs_of, qos_of,
    reason_of, subscription_id_of, text_of, topic_of, version_of,
};

/// What a client may answer a PUBLISH with.
const RECEIPTS: [u8; 8] = [0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASES: [u8; 2] = [0x00, 0x92];
const DISCONNECTS: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

/// A packet and its version.
#[derive(Arbitrary, Debug)]
pub(super) struct Made<'a> {
    version: u8,
    packet: Packet<'a>,
}

#[derive(Arbitrary, Debug)]
enum Packet<'a> {
    Connect(Box<Hello<'a>>),
    Publish {
        dup: bool,
        retain: bool,
        qos: u8,
        id: u16,
        message: Message<'a>,
    },
    Ack {
        kind: u8,
        id: u16,
        reason: u8,
        details: Details<'a>,
    },
    Subscribe {
        id: u16,
        subscription_id: Option<u32>,
        filters: Vec<(&'a str, u8)>,
        user: Pairs<'a>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<&'a str>,
        user: Pairs<'a>,
    },
    Ping,
    Disconnect {
        reason: u8,
        expiry_s: Option<u32>,
        details: Details<'a>,
    },
    Auth {
        again: bool,
        method: &'a str,
        data: Option<&'a [u8]>,
        details: Details<'a>,
    },
}

#[derive(Arbitrary, Debug)]
struct Hello<'a> {
    clean_start: bool,
    keep_alive_s: u16,
    client_id: &'a str,
    will: Option<(u8, bool, u32, Message<'a>)>,
    user_name: Option<&'a str>,
    password: Option<&'a [u8]>,
    expiry_s: u32,
    receive_maximum: u16,
    maximum_packet_size_bytes: Option<u32>,
    topic_alias_maximum: u16,
    wants_response_information: bool,
    wants_problem_information: bool,
    method: Option<(&'a str, Option<&'a [u8]>)>,
    user: Pairs<'a>,
}

impl Made<'_> {
    /// The version, and the packet if the version has such a one.
    pub(super) fn packet(&self) -> (Version, Option<ClientPacket>) {
        let version = version_of(self.version);
        (version, self.packet.of(version))
    }
}

/// A CONNECT of this version, as it comes before any other packet.
pub(super) fn greeting(version: Version) -> BytesMut {
    let (name, level) = match version {
        Version::V5 => ("MQTT", 5),
        Version::V311 => ("MQTT", 4),
        Version::V31 => ("MQIsdp", 3),
    };
    let mut body = vec![0, name.len() as u8];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[level, 2, 0, 60]);
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(&[0, 1, b'c']);
    let mut bytes = BytesMut::from(&[0x10, body.len() as u8][..]);
    bytes.extend_from_slice(&body);
    bytes
}

impl Packet<'_> {
    fn of(&self, version: Version) -> Option<ClientPacket> {
        let is_5 = version == Version::V5;
        let user = |pairs: &Pairs<'_>| if is_5 { pairs_of(pairs) } else { Vec::new() };
        Some(match self {
            Packet::Connect(hello) => ClientPacket::Connect(Box::new(hello.of(version))),
            Packet::Publish { dup, retain, qos, id, message } => {
                let id = inbound(*id);
                let delivery = match qos_of(*qos) {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
                    QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
                };
                ClientPacket::Publish(publish(message, *dup, *retain, delivery, version))
            }
            Packet::Ack { kind, id, reason, details } => ack(*kind, *id, *reason, details, version),
            Packet::Subscribe { id, subscription_id, filters, user: pairs } => {
                ClientPacket::Subscribe(Box::new(Subscribe {
                    packet_id: inbound(*id),
                    subscription_id: subscription_id.filter(|_| is_5).map(subscription_id_of),
                    subscriptions: subscriptions(filters, version),
                    user_properties: user(pairs),
                }))
            }
            Packet::Unsubscribe { id, filters, user: pairs } => {
                let mut filters: Vec<_> = filters.iter().map(|filter| filter_of(filter)).collect();
                if filters.is_empty() {
                    filters.push(filter_of("#"));
                }
                ClientPacket::Unsubscribe(Box::new(Unsubscribe {
                    packet_id: inbound(*id),
                    filters,
                    user_properties: user(pairs),
                }))
            }
            Packet::Ping => ClientPacket::PingReq,
            Packet::Disconnect { reason, expiry_s, details } if is_5 => {
                ClientPacket::Disconnect(Box::new(Disconnect {
                    reason: reason_of(&DISCONNECTS, *reason),
                    session_expiry_interval_s: *expiry_s,
                    server_reference: None,
                    reason_string: details.reason.map(text_of),
                    user_properties: pairs_of(&details.user),
                }))
            }
            Packet::Disconnect { .. } => ClientPacket::Disconnect(Box::default()),
            Packet::Auth { again, method, data, details } if is_5 => {
                let reasons = [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate];
                ClientPacket::Auth(Box::new(Auth {
                    reason: reasons[usize::from(*again)],
                    method: Some(text_of(method)),
                    data: data.map(Bytes::copy_from_slice),
                    reason_string: details.reason.map(text_of),
                    user_properties: pairs_of(&details.user),
                }))
            }
            Packet::Auth { .. } => return None,
        })
    }
}

impl Hello<'_> {
    fn of(&self, version: Version) -> Connect {
        let is_5 = version == Version::V5;
        let of_older = if self.clean_start { 0 } else { u32::MAX };
        let method = self.method.as_ref().filter(|_| is_5);
        // Before 5.0 a session that lasts needs a name, and a password a user; 3.1 has no empty names at all.
        let client_id = match self.client_id {
            "" if !is_5 => "c",
            other => other,
        };
        let has_password = is_5 || self.user_name.is_some();
        Connect {
            version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            client_id: text_of(client_id),
            will: self.will.as_ref().map(|(qos, retain, delay_s, message)| {
                Box::new(Will {
                    topic: topic_of(message.topic),
                    payload: Bytes::copy_from_slice(message.payload),
                    qos: qos_of(*qos),
                    retain: *retain,
                    delay_interval_s: if is_5 { *delay_s } else { 0 },
                    message_expiry_interval_s: message.expiry_s.filter(|_| is_5),
                    properties: message.properties(version),
                })
            }),
            user_name: self.user_name.map(text_of),
            password: self.password.filter(|_| has_password).map(Bytes::copy_from_slice),
            session_expiry_interval_s: if is_5 { self.expiry_s } else { of_older },
            receive_maximum: if is_5 { self.receive_maximum.max(1) } else { u16::MAX },
            maximum_packet_size_bytes: self
                .maximum_packet_size_bytes
                .filter(|_| is_5)
                .map(|bytes| bytes.max(1)),
            topic_alias_maximum: if is_5 { self.topic_alias_maximum } else { 0 },
            request_response_information: is_5 && self.wants_response_information,
            request_problem_information: !is_5 || self.wants_problem_information,
            authentication_method: method.map(|(name, _)| text_of(name)),
            authentication_data: method.and_then(|(_, data)| data.map(Bytes::copy_from_slice)),
            user_properties: if is_5 { pairs_of(&self.user) } else { Vec::new() },
        }
    }
}

fn subscriptions(
    filters: &[(&str, u8)],
    version: Version,
) -> Vec<(TopicFilter, SubscriptionOptions)> {
    let mut subscriptions: Vec<_> = filters
        .iter()
        .map(|(filter, options)| {
            let filter = filter_of(filter);
            let options = options_of(*options, version, filter.is_shared());
            (filter, options)
        })
        .collect();
    if subscriptions.is_empty() {
        subscriptions.push((filter_of("#"), SubscriptionOptions::default()));
    }
    subscriptions
}

fn publish(
    message: &Message<'_>,
    dup: bool,
    retain: bool,
    delivery: Delivery<InboundPacketId>,
    version: Version,
) -> Publish {
    Publish {
        // There is nothing to repeat at QoS 0.
        dup: dup && delivery != Delivery::AtMostOnce,
        retain,
        delivery,
        topic: topic_of(message.topic),
        payload: Bytes::copy_from_slice(message.payload),
        message_expiry_interval_s: message.expiry_s.filter(|_| version == Version::V5),
        properties: message.properties(version),
    }
}

fn ack(kind: u8, id: u16, reason: u8, details: &Details<'_>, version: Version) -> ClientPacket {
    match kind % 4 {
        0 => ClientPacket::PubAck(ack_of(outbound(id), &RECEIPTS, reason, details, version)),
        1 => ClientPacket::PubRec(ack_of(outbound(id), &RECEIPTS, reason, details, version)),
        2 => ClientPacket::PubRel(ack_of(inbound(id), &RELEASES, reason, details, version)),
        _ => ClientPacket::PubComp(ack_of(outbound(id), &RELEASES, reason, details, version)),
    }
}
