//! Packets whose form is wrong: flags, directions, properties, lengths; and short forms that are right.

use crate::case::{Case, Checked, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Properties, Value, id};
use crate::wire::{Version, encode, framed, put_counted};

pub(super) const CASES: &[Case] = &[
    case!(reserved_flags_are_malformed, "MQTT-2.1.3-1", "MQTT-4.13.1-1"),
    case!(pubrel_has_flags_0010, "MQTT-3.6.1-1", "MQTT-2.1.3-1"),
    case!(subscribe_has_flags_0010, "MQTT-3.8.1-1", "MQTT-2.1.3-1"),
    case!(unsubscribe_has_flags_0010, "MQTT-3.10.1-1", "MQTT-2.1.3-1"),
    case!(disconnect_has_no_flags, "MQTT-3.14.1-1", "MQTT-2.1.3-1"),
    case!(auth_has_no_flags, "MQTT-3.15.1-1", "MQTT-2.1.3-1"),
    case!(packets_of_a_server_are_refused, "packet-direction", "MQTT-4.13.1-1"),
    case!(packet_identifier_zero_is_refused, "MQTT-2.2.1-3"),
    case!(a_property_given_twice_is_refused, "duplicate-property", "MQTT-4.13.1-1"),
    case!(an_unknown_property_is_malformed, "unknown-property", "MQTT-4.13.1-1"),
    case!(a_property_of_another_packet_is_malformed, "unknown-property", "MQTT-4.13.1-1"),
    case!(a_property_cut_short_is_malformed, "unknown-property", "MQTT-4.13.1-1"),
    case!(a_packet_cut_short_is_malformed, "MQTT-4.13.1-1"),
    case!(bytes_left_over_are_malformed, "MQTT-4.13.1-1"),
    case!(an_empty_property_set_is_a_zero_length, "MQTT-2.2.2-1"),
    case!(short_acknowledgements_are_understood, "short-forms").needs(&[crate::case::Need::Qos2]),
    case!(long_acknowledgements_are_understood, "short-forms").needs(&[crate::case::Need::Qos2]),
    case!(a_disconnect_with_a_code_alone_is_understood, "short-form-disconnect"),
    case!(an_empty_disconnect_is_a_normal_one, "short-form-disconnect"),
    case!(packets_in_pieces_are_put_together, "MQTT-4.2.0-1"),
    case!(packets_in_one_piece_are_taken_apart, "MQTT-4.2.0-1"),
];

fn violates(scene: &Scene<'_>, bytes: &[u8], codes: &[u8]) -> Checked {
    let mut client = scene.start("a")?;
    client.send(bytes);
    client.refused(codes)
}

fn reserved_flags_are_malformed(scene: &Scene<'_>) -> Checked {
    for first in [0x41, 0x52, 0x78, 0xC1, 0xC8] {
        let body: &[u8] = if first >> 4 == kind::PINGREQ { &[] } else { &[0, 1] };
        violates(scene, &framed(first, body), &[0x81])?;
    }
    let mut client = scene.open("a")?;
    let mut connect = scene.client("a").to_bytes();
    if let Some(first) = connect.first_mut() {
        *first = 0x11;
    }
    client.send(&connect);
    client.rejected(&[0x81])
}

fn pubrel_has_flags_0010(scene: &Scene<'_>) -> Checked {
    for first in [0x60, 0x63, 0x6A] {
        violates(scene, &framed(first, &[0, 1]), &[0x81])?;
    }
    Ok(())
}

fn spoiled(packet: &[u8], first: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Some(place) = packet.first_mut() {
        *place = first;
    }
    packet
}

fn subscribe_has_flags_0010(scene: &Scene<'_>) -> Checked {
    let right = Subscribe::to(scene.topic("a"), 0).to_bytes(1, Version::V5);
    for first in [0x80, 0x81, 0x83, 0x8A] {
        violates(scene, &spoiled(&right, first), &[0x81])?;
    }
    Ok(())
}

fn unsubscribe_has_flags_0010(scene: &Scene<'_>) -> Checked {
    let right = build::unsubscribe(1, &[scene.topic("a").as_bytes()], Version::V5);
    for first in [0xA0, 0xA1, 0xA3, 0xA6] {
        violates(scene, &spoiled(&right, first), &[0x81])?;
    }
    Ok(())
}

