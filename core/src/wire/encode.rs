//! From a typed packet to its bytes. Sizes are computed first, then every byte is written once.
//!
//! Which topics get an alias is the writer's work.

mod acks;
mod connect;
mod properties;
mod publish;
mod server;
mod sink;
mod subscribe;

use bytes::{BufMut, BytesMut};

use super::codes;
use super::frame::{self, PacketType, Side};
use super::packet::{Ack, Auth, ClientPacket, ConnAck, OutboundPublish, ServerPacket, WireId};
use super::reason::ReasonCode;
use super::types::Version;
use crate::message::Message;
use acks::{AckBody, AuthBody, DisconnectBody};
use sink::{Part, Sink};

/// What became of a packet that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All of it, so many bytes. A payload that goes out apart is counted.
    Whole(usize),
    /// Nothing, because it is larger than the receiver takes, or than any packet can be.
    DroppedTooLarge,
    /// Nothing, because the version has no such packet.
    Nothing,
}

/// Writes a packet of a broker, with no limit on its size and no topic alias.
pub fn encode_server(packet: &ServerPacket, version: Version, out: &mut BytesMut) -> Written {
    server_packet(packet, &Terms::unlimited(version), out)
}

/// Writes a PUBLISH of a broker, with no limit on its size and no topic alias.
pub fn encode_publish(publish: &OutboundPublish, version: Version, out: &mut BytesMut) -> Written {
    server_publish(publish, Alias::None, &Terms::unlimited(version), out)
}

/// Writes a packet of a client; a CONNECT in its own version, any other in `version`.
pub fn encode_client(packet: &ClientPacket, version: Version, out: &mut BytesMut) -> Written {
    let terms = Terms::unlimited(version);
    match packet {
        ClientPacket::Connect(connect) => {
            write(PacketType::Connect, &connect::ConnectBody(connect), &terms, out)
        }
        ClientPacket::Publish(publish) => {
            let body = publish::PublishBody::from_client(publish, version);
            write_frame(body.first_byte(), &body, &terms, out)
        }
        ClientPacket::PubAck(ack) => write_ack(PacketType::PubAck, ack, &terms, out),
        ClientPacket::PubRec(ack) => write_ack(PacketType::PubRec, ack, &terms, out),
        ClientPacket::PubRel(ack) => write_ack(PacketType::PubRel, ack, &terms, out),
        ClientPacket::PubComp(ack) => write_ack(PacketType::PubComp, ack, &terms, out),
        ClientPacket::Subscribe(packet) => {
            let body = subscribe::SubscribeBody { packet, version };
            write(PacketType::Subscribe, &body, &terms, out)
        }
        ClientPacket::Unsubscribe(packet) => {
            let body = subscribe::UnsubscribeBody { packet, version };
            write(PacketType::Unsubscribe, &body, &terms, out)
        }
        ClientPacket::PingReq => write(PacketType::PingReq, &Empty, &terms, out),
        ClientPacket::Disconnect(packet) => match (version, packet.reason) {
            (Version::V5, _) => {
                let body = DisconnectBody { packet, sender: Side::Client, detail: Detail::All };
                write(PacketType::Disconnect, &body, &terms, out)
            }
            // The only thing that DISCONNECT says in older versions.
            (Version::V31 | Version::V311, ReasonCode::Success) => {
                write(PacketType::Disconnect, &Empty, &terms, out)
            }
            (Version::V31 | Version::V311, _) => Written::Nothing,
        },
        ClientPacket::Auth(packet) if version == Version::V5 => {
            let body = AuthBody { packet, detail: Detail::All };
            write(PacketType::Auth, &body, &terms, out)
        }
        ClientPacket::Auth(_) => Written::Nothing,
    }
}

/// The exact size in bytes of a PUBLISH to a client, if no topic alias comes into it; `usize::MAX`
/// if no packet can hold it.
///
/// A [`Writer`](super::Writer) that introduces an alias adds at most
/// [`Writer::ALIAS_BYTES`](super::Writer::ALIAS_BYTES).
#[must_use]
pub fn outbound_publish_len(publish: &OutboundPublish, version: Version) -> usize {
    frame::packet_len(sink::length(&publish::PublishBody::from_server(publish, version)))
}

