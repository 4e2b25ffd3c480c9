//! PUBLISH: what is answered, what is passed on, and what is wrong.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::{Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode, framed, put_counted};

pub(super) const CASES: &[Case] = &[
    case!(qos_0_has_no_packet_identifier, "MQTT-2.2.1-2", "MQTT-4.3.1-1", "MQTT-3.3.1-2"),
    case!(dup_at_qos_0_is_refused, "MQTT-3.3.1-2"),
    case!(qos_3_is_malformed, "MQTT-3.3.1-4", "MQTT-4.13.1-1"),
    case!(dup_is_not_passed_on, "MQTT-3.3.1-3", "MQTT-4.3.2-2", "MQTT-4.3.3-2")
        .needs(&[Need::Qos2]),
    case!(wildcards_in_a_topic_are_refused, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    case!(wildcards_in_a_response_topic_are_refused, "MQTT-3.3.2-14"),
    case!(an_empty_topic_without_alias_is_refused, "publish-empty-topic", "MQTT-4.7.3-1"),
    case!(what_is_sent_matches_the_filter, "MQTT-3.3.2-3").needs(&[Need::Wildcards]),
    case!(
        each_qos_has_its_answer,
        "MQTT-3.3.4-1",
        "MQTT-2.2.1-5",
        "MQTT-4.3.2-4",
        "MQTT-4.3.3-8",
        "MQTT-4.3.3-11"
    )
    .needs(&[Need::Qos2]),
    case!(puback_codes_are_listed, "MQTT-3.4.2-1", "no-matching-subscribers").needs(&[Need::Qos1]),
    case!(pubrec_codes_are_listed, "MQTT-3.5.2-1", "no-matching-subscribers").needs(&[Need::Qos2]),
    case!(pubrel_codes_are_listed, "MQTT-3.6.2-1", "packet-id-not-found").needs(&[Need::Qos2]),
    case!(pubcomp_codes_are_listed, "MQTT-3.7.2-1", "packet-id-not-found").needs(&[Need::Qos2]),
    case!(a_subscription_identifier_from_a_client_is_refused, "MQTT-3.3.4-6", "MQTT-4.13.1-1"),
    case!(an_empty_payload_is_delivered, "publish-empty-payload"),
    case!(a_large_payload_is_delivered, "MQTT-4.2.0-1"),
    case!(payload_format_is_not_in_the_way, "payload-format").needs(&[Need::Qos1]),
    case!(publishers_are_independent, "publisher-independence").needs(&[Need::Qos1]),
    case!(messages_join_every_matching_session, "MQTT-4.5.0-1").needs(&[Need::Qos1]),
    case!(messages_come_in_order, "MQTT-4.6.0-5", "MQTT-4.6.0-6").needs(&[Need::Qos2]),
    case!(messages_queued_for_a_session_come_in_order, "MQTT-4.6.0-5", "offline-queue")
        .needs(&[Need::Qos1]),
];

fn qos_0_has_no_packet_identifier(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "payload"))?;
    // Two more bytes before the properties would not parse, or come as payload.
    let message = client.take_payload("payload")?;
    ensure!(message.qos == 0 && !message.dup, "{message:?}");
    ensure!(message.properties.0.is_empty(), "{message:?}");
    client.quiet()
}

fn dup_at_qos_0_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&Publish::new(scene.topic("a"), "x").again(), Version::V5));
    client.refused(&[0x81, 0x82])
}

fn qos_3_is_malformed(scene: &Scene<'_>) -> Checked {
    for dup in [false, true] {
        let mut client = scene.start("a")?;
        let mut publish = Publish::new(scene.topic("a"), "x").qos(3).id(1);
        publish.dup = dup;
        client.send(&encode::publish(&publish, Version::V5));
        client.refused(&[0x81])?;
    }
    Ok(())
}

fn dup_is_not_passed_on(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    for qos in [1, 2] {
        client.publish(&Publish::new(&topic, "x").qos(qos).again())?;
        let message = client.take_payload("x")?;
        ensure!(!message.dup && message.qos == qos, "QoS {qos}, DUP 0 expected: {message:?}");
    }
    client.quiet()
}