fn disconnect_has_no_flags(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("will");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let will = build::Will { topic, payload: b"gone".to_vec(), ..build::Will::default() };
    let mut client = scene.connect(&scene.client("a").will(will))?;
    client.send(&[0xE1, 0]);
    client.refused(&[0x81])?;
    // It was no DISCONNECT, so the will stands.
    watcher.take_payload("gone").map(|_| ())
}

fn auth_has_no_flags(scene: &Scene<'_>) -> Checked {
    for first in [0xF1, 0xF2, 0xF8] {
        violates(scene, &framed(first, &[0x19, 0]), &[0x81])?;
    }
    Ok(())
}

fn packets_of_a_server_are_refused(scene: &Scene<'_>) -> Checked {
    let packets: [&[u8]; 5] = [
        &[0x00, 0],
        &[0x20, 3, 0, 0, 0],
        &[0x90, 4, 0, 1, 0, 0],
        &[0xB0, 4, 0, 1, 0, 0],
        &[0xD0, 0],
    ];
    for packet in packets {
        violates(scene, packet, &[0x81, 0x82])?;
    }
    Ok(())
}

fn packet_identifier_zero_is_refused(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let publish = encode::publish(&Publish::new(&topic, "x").qos(1), Version::V5);
    violates(scene, &publish, &[0x81, 0x82])?;
    violates(scene, &Subscribe::to(&topic, 0).to_bytes(0, Version::V5), &[0x81, 0x82])?;
    violates(scene, &build::unsubscribe(0, &[topic.as_bytes()], Version::V5), &[0x81, 0x82])
}

fn a_property_given_twice_is_refused(scene: &Scene<'_>) -> Checked {
    let twice = |key, value: Value| {
        let publish = Publish::new(scene.topic("a"), "x").with(key, value.clone()).with(key, value);
        violates(scene, &encode::publish(&publish, Version::V5), &[0x82])
    };
    twice(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(9))?;
    twice(id::CONTENT_TYPE, Value::Text("t".into()))?;
    twice(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(0))?;
    let connect = scene.client("a").expiry(1).expiry(1);
    let mut client = scene.open("a")?;
    client.send(&connect.to_bytes());
    client.rejected(&[0x82])?;
    // A user property may repeat, under the same name too.
    let pair = |value: &str| Value::Pair("n".into(), value.into());
    let mut client = scene.start("b")?;
    let publish = Publish::new(scene.topic("b"), "x");
    client
        .publish(&publish.with(id::USER_PROPERTY, pair("1")).with(id::USER_PROPERTY, pair("1")))?;
    client.alive()
}

fn with_raw_properties(topic: &str, properties: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_counted(&mut body, topic.as_bytes());
    body.push(u8::try_from(properties.len()).unwrap_or(0));
    body.extend_from_slice(properties);
    framed(0x30, &body)
}

fn an_unknown_property_is_malformed(scene: &Scene<'_>) -> Checked {
    for unknown in [0x00, 0x04, 0x2B, 0x7F] {
        violates(scene, &with_raw_properties(&scene.topic("a"), &[unknown, 0]), &[0x81])?;
    }
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").with(0x2B, Value::Byte(1)).to_bytes());
    client.rejected(&[0x81])
}

fn a_property_of_another_packet_is_malformed(scene: &Scene<'_>) -> Checked {
    // Session Expiry Interval and Reason String do not belong into PUBLISH.
    violates(scene, &with_raw_properties(&scene.topic("a"), &[0x11, 0, 0, 0, 1]), &[0x81, 0x82])?;
    violates(scene, &with_raw_properties(&scene.topic("a"), &[0x1F, 0, 1, b'r']), &[0x81, 0x82])?;
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").with(id::TOPIC_ALIAS, Value::Two(1)).to_bytes());
    client.rejected(&[0x81, 0x82])
}

fn a_property_cut_short_is_malformed(scene: &Scene<'_>) -> Checked {
    violates(scene, &with_raw_properties(&scene.topic("a"), &[0x02, 0, 0]), &[0x81])?;
    violates(scene, &with_raw_properties(&scene.topic("a"), &[0x03, 0, 9, b'x']), &[0x81])
}

fn a_packet_cut_short_is_malformed(scene: &Scene<'_>) -> Checked {
    // A topic longer than the packet, an acknowledgement of one byte, a filter without options.
    violates(scene, &framed(0x30, &[0, 9, b'x']), &[0x81])?;
    violates(scene, &framed(0x40, &[1]), &[0x81])?;
    violates(scene, &framed(0x82, &[0, 1, 0, 0, 1, b'x']), &[0x81])?;
    let mut client = scene.open("a")?;
    client.send(&framed(0x10, &scene.client("a").head(2)));
    client.rejected(&[0x81])
}

