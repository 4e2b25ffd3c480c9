//! What a server says it does not offer, and so must refuse.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{AS_PUBLISHED, RETAIN_IF_NEW, RETAIN_NEVER, Subscribe, Will};
use crate::wire::packet::Publish;
use crate::wire::property::id;
use crate::wire::{Version, encode};

pub(super) const CASES: &[Case] = &[
    case!(a_limited_qos_is_announced, "MQTT-3.2.2-9").needs(&[Need::LimitedQos]),
    case!(an_unlimited_qos_is_served, "MQTT-3.2.2-9").needs(&[Need::Qos2]),
    case!(subscriptions_of_every_qos_are_taken, "MQTT-3.2.2-10", "subscribe-lower-grant"),
    case!(a_publication_over_the_maximum_qos_is_refused, "MQTT-3.2.2-11")
        .needs(&[Need::LimitedQos]),
    case!(a_will_over_the_maximum_qos_is_refused, "MQTT-3.2.2-12").needs(&[Need::LimitedQos]),
    case!(a_retained_will_is_refused, "MQTT-3.2.2-13").needs(&[Need::NoRetain]),
    case!(a_retained_publication_is_refused, "MQTT-3.2.2-14").needs(&[Need::NoRetain]),
    case!(retain_options_are_taken_all_the_same, "retain-unavailable").needs(&[Need::NoRetain]),
    case!(a_wildcard_is_refused, "wildcard-unavailable").needs(&[Need::NoWildcards]),
    case!(an_identifier_is_refused, "wildcard-unavailable").needs(&[Need::NoIdentifiers]),
    case!(a_share_is_refused, "wildcard-unavailable").needs(&[Need::NoShared]),
];

fn a_limited_qos_is_announced(scene: &Scene<'_>) -> Checked {
    let client = scene.start("a")?;
    let maximum = client.connack.properties.number(id::MAXIMUM_QOS);
    ensure!(matches!(maximum, Some(0 | 1)), "Maximum QoS {maximum:?}");
    Ok(())
}

fn an_unlimited_qos_is_served(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let maximum = client.connack.properties.number(id::MAXIMUM_QOS);
    ensure!(maximum.is_none(), "Maximum QoS {maximum:?}");
    for qos in 0..3 {
        client.publish(&Publish::new(scene.topic("a"), "x").qos(qos))?;
    }
    client.quiet()
}

fn subscriptions_of_every_qos_are_taken(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    for qos in 0..3 {
        let answer = client.subscribe(&Subscribe::to(&topic, qos))?;
        ensure!(answer.codes.iter().all(|granted| *granted <= qos), "{qos} asked for: {answer:?}");
        client.publish(&Publish::new(&topic, "x"))?;
        client.take_payload("x")?;
    }
    client.quiet()
}

fn a_publication_over_the_maximum_qos_is_refused(scene: &Scene<'_>) -> Checked {
    for qos in scene.capabilities.maximum_qos + 1..3 {
        let mut client = scene.start("a")?;
        let publish = Publish::new(scene.topic("a"), "x").qos(qos).id(1);
        client.send(&encode::publish(&publish, Version::V5));
        client.refused(&[0x9B])?;
    }
    Ok(())
}

fn a_will_over_the_maximum_qos_is_refused(scene: &Scene<'_>) -> Checked {
    for qos in scene.capabilities.maximum_qos + 1..3 {
        let will = Will { topic: scene.topic("will"), qos, ..Will::default() };
        let mut client = scene.open("a")?;
        client.send(&scene.client("a").will(will).to_bytes());
        client.rejected(&[0x9B])?;
    }
    Ok(())
}

fn a_retained_will_is_refused(scene: &Scene<'_>) -> Checked {
    let will = Will { topic: scene.topic("will"), retain: true, ..Will::default() };
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").will(will).to_bytes());
    client.rejected(&[0x9A])
}

fn a_retained_publication_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&Publish::new(scene.topic("a"), "x").retain(), Version::V5));
    client.refused(&[0x9A])
}

fn retain_options_are_taken_all_the_same(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    for options in [0, RETAIN_IF_NEW, RETAIN_NEVER, AS_PUBLISHED] {
        client.subscribe(&Subscribe::to(&topic, options))?;
        client.quiet()?;
        client.publish(&Publish::new(&topic, "x"))?;
        let message = client.take_payload("x")?;
        ensure!(!message.retain, "with RETAIN: {message:?}");
    }
    Ok(())
}

fn refused(scene: &Scene<'_>, subscribe: &Subscribe, code: u8) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&subscribe.to_bytes(1, Version::V5));
    // By the text a protocol error; SUBACK has the code too.
    match client.event()? {
        crate::client::Event::Packet(crate::wire::packet::Packet::SubAck(answer)) => {
            ensure!(answer.codes == [code], "{code:#04X} expected: {answer:?}");
            client.quiet()
        }
        crate::client::Event::Packet(crate::wire::packet::Packet::Disconnect(disconnect)) => {
            ensure!(disconnect.reason == code, "{code:#04X} expected: {disconnect:?}");
            client.ended()
        }
        crate::client::Event::Closed => Ok(()),
        other => Err(crate::case::Failure(format!("a refusal expected: {other:?}"))),
    }
}

fn a_wildcard_is_refused(scene: &Scene<'_>) -> Checked {
    refused(scene, &Subscribe::to(scene.topic("+"), 0), 0xA2)?;
    refused(scene, &Subscribe::to(scene.topic("a/#"), 0), 0xA2)
}

fn an_identifier_is_refused(scene: &Scene<'_>) -> Checked {
    refused(scene, &Subscribe::to(scene.topic("a"), 0).id(1), 0xA1)
}

fn a_share_is_refused(scene: &Scene<'_>) -> Checked {
    refused(scene, &Subscribe::to(format!("$share/g/{}", scene.topic("a")), 0), 0x9E)?;
    let mut client = scene.start("b")?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 0))?;
    client.quiet()
}
