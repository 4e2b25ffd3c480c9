//! QoS 1 and 2, both ways, on one connection. What happens across connections is in `resume`.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};

pub(super) const CASES: &[Case] = &[
    case!(deliveries_have_identifiers_not_in_use, "MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
        .needs(QOS2),
    case!(a_qos_1_delivery_begins_without_dup, "MQTT-4.3.2-2").needs(&[Need::Qos1]),
    case!(a_qos_2_delivery_begins_without_dup, "MQTT-4.3.3-2").needs(QOS2),
    case!(an_unanswered_qos_1_delivery_is_outstanding, "MQTT-4.3.2-3", "MQTT-4.4.0-1")
        .needs(&[Need::Qos1]),
    case!(an_unanswered_qos_2_delivery_is_outstanding, "MQTT-4.3.3-3", "MQTT-4.4.0-1").needs(QOS2),
    case!(puback_names_the_publication, "MQTT-4.3.2-4", "MQTT-2.2.1-5").needs(&[Need::Qos1]),
    case!(after_puback_the_identifier_is_free, "MQTT-4.3.2-5", "packet-id-reuse")
        .needs(&[Need::Qos1]),
    case!(pubrec_is_answered_by_pubrel, "MQTT-4.3.3-4", "MQTT-2.2.1-5").needs(QOS2),
    case!(a_pubrec_with_an_error_ends_the_delivery, "MQTT-4.3.3-4", "MQTT-4.4.0-2").needs(QOS2),
    case!(a_puback_with_an_error_ends_the_delivery, "MQTT-4.4.0-2", "error-acknowledged")
        .needs(&[Need::Qos1]),
    case!(pubrec_names_the_publication, "MQTT-4.3.3-8", "MQTT-2.2.1-5").needs(QOS2),
    case!(a_repeated_qos_2_publication_is_delivered_once, "MQTT-4.3.3-10").needs(QOS2),
    case!(pubrel_is_answered_by_pubcomp, "MQTT-4.3.3-11", "MQTT-2.2.1-5").needs(QOS2),
    case!(after_pubcomp_the_identifier_is_free, "MQTT-4.3.3-12", "packet-id-reuse").needs(QOS2),
    case!(after_a_refused_pubrec_the_identifier_is_free, "MQTT-4.3.3-9", "packet-id-reuse")
        .needs(&[Need::Qos2, Need::RefusedTopic]),
    case!(a_reserved_topic_is_refused_in_the_acknowledgement, "error-acknowledged")
        .needs(&[Need::Qos2, Need::RefusedTopic]),
    case!(a_refused_topic_at_qos_0_reaches_nobody, "not-authorized", "topic-name-refused")
        .needs(&[Need::RefusedTopic]),
    case!(identifiers_of_both_directions_are_independent, "packet-id-scope").needs(QOS2),
    case!(an_identifier_in_use_is_noticed, "MQTT-2.2.1-3", "packet-id-in-use").needs(QOS2),
    case!(qos_is_the_lower_of_both, "MQTT-3.8.4-8").needs(QOS2),
    case!(downgraded_deliveries_come_once, "qos-downgrade").needs(QOS2),
    case!(
        ownership_is_taken_before_the_acknowledgement,
        "MQTT-4.3.2-4",
        "MQTT-4.3.3-8",
        "acknowledge-on-ownership"
    )
    .needs(QOS2),
    case!(unknown_acknowledgements_harm_nobody, "packet-id-not-found").needs(QOS2),
];

const QOS2: &[Need] = &[Need::Qos2];

/// A subscriber to its own topic, and a publisher.
fn pair(scene: &Scene<'_>, qos: u8) -> Checked<(Client, Client, String)> {
    let topic = scene.topic("a");
    let mut subscriber = scene.start("s")?;
    subscriber.subscribe(&Subscribe::to(&topic, qos))?;
    Ok((subscriber, scene.start("p")?, topic))
}

fn deliveries_have_identifiers_not_in_use(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 2)?;
    let mut in_use = Vec::new();
    for number in 0..10_u8 {
        publisher.publish(&Publish::new(&topic, [number]).qos(1 + number % 2))?;
        let message = subscriber.message()?;
        ensure!(!in_use.contains(&message.packet_id), "an identifier in use: {message:?}");
        in_use.push(message.packet_id);
    }
    Ok(())
}

