//! CONNECT that must be refused.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{self, Connect, Subscribe, Will};
use crate::wire::packet::Publish;
use crate::wire::property::{Value, id};
use crate::wire::{Version, framed, put_counted};

pub(super) const CASES: &[Case] = &[
    case!(the_first_packet_is_connect, "MQTT-3.1.0-1", "MQTT-3.14.0-1"),
    case!(a_second_connect_is_refused, "MQTT-3.1.0-2", "MQTT-4.13.1-1"),
    case!(another_protocol_name_is_refused, "MQTT-3.1.2-1", "MQTT-3.14.0-1"),
    case!(an_unknown_version_is_refused, "MQTT-3.1.2-2", "MQTT-3.14.0-1"),
    case!(an_unknown_version_is_answered, "MQTT-3.1.2-2").advice(),
    case!(the_reserved_connect_flag_is_zero, "MQTT-3.1.2-3", "MQTT-3.1.4-1"),
    case!(a_will_flag_needs_will_fields, "MQTT-3.1.2-9", "MQTT-3.1.4-1"),
    case!(will_qos_without_a_will_is_refused, "MQTT-3.1.2-11", "MQTT-3.1.4-1"),
    case!(will_qos_3_is_malformed, "MQTT-3.1.2-12", "MQTT-3.1.4-1"),
    case!(will_retain_without_a_will_is_refused, "MQTT-3.1.2-13", "MQTT-3.1.4-1"),
    case!(a_user_name_without_its_flag_is_refused, "MQTT-3.1.2-16", "MQTT-3.1.4-1"),
    case!(a_user_name_flag_needs_a_user_name, "MQTT-3.1.2-17", "MQTT-3.1.4-1"),
    case!(a_password_without_its_flag_is_refused, "MQTT-3.1.2-18", "MQTT-3.1.4-1"),
    case!(a_password_flag_needs_a_password, "MQTT-3.1.2-19", "MQTT-3.1.4-1"),
    case!(payload_fields_have_their_order, "MQTT-3.1.3-1", "MQTT-3.1.4-1"),
    case!(a_client_identifier_is_there, "MQTT-3.1.3-3", "MQTT-3.1.4-1"),
    case!(a_malformed_connect_closes, "MQTT-3.1.4-1", "MQTT-3.14.0-1", "connect-error-answer"),
    case!(after_a_refusal_nothing_is_processed, "MQTT-3.1.4-6", "MQTT-3.2.2-7"),
    case!(
        wrong_credentials_are_refused,
        "MQTT-3.1.4-2",
        "MQTT-3.2.2-7",
        "MQTT-3.2.2-6",
        "connect-refusal-codes"
    )
    .needs(&[Need::Denied]),
    case!(who_is_refused_takes_nothing_over, "MQTT-3.1.4-2").needs(&[Need::Denied]),
    case!(byte_properties_are_zero_or_one, "connect-byte-properties"),
    case!(receive_maximum_zero_is_refused, "receive-maximum-zero"),
    case!(maximum_packet_size_zero_is_refused, "maximum-packet-size-zero"),
    case!(authentication_data_needs_a_method, "auth-data-without-method"),
    case!(a_will_property_given_twice_is_refused, "will-duplicate-property"),
    case!(
        a_refusal_by_connack_closes,
        "MQTT-3.2.2-6",
        "MQTT-3.2.2-7",
        "MQTT-4.13.2-1",
        "MQTT-3.2.2-8"
    ),
    case!(a_connection_without_connect_is_closed, "connect-timeout")
        .needs(&[Need::ConnectTimeout])
        .slow(),
];

const BAD: [u8; 3] = [0x80, 0x81, 0x82];

fn rejected(scene: &Scene<'_>, bytes: &[u8], codes: &[u8]) -> Checked {
    let mut client = scene.open("a")?;
    client.send(bytes);
    client.rejected(codes)
}

fn the_first_packet_is_connect(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let publish = crate::wire::encode::publish(&Publish::new(&topic, "early"), Version::V5);
    let subscribe = Subscribe::to(&topic, 0).to_bytes(1, Version::V5);
    let first: [&[u8]; 5] =
        [&publish, &subscribe, &build::PINGREQ, &build::DISCONNECT, &[0xF0, 2, 0x19, 0]];
    for bytes in first {
        let mut client = scene.open("a")?;
        client.send(bytes);
        match client.event()? {
            Event::Closed => {}
            other => return Err(Failure(format!("a close without a word expected: {other:?}"))),
        }
    }
    watcher.quiet()
}

