//! Arbitrary packets, and what is left of them in older versions.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::*;
use signalhouse_core::wire::property::{MessageProperties, UserProperties};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::*;

const CONNACK: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const RECEIPT_CLIENT: &[u8] = &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RECEIPT_SERVER: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE: &[u8] = &[0x00, 0x92];
const SUBACK: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_CLIENT: &[u8] =
    &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
const DISCONNECT_SERVER: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

pub(crate) fn version() -> impl Strategy<Value = Version> {
    select(vec![Version::V5, Version::V311, Version::V31])
}

pub(crate) fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

fn any_text() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => "[a-z]{0,6}",
        2 => "\\PC{0,10}",
        1 => "\u{FEFF}?[\u{1}-\u{1F}\u{80}-\u{10FFFF}]{0,4}",
        1 => "x{100,300}",
    ]
    .prop_map(|string| text(&string))
}

pub(crate) fn topic() -> impl Strategy<Value = Topic> {
    prop_oneof![4 => "[a-c]/[a-c]{0,3}", 1 => "[^+#\u{0}]{1,10}", 1 => "t{120,140}"]
        .prop_map(|name: String| Topic::try_from(name.as_str()).unwrap())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![Just("+".to_owned()), "[a-c]{0,3}"];
    (option::of("[^+#/\u{0}]{1,5}"), vec(level, 1..4), any::<bool>()).prop_map(
        |(share, mut levels, hash)| {
            if hash {
                levels.push("#".to_owned());
            }
            let mut filter = levels.join("/");
            if filter.is_empty() {
                filter.push('/');
            }
            if let Some(share) = share {
                filter = format!("$share/{share}/{filter}");
            }
            TopicFilter::try_from(filter.as_str()).unwrap()
        },
    )
}

fn binary() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..12),
        1 => vec(any::<u8>(), 100..300),
    ]
    .prop_map(Bytes::from)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec((any_text(), any_text()), 1..4)]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    prop_oneof![Just(1), Just(u16::MAX), 1..u16::MAX].prop_map(|id| PacketId::new(id).unwrap())
}

fn inbound() -> impl Strategy<Value = InboundPacketId> {
    packet_id().prop_map(InboundPacketId)
}

fn outbound() -> impl Strategy<Value = OutboundPacketId> {
    packet_id().prop_map(OutboundPacketId)
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = ReasonCode> {
    select(codes).prop_map(|code| ReasonCode::from_u8(code).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..=2u8).prop_map(|qos| QoS::from_u8(qos).unwrap())
}

fn delivery<Id: Clone + std::fmt::Debug + 'static>(
    id: impl Strategy<Value = Id> + 'static,
) -> impl Strategy<Value = (Delivery<Id>, bool)> {
    (0..3, id, any::<bool>()).prop_map(|(qos, id, dup)| match qos {
        0 => (Delivery::AtMostOnce, false),
        1 => (Delivery::AtLeastOnce(id), dup),
        _ => (Delivery::ExactlyOnce(id), dup),
    })
}

fn message_properties() -> impl Strategy<Value = Option<Box<MessageProperties>>> {
    (
        option::of(any::<bool>()),
        option::of(any_text()),
        option::of(topic()),
        option::of(binary()),
        user_properties(),
        any::<bool>(),
    )
        .prop_map(|(indicator, content_type, response_topic, data, user_properties, none)| {
            let properties = MessageProperties {
                payload_format_indicator: indicator,
                content_type,
                response_topic,
                correlation_data: data,
                user_properties,
            };
            (!none && !properties.is_empty()).then(|| Box::new(properties))
        })
}

fn details() -> impl Strategy<Value = Option<Box<ReasonDetails>>> {
    (option::of(any_text()), user_properties()).prop_map(|(reason_string, user_properties)| {
        (reason_string.is_some() || !user_properties.is_empty())
            .then(|| Box::new(ReasonDetails { reason_string, user_properties }))
    })
}

fn ack<Id: Clone + std::fmt::Debug + 'static>(
    id: impl Strategy<Value = Id> + 'static,
    codes: &'static [u8],
) -> impl Strategy<Value = Ack<Id>> {
    (id, reason(codes), details()).prop_map(|(packet_id, reason, details)| Ack {
        packet_id,
        reason,
        details,
    })
}

fn will() -> impl Strategy<Value = Will> {
    (
        topic(),
        binary(),
        qos(),
        any::<bool>(),
        prop_oneof![Just(0), any::<u32>()],
        option::of(any::<u32>()),
        message_properties(),
    )
        .prop_map(|(topic, payload, qos, retain, delay_interval_s, expiry, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay_interval_s,
            message_expiry_interval_s: expiry,
            properties,
        })
}

