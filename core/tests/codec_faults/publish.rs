//! PUBLISH from a client.

use bytes::BytesMut;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::types::Version;

use crate::{Row, connected, packet, refused, taken};

const PUBLISH: &[Row] = &[
    ("[MQTT-3.3.1-4] QoS 3", 0x36, b"\x00\x01a\x00\x01\x00", 0x81, "PublishQos3"),
    ("[MQTT-3.3.1-2] DUP at QoS 0", 0x38, b"\x00\x01a\x00", 0x82, "DupAtQos0"),
    ("[MQTT-2.2.1-3] QoS 1, id 0", 0x32, b"\x00\x01a\x00\x00\x00", 0x82, "PacketIdZero"),
    ("[MQTT-2.2.1-3] QoS 2, id 0", 0x34, b"\x00\x01a\x00\x00\x00", 0x82, "PacketIdZero"),
    ("no body", 0x30, b"", 0x81, "Truncated"),
    ("topic is cut", 0x30, b"\x00\x05a", 0x81, "Truncated"),
    ("QoS 1 without id", 0x32, b"\x00\x01a\x00", 0x81, "Truncated"),
    ("[MQTT-2.2.2-1] no property length", 0x30, b"\x00\x01a", 0x81, "Truncated"),
    ("[MQTT-3.3.2-1] ill-formed", 0x30, b"\x00\x02\xc3\x28\x00", 0x81, "Text(IllFormed)"),
    ("[MQTT-1.5.4-1] U+D800", 0x30, b"\x00\x03\xed\xa0\x80\x00", 0x81, "Text(IllFormed)"),
    ("[MQTT-1.5.4-1] overlong /", 0x30, b"\x00\x02\xc0\xaf\x00", 0x81, "Text(IllFormed)"),
    ("[MQTT-1.5.4-2] U+0000", 0x30, b"\x00\x02a\x00\x00", 0x81, "Text(Null)"),
    ("[MQTT-3.3.2-2] +", 0x30, b"\x00\x03a/+\x00", 0x81, "Topic(Wildcard)"),
    ("[MQTT-4.7.0-1] #", 0x30, b"\x00\x01#\x00", 0x81, "Topic(Wildcard)"),
    ("[MQTT-4.7.3-1] no topic", 0x30, b"\x00\x00\x00", 0x82, "TopicMissing"),
    ("[MQTT-3.3.2-8] alias 0", 0x30, b"\x00\x01a\x03\x23\x00\x00", 0x94, "TopicAliasInvalid"),
    ("[MQTT-3.3.2-9] alias 3", 0x30, b"\x00\x01a\x03\x23\x00\x03", 0x94, "TopicAliasInvalid"),
    ("[MQTT-3.2.2-17] alias 3", 0x30, b"\x00\x00\x03\x23\x00\x03", 0x94, "TopicAliasInvalid"),
    ("unknown alias", 0x30, b"\x00\x00\x03\x23\x00\x01", 0x82, "TopicAliasUnknown"),
    (
        "topic alias twice",
        0x30,
        b"\x00\x01a\x06\x23\x00\x01\x23\x00\x01",
        0x82,
        "RepeatedProperty { property: TopicAlias",
    ),
    (
        "[MQTT-3.3.4-6] subscription identifier",
        0x30,
        b"\x00\x01a\x02\x0b\x01",
        0x82,
        "PropertyFromWrongSide { property: SubscriptionIdentifier",
    ),
    (
        "subscription identifier 0",
        0x30,
        b"\x00\x01a\x02\x0b\x00",
        0x82,
        "PropertyValue { property: SubscriptionIdentifier",
    ),
    (
        "payload format indicator 2",
        0x30,
        b"\x00\x01a\x02\x01\x02",
        0x82,
        "PropertyValue { property: PayloadFormatIndicator",
    ),
    (
        "message expiry interval twice",
        0x30,
        b"\x00\x01a\x0a\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01",
        0x82,
        "RepeatedProperty { property: MessageExpiryInterval",
    ),
    ("[MQTT-3.3.2-13]", 0x30, b"\x00\x01a\x04\x08\x00\x01\xff", 0x81, "Text(IllFormed)"),
    ("[MQTT-3.3.2-14]", 0x30, b"\x00\x01a\x04\x08\x00\x01+", 0x81, "Topic(Wildcard)"),
    ("empty response topic", 0x30, b"\x00\x01a\x03\x08\x00\x00", 0x81, "Topic(Empty)"),
    ("[MQTT-3.3.2-19]", 0x30, b"\x00\x01a\x04\x03\x00\x01\x80", 0x81, "Text(IllFormed)"),
    (
        "[MQTT-1.5.7-1] ill-formed name of a user property",
        0x30,
        b"\x00\x01a\x07\x26\x00\x01\xff\x00\x01v",
        0x81,
        "Text(IllFormed)",
    ),
    (
        "[MQTT-1.5.7-1] U+0000 in the value of a user property",
        0x30,
        b"\x00\x01a\x07\x26\x00\x01n\x00\x01\x00",
        0x81,
        "Text(Null)",
    ),
    (
        "reason string in PUBLISH",
        0x30,
        b"\x00\x01a\x04\x1f\x00\x01r",
        0x81,
        "MisplacedProperty { property: ReasonString",
    ),
    (
        "will delay interval in PUBLISH",
        0x30,
        b"\x00\x01a\x05\x18\x00\x00\x00\x01",
        0x81,
        "MisplacedProperty { property: WillDelayInterval",
    ),
];

