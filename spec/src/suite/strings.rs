//! Strings and numbers that are not well-formed, and such that are and look odd.

use crate::case::{Case, Checked, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{self, Connect, Subscribe, Will};
use crate::wire::packet::Publish;
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode, framed, put_counted};

pub(super) const CASES: &[Case] = &[
    case!(surrogates_are_malformed, "MQTT-1.5.4-1", "MQTT-4.13.1-1"),
    case!(null_characters_are_malformed, "MQTT-1.5.4-2", "MQTT-4.13.1-1"),
    case!(null_characters_in_filters_and_topics_are_malformed, "MQTT-4.7.3-2"),
    case!(a_byte_order_mark_is_a_character, "MQTT-1.5.4-3", "MQTT-4.7.3-4"),
    case!(a_remaining_length_of_five_bytes_is_malformed, "MQTT-1.5.5-1", "remaining-length"),
    case!(an_overlong_property_length_is_malformed, "MQTT-1.5.5-1"),
    case!(a_string_pair_is_two_well_formed_strings, "MQTT-1.5.7-1"),
    case!(a_topic_is_well_formed, "MQTT-3.3.2-1"),
    case!(a_response_topic_is_well_formed, "MQTT-3.3.2-13"),
    case!(a_content_type_is_well_formed, "MQTT-3.3.2-19"),
    case!(filters_are_well_formed, "MQTT-3.8.3-1"),
    case!(filters_to_unsubscribe_are_well_formed, "MQTT-3.10.3-1"),
    case!(a_client_identifier_is_well_formed, "MQTT-3.1.3-4"),
    case!(a_will_topic_is_well_formed, "MQTT-3.1.3-11"),
    case!(a_user_name_is_well_formed, "MQTT-3.1.3-12"),
    case!(noncharacters_pass_or_are_malformed, "utf8-noncharacters"),
];

/// What is not UTF-8: surrogates, an overlong form, beyond the last character, a piece, no start.
const ILL_FORMED: [&[u8]; 6] =
    [b"a\xED\xA0\x80", b"\xED\xBF\xBFz", b"\xC0\xAF", b"\xF4\x90\x80\x80", b"cut\xE2\x82", b"\xFF"];
const MALFORMED: [u8; 1] = [0x81];

fn refused_publish(scene: &Scene<'_>, publish: &Publish) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&encode::publish(publish, Version::V5));
    client.refused(&MALFORMED)
}

fn rejected_payload(scene: &Scene<'_>, connect: &Connect, payload: &[u8]) -> Checked {
    let mut client = scene.open("a")?;
    client.send(&connect.with_payload(payload));
    client.rejected(&[0x81, 0x85])
}

fn surrogates_are_malformed(scene: &Scene<'_>) -> Checked {
    for text in [b"a\xED\xA0\x80", b"a\xED\xBF\xBF"] {
        refused_publish(scene, &Publish::new(text, "x"))?;
        let mut client = scene.start("a")?;
        client.send(&Subscribe::to(text, 0).to_bytes(1, Version::V5));
        client.refused(&MALFORMED)?;
        let publish = Publish::new(scene.topic("a"), "x")
            .with(id::CONTENT_TYPE, Value::Binary(text.to_vec()));
        refused_publish(scene, &publish)?;
    }
    Ok(())
}

fn null_characters_are_malformed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let with = |key, value: &[u8]| Publish::new(&topic, "x").with(key, Value::Binary(value.into()));
    refused_publish(scene, &with(id::CONTENT_TYPE, b"a\0b"))?;
    refused_publish(scene, &with(id::RESPONSE_TOPIC, b"\0"))?;
    let mut client = scene.open("a")?;
    let mut connect = scene.client("a");
    connect.user_name = Some("a\0".to_owned());
    client.send(&connect.to_bytes());
    client.rejected(&MALFORMED)
}

fn null_characters_in_filters_and_topics_are_malformed(scene: &Scene<'_>) -> Checked {
    refused_publish(scene, &Publish::new("a\0b", "x"))?;
    let mut client = scene.start("a")?;
    client.send(&Subscribe::to("a\0/+", 0).to_bytes(1, Version::V5));
    client.refused(&MALFORMED)?;
    let mut client = scene.start("a")?;
    client.send(&build::unsubscribe(1, &[b"a\0"], Version::V5));
    client.refused(&MALFORMED)?;
    let mut client = scene.open("a")?;
    let will = Will { topic: "a\0".to_owned(), ..Will::default() };
    client.send(&scene.client("a").will(will).to_bytes());
    client.rejected(&[0x81, 0x90])
}