fn a_second_connect_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&scene.client("a").to_bytes());
    client.refused(&[0x82])
}

fn another_protocol_name_is_refused(scene: &Scene<'_>) -> Checked {
    for name in ["MQTt", "HTTP", "", "MQTTX"] {
        let mut body = Vec::new();
        put_counted(&mut body, name.as_bytes());
        body.extend_from_slice(&[5, 2, 0, 60, 0]);
        put_counted(&mut body, scene.client("a").client_id.as_bytes());
        rejected(scene, &framed(0x10, &body), &[0x81, 0x84])?;
    }
    Ok(())
}

fn of_version(scene: &Scene<'_>, level: u8) -> Vec<u8> {
    let mut body = Vec::new();
    put_counted(&mut body, b"MQTT");
    body.extend_from_slice(&[level, 2, 0, 60, 0]);
    put_counted(&mut body, scene.client("a").client_id.as_bytes());
    framed(0x10, &body)
}

fn an_unknown_version_is_refused(scene: &Scene<'_>) -> Checked {
    for level in [0, 1, 2, 6, 7, 100] {
        let mut client = scene.open("a")?;
        client.send(&of_version(scene, level));
        unknown_version(&mut client, false)?;
    }
    Ok(())
}

fn an_unknown_version_is_answered(scene: &Scene<'_>) -> Checked {
    let mut client = scene.open("a")?;
    client.send(&of_version(scene, 6));
    unknown_version(&mut client, true)
}

/// A close, behind a CONNACK in the words of 3.1.1 or of 5: to a version that nobody knows either
/// may be understood.
fn unknown_version(client: &mut Client, answered: bool) -> Checked {
    let Some(frame) = client.frame()? else {
        ensure!(!answered, "closed without an answer");
        return Ok(());
    };
    let said = (frame.first, frame.body.as_slice());
    ensure!(
        matches!(said, (0x20, [0, 1] | [0, 0x84, ..])),
        "CONNACK 0x01 or 0x84 expected, {} came",
        crate::wire::hex(&frame.to_bytes())
    );
    client.ended()
}

fn with_flags(scene: &Scene<'_>, flags: u8) -> Checked {
    let connect = Connect::new(scene.client("a").client_id);
    rejected(scene, &connect.with_flags(flags), &BAD)
}

fn the_reserved_connect_flag_is_zero(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x03)
}

fn a_will_flag_needs_will_fields(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x06)?;
    // A topic and no payload.
    let connect = Connect::new("a").will(Will::default());
    let mut payload = Vec::new();
    put_counted(&mut payload, scene.client("a").client_id.as_bytes());
    payload.push(0);
    put_counted(&mut payload, b"topic");
    rejected(scene, &connect.with_payload(&payload), &BAD)
}

fn will_qos_without_a_will_is_refused(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x0A)?;
    with_flags(scene, 0x12)
}

fn will_qos_3_is_malformed(scene: &Scene<'_>) -> Checked {
    let will = Will { topic: scene.topic("will"), ..Will::default() };
    let connect = scene.client("a").will(will);
    rejected(scene, &connect.with_flags(connect.flags() | 0x18), &[0x81])
}

fn will_retain_without_a_will_is_refused(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x22)
}

fn a_user_name_without_its_flag_is_refused(scene: &Scene<'_>) -> Checked {
    let mut connect = Connect::new(scene.client("a").client_id);
    connect.user_name = Some("user".to_owned());
    rejected(scene, &connect.with_flags(0x02), &BAD)
}

fn a_user_name_flag_needs_a_user_name(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x82)
}

fn a_password_without_its_flag_is_refused(scene: &Scene<'_>) -> Checked {
    let mut connect = scene.client("a");
    connect.user_name = Some("user".to_owned());
    connect.password = Some(b"password".to_vec());
    rejected(scene, &connect.with_flags(0x82), &BAD)
}

fn a_password_flag_needs_a_password(scene: &Scene<'_>) -> Checked {
    with_flags(scene, 0x42)?;
    let mut connect = Connect::new(scene.client("a").client_id);
    connect.user_name = Some("user".to_owned());
    rejected(scene, &connect.with_flags(0xC2), &BAD)
}

fn payload_fields_have_their_order(scene: &Scene<'_>) -> Checked {
    // The will before the client identifier: its properties' length is read as a string's.
    let will = Will { topic: scene.topic("will"), payload: vec![0xFF; 40], ..Will::default() };
    let connect = scene.client("a").will(will.clone());
    let mut payload = vec![0];
    put_counted(&mut payload, will.topic.as_bytes());
    put_counted(&mut payload, &will.payload);
    put_counted(&mut payload, connect.client_id.as_bytes());
    rejected(scene, &connect.with_payload(&payload), &[0x80, 0x81, 0x82, 0x85, 0x90])
}

