//! Packets back into bytes: for clients that publish and acknowledge, and for the proxy.

use super::packet::{Ack, Codes, ConnAck, Packet, Publish, Reasoned};
use super::{Frame, Version, framed, put_counted};

/// PUBLISH.
#[must_use]
pub fn publish(publish: &Publish, version: Version) -> Vec<u8> {
    let first =
        0x30 | u8::from(publish.dup) << 3 | (publish.qos & 3) << 1 | u8::from(publish.retain);
    let mut body = Vec::new();
    put_counted(&mut body, &publish.topic);
    if publish.qos > 0 {
        body.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        publish.properties.put(&mut body);
    }
    body.extend_from_slice(&publish.payload);
    framed(first, &body)
}

/// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7).
#[must_use]
pub fn ack(kind: u8, ack: &Ack, version: Version) -> Vec<u8> {
    let mut body = ack.packet_id.to_be_bytes().to_vec();
    if version == Version::V5 && (ack.reason != 0 || !ack.properties.0.is_empty()) {
        body.push(ack.reason);
        if !ack.properties.0.is_empty() {
            ack.properties.put(&mut body);
        }
    }
    framed(kind << 4 | if kind == 6 { 2 } else { 0 }, &body)
}

/// A server's packet, as the version writes it.
#[must_use]
pub fn packet(packet: &Packet, version: Version) -> Vec<u8> {
    match packet {
        Packet::ConnAck(connack) => self::connack(connack, version),
        Packet::Publish(publish) => self::publish(publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            self::ack(packet.kind(), ack, version)
        }
        Packet::SubAck(codes) | Packet::UnsubAck(codes) => {
            self::codes(packet.kind(), codes, version)
        }
        Packet::PingResp => vec![0xD0, 0],
        Packet::Disconnect(reasoned) | Packet::Auth(reasoned) => {
            self::reasoned(packet.kind(), reasoned)
        }
    }
}

/// A server's packet as a frame, for further spoiling.
#[must_use]
pub fn frame(packet: &Packet, version: Version) -> Frame {
    let mut bytes = self::packet(packet, version);
    let frame = Frame::take(&mut bytes).ok().flatten();
    frame.expect("a packet that was just written is a frame")
}

fn connack(connack: &ConnAck, version: Version) -> Vec<u8> {
    let mut body = vec![u8::from(connack.session_present), connack.reason];
    if version == Version::V5 {
        connack.properties.put(&mut body);
    }
    framed(0x20, &body)
}

fn codes(kind: u8, codes: &Codes, version: Version) -> Vec<u8> {
    let mut body = codes.packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        codes.properties.put(&mut body);
    }
    if version == Version::V5 || kind == 9 {
        body.extend_from_slice(&codes.codes);
    }
    framed(kind << 4, &body)
}

fn reasoned(kind: u8, reasoned: &Reasoned) -> Vec<u8> {
    let mut body = vec![reasoned.reason];
    reasoned.properties.put(&mut body);
    framed(kind << 4, &body)
}
