//! A server that takes WebSocket for something else than it is.

use super::{Mutation, broken};
use crate::line::{BINARY, TEXT};
use crate::proxy::Spoil::{WebClient, WebHead, WebServer};

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "packets come in text frames",
        "MQTT-6.0.0-1",
        WebServer(|frame| turn(frame, BINARY, TEXT)),
        &["a_text_frame_closes", "mqtt_travels_in_binary_frames"],
    ),
    broken(
        "a text frame is taken for a binary one",
        "MQTT-6.0.0-1",
        WebClient(|frame| turn(frame, TEXT, BINARY)),
        &["a_text_frame_closes"],
    ),
    broken(
        "a packet in a text frame is passed over",
        "MQTT-6.0.0-1",
        // Before CONNECT the connection would run out of time.
        WebClient(|frame| !(frame.len() == 2 + 4 + 2 && opcode(frame) == TEXT)),
        &["a_text_frame_closes"],
    ),
    broken(
        "only the first part of a message in fragments is read",
        "MQTT-6.0.0-2",
        WebClient(|frame| opcode(frame) != 0),
        &[
            "a_packet_in_frames_of_a_byte_is_put_together",
            "a_ping_between_fragments_is_answered",
            "packets_and_frames_are_not_aligned",
        ],
    ),
    broken(
        "a frame holds the whole of a packet or is passed over",
        "MQTT-6.0.0-2",
        WebClient(|frame| !(frame.len() == 2 + 4 + 9 && opcode(frame) == BINARY)),
        &["packets_and_frames_are_not_aligned"],
    ),
    broken(
        "a ping between fragments is not answered",
        "MQTT-6.0.0-2",
        WebServer(|frame| opcode(frame) != 10),
        &["a_ping_between_fragments_is_answered"],
    ),
    broken(
        "no subprotocol is chosen",
        "MQTT-6.0.0-4",
        WebHead(|head| head.replace("sec-websocket-protocol", "x-websocket-protocol")),
        &["the_subprotocol_is_mqtt"],
    ),
    broken(
        "another subprotocol is chosen",
        "MQTT-6.0.0-4",
        WebHead(|head| {
            head.replace("sec-websocket-protocol: mqtt", "sec-websocket-protocol: other")
        }),
        &["the_subprotocol_is_mqtt"],
    ),
];

fn opcode(frame: &[u8]) -> u8 {
    frame.first().copied().unwrap_or_default() & 0x0f
}

/// Gives frames of one kind out as another.
fn turn(frame: &mut [u8], from: u8, to: u8) -> bool {
    if opcode(frame) == from
        && let Some(first) = frame.first_mut()
    {
        *first = *first & 0xf0 | to;
    }
    true
}