fn begins_without_dup(scene: &Scene<'_>, qos: u8) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, qos)?;
    publisher.publish(&Publish::new(&topic, "x").qos(qos))?;
    let message = subscriber.take_payload("x")?;
    ensure!(message.qos == qos && !message.dup && message.packet_id != 0, "{message:?}");
    subscriber.quiet()
}

fn a_qos_1_delivery_begins_without_dup(scene: &Scene<'_>) -> Checked {
    begins_without_dup(scene, 1)
}

fn a_qos_2_delivery_begins_without_dup(scene: &Scene<'_>) -> Checked {
    begins_without_dup(scene, 2)
}

/// While it is unanswered the identifier is taken and nothing is repeated on this connection.
fn outstanding(scene: &Scene<'_>, qos: u8) -> Checked {
    let topic = scene.topic("a");
    let mut subscriber = scene.connect(&scene.client("s").expiry(60))?;
    subscriber.subscribe(&Subscribe::to(&topic, qos))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "first").qos(qos))?;
    let first = subscriber.message()?;
    for _ in 0..3 {
        publisher.publish(&Publish::new(&topic, "more").qos(qos))?;
        let more = subscriber.take_payload("more")?;
        ensure!(more.packet_id != first.packet_id, "the identifier is in use: {more:?}");
    }
    subscriber.quiet()?;
    subscriber.cut();
    let mut subscriber = scene.connect(&scene.client("s").resume())?;
    let again = subscriber.take_payload("first")?;
    ensure!(again.packet_id == first.packet_id, "{first:?} came again as {again:?}");
    subscriber.quiet()
}

fn an_unanswered_qos_1_delivery_is_outstanding(scene: &Scene<'_>) -> Checked {
    outstanding(scene, 1)
}

fn an_unanswered_qos_2_delivery_is_outstanding(scene: &Scene<'_>) -> Checked {
    outstanding(scene, 2)
}

fn puback_names_the_publication(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for packet_id in [7, 1, 0xFFFF] {
        client.publish(&Publish::new(scene.topic("a"), "x").qos(1).id(packet_id))?;
    }
    Ok(())
}

fn after_puback_the_identifier_is_free(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 1)?;
    publisher.publish(&Publish::new(&topic, "one").qos(1).id(9))?;
    // DUP or not, it is a new message.
    publisher.publish(&Publish::new(&topic, "two").qos(1).id(9).again())?;
    publisher.publish(&Publish::new(&topic, "two").qos(1).id(9))?;
    subscriber.take_payload("one")?;
    subscriber.take_payload("two")?;
    subscriber.take_payload("two")?;
    subscriber.quiet()
}

fn pubrec_is_answered_by_pubrel(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 2)?;
    publisher.publish(&Publish::new(&topic, "x").qos(2))?;
    let message = subscriber.message()?;
    subscriber.answer(kind::PUBREC, message.packet_id, 0);
    let release = subscriber.ack(kind::PUBREL, message.packet_id)?;
    ensure!(release.reason == 0, "{release:?}");
    subscriber.answer(kind::PUBCOMP, message.packet_id, 0);
    subscriber.quiet()
}

fn a_pubrec_with_an_error_ends_the_delivery(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut subscriber = scene.connect(&scene.client("s").expiry(60))?;
    subscriber.subscribe(&Subscribe::to(&topic, 2))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "x").qos(2))?;
    let message = subscriber.message()?;
    subscriber.answer(kind::PUBREC, message.packet_id, 0x83);
    subscriber.quiet()?;
    subscriber.cut();
    let mut subscriber = scene.connect(&scene.client("s").resume())?;
    subscriber.quiet()
}

