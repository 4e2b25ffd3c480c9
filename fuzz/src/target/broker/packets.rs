//! What clients send.

use bytes::Bytes;
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{
    Ack, Auth, ClientPacket, Connect, Disconnect, Publish, RetainHandling, Subscribe,
    SubscriptionOptions, Unsubscribe, Will,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Version,
};

use super::judge::Judge;
use super::names;
use super::names::{client_id, filter_of, qos_of, text, topic_of};
use super::step::{Hello, Packet};

pub(super) fn client_packet(packet: Packet, judge: &mut Judge) -> ClientPacket {
    match packet {
        Packet::Connect(hello) => connect(&hello),
        Packet::Publish { topic, qos, id, retain, dup, length, expiry_s, properties } => {
            let id = InboundPacketId(packet_id(id));
            ClientPacket::Publish(Publish {
                dup,
                retain,
                delivery: match qos_of(qos) {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
                    QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
                },
                topic: topic_of(topic),
                payload: judge.payload(length),
                message_expiry_interval_s: expiry_s.map(u32::from),
                properties: names::properties(properties),
            })
        }
        Packet::PubAck { id, is_error } => ClientPacket::PubAck(outbound_ack(id, is_error)),
        Packet::PubRec { id, is_error } => ClientPacket::PubRec(outbound_ack(id, is_error)),
        Packet::PubComp { id } => ClientPacket::PubComp(outbound_ack(id, false)),
        Packet::PubRel { id } => {
            ClientPacket::PubRel(Ack::new(InboundPacketId(packet_id(id)), ReasonCode::Success))
        }
        Packet::Subscribe { filters, id, subscription_id } => {
            subscribe(&filters, id, subscription_id)
        }
        Packet::Unsubscribe { filter, id } => ClientPacket::Unsubscribe(Box::new(Unsubscribe {
            packet_id: InboundPacketId(packet_id(id)),
            filters: vec![filter_of(filter)],
            user_properties: Vec::new(),
        })),
        Packet::Ping => ClientPacket::PingReq,
        Packet::Disconnect { with_will, expiry_interval_s } => {
            ClientPacket::Disconnect(Box::new(Disconnect {
                reason: if with_will {
                    ReasonCode::DisconnectWithWillMessage
                } else {
                    ReasonCode::Success
                },
                session_expiry_interval_s: expiry_interval_s.map(u32::from),
                ..Disconnect::default()
            }))
        }
        Packet::Auth { reason, method, has_data } => ClientPacket::Auth(Box::new(Auth {
            reason: [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate]
                [usize::from(reason % 2)],
            // The decoder lets none pass without.
            method: Some(names::method(method)),
            data: has_data.then(|| Bytes::from_static(b"more")),
            ..Auth::default()
        })),
    }
}

fn connect(hello: &Hello) -> ClientPacket {
    let has = |bit: u8| hello.extras & 1 << bit != 0;
    let version = [Version::V5, Version::V311, Version::V31][usize::from(hello.version % 3)];
    let is_5 = version == Version::V5;
    let will = hello.will.map(|(topic, qos, retain, delay)| {
        Box::new(Will {
            topic: topic_of(topic),
            payload: Bytes::from_static(b"will"),
            qos: qos_of(qos),
            retain,
            delay_interval_s: u32::from(delay),
            message_expiry_interval_s: has(7).then_some(5),
            properties: names::properties(if has(6) { 0b11_0000 } else { 0 }),
        })
    });
    let maximum_packet_size_bytes = hello.maximum_packet_size_bytes;
    let method = (hello.extras & 3).checked_sub(1).filter(|_| is_5).map(names::method);
    ClientPacket::Connect(Box::new(Connect {
        version,
        clean_start: hello.clean_start,
        keep_alive_s: u16::from(hello.keep_alive_s),
        client_id: client_id(hello.client),
        will,
        user_name: has(2).then(|| text("ann")),
        password: has(3).then(|| Bytes::from_static(b"secret")),
        session_expiry_interval_s: u32::from(hello.expiry_interval_s),
        receive_maximum: u16::from(hello.receive_maximum).max(1),
        maximum_packet_size_bytes: maximum_packet_size_bytes.map(|size| u32::from(size).max(1)),
        topic_alias_maximum: if is_5 { u16::from(hello.version / 3) % 3 } else { 0 },
        request_response_information: is_5 && has(5),
        request_problem_information: !has(4),
        authentication_data: method.as_ref().map(|_| Bytes::from_static(b"first")),
        authentication_method: method,
        user_properties: Vec::new(),
    }))
}

fn subscribe(filters: &[(u8, u8)], id: u8, subscription_id: Option<u8>) -> ClientPacket {
    let mut subscriptions: Vec<(TopicFilter, SubscriptionOptions)> = filters
        .iter()
        .map(|(filter, options)| {
            let filter = filter_of(*filter);
            let options = SubscriptionOptions {
                maximum_qos: qos_of(options & 3),
                // A share with No Local is refused by the decoder.
                no_local: options & 4 != 0 && !filter.is_shared(),
                retain_as_published: options & 8 != 0,
                retain_handling: [
                    RetainHandling::Always,
                    RetainHandling::IfNew,
                    RetainHandling::Never,
                ][usize::from(options >> 4) % 3],
            };
            (filter, options)
        })
        .collect();
    if subscriptions.is_empty() {
        subscriptions.push((filter_of(0), SubscriptionOptions::default()));
    }
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: InboundPacketId(packet_id(id)),
        subscription_id: subscription_id.map(|id| u32::from(id).max(1)),
        subscriptions,
        user_properties: Vec::new(),
    }))
}

fn outbound_ack(id: u8, is_error: bool) -> Ack<OutboundPacketId> {
    let reason = if is_error { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
    Ack::new(OutboundPacketId(packet_id(id)), reason)
}

fn packet_id(id: u8) -> PacketId {
    PacketId::new(u16::from(id % 8)).unwrap_or(PacketId::MIN)
}