fn a_client_identifier_is_there(scene: &Scene<'_>) -> Checked {
    rejected(scene, &Connect::new("").with_payload(&[]), &[0x80, 0x81, 0x82, 0x85])?;
    rejected(scene, &Connect::new("").with_payload(&[0]), &[0x80, 0x81, 0x82, 0x85])
}

fn a_malformed_connect_closes(scene: &Scene<'_>) -> Checked {
    for body in [&b""[..], b"\0", b"\0\x04MQTT", b"\0\x04MQTT\x05", b"\0\x04MQTT\x05\x02\0\x3C"] {
        rejected(scene, &framed(0x10, body), &[0x80, 0x81, 0x82, 0x84])?;
    }
    Ok(())
}

fn after_a_refusal_nothing_is_processed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let connect = Connect::new(scene.client("a").client_id);
    let mut bytes = connect.with_flags(0x03);
    let publish = Publish::new(&topic, "from a stranger");
    bytes.extend(crate::wire::encode::publish(&publish, Version::V5));
    rejected(scene, &bytes, &BAD)?;
    watcher.quiet()
}

fn denied(scene: &Scene<'_>) -> Connect {
    let mut connect = scene.client("a");
    if let Some(denied) = &scene.capabilities.denied {
        connect.user_name = Some(denied.user_name.clone());
        connect.password = Some(denied.password.clone().into_bytes());
    }
    connect
}

fn wrong_credentials_are_refused(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let mut bytes = denied(scene).to_bytes();
    let publish = Publish::new(&topic, "from a stranger");
    bytes.extend(crate::wire::encode::publish(&publish, Version::V5));
    rejected(scene, &bytes, &[0x86, 0x87, 0x8A])?;
    watcher.quiet()
}

fn who_is_refused_takes_nothing_over(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    rejected(scene, &denied(scene).to_bytes(), &[0x85, 0x86, 0x87, 0x8A])?;
    client.quiet()
}

fn with_property(scene: &Scene<'_>, key: u8, value: Value) -> Checked {
    rejected(scene, &scene.client("a").with(key, value).to_bytes(), &[0x82])
}

fn byte_properties_are_zero_or_one(scene: &Scene<'_>) -> Checked {
    with_property(scene, id::REQUEST_PROBLEM_INFORMATION, Value::Byte(2))?;
    with_property(scene, id::REQUEST_RESPONSE_INFORMATION, Value::Byte(0xFF))
}

fn receive_maximum_zero_is_refused(scene: &Scene<'_>) -> Checked {
    with_property(scene, id::RECEIVE_MAXIMUM, Value::Two(0))
}

fn maximum_packet_size_zero_is_refused(scene: &Scene<'_>) -> Checked {
    with_property(scene, id::MAXIMUM_PACKET_SIZE, Value::Four(0))
}

fn authentication_data_needs_a_method(scene: &Scene<'_>) -> Checked {
    with_property(scene, id::AUTHENTICATION_DATA, Value::Binary(b"data".to_vec()))
}

fn a_will_property_given_twice_is_refused(scene: &Scene<'_>) -> Checked {
    let mut will = Will { topic: scene.topic("will"), ..Will::default() };
    will.properties = will.properties.with(id::WILL_DELAY_INTERVAL, Value::Four(1));
    will.properties = will.properties.with(id::WILL_DELAY_INTERVAL, Value::Four(1));
    rejected(scene, &scene.client("a").will(will).to_bytes(), &[0x82])
}

fn a_refusal_by_connack_closes(scene: &Scene<'_>) -> Checked {
    // A refusal may be a plain close; where it is a CONNACK, nothing follows it.
    with_flags(scene, 0x03)?;
    with_property(scene, id::RECEIVE_MAXIMUM, Value::Two(0))?;
    let will = Will { topic: "wild/#".to_owned(), ..Will::default() };
    rejected(scene, &scene.client("a").will(will).to_bytes(), &[0x80, 0x81, 0x82, 0x90])
}

fn a_connection_without_connect_is_closed(scene: &Scene<'_>) -> Checked {
    let mut silent = scene.open("a")?;
    let mut slow = scene.open("b")?;
    slow.send(&[0x10]);
    scene.wait_ms(scene.capabilities.connect_timeout_ms);
    silent.ended()?;
    slow.ended()
}
