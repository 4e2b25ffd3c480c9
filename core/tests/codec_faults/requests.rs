//! What else a client sends after its CONNECT.

use signalhouse_core::wire::types::Version;

use crate::{Row, refused, taken};

const ACKNOWLEDGEMENTS: &[Row] = &[
    ("PUBACK: packet id 0", 0x40, b"\x00\x00", 0x82, "PacketIdZero"),
    ("PUBREC: packet id 0", 0x50, b"\x00\x00", 0x82, "PacketIdZero"),
    ("PUBREL: packet id 0", 0x62, b"\x00\x00", 0x82, "PacketIdZero"),
    ("PUBCOMP: packet id 0", 0x70, b"\x00\x00", 0x82, "PacketIdZero"),
    ("PUBACK: cut", 0x40, b"\x00", 0x81, "Truncated"),
    ("PUBACK: no such code", 0x40, b"\x00\x01\x7f", 0x81, "UnknownReasonCode"),
    ("[MQTT-3.4.2-1] PUBACK 0x92", 0x40, b"\x00\x01\x92", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.4.2-1] PUBACK 0x10", 0x40, b"\x00\x01\x10", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.5.2-1] PUBREC 0x01", 0x50, b"\x00\x01\x01", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.5.2-1] PUBREC 0x10", 0x50, b"\x00\x01\x10", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.6.2-1] PUBREL 0x80", 0x62, b"\x00\x01\x80", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.7.2-1] PUBCOMP 0x97", 0x70, b"\x00\x01\x97", 0x82, "MisplacedReasonCode"),
    ("PUBACK: leftover", 0x40, b"\x00\x01\x00\x00\x00", 0x81, "LeftoverBytes"),
    ("PUBACK: cut properties", 0x40, b"\x00\x01\x00\x05\x1f", 0x81, "Truncated"),
    (
        "PUBREC: reason string twice",
        0x50,
        b"\x00\x01\x80\x08\x1f\x00\x01r\x1f\x00\x01r",
        0x82,
        "RepeatedProperty { property: ReasonString",
    ),
    (
        "PUBCOMP: server reference",
        0x70,
        b"\x00\x01\x00\x04\x1c\x00\x01s",
        0x81,
        "MisplacedProperty { property: ServerReference",
    ),
];

#[test]
fn acknowledgements() {
    refused(Version::V5, ACKNOWLEDGEMENTS);
    refused(
        Version::V311,
        &[
            ("3.1.1: PUBACK with a reason code", 0x40, b"\x00\x01\x00", 0x81, "LeftoverBytes"),
            ("3.1.1: PUBREL flags", 0x60, b"\x00\x01", 0x81, "ReservedFlags"),
        ],
    );
    taken(
        Version::V5,
        &[
            ("an id alone", 0x40, b"\x00\x01"),
            ("no property length", 0x50, b"\x00\x01\x80"),
            ("property length 0", 0x62, b"\x00\x01\x92\x00"),
        ],
    );
    taken(Version::V31, &[("3.1: DUP on PUBREL", 0x6a, b"\x00\x01")]);
}

const SUBSCRIBE: &[Row] = &[
    ("[MQTT-2.2.1-3] id 0", 0x82, b"\x00\x00\x00\x00\x01a\x00", 0x82, "PacketIdZero"),
    ("[MQTT-3.8.3-2] no payload", 0x82, b"\x00\x01\x00", 0x82, "PayloadMissing"),
    ("[MQTT-3.8.3-1]", 0x82, b"\x00\x01\x00\x00\x01\xff\x00", 0x81, "Text(IllFormed)"),
    ("[MQTT-4.7.3-2]", 0x82, b"\x00\x01\x00\x00\x01\x00\x00", 0x81, "Text(Null)"),
    ("[MQTT-4.7.3-1]", 0x82, b"\x00\x01\x00\x00\x00\x00", 0x81, "Topic(Empty)"),
    ("[MQTT-4.7.1-1] a#", 0x82, b"\x00\x01\x00\x00\x02a#\x00", 0x81, "Topic(HashPlace)"),
    ("[MQTT-4.7.1-1] #/a", 0x82, b"\x00\x01\x00\x00\x03#/a\x00", 0x81, "Topic(HashPlace)"),
    ("[MQTT-4.7.1-2] a+", 0x82, b"\x00\x01\x00\x00\x02a+\x00", 0x81, "Topic(PlusPlace)"),
    ("[MQTT-4.8.2-1]", 0x82, b"\x00\x01\x00\x00\x09$share//a\x00", 0x81, "Topic(ShareName)"),
    ("[MQTT-4.8.2-2]", 0x82, b"\x00\x01\x00\x00\x08$share/n\x00", 0x81, "Topic(ShareName)"),
    ("[MQTT-4.8.2-2] +", 0x82, b"\x00\x01\x00\x00\x0a$share/+/a\x00", 0x81, "Topic(ShareName)"),
    ("[MQTT-4.8.2-2] empty", 0x82, b"\x00\x01\x00\x00\x09$share/n/\x00", 0x81, "Topic(Empty)"),
    ("[MQTT-3.8.3-5] 6", 0x82, b"\x00\x01\x00\x00\x01a\x40", 0x81, "SubscriptionOptionsReserved"),
    ("[MQTT-3.8.3-5] 7", 0x82, b"\x00\x01\x00\x00\x01a\x80", 0x81, "SubscriptionOptionsReserved"),
    ("maximum QoS 3", 0x82, b"\x00\x01\x00\x00\x01a\x03", 0x82, "SubscriptionQos3"),
    ("retain handling 3", 0x82, b"\x00\x01\x00\x00\x01a\x30", 0x82, "RetainHandling3"),
    ("[MQTT-3.8.3-4]", 0x82, b"\x00\x01\x00\x00\x0a$share/n/a\x04", 0x82, "NoLocalShared"),
    ("no options", 0x82, b"\x00\x01\x00\x00\x01a", 0x81, "Truncated"),
    (
        "subscription identifier 0",
        0x82,
        b"\x00\x01\x02\x0b\x00\x00\x01a\x00",
        0x82,
        "PropertyValue { property: SubscriptionIdentifier",
    ),
    (
        "subscription identifier twice",
        0x82,
        b"\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00",
        0x82,
        "RepeatedProperty { property: SubscriptionIdentifier",
    ),
    (
        "[MQTT-1.5.5-1] overlong subscription identifier",
        0x82,
        b"\x00\x01\x03\x0b\x81\x00\x00\x01a\x00",
        0x81,
        "VariableOverlong",
    ),
    (
        "[MQTT-1.5.5-1] subscription identifier of five bytes",
        0x82,
        b"\x00\x01\x06\x0b\xff\xff\xff\xff\x01\x00\x01a\x00",
        0x81,
        "VariableTooLong",
    ),
    (
        "topic alias in SUBSCRIBE",
        0x82,
        b"\x00\x01\x03\x23\x00\x01\x00\x01a\x00",
        0x81,
        "MisplacedProperty { property: TopicAlias",
    ),
    ("UNSUBSCRIBE: id 0", 0xa2, b"\x00\x00\x00\x00\x01a", 0x82, "PacketIdZero"),
    ("[MQTT-3.10.3-2] no payload", 0xa2, b"\x00\x01\x00", 0x82, "PayloadMissing"),
    ("[MQTT-3.10.3-1]", 0xa2, b"\x00\x01\x00\x00\x01\xff", 0x81, "Text(IllFormed)"),
    ("UNSUBSCRIBE: a#", 0xa2, b"\x00\x01\x00\x00\x02a#", 0x81, "Topic(HashPlace)"),
    (
        "subscription identifier in UNSUBSCRIBE",
        0xa2,
        b"\x00\x01\x02\x0b\x01\x00\x01a",
        0x81,
        "MisplacedProperty { property: SubscriptionIdentifier",
    ),
];