/// Writes what of a message every PUBLISH has: topic, properties, payload. False, and nothing usable,
/// if some field is longer than PUBLISH can carry.
pub(crate) fn put_message(message: &Message, out: &mut BytesMut) -> bool {
    let body = publish::PublishBody::of_message(message);
    let fits = sink::length(&body) != usize::MAX;
    if fits {
        body.put(out);
    }
    fits
}

/// The size in bytes of a CONNACK in version 5, without what may be left out of it.
#[must_use]
pub fn connack_len(packet: &ConnAck) -> usize {
    frame::packet_len(sink::length(&server::ConnAckBody { packet, detail: Detail::Nothing }))
}

/// The size in bytes of a SUBACK or UNSUBACK in version 5 with so many codes, without what may be
/// left out of it.
#[must_use]
pub fn codes_len(codes: usize) -> usize {
    const PACKET_ID_AND_NO_PROPERTIES_BYTES: usize = 3;
    frame::packet_len(codes.saturating_add(PACKET_ID_AND_NO_PROPERTIES_BYTES))
}

/// The size in bytes of an AUTH, without what may be left out of it.
#[must_use]
pub fn auth_len(packet: &Auth) -> usize {
    frame::packet_len(sink::length(&AuthBody { packet, detail: Detail::Nothing }))
}

/// On what terms a receiver takes packets.
#[derive(Clone, Copy)]
pub(in crate::wire) struct Terms {
    pub(in crate::wire) version: Version,
    pub(in crate::wire) limit_bytes: usize,
    pub(in crate::wire) problem_information: bool,
    /// A PUBLISH is written without its payload.
    pub(in crate::wire) payload_apart: bool,
}

impl Terms {
    const fn unlimited(version: Version) -> Self {
        Terms { version, limit_bytes: usize::MAX, problem_information: true, payload_apart: false }
    }
}

/// How much of what people may read goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    All,
    UserProperties,
    Nothing,
}

/// Writes a packet of a broker. What is for people is left out where it must not go along.
pub(in crate::wire) fn server_packet(
    packet: &ServerPacket,
    terms: &Terms,
    out: &mut BytesMut,
) -> Written {
    let version = terms.version;
    match packet {
        ServerPacket::ConnAck(packet) if version == Version::V5 => {
            check_code(PacketType::ConnAck, packet.reason);
            // [MQTT-3.2.2-19] [MQTT-3.2.2-20]
            write_detailed(PacketType::ConnAck, terms, out, |detail| server::ConnAckBody {
                packet,
                detail,
            })
        }
        ServerPacket::ConnAck(packet) => match server::OldConnAckBody::new(packet, version) {
            Some(body) => write(PacketType::ConnAck, &body, terms, out),
            None => Written::Nothing,
        },
        ServerPacket::Publish(publish) => server_publish(publish, Alias::None, terms, out),
        ServerPacket::PubAck(ack) => write_server_ack(PacketType::PubAck, ack, terms, out),
        ServerPacket::PubRec(ack) => write_server_ack(PacketType::PubRec, ack, terms, out),
        ServerPacket::PubRel(ack) => write_server_ack(PacketType::PubRel, ack, terms, out),
        ServerPacket::PubComp(ack) => write_server_ack(PacketType::PubComp, ack, terms, out),
        // [MQTT-3.9.2-1] [MQTT-3.9.2-2]
        ServerPacket::SubAck(packet) => write_detailed(PacketType::SubAck, terms, out, |detail| {
            server::SubAckBody { packet, version, detail }
        }),
        // [MQTT-3.11.2-1] [MQTT-3.11.2-2]
        ServerPacket::UnsubAck(packet) => {
            write_detailed(PacketType::UnsubAck, terms, out, |detail| server::UnsubAckBody {
                packet,
                version,
                detail,
            })
        }
        ServerPacket::PingResp => write(PacketType::PingResp, &Empty, terms, out),
        ServerPacket::Disconnect(packet) if version == Version::V5 => {
            check_code(PacketType::Disconnect, packet.reason);
            // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
            write_detailed(PacketType::Disconnect, terms, out, |detail| DisconnectBody {
                packet,
                sender: Side::Server,
                detail,
            })
        }
        ServerPacket::Auth(packet) if version == Version::V5 => {
            check_code(PacketType::Auth, packet.reason);
            // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
            write_detailed(PacketType::Auth, terms, out, |detail| AuthBody { packet, detail })
        }
        // A broker has no such packets in older versions.
        ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => Written::Nothing,
    }
}