fn bytes_left_over_are_malformed(scene: &Scene<'_>) -> Checked {
    violates(scene, &framed(0xC0, &[0]), &[0x81])?;
    let mut payload = scene.client("a").payload();
    payload.extend_from_slice(&[0, 0]);
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").with_payload(&payload));
    client.rejected(&[0x81])
}

fn an_empty_property_set_is_a_zero_length(scene: &Scene<'_>) -> Checked {
    // The strict parser demands the length in all that comes; here is one of each type.
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.publish(&Publish::new(&topic, "x"))?;
    let message = client.take_payload("x")?;
    ensure!(message.properties.0.is_empty(), "a property that nobody sent: {message:?}");
    client.unsubscribe(&[topic.as_bytes()])?;
    // And a packet without the length is malformed.
    let mut body = vec![0, 9];
    put_counted(&mut body, topic.as_bytes());
    body.push(0);
    client.send(&framed(0x82, &body));
    client.refused(&[0x81, 0x82])
}

fn acknowledge(scene: &Scene<'_>, tail: &[u8]) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    client.publish(&Publish::new(&topic, "one").qos(1))?;
    let long = |kind: u8, packet_id: u16| {
        let first = kind << 4 | if kind == kind::PUBREL { 2 } else { 0 };
        framed(first, &[&packet_id.to_be_bytes()[..], tail].concat())
    };
    let message = client.message()?;
    client.send(&long(kind::PUBACK, message.packet_id));
    client.send_publish(&Publish::new(&topic, "two").qos(2).id(9));
    client.ack(kind::PUBREC, 9)?;
    client.send(&long(kind::PUBREL, 9));
    client.ack(kind::PUBCOMP, 9)?;
    let message = client.message()?;
    client.send(&long(kind::PUBREC, message.packet_id));
    client.ack(kind::PUBREL, message.packet_id)?;
    client.send(&long(kind::PUBCOMP, message.packet_id));
    client.quiet()
}

fn short_acknowledgements_are_understood(scene: &Scene<'_>) -> Checked {
    acknowledge(scene, &[])
}

fn long_acknowledgements_are_understood(scene: &Scene<'_>) -> Checked {
    acknowledge(scene, &[0])?;
    acknowledge(scene, &[0, 0])?;
    acknowledge(scene, &[0, 4, 0x1F, 0, 1, b'r'])
}

fn a_disconnect_with_a_code_alone_is_understood(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&[0xE0, 1, 0x04]);
    client.ended()?;
    let mut client = scene.start("a")?;
    client.send(&build::reasoned(kind::DISCONNECT, 0, &Properties::none()));
    client.ended()
}

fn an_empty_disconnect_is_a_normal_one(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("will");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let will = build::Will { topic, payload: b"gone".to_vec(), ..build::Will::default() };
    let client = scene.connect(&scene.client("a").will(will))?;
    client.disconnect()?;
    watcher.quiet()
}

fn packets_in_pieces_are_put_together(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.open("a")?;
    for byte in scene.client("a").to_bytes() {
        client.send(&[byte]);
    }
    client.expect(kind::CONNACK)?;
    for byte in Subscribe::to(&topic, 0).to_bytes(1, Version::V5) {
        client.send(&[byte]);
    }
    client.expect(kind::SUBACK)?;
    let publish = encode::publish(&Publish::new(&topic, "in pieces"), Version::V5);
    let (one, two) = publish.split_at(publish.len() / 2);
    client.send(one);
    scene.wait_ms(30);
    client.send(two);
    client.take_payload("in pieces").map(|_| ())
}

fn packets_in_one_piece_are_taken_apart(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut bytes = scene.client("a").to_bytes();
    bytes.extend(Subscribe::to(&topic, 0).to_bytes(1, Version::V5));
    for number in 0..20 {
        bytes.extend(encode::publish(&Publish::new(&topic, format!("{number}")), Version::V5));
    }
    bytes.extend(build::PINGREQ);
    let mut client = scene.open("a")?;
    client.send(&bytes);
    let Packet::ConnAck(connack) = client.receive()? else { return Err("no CONNACK".into()) };
    ensure!(connack.reason == 0, "{connack:?}");
    client.expect(kind::SUBACK)?;
    for number in 0..20 {
        client.take_payload(&format!("{number}"))?;
    }
    client.expect(kind::PINGRESP).map(|_| ())
}
