//! What a client refuses of a broker.

use bytes::BytesMut;
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{ClientReader, Written, encode_server};

use crate::{LIMITS, Row, complaint, packet, report};

fn refused(version: Version, rows: &[Row]) {
    let complaints: Vec<_> = rows
        .iter()
        .filter_map(|(rule, first_byte, body, code, name)| {
            let mut buffer = BytesMut::from(&packet(*first_byte, body)[..]);
            let outcome = ClientReader::new(version, LIMITS).read(&mut buffer);
            complaint(rule, &outcome, *code, name)
        })
        .collect();
    report(&complaints);
}

#[test]
fn answers() {
    refused(
        Version::V5,
        &[
            ("CONNECT from a broker", 0x10, b"", 0x82, "WrongSender"),
            ("SUBSCRIBE from a broker", 0x82, b"", 0x82, "WrongSender"),
            ("UNSUBSCRIBE from a broker", 0xa2, b"", 0x82, "WrongSender"),
            ("PINGREQ from a broker", 0xc0, b"", 0x82, "WrongSender"),
            ("[MQTT-3.2.2-1] flags", 0x20, b"\x02\x00\x00", 0x81, "ConnAckFlagsReserved"),
            ("[MQTT-3.2.2-6]", 0x20, b"\x01\x87\x00", 0x82, "SessionPresentWithRefusal"),
            ("[MQTT-3.2.2-8] no such code", 0x20, b"\x00\x05\x00", 0x81, "UnknownReasonCode"),
            ("[MQTT-3.2.2-8]", 0x20, b"\x00\x8e\x00", 0x82, "MisplacedReasonCode"),
            ("CONNACK without properties", 0x20, b"\x00\x00", 0x81, "Truncated"),
            ("maximum QoS 2", 0x20, b"\x00\x00\x02\x24\x02", 0x82, "PropertyValue"),
            ("retain available 2", 0x20, b"\x00\x00\x02\x25\x02", 0x82, "PropertyValue"),
            ("receive maximum 0", 0x20, b"\x00\x00\x03\x21\x00\x00", 0x82, "PropertyValue"),
            ("[MQTT-3.9.3-2]", 0x90, b"\x00\x01\x00\x11", 0x82, "MisplacedReasonCode"),
            ("SUBACK without a code", 0x90, b"\x00\x01\x00", 0x82, "PayloadMissing"),
            ("[MQTT-3.11.3-2]", 0xb0, b"\x00\x01\x00\x01", 0x82, "MisplacedReasonCode"),
            ("UNSUBACK without a code", 0xb0, b"\x00\x01\x00", 0x82, "PayloadMissing"),
            ("[MQTT-3.14.2-1] client's code", 0xe0, b"\x04", 0x82, "MisplacedReasonCode"),
            (
                "[MQTT-3.14.2-2] session expiry interval",
                0xe0,
                b"\x00\x05\x11\x00\x00\x00\x01",
                0x82,
                "PropertyFromWrongSide { property: SessionExpiryInterval",
            ),
            ("[MQTT-3.15.2-1]", 0xf0, b"\x19\x04\x15\x00\x01m", 0x82, "MisplacedReasonCode"),
            ("[MQTT-3.1.2-26] alias", 0x30, b"\x00\x01a\x03\x23\x00\x03", 0x94, "TopicAliasInvali"),
            ("[MQTT-3.3.1-2] DUP at QoS 0", 0x38, b"\x00\x01a\x00", 0x82, "DupAtQos0"),
        ],
    );
    refused(
        Version::V311,
        &[
            ("3.1.1: DISCONNECT from a broker", 0xe0, b"", 0x82, "WrongSender"),
            ("3.1.1: AUTH", 0xf0, b"", 0x82, "NotInVersion"),
            ("3.1.1: return code 6", 0x20, b"\x00\x06", 0x81, "UnknownReasonCode"),
            ("3.1.1: CONNACK with properties", 0x20, b"\x00\x00\x00", 0x81, "LeftoverBytes"),
            ("3.1.1: SUBACK code 0x87", 0x90, b"\x00\x01\x87", 0x81, "UnknownReasonCode"),
            ("3.1.1: UNSUBACK with a code", 0xb0, b"\x00\x01\x00", 0x81, "LeftoverBytes"),
        ],
    );
}

#[test]
fn refusals_of_older_versions() {
    use signalhouse_core::wire::packet::{ConnAck, ServerPacket};
    use signalhouse_core::wire::reason::ReasonCode;
    let rows = [
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
        (ReasonCode::Banned, 5),
    ];
    for (reason, return_code) in rows {
        let packet = ServerPacket::ConnAck(Box::new(ConnAck { reason, ..ConnAck::default() }));
        let mut out = BytesMut::new();
        assert_eq!(encode_server(&packet, Version::V311, &mut out), Written::Whole(4));
        assert_eq!(&out[..], [0x20, 2, 0, return_code], "{reason}");
    }
    // The connection is closed without a CONNACK.
    for reason in [ReasonCode::MalformedPacket, ReasonCode::ProtocolError] {
        let packet = ServerPacket::ConnAck(Box::new(ConnAck { reason, ..ConnAck::default() }));
        let mut out = BytesMut::new();
        assert_eq!(encode_server(&packet, Version::V31, &mut out), Written::Nothing);
        assert!(out.is_empty());
    }
}