/// A CONNECT that any version allows.
pub(crate) fn connect() -> impl Strategy<Value = Connect> {
    let fields = (version(), any::<bool>(), any::<u16>(), any_text(), option::of(will()));
    let credentials = (option::of(any_text()), option::of(binary()));
    let numbers = (
        prop_oneof![Just(0), any::<u32>()],
        1..=u16::MAX,
        option::of(1..=u32::MAX),
        any::<u16>(),
        any::<(bool, bool)>(),
    );
    let authentication = (option::of(any_text()), option::of(binary()), user_properties());
    (fields, credentials, numbers, authentication).prop_map(
        |(fields, (user_name, password), numbers, (method, data, user_properties))| {
            let (version, clean_start, keep_alive_s, client_id, will) = fields;
            let named = version == Version::V5 || user_name.is_some();
            let client_id =
                if client_id.is_empty() && version != Version::V5 { text("a") } else { client_id };
            Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id,
                will: will.map(Box::new),
                user_name,
                password: password.filter(|_| named),
                session_expiry_interval_s: numbers.0,
                receive_maximum: numbers.1,
                maximum_packet_size_bytes: numbers.2,
                topic_alias_maximum: numbers.3,
                request_response_information: numbers.4.0,
                request_problem_information: numbers.4.1,
                authentication_data: data.filter(|_| method.is_some()),
                authentication_method: method,
                user_properties,
            }
        },
    )
}

fn publish() -> impl Strategy<Value = Publish> {
    (
        delivery(inbound()),
        any::<bool>(),
        topic(),
        binary(),
        option::of(any::<u32>()),
        message_properties(),
    )
        .prop_map(|((delivery, dup), retain, topic, payload, expiry, properties)| Publish {
            dup,
            retain,
            delivery,
            topic,
            payload,
            message_expiry_interval_s: expiry,
            properties,
        })
}

pub(crate) fn outbound_publish() -> impl Strategy<Value = OutboundPublish> {
    let ids = vec(1..=268_435_455u32, 0..4);
    (
        delivery(outbound()),
        any::<bool>(),
        topic(),
        binary(),
        option::of(any::<u32>()),
        (message_properties(), ids),
    )
        .prop_map(|((delivery, dup), retain, topic, payload, expiry, (properties, ids))| {
            OutboundPublish {
                message: Arc::new(Message {
                    id: MessageId::default(),
                    topic,
                    payload,
                    qos: delivery.qos(),
                    expires_at: None,
                    properties,
                }),
                dup,
                retain,
                delivery,
                message_expiry_interval_s: expiry,
                subscription_ids: ids.into_iter().collect(),
            }
        })
}

