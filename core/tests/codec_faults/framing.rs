//! What the first bytes of a packet show.

use bytes::BytesMut;
use signalhouse_core::wire::DecodeError;
use signalhouse_core::wire::types::Version;

use crate::{CONNECT_V5, CONNECT_V311, complaint, connected, report};

const ROWS: &[(&str, &[u8], u8, &str)] = &[
    ("packet type 0", b"\x00\x00", 0x81, "PacketTypeZero"),
    ("packet type 0 with flags", b"\x0f", 0x81, "PacketTypeZero"),
    ("[MQTT-2.1.3-1] PUBACK flags", b"\x41", 0x81, "ReservedFlags"),
    ("[MQTT-2.1.3-1] PUBREC flags", b"\x52", 0x81, "ReservedFlags"),
    ("[MQTT-3.6.1-1] PUBREL flags", b"\x60", 0x81, "ReservedFlags"),
    ("[MQTT-3.6.1-1] PUBREL flags with DUP", b"\x6a", 0x81, "ReservedFlags"),
    ("[MQTT-2.1.3-1] PUBCOMP flags", b"\x74", 0x81, "ReservedFlags"),
    ("[MQTT-3.8.1-1] SUBSCRIBE flags", b"\x80", 0x81, "ReservedFlags"),
    ("[MQTT-3.10.1-1] UNSUBSCRIBE flags", b"\xa0", 0x81, "ReservedFlags"),
    ("[MQTT-2.1.3-1] PINGREQ flags", b"\xc1", 0x81, "ReservedFlags"),
    ("[MQTT-3.14.1-1] DISCONNECT flags", b"\xe8", 0x81, "ReservedFlags"),
    ("[MQTT-3.15.1-1] AUTH flags", b"\xf1", 0x81, "ReservedFlags"),
    ("[MQTT-2.1.3-1] CONNECT flags", b"\x11", 0x81, "ReservedFlags"),
    ("[MQTT-3.1.0-2] second CONNECT", CONNECT_V5, 0x82, "SecondConnect"),
    ("CONNACK from a client", b"\x20", 0x82, "WrongSender"),
    ("SUBACK from a client", b"\x90", 0x82, "WrongSender"),
    ("UNSUBACK from a client", b"\xb0", 0x82, "WrongSender"),
    ("PINGRESP from a client", b"\xd0\x00", 0x82, "WrongSender"),
    ("[MQTT-1.5.5-1] overlong length", b"\xc0\x80\x00", 0x81, "VariableOverlong"),
    ("[MQTT-1.5.5-1] overlong length", b"\xe0\x81\x80\x00", 0x81, "VariableOverlong"),
    ("[MQTT-1.5.5-1] a fifth byte of length", b"\x30\xff\xff\xff\xff", 0x81, "VariableTooLong"),
    ("[MQTT-3.2.2-15] too large by one", b"\x30\xe6\x07", 0x95, "PacketTooLarge"),
    ("[MQTT-3.2.2-15] as large as can be", b"\x30\xff\xff\xff\x7f", 0x95, "PacketTooLarge"),
    ("PINGREQ with a body", b"\xc0\x01\x00", 0x81, "LeftoverBytes"),
];

#[test]
fn framing() {
    let complaints: Vec<_> = ROWS
        .iter()
        .filter_map(|(rule, bytes, code, name)| {
            let outcome = connected(Version::V5).read(&mut BytesMut::from(*bytes));
            complaint(rule, &outcome, *code, name)
        })
        .collect();
    report(&complaints);
}

#[test]
fn a_packet_at_the_limit_is_awaited() {
    let mut reader = connected(Version::V5);
    assert_eq!(reader.read(&mut BytesMut::from(&b"\x30\xe5\x07"[..])), Ok(None));
    assert_eq!(reader.missing_bytes(), 997);
}

#[test]
fn a_fault_is_for_good() {
    let mut reader = connected(Version::V311);
    let second = Err(DecodeError::SecondConnect);
    assert_eq!(reader.read(&mut BytesMut::from(CONNECT_V311)), second);
    assert_eq!(reader.read(&mut BytesMut::from(&b"\xc0\x00"[..])), second);
}
