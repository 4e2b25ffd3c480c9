//! Errors: what is told, and that nobody else suffers.
//!
//! That a connection closes is shown where a violation is the subject, with or without a code. Here a code has to come.

use super::{flow, limits};
use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{QOS_3, Subscribe};
use crate::wire::packet::{Packet, Publish};
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode, framed};

pub(super) const CASES: &[Case] = &[
    case!(a_violation_is_told_before_the_close, "error-close", "error-codes").advice(),
    case!(an_invalid_alias_is_told, "error-codes", "topic-alias-invalid")
        .needs(&[Need::TopicAlias])
        .advice(),
    case!(more_than_the_receive_maximum_is_told, "error-codes", "receive-maximum-excess")
        .needs(&[Need::ReceiveMaximum, Need::Qos2])
        .advice(),
    case!(a_packet_over_the_servers_limit_is_told, "error-codes", "packet-too-large")
        .needs(&[Need::MaximumPacketSize])
        .advice(),
    case!(a_qos_that_is_not_offered_is_told, "error-codes").needs(&[Need::LimitedQos]).advice(),
    case!(retain_that_is_not_offered_is_told, "error-codes").needs(&[Need::NoRetain]).advice(),
    case!(a_wildcard_that_is_not_offered_is_told, "error-codes", "wildcard-unavailable")
        .needs(&[Need::NoWildcards])
        .advice(),
    case!(an_identifier_that_is_not_offered_is_told, "error-codes", "wildcard-unavailable")
        .needs(&[Need::NoIdentifiers])
        .advice(),
    case!(a_share_that_is_not_offered_is_told, "error-codes", "wildcard-unavailable")
        .needs(&[Need::NoShared])
        .advice(),
    case!(others_do_not_suffer, "error-close", "MQTT-4.13.1-1"),
    case!(of_several_errors_any_is_told, "error-several"),
    case!(a_refused_connect_is_told, "connect-error-answer").advice(),
    case!(what_was_acknowledged_before_an_error_stands, "error-acknowledged").needs(&[Need::Qos1]),
];

fn told(scene: &Scene<'_>, bytes: &[u8], codes: &[u8]) -> Checked {
    let mut client = scene.start("a")?;
    client.send(bytes);
    client.told(codes).map(|_| ())
}

fn a_violation_is_told_before_the_close(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    told(scene, &QOS_3, &[0x81])?;
    told(scene, &framed(0x82, &[0, 1, 0]), &[0x82])?;
    told(scene, &scene.client("a").to_bytes(), &[0x82])?;
    told(scene, &encode::publish(&Publish::new(b"\xFF", "x"), Version::V5), &[0x81])?;
    let subscribe = Subscribe::to(topic, 0).id(0).to_bytes(1, Version::V5);
    told(scene, &subscribe, &[0x82])
}

fn an_invalid_alias_is_told(scene: &Scene<'_>) -> Checked {
    let alias = Publish::new(scene.topic("a"), "x").with(id::TOPIC_ALIAS, Value::Two(0));
    told(scene, &encode::publish(&alias, Version::V5), &[0x94])
}

fn more_than_the_receive_maximum_is_told(scene: &Scene<'_>) -> Checked {
    flow::over_the_receive_maximum(scene)?.told(&[0x93]).map(|_| ())
}

fn a_packet_over_the_servers_limit_is_told(scene: &Scene<'_>) -> Checked {
    limits::over_the_servers_limit(scene)?.told(&[0x95]).map(|_| ())
}

fn a_qos_that_is_not_offered_is_told(scene: &Scene<'_>) -> Checked {
    let qos = scene.capabilities.maximum_qos + 1;
    let publish = Publish::new(scene.topic("a"), "x").qos(qos).id(1);
    told(scene, &encode::publish(&publish, Version::V5), &[0x9B])
}

fn retain_that_is_not_offered_is_told(scene: &Scene<'_>) -> Checked {
    let publish = Publish::new(scene.topic("a"), "x").retain();
    told(scene, &encode::publish(&publish, Version::V5), &[0x9A])
}

/// SUBACK has the code too, though the text asks for DISCONNECT.
fn subscribing_is_told(scene: &Scene<'_>, subscribe: &Subscribe, code: u8) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&subscribe.to_bytes(1, Version::V5));
    match client.receive()? {
        Packet::SubAck(answer) => {
            ensure!(answer.codes == [code], "{code:#04X} expected: {answer:?}");
            client.quiet()
        }
        Packet::Disconnect(disconnect) => {
            ensure!(disconnect.reason == code, "{code:#04X} expected: {disconnect:?}");
            client.ended()
        }
        other => Err(Failure(format!("{code:#04X} expected, {other:?} came"))),
    }
}

fn a_wildcard_that_is_not_offered_is_told(scene: &Scene<'_>) -> Checked {
    subscribing_is_told(scene, &Subscribe::to(scene.topic("+"), 0), 0xA2)
}

fn an_identifier_that_is_not_offered_is_told(scene: &Scene<'_>) -> Checked {
    subscribing_is_told(scene, &Subscribe::to(scene.topic("a"), 0).id(1), 0xA1)
}

fn a_share_that_is_not_offered_is_told(scene: &Scene<'_>) -> Checked {
    subscribing_is_told(scene, &Subscribe::to(format!("$share/g/{}", scene.topic("a")), 0), 0x9E)
}

fn others_do_not_suffer(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut other = scene.start("b")?;
    other.subscribe(&Subscribe::to(&topic, 0))?;
    for bad in [&QOS_3[..], &[0x00, 0], &[0x30, 2, 0, 9], &[0xFF; 8]] {
        let mut client = scene.start("a")?;
        client.send(bad);
        client.refused(&[0x81, 0x82, 0x95])?;
        other.publish(&Publish::new(&topic, "x"))?;
        other.take_payload("x")?;
    }
    other.quiet()
}

fn of_several_errors_any_is_told(scene: &Scene<'_>) -> Checked {
    // QoS 3, a wildcard, an alias of 0, a subscription identifier.
    let publish = Publish::new("a/#", "x")
        .qos(3)
        .with(id::TOPIC_ALIAS, Value::Two(0))
        .with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(1));
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&publish, Version::V5));
    client.refused(&[0x81, 0x82, 0x90, 0x94])
}

fn a_refused_connect_is_told(scene: &Scene<'_>) -> Checked {
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").with(id::RECEIVE_MAXIMUM, Value::Two(0)).to_bytes());
    match client.receive()? {
        Packet::ConnAck(connack) if connack.reason == 0x82 => client.ended(),
        other => Err(Failure(format!("CONNACK 0x82 expected, {other:?} came"))),
    }
}

fn what_was_acknowledged_before_an_error_stands(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 1))?;
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(&topic, "good").qos(1))?;
    client.send(&QOS_3);
    client.refused(&[0x81])?;
    watcher.take_payload("good")?;
    watcher.quiet()
}