fn subscription() -> impl Strategy<Value = (TopicFilter, SubscriptionOptions)> {
    let handling =
        select(vec![RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
    (filter(), qos(), any::<(bool, bool)>(), handling).prop_map(
        |(filter, maximum_qos, (no_local, retain_as_published), retain_handling)| {
            let no_local = no_local && !filter.is_shared();
            let options =
                SubscriptionOptions { maximum_qos, no_local, retain_as_published, retain_handling };
            (filter, options)
        },
    )
}

fn disconnect(server: bool) -> impl Strategy<Value = Disconnect> {
    let codes = if server { DISCONNECT_SERVER } else { DISCONNECT_CLIENT };
    let texts = (option::of(any_text()), option::of(any_text()));
    (reason(codes), option::of(any::<u32>()), texts, user_properties()).prop_map(
        move |(reason, expiry, (reference, reason_string), user_properties)| Disconnect {
            reason,
            session_expiry_interval_s: expiry.filter(|_| !server),
            server_reference: reference.filter(|_| server),
            reason_string,
            user_properties,
        },
    )
}

fn auth(codes: &'static [u8]) -> impl Strategy<Value = Auth> {
    let texts = (any_text(), option::of(any_text()));
    (reason(codes), option::of(binary()), texts, user_properties()).prop_map(
        |(reason, data, (method, reason_string), user_properties)| Auth {
            reason,
            method: Some(method),
            data,
            reason_string,
            user_properties,
        },
    )
}

/// Any packet of a client but CONNECT.
pub(crate) fn client_packet() -> impl Strategy<Value = ClientPacket> {
    prop_oneof![
        publish().prop_map(ClientPacket::Publish),
        ack(outbound(), RECEIPT_CLIENT).prop_map(ClientPacket::PubAck),
        ack(outbound(), RECEIPT_CLIENT).prop_map(ClientPacket::PubRec),
        ack(inbound(), RELEASE).prop_map(ClientPacket::PubRel),
        ack(outbound(), RELEASE).prop_map(ClientPacket::PubComp),
        (inbound(), option::of(1..=268_435_455u32), vec(subscription(), 1..4), user_properties())
            .prop_map(|(packet_id, subscription_id, subscriptions, user_properties)| {
                ClientPacket::Subscribe(Box::new(Subscribe {
                    packet_id,
                    subscription_id,
                    subscriptions,
                    user_properties,
                }))
            }),
        (inbound(), vec(filter(), 1..4), user_properties()).prop_map(
            |(packet_id, filters, user_properties)| {
                ClientPacket::Unsubscribe(Box::new(Unsubscribe {
                    packet_id,
                    filters,
                    user_properties,
                }))
            }
        ),
        Just(ClientPacket::PingReq),
        disconnect(false).prop_map(|packet| ClientPacket::Disconnect(Box::new(packet))),
        auth(&[0x18, 0x19]).prop_map(|packet| ClientPacket::Auth(Box::new(packet))),
    ]
}

fn connack() -> impl Strategy<Value = ConnAck> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(1..=u16::MAX),
        option::of(select(vec![QoS::AtMostOnce, QoS::AtLeastOnce])),
        option::of(1..=u32::MAX),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let flag = || option::of(any::<bool>());
    let flags = (any::<bool>(), flag(), flag(), flag(), flag());
    let string = || option::of(any_text());
    let texts = (string(), string(), string(), string(), string());
    (reason(CONNACK), numbers, flags, texts, option::of(binary()), user_properties()).prop_map(
        |(reason, numbers, flags, texts, authentication_data, user_properties)| ConnAck {
            session_present: flags.0 && reason == ReasonCode::Success,
            reason,
            session_expiry_interval_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_qos: numbers.2,
            retain_available: flags.1,
            maximum_packet_size_bytes: numbers.3,
            assigned_client_id: texts.0,
            topic_alias_maximum: numbers.4,
            wildcard_subscription_available: flags.2,
            subscription_identifiers_available: flags.3,
            shared_subscription_available: flags.4,
            server_keep_alive_s: numbers.5,
            response_information: texts.1,
            server_reference: texts.2,
            authentication_method: texts.3,
            authentication_data,
            reason_string: texts.4,
            user_properties,
        },
    )
}

/// Any packet of a broker.
pub(crate) fn server_packet() -> impl Strategy<Value = ServerPacket> {
    prop_oneof![
        connack().prop_map(|packet| ServerPacket::ConnAck(Box::new(packet))),
        outbound_publish().prop_map(ServerPacket::Publish),
        ack(inbound(), RECEIPT_SERVER).prop_map(ServerPacket::PubAck),
        ack(inbound(), RECEIPT_SERVER).prop_map(ServerPacket::PubRec),
        ack(outbound(), RELEASE).prop_map(ServerPacket::PubRel),
        ack(inbound(), RELEASE).prop_map(ServerPacket::PubComp),
        (inbound(), vec(reason(SUBACK), 1..5), details()).prop_map(
            |(packet_id, reasons, details)| {
                ServerPacket::SubAck(Box::new(SubAck { packet_id, reasons, details }))
            }
        ),
        (inbound(), vec(reason(UNSUBACK), 1..5), details()).prop_map(
            |(packet_id, reasons, details)| {
                ServerPacket::UnsubAck(Box::new(UnsubAck { packet_id, reasons, details }))
            }
        ),
        Just(ServerPacket::PingResp),
        disconnect(true).prop_map(|packet| ServerPacket::Disconnect(Box::new(packet))),
        auth(&[0x00, 0x18]).prop_map(|packet| ServerPacket::Auth(Box::new(packet))),
    ]
}

/// What the other side sees of a CONNECT.
pub(crate) fn connect_as_seen(mut connect: Connect) -> Connect {
    if connect.version == Version::V5 {
        return connect;
    }
    if let Some(will) = &mut connect.will {
        will.delay_interval_s = 0;
        will.message_expiry_interval_s = None;
        will.properties = None;
    }
    Connect {
        session_expiry_interval_s: if connect.clean_start { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
        ..connect
    }
}

/// What a broker sees of a client's packet, `None` if the version has no such packet.
pub(crate) fn client_packet_as_seen(
    packet: ClientPacket,
    version: Version,
) -> Option<ClientPacket> {
    if version == Version::V5 {
        return Some(packet);
    }
    Some(match packet {
        ClientPacket::Connect(connect) => {
            ClientPacket::Connect(Box::new(connect_as_seen(*connect)))
        }
        ClientPacket::Publish(publish) => ClientPacket::Publish(Publish {
            message_expiry_interval_s: None,
            properties: None,
            ..publish
        }),
        ClientPacket::PubAck(ack) if ack.reason.is_error() => return None,
        ClientPacket::PubRec(ack) if ack.reason.is_error() => return None,
        ClientPacket::PubAck(ack) => ClientPacket::PubAck(bare(ack)),
        ClientPacket::PubRec(ack) => ClientPacket::PubRec(bare(ack)),
        ClientPacket::PubRel(ack) => ClientPacket::PubRel(bare(ack)),
        ClientPacket::PubComp(ack) => ClientPacket::PubComp(bare(ack)),
        ClientPacket::Subscribe(mut packet) => {
            packet.subscription_id = None;
            packet.user_properties.clear();
            for (_, options) in &mut packet.subscriptions {
                let maximum_qos = options.maximum_qos;
                *options = SubscriptionOptions { maximum_qos, ..Default::default() };
            }
            ClientPacket::Subscribe(packet)
        }
        ClientPacket::Unsubscribe(mut packet) => {
            packet.user_properties.clear();
            ClientPacket::Unsubscribe(packet)
        }
        ClientPacket::PingReq => ClientPacket::PingReq,
        ClientPacket::Disconnect(packet) if packet.reason == ReasonCode::Success => {
            ClientPacket::Disconnect(Box::default())
        }
        ClientPacket::Disconnect(_) | ClientPacket::Auth(_) => return None,
    })
}

/// What a client sees of a broker's packet, `None` if the version has no such packet.
pub(crate) fn server_packet_as_seen(
    packet: ServerPacket,
    version: Version,
) -> Option<ServerPacket> {
    if version == Version::V5 {
        return Some(packet);
    }
    Some(match packet {
        ServerPacket::ConnAck(packet) => ServerPacket::ConnAck(Box::new(ConnAck {
            session_present: packet.session_present && version == Version::V311,
            reason: older_reason(packet.reason)?,
            ..ConnAck::default()
        })),
        ServerPacket::Publish(publish) => {
            let mut message = Message::clone(&publish.message);
            message.properties = None;
            ServerPacket::Publish(OutboundPublish {
                message: Arc::new(message),
                message_expiry_interval_s: None,
                subscription_ids: Default::default(),
                ..publish
            })
        }
        ServerPacket::PubAck(ack) if ack.reason.is_error() => return None,
        ServerPacket::PubRec(ack) if ack.reason.is_error() => return None,
        ServerPacket::PubAck(ack) => ServerPacket::PubAck(bare(ack)),
        ServerPacket::PubRec(ack) => ServerPacket::PubRec(bare(ack)),
        ServerPacket::PubRel(ack) => ServerPacket::PubRel(bare(ack)),
        ServerPacket::PubComp(ack) => ServerPacket::PubComp(bare(ack)),
        ServerPacket::SubAck(mut packet) => {
            packet.details = None;
            for reason in &mut packet.reasons {
                if reason.is_error() {
                    *reason = ReasonCode::UnspecifiedError;
                }
            }
            ServerPacket::SubAck(packet)
        }
        ServerPacket::UnsubAck(packet) => ServerPacket::UnsubAck(Box::new(UnsubAck {
            packet_id: packet.packet_id,
            reasons: Vec::new(),
            details: None,
        })),
        ServerPacket::PingResp => ServerPacket::PingResp,
        ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => return None,
    })
}

fn bare<Id>(ack: Ack<Id>) -> Ack<Id> {
    Ack::new(ack.packet_id, ReasonCode::Success)
}

fn older_reason(reason: ReasonCode) -> Option<ReasonCode> {
    match reason.value() {
        0x00 => Some(ReasonCode::Success),
        0x84 => Some(ReasonCode::UnsupportedProtocolVersion),
        0x85 => Some(ReasonCode::ClientIdentifierNotValid),
        0x86 => Some(ReasonCode::BadUserNameOrPassword),
        0x87 | 0x8A | 0x8C => Some(ReasonCode::NotAuthorized),
        0x80 | 0x83 | 0x88 | 0x89 | 0x97 | 0x9C | 0x9D | 0x9F => {
            Some(ReasonCode::ServerUnavailable)
        }
        _ => None,
    }
}
