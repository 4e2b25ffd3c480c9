//! From the bytes of one packet to its typed value. Framing is the reader's work.

pub(in crate::wire) mod connect;
pub(in crate::wire) mod cursor;

mod acks;
mod properties;
mod publish;
mod server;
mod subscribe;

use alloc::boxed::Box;

pub(crate) use publish::take_message;

use bytes::{Buf, BytesMut};

use super::alias::InboundAliases;
use super::error::DecodeError;
use super::frame::{PacketType, Side};
use super::framing::Frame;
use super::packet::{Ack, ClientPacket, ServerPacket, WireId};
use super::reason::ReasonCode;
use super::types::{PacketId, Version};
use cursor::Cursor;

/// Takes an acknowledgement off the front of `buffer` that is a packet identifier and nothing else, as nearly all are;
/// every version allows that. `None` if it is something else, or not all there.
pub(in crate::wire) fn short_ack(
    frame: Frame,
    buffer: &mut BytesMut,
) -> Option<Result<ClientPacket, DecodeError>> {
    fn ack<Id: WireId>(id: PacketId) -> Ack<Id> {
        Ack::new(Id::from_wire(id), ReasonCode::Success)
    }
    if frame.body_bytes != 2 {
        return None;
    }
    let packet: fn(PacketId) -> ClientPacket = match frame.packet {
        PacketType::PubAck => |id| ClientPacket::PubAck(ack(id)),
        PacketType::PubRec => |id| ClientPacket::PubRec(ack(id)),
        PacketType::PubRel => |id| ClientPacket::PubRel(ack(id)),
        PacketType::PubComp => |id| ClientPacket::PubComp(ack(id)),
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::SubAck
        | PacketType::Unsubscribe
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect
        | PacketType::Auth => return None,
    };
    let id = buffer.get(frame.header_bytes..)?.first_chunk::<2>().copied()?;
    buffer.advance(frame.header_bytes + id.len());
    // [MQTT-2.2.1-3]
    let id = PacketId::new(u16::from_be_bytes(id));
    Some(id.map(packet).ok_or(DecodeError::PacketIdZero { packet: frame.packet }))
}

/// Reads the body of a packet from a client; `flags` are the low bits of its first byte.
pub(in crate::wire) fn client_packet(
    mut body: Cursor,
    flags: u8,
    version: Version,
    aliases: &mut InboundAliases,
) -> Result<ClientPacket, DecodeError> {
    let packet = body.packet();
    Ok(match packet {
        PacketType::Connect => {
            let version = connect::protocol(&mut body)?;
            ClientPacket::Connect(Box::new(connect::connect(body, version)?))
        }
        PacketType::Publish => {
            ClientPacket::Publish(publish::client_publish(body, flags, version, aliases)?)
        }
        PacketType::PubAck => ClientPacket::PubAck(acks::ack(body, version, Side::Client)?),
        PacketType::PubRec => ClientPacket::PubRec(acks::ack(body, version, Side::Client)?),
        PacketType::PubRel => ClientPacket::PubRel(acks::ack(body, version, Side::Client)?),
        PacketType::PubComp => ClientPacket::PubComp(acks::ack(body, version, Side::Client)?),
        PacketType::Subscribe => {
            ClientPacket::Subscribe(Box::new(subscribe::subscribe(body, version)?))
        }
        PacketType::Unsubscribe => {
            ClientPacket::Unsubscribe(Box::new(subscribe::unsubscribe(body, version)?))
        }
        PacketType::PingReq => {
            body.finish()?;
            ClientPacket::PingReq
        }
        PacketType::Disconnect => {
            ClientPacket::Disconnect(Box::new(acks::disconnect(body, version, Side::Client)?))
        }
        PacketType::Auth => ClientPacket::Auth(Box::new(acks::auth(body, version, Side::Client)?)),
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            return Err(DecodeError::WrongSender { packet });
        }
    })
}

/// Reads the body of a packet from a broker; `flags` are the low bits of its first byte.
pub(in crate::wire) fn server_packet(
    body: Cursor,
    flags: u8,
    version: Version,
    aliases: &mut InboundAliases,
) -> Result<ServerPacket, DecodeError> {
    let packet = body.packet();
    Ok(match packet {
        PacketType::ConnAck => ServerPacket::ConnAck(Box::new(server::connack(body, version)?)),
        PacketType::Publish => {
            ServerPacket::Publish(publish::server_publish(body, flags, version, aliases)?)
        }
        PacketType::PubAck => ServerPacket::PubAck(acks::ack(body, version, Side::Server)?),
        PacketType::PubRec => ServerPacket::PubRec(acks::ack(body, version, Side::Server)?),
        PacketType::PubRel => ServerPacket::PubRel(acks::ack(body, version, Side::Server)?),
        PacketType::PubComp => ServerPacket::PubComp(acks::ack(body, version, Side::Server)?),
        PacketType::SubAck => ServerPacket::SubAck(Box::new(server::suback(body, version)?)),
        PacketType::UnsubAck => ServerPacket::UnsubAck(Box::new(server::unsuback(body, version)?)),
        PacketType::PingResp => {
            body.finish()?;
            ServerPacket::PingResp
        }
        PacketType::Disconnect if version == Version::V5 => {
            ServerPacket::Disconnect(Box::new(acks::disconnect(body, version, Side::Server)?))
        }
        PacketType::Auth => ServerPacket::Auth(Box::new(acks::auth(body, version, Side::Server)?)),
        PacketType::Connect
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::PingReq
        | PacketType::Disconnect => return Err(DecodeError::WrongSender { packet }),
    })
}