fn a_puback_with_an_error_ends_the_delivery(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut subscriber = scene.connect(&scene.client("s").expiry(60))?;
    subscriber.subscribe(&Subscribe::to(&topic, 1))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "x").qos(1))?;
    let message = subscriber.message()?;
    subscriber.answer(kind::PUBACK, message.packet_id, 0x97);
    publisher.publish(&Publish::new(&topic, "y").qos(1))?;
    subscriber.take_payload("y")?;
    subscriber.quiet()?;
    subscriber.cut();
    let mut subscriber = scene.connect(&scene.client("s").resume())?;
    subscriber.quiet()
}

fn pubrec_names_the_publication(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for packet_id in [7, 1, 0xFFFF] {
        client.publish(&Publish::new(scene.topic("a"), "x").qos(2).id(packet_id))?;
    }
    Ok(())
}

fn a_repeated_qos_2_publication_is_delivered_once(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 2)?;
    let publish = Publish::new(&topic, "once").qos(2).id(9);
    publisher.send_publish(&publish);
    publisher.ack(kind::PUBREC, 9)?;
    publisher.send_publish(&publish.again());
    let again = publisher.ack(kind::PUBREC, 9)?;
    ensure!(again.reason < 0x80, "{again:?}");
    publisher.answer(kind::PUBREL, 9, 0);
    publisher.ack(kind::PUBCOMP, 9)?;
    subscriber.take_payload("once")?;
    subscriber.quiet()
}

fn pubrel_is_answered_by_pubcomp(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(scene.topic("a"), "x").qos(2).id(0x0102))?;
    // Again, as after a connection that was lost: the answer may say that it is unknown.
    client.answer(kind::PUBREL, 0x0102, 0);
    let again = client.ack(kind::PUBCOMP, 0x0102)?;
    ensure!(matches!(again.reason, 0 | 0x92), "{again:?}");
    client.quiet()
}

fn after_pubcomp_the_identifier_is_free(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 2)?;
    for payload in ["one", "two", "two"] {
        publisher.publish(&Publish::new(&topic, payload).qos(2).id(9))?;
        subscriber.take_payload(payload)?;
    }
    subscriber.quiet()
}

fn after_a_refused_pubrec_the_identifier_is_free(scene: &Scene<'_>) -> Checked {
    let topic_refused = scene.refused_topic()?;
    let (mut subscriber, mut publisher, topic) = pair(scene, 2)?;
    let refused = publisher.publish_answer(&Publish::new(&topic_refused, "x").qos(2).id(9))?;
    ensure!(refused.reason >= 0x80, "{topic_refused} is not refused: {refused:?}");
    publisher.publish(&Publish::new(&topic, "new").qos(2).id(9))?;
    subscriber.take_payload("new")?;
    subscriber.quiet()
}

fn a_reserved_topic_is_refused_in_the_acknowledgement(scene: &Scene<'_>) -> Checked {
    let topic = scene.refused_topic()?;
    let mut client = scene.start("a")?;
    for qos in [1, 2] {
        let answer = client.publish_answer(&Publish::new(&topic, "x").qos(qos))?;
        ensure!(matches!(answer.reason, 0x80 | 0x83 | 0x87 | 0x90), "{answer:?}");
    }
    client.quiet()
}

/// There is no answer at QoS 0: the message is dropped, or the client is told why it has to go.
fn a_refused_topic_at_qos_0_reaches_nobody(scene: &Scene<'_>) -> Checked {
    let topic = scene.refused_topic()?;
    let mut watcher = scene.start("w")?;
    // Whether anybody may listen there is another question.
    watcher.subscribe_answer(&Subscribe::to(&topic, 0))?;
    let mut client = scene.start("a")?;
    client.send_publish(&Publish::new(&topic, "x"));
    client.send(&build::PINGREQ);
    match client.event()? {
        Event::Packet(Packet::PingResp) => client.quiet()?,
        Event::Packet(Packet::Disconnect(told)) if matches!(told.reason, 0x87 | 0x90) => {
            client.ended()?;
        }
        other => {
            return Err(Failure(format!("PINGRESP or DISCONNECT expected, {other:?} came")));
        }
    }
    watcher.quiet()
}