#[test]
fn subscribe_and_unsubscribe() {
    refused(Version::V5, SUBSCRIBE);
    refused(
        Version::V311,
        &[
            ("3.1.1: QoS 3", 0x82, b"\x00\x01\x00\x01a\x03", 0x82, "SubscriptionQos3"),
            ("3.1.1: reserved", 0x82, b"\x00\x01\x00\x01a\x04", 0x81, "SubscriptionOptionsRes"),
            ("3.1.1: no filter", 0xa2, b"\x00\x01", 0x82, "PayloadMissing"),
        ],
    );
    taken(
        Version::V31,
        &[
            ("3.1: DUP on SUBSCRIBE", 0x8a, b"\x00\x01\x00\x01a\x00"),
            ("3.1: unused options", 0x82, b"\x00\x01\x00\x01a\xfd"),
        ],
    );
}

const DISCONNECT_AND_AUTH: &[Row] = &[
    ("[MQTT-3.14.2-1] no such code", 0xe0, b"\x03", 0x81, "UnknownReasonCode"),
    ("[MQTT-3.14.2-1] server's code", 0xe0, b"\x8b", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.14.2-1] 0x8C", 0xe0, b"\x8c", 0x82, "MisplacedReasonCode"),
    (
        "server reference from a client",
        0xe0,
        b"\x00\x04\x1c\x00\x01s",
        0x82,
        "PropertyFromWrongSide { property: ServerReference",
    ),
    (
        "session expiry interval twice",
        0xe0,
        b"\x00\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01",
        0x82,
        "RepeatedProperty { property: SessionExpiryInterval",
    ),
    ("DISCONNECT: leftover", 0xe0, b"\x00\x00\x00", 0x81, "LeftoverBytes"),
    ("[MQTT-3.15.2-1] nothing", 0xf0, b"", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.15.2-1] 0x00", 0xf0, b"\x00\x04\x15\x00\x01m", 0x82, "MisplacedReasonCode"),
    ("[MQTT-3.15.2-1] 0x87", 0xf0, b"\x87\x04\x15\x00\x01m", 0x82, "MisplacedReasonCode"),
    ("AUTH: no properties", 0xf0, b"\x18", 0x82, "AuthenticationMethodMissing"),
    ("AUTH: no method", 0xf0, b"\x18\x00", 0x82, "AuthenticationMethodMissing"),
    ("AUTH: data alone", 0xf0, b"\x18\x04\x16\x00\x01d", 0x82, "AuthenticationMethodMissing"),
    (
        "AUTH: method twice",
        0xf0,
        b"\x19\x08\x15\x00\x01m\x15\x00\x01m",
        0x82,
        "RepeatedProperty { property: AuthenticationMethod",
    ),
];

#[test]
fn disconnect_and_auth() {
    refused(Version::V5, DISCONNECT_AND_AUTH);
    refused(
        Version::V311,
        &[
            ("3.1.1: AUTH", 0xf0, b"", 0x82, "NotInVersion"),
            ("3.1.1: DISCONNECT with a reason", 0xe0, b"\x00", 0x81, "LeftoverBytes"),
        ],
    );
    taken(
        Version::V5,
        &[
            ("DISCONNECT: nothing", 0xe0, b""),
            ("DISCONNECT: a code alone", 0xe0, b"\x04"),
            ("DISCONNECT: property length 0", 0xe0, b"\x00\x00"),
        ],
    );
}