#[test]
fn publish() {
    refused(Version::V5, PUBLISH);
    refused(
        Version::V311,
        &[
            ("3.1.1: no topic", 0x30, b"\x00\x00", 0x82, "TopicMissing"),
            ("3.1.1: QoS 3", 0x36, b"\x00\x01a\x00\x01", 0x81, "PublishQos3"),
            ("3.1.1: DUP at QoS 0", 0x38, b"\x00\x01a", 0x82, "DupAtQos0"),
            ("3.1.1: packet id 0", 0x32, b"\x00\x01a\x00\x00", 0x82, "PacketIdZero"),
        ],
    );
}

#[test]
fn odd_ones_that_are_taken() {
    taken(
        Version::V5,
        &[
            ("[MQTT-1.5.4-3] U+FEFF", 0x30, b"\x00\x03\xef\xbb\xbf\x00"),
            ("an empty payload", 0x30, b"\x00\x01a\x00"),
            ("a topic that begins with $", 0x30, b"\x00\x02$a\x00"),
            ("[MQTT-3.3.2-12] the last alias", 0x30, b"\x00\x01a\x03\x23\x00\x02"),
            ("expiry 0", 0x30, b"\x00\x01a\x05\x02\x00\x00\x00\x00"),
            ("a user property twice", 0x30, b"\x00\x01a\x0e\x26\0\x01n\0\x01v\x26\0\x01n\0\x01v"),
            ("a user property of nothing", 0x30, b"\x00\x01a\x05\x26\x00\x00\x00\x00"),
        ],
    );
}

#[test]
fn aliases_are_resolved_and_replaced() {
    let mut reader = connected(Version::V5);
    let mut buffer = BytesMut::new();
    for body in [
        &b"\x00\x01a\x03\x23\x00\x01"[..],
        b"\x00\x00\x03\x23\x00\x01",
        b"\x00\x01b\x03\x23\x00\x01",
        b"\x00\x00\x03\x23\x00\x01",
    ] {
        buffer.extend_from_slice(&packet(0x30, body));
    }
    let mut topics = Vec::new();
    while let Some(read) = reader.read(&mut buffer).unwrap() {
        let ClientPacket::Publish(publish) = read else { panic!("{read:?}") };
        topics.push(publish.topic.to_string());
    }
    assert_eq!(topics, ["a", "a", "b", "b"]);
}
