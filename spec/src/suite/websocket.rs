//! MQTT over WebSocket.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::{Frame, Version, encode, hex, parse};

pub(super) const CASES: &[Case] = &[
    case!(mqtt_travels_in_binary_frames, "MQTT-6.0.0-1", "websocket").needs(SOCKET),
    case!(a_text_frame_closes, "MQTT-6.0.0-1").needs(SOCKET),
    case!(packets_and_frames_are_not_aligned, "MQTT-6.0.0-2", "websocket").needs(SOCKET),
    case!(the_subprotocol_is_mqtt, "MQTT-6.0.0-4", "websocket").needs(SOCKET),
];

const SOCKET: &[Need] = &[Need::WebSocket];
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// The client's end of a WebSocket, as far as MQTT needs one.
struct Socket {
    stream: TcpStream,
    incoming: Vec<u8>,
    packets: Vec<u8>,
    /// The head of the server's answer, in lower case.
    head: String,
}

impl Socket {
    fn open(scene: &Scene<'_>, subprotocols: &str) -> Checked<Socket> {
        let Some(at) = scene.capabilities.websocket.clone() else { return Err("none".into()) };
        let (host, path) = at.split_once('/').unwrap_or((&at, "mqtt"));
        let address = host.to_socket_addrs()?.next().ok_or("no such host")?;
        let patience = Duration::from_millis(scene.capabilities.patience_ms);
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut socket =
            Socket { stream, incoming: Vec::new(), packets: Vec::new(), head: String::new() };
        let end = loop {
            let found = socket.incoming.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(at) => break at + 4,
                None if socket.read()? => {}
                None => return Err("closed during the handshake".into()),
            }
        };
        let head: Vec<u8> = socket.incoming.drain(..end).collect();
        socket.head = String::from_utf8_lossy(&head).to_lowercase();
        ensure!(socket.head.starts_with("http/1.1 101"), "refused: {}", socket.head);
        Ok(socket)
    }

    /// One frame of the client, masked by zeros, which is a mask as good as any.
    fn send(&mut self, opcode: u8, last: bool, payload: &[u8]) -> Checked {
        let mut bytes = vec![opcode | if last { 0x80 } else { 0 }];
        match u8::try_from(payload.len()) {
            Ok(length @ 0..126) => bytes.push(0x80 | length),
            _ => {
                bytes.push(0x80 | 126);
                let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Whether more came; `false` at the end.
    fn read(&mut self) -> Checked<bool> {
        let mut piece = [0; 4_096];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.incoming.extend_from_slice(piece.get(..length).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(Failure(format!("nothing came: {error}"))),
        }
    }

    /// The next frame's opcode and payload; `None` at the end.
    fn frame(&mut self) -> Checked<Option<(u8, Vec<u8>)>> {
        loop {
            if let [first, second, rest @ ..] = self.incoming.as_slice() {
                let (length, used) = match (second & 0x7F, rest) {
                    (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 4),
                    (length @ 0..126, _) => (usize::from(length), 2),
                    _ => (usize::MAX, 0),
                };
                if used > 0 && self.incoming.len() >= used + length {
                    ensure!(second & 0x80 == 0, "a server's frame is masked");
                    let opcode = first & 0x0F;
                    let frame: Vec<u8> = self.incoming.drain(..used + length).collect();
                    return Ok(Some((opcode, frame.get(used..).unwrap_or_default().to_vec())));
                }
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// The next MQTT packet, out of however many frames.
    fn packet(&mut self) -> Checked<Packet> {
        loop {
            if let Some(frame) = Frame::take(&mut self.packets)? {
                return Ok(parse::packet(&frame, Version::V5)?);
            }
            match self.frame()? {
                Some((BINARY | 0, payload)) => self.packets.extend(payload),
                Some((9, payload)) => self.send(10, true, &payload)?,
                Some((opcode, payload)) => {
                    let what = format!("[MQTT-6.0.0-1] opcode {opcode}: {}", hex(&payload));
                    return Err(Failure(what));
                }
                None => return Err("closed".into()),
            }
        }
    }

    fn expect(&mut self, kind: u8) -> Checked {
        let packet = self.packet()?;
        ensure!(packet.kind() == kind, "packet type {kind} expected, {packet:?} came");
        Ok(())
    }

    fn connect(scene: &Scene<'_>) -> Checked<Socket> {
        let mut socket = Socket::open(scene, "mqtt")?;
        socket.send(BINARY, true, &scene.client("a").to_bytes())?;
        socket.expect(kind::CONNACK)?;
        Ok(socket)
    }
}

fn mqtt_travels_in_binary_frames(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut socket = Socket::connect(scene)?;
    socket.send(BINARY, true, &Subscribe::to(&topic, 0).to_bytes(1, Version::V5))?;
    socket.expect(kind::SUBACK)?;
    let publish = encode::publish(&Publish::new(&topic, "x".repeat(300)), Version::V5);
    socket.send(BINARY, true, &publish)?;
    socket.expect(kind::PUBLISH)
}

fn a_text_frame_closes(scene: &Scene<'_>) -> Checked {
    let mut socket = Socket::connect(scene)?;
    socket.send(TEXT, true, &build::PINGREQ)?;
    loop {
        match socket.frame()? {
            None | Some((8, _)) => return Ok(()),
            Some((BINARY, payload)) => {
                ensure!(payload.first() != Some(&0xD0), "a text frame was served");
            }
            Some(_) => {}
        }
    }
}

fn packets_and_frames_are_not_aligned(scene: &Scene<'_>) -> Checked {
    let mut socket = Socket::open(scene, "mqtt")?;
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

fn the_subprotocol_is_mqtt(scene: &Scene<'_>) -> Checked {
    for offered in ["mqtt", "other, mqtt"] {
        let socket = Socket::open(scene, offered)?;
        let named = socket.head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.trim() == "sec-websocket-protocol" && value.trim() == "mqtt"
            })
        });
        ensure!(named, "{offered} was offered, the answer: {}", socket.head);
    }
    Ok(())
}
