//! The first packet and what it may be.

use bytes::BytesMut;
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{DecodeError, Reader};

use crate::{LIMITS, complaint, packet, report};

const V5: &[u8] = b"\x00\x04MQTT\x05";
const V311: &[u8] = b"\x00\x04MQTT\x04";
const V31: &[u8] = b"\x00\x06MQIsdp\x03";

/// Rule, bytes behind the level, reason code, beginning of the fault's name.
type ConnectRow = (&'static str, &'static [u8], u8, &'static str);

fn refused(prefix: &[u8], rows: &[ConnectRow]) {
    let complaints: Vec<_> = rows
        .iter()
        .filter_map(|(rule, rest, code, name)| {
            let bytes = packet(0x10, &[prefix, rest].concat());
            let outcome = Reader::new(LIMITS).read(&mut BytesMut::from(&bytes[..]));
            complaint(rule, &outcome, *code, name)
        })
        .collect();
    report(&complaints);
}

#[test]
fn another_packet_first() {
    let rows: &[(&str, &[u8], u8, &str)] = &[
        ("[MQTT-3.1.0-1] PINGREQ", b"\xc0\x00", 0x82, "FirstPacketNotConnect"),
        ("[MQTT-3.1.0-1] PUBLISH", b"\x30\x04\x00\x01a\x00", 0x82, "FirstPacketNotConnect"),
        ("[MQTT-3.1.0-1] AUTH", b"\xf0\x00", 0x82, "FirstPacketNotConnect"),
        ("[MQTT-3.1.0-1] CONNACK", b"\x20\x03\x00\x00\x00", 0x82, "FirstPacketNotConnect"),
        ("[MQTT-2.1.3-1] CONNECT flags", b"\x12\x00", 0x81, "ReservedFlags"),
    ];
    let complaints: Vec<_> = rows
        .iter()
        .filter_map(|(rule, bytes, code, name)| {
            let outcome = Reader::new(LIMITS).read(&mut BytesMut::from(*bytes));
            complaint(rule, &outcome, *code, name)
        })
        .collect();
    report(&complaints);
}

#[test]
fn protocol() {
    refused(
        b"",
        &[
            ("an empty CONNECT", b"", 0x81, "Truncated"),
            ("CONNECT ends in its name", b"\x00\x04MQ", 0x81, "Truncated"),
            ("CONNECT ends before its level", b"\x00\x04MQTT", 0x81, "Truncated"),
            ("CONNECT ends before its flags", b"\x00\x04MQTT\x05", 0x81, "Truncated"),
            ("[MQTT-3.1.2-1] lower case", b"\x00\x04mqtt\x05", 0x84, "UnsupportedProtocol"),
            ("[MQTT-3.1.2-1] another name", b"\x00\x05MQTTS\x05", 0x84, "UnsupportedProtocol"),
            ("[MQTT-3.1.2-2] level 6", b"\x00\x04MQTT\x06", 0x84, "UnsupportedProtocol"),
            ("[MQTT-3.1.2-2] level 3", b"\x00\x04MQTT\x03", 0x84, "UnsupportedProtocol"),
            ("[MQTT-3.1.2-2] 3.1 level 4", b"\x00\x06MQIsdp\x04", 0x84, "UnsupportedProtocol"),
        ],
    );
}

const CONNECT: &[ConnectRow] = &[
    ("[MQTT-3.1.2-3]", b"\x03\x00\x00\x00\x00\x01c", 0x81, "ConnectFlagReserved"),
    (
        "[MQTT-3.1.2-12] will QoS 3",
        b"\x1e\x00\x00\x00\x00\x01c\x00\x00\x01w\x00\x00",
        0x81,
        "WillQos3",
    ),
    ("[MQTT-3.1.2-11] will QoS", b"\x0a\x00\x00\x00\x00\x01c", 0x81, "WillFlagsWithoutWill"),
    ("[MQTT-3.1.2-13] will retain", b"\x22\x00\x00\x00\x00\x01c", 0x81, "WillFlagsWithoutWill"),
    ("[MQTT-3.1.2-9] no will", b"\x06\x00\x00\x00\x00\x01c", 0x81, "Truncated"),
    (
        "[MQTT-3.1.2-9] no will payload",
        b"\x06\x00\x00\x00\x00\x01c\x00\x00\x01w",
        0x81,
        "Truncated",
    ),
    (
        "[MQTT-3.1.2-16] user name without its flag",
        b"\x02\x00\x00\x00\x00\x01c\x00\x01u",
        0x81,
        "LeftoverBytes",
    ),
    ("[MQTT-3.1.2-17] no user name", b"\x82\x00\x00\x00\x00\x01c", 0x81, "Truncated"),
    (
        "[MQTT-3.1.2-18] password without its flag",
        b"\x82\x00\x00\x00\x00\x01c\x00\x01u\x00\x01p",
        0x81,
        "LeftoverBytes",
    ),
    ("[MQTT-3.1.2-19] no password", b"\x42\x00\x00\x00\x00\x01c", 0x81, "Truncated"),
    ("[MQTT-3.1.3-3] no client identifier", b"\x02\x00\x00\x00", 0x81, "Truncated"),
    (
        "[MQTT-3.1.3-4] ill-formed client identifier",
        b"\x02\x00\x00\x00\x00\x01\xff",
        0x81,
        "Text(IllFormed)",
    ),
    (
        "[MQTT-1.5.4-2] U+0000 in the client identifier",
        b"\x02\x00\x00\x00\x00\x01\x00",
        0x81,
        "Text(Null)",
    ),
    (
        "[MQTT-3.1.3-11] ill-formed will topic",
        b"\x06\x00\x00\x00\x00\x01c\x00\x00\x01\xc0\x00\x00",
        0x81,
        "Text(IllFormed)",
    ),
    (
        "[MQTT-4.7.3-1] empty will topic",
        b"\x06\x00\x00\x00\x00\x01c\x00\x00\x00\x00\x00",
        0x81,
        "Topic(Empty)",
    ),
    (
        "[MQTT-4.7.0-1] wildcard in the will topic",
        b"\x06\x00\x00\x00\x00\x01c\x00\x00\x01#\x00\x00",
        0x81,
        "Topic(Wildcard)",
    ),
    (
        "[MQTT-3.1.3-12] ill-formed user name",
        b"\x82\x00\x00\x00\x00\x01c\x00\x02\xed\xa0",
        0x81,
        "Text(IllFormed)",
    ),
];

const CONNECT_PROPERTIES: &[ConnectRow] = &[
    (
        "receive maximum 0",
        b"\x02\x00\x00\x03\x21\x00\x00\x00\x01c",
        0x82,
        "PropertyValue { property: ReceiveMaximum",
    ),
    (
        "maximum packet size 0",
        b"\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01c",
        0x82,
        "PropertyValue { property: MaximumPacketSize",
    ),
    (
        "request response information 2",
        b"\x02\x00\x00\x02\x19\x02\x00\x01c",
        0x82,
        "PropertyValue { property: RequestResponseInformation",
    ),
    (
        "request problem information 2",
        b"\x02\x00\x00\x02\x17\x02\x00\x01c",
        0x82,
        "PropertyValue { property: RequestProblemInformation",
    ),
    (
        "session expiry interval twice",
        b"\x02\x00\x00\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01\x00\x01c",
        0x82,
        "RepeatedProperty { property: SessionExpiryInterval",
    ),
    (
        "receive maximum twice",
        b"\x02\x00\x00\x06\x21\x00\x01\x21\x00\x01\x00\x01c",
        0x82,
        "RepeatedProperty { property: ReceiveMaximum",
    ),
    (
        "topic alias maximum twice",
        b"\x02\x00\x00\x06\x22\x00\x01\x22\x00\x01\x00\x01c",
        0x82,
        "RepeatedProperty { property: TopicAliasMaximum",
    ),
    (
        "authentication data without method",
        b"\x02\x00\x00\x04\x16\x00\x01d\x00\x01c",
        0x82,
        "AuthenticationDataWithoutMethod",
    ),
    (
        "authentication method twice",
        b"\x02\x00\x00\x08\x15\x00\x01m\x15\x00\x01m\x00\x01c",
        0x82,
        "RepeatedProperty { property: AuthenticationMethod",
    ),
    ("no such property", b"\x02\x00\x00\x02\x04\x00\x00\x01c", 0x81, "UnknownProperty { id: 4"),
    (
        "no such property, of two bytes",
        b"\x02\x00\x00\x03\x81\x01\x00\x00\x01c",
        0x81,
        "UnknownProperty { id: 129",
    ),
    (
        "[MQTT-1.5.5-1] overlong property identifier",
        b"\x02\x00\x00\x04\xa1\x00\x00\x01\x00\x01c",
        0x81,
        "VariableOverlong",
    ),
    (
        "[MQTT-1.5.5-1] overlong property length",
        b"\x02\x00\x00\x80\x00\x00\x01c",
        0x81,
        "VariableOverlong",
    ),
    (
        "topic alias in CONNECT",
        b"\x02\x00\x00\x03\x23\x00\x01\x00\x01c",
        0x81,
        "MisplacedProperty { property: TopicAlias",
    ),
    (
        "will delay interval outside the will",
        b"\x02\x00\x00\x05\x18\x00\x00\x00\x01\x00\x01c",
        0x81,
        "MisplacedProperty { property: WillDelayInterval",
    ),
    (
        "session expiry interval in the will",
        b"\x06\x00\x00\x00\x00\x01c\x05\x11\x00\x00\x00\x01\x00\x01w\x00\x00",
        0x81,
        "MisplacedProperty { property: SessionExpiryInterval, place: Will",
    ),
    (
        "will delay interval twice",
        b"\x06\x00\x00\x00\x00\x01c\x0a\x18\x00\x00\x00\x01\x18\x00\x00\x00\x01\x00\x01w\x00\x00",
        0x82,
        "RepeatedProperty { property: WillDelayInterval",
    ),
    ("properties longer than the packet", b"\x02\x00\x00\x7f\x00\x01c", 0x81, "Truncated"),
    (
        "a property longer than the properties",
        b"\x02\x00\x00\x02\x21\x00\x0a\x00\x01c",
        0x81,
        "Truncated",
    ),
];

#[test]
fn connect_v5() {
    refused(V5, CONNECT);
    refused(V5, CONNECT_PROPERTIES);
}

#[test]
fn connect_v311_and_v31() {
    refused(
        V311,
        &[
            ("a password alone", b"\x42\x00\x00\x00\x01c\x00\x01p", 0x82, "PasswordWithoutUserNa"),
            ("empty client identifier", b"\x00\x00\x00\x00\x00", 0x85, "ClientIdEmpty"),
            ("reserved connect flag", b"\x03\x00\x00\x00\x01c", 0x81, "ConnectFlagReserved"),
            ("will QoS 3", b"\x1e\x00\x00\x00\x01c\x00\x01w\x00\x00", 0x81, "WillQos3"),
            ("will retain", b"\x22\x00\x00\x00\x01c", 0x81, "WillFlagsWithoutWill"),
            ("properties do not exist", b"\x02\x00\x00\x00\x00\x01c", 0x81, "LeftoverBytes"),
            ("no user name", b"\x82\x00\x00\x00\x01c", 0x81, "Truncated"),
        ],
    );
    refused(
        V31,
        &[
            ("a password alone", b"\x42\x00\x00\x00\x01c\x00\x01p", 0x82, "PasswordWithoutUserNa"),
            ("empty client identifier", b"\x02\x00\x00\x00\x00", 0x85, "ClientIdEmpty"),
            ("will QoS 3", b"\x1e\x00\x00\x00\x01c\x00\x01w\x00\x00", 0x81, "WillQos3"),
        ],
    );
}

#[test]
fn odd_ones_that_are_taken() {
    let rows: &[(&str, &[u8], &[u8])] = &[
        ("[MQTT-3.1.3-6] 5: no client identifier", V5, b"\x00\x00\x00\x00\x00\x00"),
        ("5: a password alone", V5, b"\x42\x00\x00\x00\x00\x01c\x00\x01p"),
        ("3.1.1: no client identifier, clean session", V311, b"\x02\x00\x00\x00\x00"),
        ("3.1: a missing user name", V31, b"\x82\x00\x00\x00\x01c"),
        ("3.1: a missing password", V31, b"\xc2\x00\x00\x00\x01c\x00\x01u"),
        ("3.1: unused flags", V31, b"\x3b\x00\x00\x00\x01c"),
        ("3.1: 24 bytes of client identifier", V31, b"\x02\0\0\0\x18cccccccccccccccccccccccc"),
    ];
    for (rule, prefix, rest) in rows {
        let bytes = packet(0x10, &[*prefix, rest].concat());
        let read = Reader::new(LIMITS).read(&mut BytesMut::from(&bytes[..]));
        assert!(matches!(read, Ok(Some(_))), "{rule}: {read:?}");
    }
}

#[test]
fn a_refusal_is_written_in_a_version_that_the_client_may_know() {
    let rows: &[(&str, &[u8], Option<Version>)] = &[
        ("level 6", b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c", Some(Version::V5)),
        ("level 200", b"\x00\x04MQTT\xc8", Some(Version::V5)),
        ("level 3 under the newer name", b"\x00\x04MQTT\x03", Some(Version::V311)),
        ("level 0", b"\x00\x04MQTT\x00", Some(Version::V311)),
        ("3.1 with level 4", b"\x00\x06MQIsdp\x04", Some(Version::V31)),
        ("malformed 5", b"\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c", Some(Version::V5)),
        ("malformed 3.1.1", b"\x00\x04MQTT\x04\x03\x00\x00\x00\x01c", Some(Version::V311)),
        ("no level", b"\x00\x04MQTT", None),
    ];
    for (rule, body, answer) in rows {
        let mut reader = Reader::new(LIMITS);
        assert!(reader.read(&mut BytesMut::from(&packet(0x10, body)[..])).is_err(), "{rule}");
        assert_eq!(reader.answer_version(), *answer, "{rule}");
        assert_eq!(reader.version(), None, "{rule}");
    }
    let mut reader = Reader::new(LIMITS);
    assert!(reader.read(&mut BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..])).is_err());
    assert_eq!(reader.answer_version(), None);
}

#[test]
fn a_connect_that_is_too_large_is_refused_in_its_own_version() {
    let rows: &[(&[u8], usize, Option<Version>)] = &[
        (b"\x10\xff\x07\x00\x04MQTT\x05", 0, Some(Version::V5)),
        (b"\x10\xff\x07\x00\x06MQIsdp\x03", 0, Some(Version::V31)),
        (b"\x10\xff\x07\x00\x04MQTT", 1, None),
        (b"\x10\xff\x07\x00\x06M", 6, None),
        (b"\x10\xff\x07", 2, None),
        (b"\x10\xff\x07\x00\x05", 0, None),
    ];
    for (bytes, missing_bytes, answer) in rows {
        let mut reader = Reader::new(LIMITS);
        let read = reader.read(&mut BytesMut::from(*bytes));
        if *missing_bytes == 0 {
            let fault = DecodeError::PacketTooLarge { size_bytes: 1026, limit_bytes: 300 };
            assert_eq!(read, Err(fault), "{bytes:?}");
        } else {
            assert_eq!((read, reader.missing_bytes()), (Ok(None), *missing_bytes), "{bytes:?}");
        }
        assert_eq!(reader.answer_version(), *answer, "{bytes:?}");
    }
}