fn wildcards_in_a_topic_are_refused(scene: &Scene<'_>) -> Checked {
    for wild in ["#", "+", "a/+/b", "a/#", "a#", "a+"] {
        let mut client = scene.start("a")?;
        client.send(&encode::publish(&Publish::new(scene.topic(wild), "x"), Version::V5));
        client.refused(&[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

fn wildcards_in_a_response_topic_are_refused(scene: &Scene<'_>) -> Checked {
    for wild in ["a/#", "+/a"] {
        let mut client = scene.start("a")?;
        let publish = Publish::new(scene.topic("a"), "x")
            .with(id::RESPONSE_TOPIC, Value::Text(wild.to_owned()));
        client.send(&encode::publish(&publish, Version::V5));
        client.refused(&[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

fn an_empty_topic_without_alias_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&Publish::new("", "x"), Version::V5));
    client.refused(&[0x81, 0x82])
}

fn what_is_sent_matches_the_filter(scene: &Scene<'_>) -> Checked {
    let (in_it, out_of_it) = (scene.topic("in/a"), scene.topic("out/a"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(scene.topic("in/+"), 0))?;
    client.publish(&Publish::new(&out_of_it, "out"))?;
    client.publish(&Publish::new(&in_it, "in"))?;
    let message = client.take_payload("in")?;
    ensure!(message.topic == in_it.as_bytes(), "{in_it} expected: {message:?}");
    client.quiet()
}

fn each_qos_has_its_answer(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(&topic, "0"))?;
    client.quiet()?;
    for packet_id in [1, 0x1234, 0xFFFF] {
        client.publish(&Publish::new(&topic, "1").qos(1).id(packet_id))?;
        client.publish(&Publish::new(&topic, "2").qos(2).id(packet_id))?;
    }
    client.quiet()
}

fn puback_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    let unheard = client.publish_answer(&Publish::new(&topic, "to nobody").qos(1))?;
    ensure!(matches!(unheard.reason, 0 | 0x10), "{unheard:?}");
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let heard = client.publish_answer(&Publish::new(&topic, "to me").qos(1))?;
    ensure!(heard.reason == 0, "{heard:?}");
    client.take_payload("to me").map(|_| ())
}

fn pubrec_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    let unheard = client.publish_answer(&Publish::new(&topic, "to nobody").qos(2))?;
    ensure!(matches!(unheard.reason, 0 | 0x10), "{unheard:?}");
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let heard = client.publish_answer(&Publish::new(&topic, "to me").qos(2))?;
    ensure!(heard.reason == 0, "{heard:?}");
    client.take_payload("to me").map(|_| ())
}

fn pubrel_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    client.publish(&Publish::new(&topic, "x").qos(2))?;
    client.take_payload("x")?;
    // For an identifier that is not in use.
    client.answer(kind::PUBREC, 0x7777, 0);
    let unknown = client.ack(kind::PUBREL, 0x7777)?;
    ensure!(unknown.reason == 0x92, "0x92 expected: {unknown:?}");
    client.quiet()
}

fn pubcomp_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(scene.topic("a"), "x").qos(2))?;
    client.answer(kind::PUBREL, 0x7777, 0);
    let unknown = client.ack(kind::PUBCOMP, 0x7777)?;
    ensure!(unknown.reason == 0x92, "0x92 expected: {unknown:?}");
    client.quiet()
}

fn a_subscription_identifier_from_a_client_is_refused(scene: &Scene<'_>) -> Checked {
    let mut body = Vec::new();
    put_counted(&mut body, scene.topic("a").as_bytes());
    body.extend_from_slice(&[2, id::SUBSCRIPTION_IDENTIFIER, 1]);
    let mut client = scene.start("a")?;
    client.send(&framed(0x30, &body));
    client.refused(&[0x81, 0x82])
}

fn an_empty_payload_is_delivered(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, ""))?;
    client.take_payload("").map(|_| ())
}

fn a_large_payload_is_delivered(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let limit = client.connack.properties.number(id::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX);
    for size in [127, 128, 16_383, 16_384, 200_000] {
        if size + 100 < limit as usize {
            let payload = "x".repeat(size);
            client.publish(&Publish::new(&topic, &payload))?;
            client.take_payload(&payload)?;
        }
    }
    Ok(())
}

fn payload_format_is_not_in_the_way(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    // Ill-formed text that says it is text may be refused, and the connection goes on.
    let publish = Publish::new(&topic, b"\xFF").qos(1);
    let publish = publish.with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1));
    let answer = client.publish_answer(&publish)?;
    if answer.reason < 0x80 {
        client.take()?;
    } else {
        ensure!(answer.reason == 0x99, "0x99 expected: {answer:?}");
    }
    client.quiet()
}

fn publishers_are_independent(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let one_at_a_time = scene.client("a").with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let mut slow = scene.connect(&one_at_a_time)?;
    let mut quick = scene.start("b")?;
    slow.subscribe(&Subscribe::to(&topic, 1))?;
    quick.subscribe(&Subscribe::to(&topic, 1))?;
    let mut publisher = scene.start("p")?;
    for number in 0..4 {
        publisher.publish(&Publish::new(&topic, format!("{number}")).qos(1))?;
    }
    // One that does not acknowledge delays nobody else.
    for number in 0..4 {
        quick.take_payload(&format!("{number}"))?;
    }
    for number in 0..4 {
        slow.take_payload(&format!("{number}"))?;
    }
    Ok(())
}

fn messages_join_every_matching_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut here = scene.start("a")?;
    here.subscribe(&Subscribe::to(&topic, 1))?;
    let mut away = scene.connect(&scene.client("b").expiry(60))?;
    away.subscribe(&Subscribe::to(&topic, 1))?;
    away.disconnect()?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "for both").qos(1))?;
    here.take_payload("for both")?;
    let mut away = scene.connect(&scene.client("b").resume())?;
    away.take_payload("for both")?;
    away.quiet()
}

fn messages_come_in_order(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    let mut publisher = scene.start("p")?;
    for qos in [0, 1, 2] {
        for number in 0..8 {
            publisher.publish(&Publish::new(&topic, format!("{qos}/{number}")).qos(qos))?;
        }
        for number in 0..8 {
            client.take_payload(&format!("{qos}/{number}"))?;
        }
    }
    client.quiet()
}

fn messages_queued_for_a_session_come_in_order(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.disconnect()?;
    let mut publisher = scene.start("p")?;
    for number in 0..12 {
        publisher.publish(&Publish::new(&topic, format!("{number}")).qos(1))?;
    }
    let mut client = scene.connect(&scene.client("a").resume())?;
    for number in 0..12 {
        client.take_payload(&format!("{number}"))?;
    }
    client.quiet()
}