fn identifiers_of_both_directions_are_independent(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "in").qos(2))?;
    let message = client.message()?;
    // The same number the other way, before the first exchange is over.
    let packet_id = message.packet_id;
    client.send_publish(&Publish::new(scene.topic("b"), "out").qos(2).id(packet_id));
    client.ack(kind::PUBREC, packet_id)?;
    client.answer(kind::PUBREC, packet_id, 0);
    client.ack(kind::PUBREL, packet_id)?;
    client.answer(kind::PUBREL, packet_id, 0);
    client.ack(kind::PUBCOMP, packet_id)?;
    client.answer(kind::PUBCOMP, packet_id, 0);
    client.quiet()
}

fn an_identifier_in_use_is_noticed(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send_publish(&Publish::new(scene.topic("a"), "x").qos(2).id(9));
    client.ack(kind::PUBREC, 9)?;
    client.send(&Subscribe::to(scene.topic("b"), 0).to_bytes(9, crate::wire::Version::V5));
    let crate::wire::packet::Packet::SubAck(answer) = client.expect(kind::SUBACK)? else {
        return Err("no SUBACK".into());
    };
    // It may be answered 0x91, and it may be served.
    ensure!(matches!(answer.codes.as_slice(), [0 | 0x91]), "{answer:?}");
    client.answer(kind::PUBREL, 9, 0);
    client.ack(kind::PUBCOMP, 9)?;
    client.quiet()
}

fn qos_is_the_lower_of_both(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for granted in [0, 1, 2] {
        let topic = scene.topic(&format!("{granted}"));
        client.subscribe(&Subscribe::to(&topic, granted))?;
        for published in [0, 1, 2] {
            client.publish(&Publish::new(&topic, "x").qos(published))?;
            let message = client.take_payload("x")?;
            ensure!(
                message.qos == published.min(granted),
                "published {published}, granted {granted}: {message:?}"
            );
        }
    }
    client.quiet()
}

fn downgraded_deliveries_come_once(scene: &Scene<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = pair(scene, 0)?;
    for qos in [1, 2] {
        publisher.publish(&Publish::new(&topic, format!("{qos}")).qos(qos))?;
        subscriber.take_payload(&format!("{qos}"))?;
        subscriber.quiet()?;
    }
    Ok(())
}

fn ownership_is_taken_before_the_acknowledgement(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut away = scene.connect(&scene.client("s").expiry(60))?;
    away.subscribe(&Subscribe::to(&topic, 2))?;
    away.disconnect()?;
    let mut publisher = scene.start("p")?;
    // Acknowledged while the receiver is away, and the publisher gone before it comes.
    publisher.publish(&Publish::new(&topic, "one").qos(1))?;
    publisher.send_publish(&Publish::new(&topic, "two").qos(2).id(5));
    publisher.ack(kind::PUBREC, 5)?;
    publisher.answer(kind::PUBREL, 5, 0);
    publisher.ack(kind::PUBCOMP, 5)?;
    publisher.cut();
    let mut back = scene.connect(&scene.client("s").resume())?;
    let mut payloads = vec![back.take()?.payload, back.take()?.payload];
    payloads.sort();
    ensure!(payloads == [b"one".to_vec(), b"two".to_vec()], "{payloads:?}");
    back.quiet()
}

fn unknown_acknowledgements_harm_nobody(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.answer(kind::PUBREC, 501, 0);
    client.ack(kind::PUBREL, 501)?;
    client.answer(kind::PUBREL, 502, 0);
    client.ack(kind::PUBCOMP, 502)?;
    client.quiet()
}