/// What stands in the place of a topic.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) enum Alias {
    /// The topic.
    None,
    /// The topic, and the alias that it has from now on.
    Introduced(u16),
    /// The alias alone.
    Known(u16),
}

/// Writes a PUBLISH of a broker.
pub(in crate::wire) fn server_publish(
    publish: &OutboundPublish,
    alias: Alias,
    terms: &Terms,
    out: &mut BytesMut,
) -> Written {
    let mut body = publish::PublishBody::from_server(publish, terms.version);
    match alias {
        Alias::None => {}
        Alias::Introduced(alias) => body.set_alias(alias),
        Alias::Known(alias) => {
            body.set_alias(alias);
            body.omit_topic();
        }
    }
    match size(&body, terms) {
        Ok(size) => {
            let apart_bytes = if terms.payload_apart { body.omit_payload() } else { 0 };
            put_frame(body.first_byte(), &body, size, apart_bytes, out)
        }
        Err(dropped) => dropped,
    }
}

fn write_server_ack<Id: WireId>(
    packet: PacketType,
    ack: &Ack<Id>,
    terms: &Terms,
    out: &mut BytesMut,
) -> Written {
    check_code(packet, ack.reason);
    write_ack(packet, ack, terms, out)
}

fn write_ack<Id: WireId>(
    packet: PacketType,
    ack: &Ack<Id>,
    terms: &Terms,
    out: &mut BytesMut,
) -> Written {
    // Older versions have no refusal here: written at all, it would read as success.
    let refuses =
        ack.reason.is_error() && matches!(packet, PacketType::PubAck | PacketType::PubRec);
    if refuses && terms.version != Version::V5 {
        return Written::Nothing;
    }
    // [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
    // [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
    write_detailed(packet, terms, out, |detail| AckBody::new(ack, terms.version, detail))
}

/// Writes a packet with as much for people as the receiver wants and its limit allows.
fn write_detailed<B: Part>(
    packet: PacketType,
    terms: &Terms,
    out: &mut BytesMut,
    body: impl Fn(Detail) -> B,
) -> Written {
    // [MQTT-3.1.2-29]
    let wanted =
        terms.problem_information || matches!(packet, PacketType::ConnAck | PacketType::Disconnect);
    if wanted {
        for detail in [Detail::All, Detail::UserProperties] {
            let written = write(packet, &body(detail), terms, out);
            if written != Written::DroppedTooLarge {
                return written;
            }
        }
    }
    write(packet, &body(Detail::Nothing), terms, out)
}

fn write(packet: PacketType, body: &impl Part, terms: &Terms, out: &mut BytesMut) -> Written {
    write_frame(packet.first_byte(), body, terms, out)
}

fn write_frame(first_byte: u8, body: &impl Part, terms: &Terms, out: &mut BytesMut) -> Written {
    match size(body, terms) {
        Ok(size) => put_frame(first_byte, body, size, 0, out),
        Err(dropped) => dropped,
    }
}

/// How long a packet and its body are.
#[derive(Clone, Copy)]
struct Size {
    packet_bytes: usize,
    body_bytes: usize,
}

fn size(body: &impl Part, terms: &Terms) -> Result<Size, Written> {
    let body_bytes = sink::length(body);
    let packet_bytes = frame::packet_len(body_bytes);
    // [MQTT-3.1.2-24]
    if packet_bytes == usize::MAX || packet_bytes > terms.limit_bytes {
        return Err(Written::DroppedTooLarge);
    }
    Ok(Size { packet_bytes, body_bytes })
}

/// Writes a packet that lacks its last `apart_bytes`.
fn put_frame(
    first_byte: u8,
    body: &impl Part,
    size: Size,
    apart_bytes: usize,
    out: &mut BytesMut,
) -> Written {
    let here_bytes = size.packet_bytes - apart_bytes;
    out.reserve(here_bytes);
    let start = out.len();
    out.put_u8(first_byte);
    out.variable(size.body_bytes);
    body.put(out);
    debug_assert_eq!(out.len() - start, here_bytes, "a body has the length that was computed");
    Written::Whole(size.packet_bytes)
}

/// The broker never sends a code that is not for the packet: a fault of ours, not of a client.
fn check_code(packet: PacketType, reason: ReasonCode) {
    debug_assert!(codes::is_brokers(packet, reason), "a broker may not put {reason} into {packet}");
}

/// The body of a packet that has none.
struct Empty;

impl Part for Empty {
    fn put<S: Sink>(&self, _sink: &mut S) {}
}
