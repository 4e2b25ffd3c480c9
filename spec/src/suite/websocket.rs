//! MQTT over WebSocket.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::line::{BINARY, Socket, TEXT};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::{Frame, Version, encode, parse};

pub(super) const CASES: &[Case] = &[
    case!(mqtt_travels_in_binary_frames, "MQTT-6.0.0-1", "websocket").needs(SOCKET),
    case!(a_text_frame_closes, "MQTT-6.0.0-1").needs(SOCKET),
    case!(a_text_frame_before_connect_closes, "MQTT-6.0.0-1").needs(SOCKET),
    case!(packets_and_frames_are_not_aligned, "MQTT-6.0.0-2", "websocket").needs(SOCKET),
    case!(a_packet_in_frames_of_a_byte_is_put_together, "MQTT-6.0.0-2", "websocket").needs(SOCKET),
    case!(a_ping_between_fragments_is_answered, "MQTT-6.0.0-2", "websocket").needs(SOCKET),
    case!(the_subprotocol_is_mqtt, "MQTT-6.0.0-3", "MQTT-6.0.0-4", "websocket").needs(SOCKET),
    case!(a_request_without_the_subprotocol_is_not_answered_with_it, "MQTT-6.0.0-3").needs(SOCKET),
];

const SOCKET: &[Need] = &[Need::WebSocket];

/// A client on a WebSocket whose frames it makes itself.
struct Web {
    socket: Socket,
    packets: Vec<u8>,
}

impl Web {
    fn open(scene: &Scene<'_>, subprotocols: &str) -> Checked<Web> {
        let socket = Socket::open(scene.capabilities, subprotocols)?;
        Ok(Web { socket, packets: Vec::new() })
    }

    fn connect(scene: &Scene<'_>) -> Checked<Web> {
        let mut web = Web::open(scene, "mqtt")?;
        web.send(BINARY, true, &scene.client("a").to_bytes())?;
        web.expect(kind::CONNACK)?;
        Ok(web)
    }

    fn send(&mut self, opcode: u8, last: bool, payload: &[u8]) -> Checked {
        Ok(self.socket.send(opcode, last, payload)?)
    }

    fn packet(&mut self) -> Checked<Packet> {
        loop {
            if let Some(frame) = Frame::take(&mut self.packets)? {
                return Ok(parse::packet(&frame, Version::V5)?);
            }
            let payload = self.socket.payload()?;
            ensure!(!payload.is_empty(), "closed");
            self.packets.extend(payload);
        }
    }

    fn expect(&mut self, kind: u8) -> Checked {
        let packet = self.packet()?;
        ensure!(packet.kind() == kind, "packet type {kind} expected, {packet:?} came");
        Ok(())
    }

    /// Waits for the end; MQTT that is served on the way is a failure.
    fn ends(&mut self) -> Checked {
        loop {
            match self.socket.frame()? {
                None | Some((8, _)) => return Ok(()),
                Some((BINARY, payload)) => {
                    let served = matches!(payload.first(), Some(0x20 | 0xD0));
                    ensure!(!served, "[MQTT-6.0.0-1] a text frame was served");
                }
                Some(_) => {}
            }
        }
    }
}

fn mqtt_travels_in_binary_frames(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut socket = Web::connect(scene)?;
    socket.send(BINARY, true, &Subscribe::to(&topic, 0).to_bytes(1, Version::V5))?;
    socket.expect(kind::SUBACK)?;
    let publish = encode::publish(&Publish::new(&topic, "x".repeat(300)), Version::V5);
    socket.send(BINARY, true, &publish)?;
    socket.expect(kind::PUBLISH)
}

fn a_text_frame_closes(scene: &Scene<'_>) -> Checked {
    let mut socket = Web::connect(scene)?;
    socket.send(TEXT, true, &build::PINGREQ)?;
    socket.ends()
}

fn a_text_frame_before_connect_closes(scene: &Scene<'_>) -> Checked {
    let mut socket = Web::open(scene, "mqtt")?;
    socket.send(TEXT, true, b"hello")?;
    socket.ends()
}

fn packets_and_frames_are_not_aligned(scene: &Scene<'_>) -> Checked {
    let mut socket = Web::open(scene, "mqtt")?;
    let mut bytes = scene.client("a").to_bytes();
    bytes.extend(build::PINGREQ);
    let (one, two) = bytes.split_at(9);
    socket.send(BINARY, true, one)?;
    socket.send(BINARY, true, two)?;
    socket.expect(kind::CONNACK)?;
    socket.expect(kind::PINGRESP)?;
    socket.send(BINARY, true, &[build::PINGREQ, build::PINGREQ].concat())?;
    socket.expect(kind::PINGRESP)?;
    socket.expect(kind::PINGRESP)?;
    // A message in fragments.
    socket.send(BINARY, false, &build::PINGREQ[..1])?;
    socket.send(0, true, &build::PINGREQ[1..])?;
    socket.expect(kind::PINGRESP)
}

fn a_packet_in_frames_of_a_byte_is_put_together(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut socket = Web::connect(scene)?;
    let subscribe = Subscribe::to(&topic, 0).to_bytes(1, Version::V5);
    for (place, byte) in subscribe.iter().enumerate() {
        // Frames of their own and fragments of one message in turn; some are empty.
        let opcode = if place % 3 == 0 { BINARY } else { 0 };
        let last = place % 3 == 2 || place + 1 == subscribe.len();
        socket.send(opcode, last, std::slice::from_ref(byte))?;
        if last {
            socket.send(BINARY, true, &[])?;
        }
    }
    socket.expect(kind::SUBACK)
}

fn a_ping_between_fragments_is_answered(scene: &Scene<'_>) -> Checked {
    let mut socket = Web::connect(scene)?;
    socket.send(BINARY, false, &build::PINGREQ[..1])?;
    socket.send(9, true, b"there?")?;
    match socket.socket.frame()? {
        Some((10, payload)) => ensure!(payload == b"there?", "the answer: {payload:?}"),
        other => return Err(crate::case::Failure(format!("a pong expected, {other:?} came"))),
    }
    socket.send(0, true, &build::PINGREQ[1..])?;
    socket.expect(kind::PINGRESP)
}

fn the_subprotocol_is_mqtt(scene: &Scene<'_>) -> Checked {
    for offered in ["mqtt", "other, mqtt"] {
        let socket = Web::open(scene, offered)?;
        let named = socket.socket.head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.trim() == "sec-websocket-protocol" && value.trim() == "mqtt"
            })
        });
        ensure!(named, "{offered} was offered, the answer: {}", socket.socket.head);
    }
    Ok(())
}

fn a_request_without_the_subprotocol_is_not_answered_with_it(scene: &Scene<'_>) -> Checked {
    // Refusing it is right, and so is a socket that speaks something else.
    let Ok(socket) = Web::open(scene, "other") else { return Ok(()) };
    let named = socket.socket.head.contains("sec-websocket-protocol: mqtt");
    ensure!(!named, "a subprotocol that was not offered: {}", socket.socket.head);
    Ok(())
}