fn a_byte_order_mark_is_a_character(scene: &Scene<'_>) -> Checked {
    let (plain, marked) = (scene.topic("bom"), scene.topic("\u{FEFF}bom"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&marked, 0))?;
    client.publish(&Publish::new(&plain, "plain"))?;
    let kind = Value::Text("\u{FEFF}text".to_owned());
    client.publish(&Publish::new(&marked, "marked").with(id::CONTENT_TYPE, kind.clone()))?;
    let message = client.take_payload("marked")?;
    ensure!(message.topic == marked.as_bytes(), "the topic is not the published one: {message:?}");
    ensure!(
        message.properties.get(id::CONTENT_TYPE) == Some(&kind),
        "the mark in front of a content type is gone: {message:?}"
    );
    client.quiet()
}

fn a_remaining_length_of_five_bytes_is_malformed(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&[0xC0, 0x80, 0x80, 0x80, 0x80, 0x00]);
    client.refused(&[0x81, 0x95])?;
    let mut client = scene.open("b")?;
    client.send(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0]);
    client.rejected(&[0x81, 0x95])
}

fn an_overlong_property_length_is_malformed(scene: &Scene<'_>) -> Checked {
    let mut body = Vec::new();
    put_counted(&mut body, scene.topic("a").as_bytes());
    let mut five = body.clone();
    five.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x00]);
    body.extend_from_slice(&[0x80, 0x00]);
    for body in [five, body] {
        let mut client = scene.start("a")?;
        client.send(&framed(0x30, &body));
        client.refused(&MALFORMED)?;
    }
    Ok(())
}

fn a_string_pair_is_two_well_formed_strings(scene: &Scene<'_>) -> Checked {
    for (name, value) in [(&b"\xFF"[..], &b"v"[..]), (b"n", b"\xED\xA0\x80"), (b"n\0", b"v")] {
        let mut pair = Vec::new();
        put_counted(&mut pair, name);
        put_counted(&mut pair, value);
        let publish = Publish::new(scene.topic("a"), "x").with(id::USER_PROPERTY, Value::Raw(pair));
        refused_publish(scene, &publish)?;
    }
    Ok(())
}

fn a_topic_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        refused_publish(scene, &Publish::new(text, "x"))?;
    }
    Ok(())
}

fn a_response_topic_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let value = Value::Binary(text.to_vec());
        let publish = Publish::new(scene.topic("a"), "x").with(id::RESPONSE_TOPIC, value);
        refused_publish(scene, &publish)?;
    }
    Ok(())
}

fn a_content_type_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let value = Value::Binary(text.to_vec());
        let publish = Publish::new(scene.topic("a"), "x").with(id::CONTENT_TYPE, value);
        refused_publish(scene, &publish)?;
    }
    Ok(())
}

fn filters_are_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let mut client = scene.start("a")?;
        client.send(&Subscribe::to(scene.topic("a"), 0).and(text, 0).to_bytes(1, Version::V5));
        client.refused(&MALFORMED)?;
    }
    Ok(())
}

fn filters_to_unsubscribe_are_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let mut client = scene.start("a")?;
        client.send(&build::unsubscribe(1, &[b"a", text], Version::V5));
        client.refused(&MALFORMED)?;
    }
    Ok(())
}

fn a_client_identifier_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let mut payload = Vec::new();
        put_counted(&mut payload, text);
        rejected_payload(scene, &Connect::new("a"), &payload)?;
    }
    Ok(())
}

fn a_will_topic_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let connect = Connect::new("a").will(Will::default());
        let mut payload = Vec::new();
        put_counted(&mut payload, scene.client("a").client_id.as_bytes());
        payload.push(0);
        put_counted(&mut payload, text);
        put_counted(&mut payload, b"payload");
        rejected_payload(scene, &connect, &payload)?;
    }
    Ok(())
}

fn a_user_name_is_well_formed(scene: &Scene<'_>) -> Checked {
    for text in ILL_FORMED {
        let mut connect = Connect::new("a");
        connect.user_name = Some(String::new());
        let mut payload = Vec::new();
        put_counted(&mut payload, scene.client("a").client_id.as_bytes());
        put_counted(&mut payload, text);
        rejected_payload(scene, &connect, &payload)?;
    }
    Ok(())
}

fn noncharacters_pass_or_are_malformed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("\u{1}\u{FFFF}\u{10FFFF}");
    let mut client = scene.start("a")?;
    client.send(&Subscribe::to(&topic, 0).to_bytes(1, Version::V5));
    match client.event()? {
        crate::client::Event::Closed => Ok(()),
        crate::client::Event::Packet(crate::wire::packet::Packet::SubAck(_)) => {
            client.publish(&Publish::new(&topic, "odd"))?;
            let message = client.take_payload("odd")?;
            ensure!(message.topic == topic.as_bytes(), "the topic came changed: {message:?}");
            Ok(())
        }
        crate::client::Event::Packet(crate::wire::packet::Packet::Disconnect(disconnect)) => {
            ensure!(disconnect.reason == 0x81, "{disconnect:?}");
            Ok(())
        }
        other => Err(crate::case::Failure(format!("{other:?}"))),
    }
}
