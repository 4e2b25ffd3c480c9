//! Exchanges that a lost connection interrupts and the resumed session goes on with.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::{Publish, kind};

pub(super) const CASES: &[Case] = &[
    case!(
        an_unanswered_publish_comes_again_with_dup,
        "MQTT-3.3.1-1",
        "MQTT-4.4.0-1",
        "outbound-resume"
    )
    .needs(QOS2),
    case!(nothing_comes_again_on_the_same_connection, "MQTT-4.4.0-1").needs(QOS2).slow(),
    case!(an_unanswered_pubrel_comes_again, "MQTT-4.3.3-5", "MQTT-4.4.0-1", "outbound-resume")
        .needs(QOS2),
    case!(after_pubrel_the_publish_does_not_come_again, "MQTT-4.3.3-6").needs(QOS2),
    case!(unanswered_deliveries_come_again_in_order, "outbound-resume", "MQTT-4.6.0-5").needs(QOS2),
    case!(a_held_identifier_is_held_across_connections, "qos2-dedupe-reconnect", "MQTT-4.3.3-10")
        .needs(QOS2),
    case!(a_release_is_understood_on_the_next_connection, "MQTT-4.3.3-11", "qos2-dedupe-reconnect")
        .needs(QOS2),
    case!(what_was_acknowledged_does_not_come_again, "MQTT-4.3.2-3", "MQTT-4.4.0-1").needs(QOS2),
    case!(a_clean_start_forgets_held_identifiers, "MQTT-3.1.2-4", "MQTT-4.3.3-12").needs(QOS2),
    case!(a_takeover_goes_on_with_what_was_begun, "MQTT-4.4.0-1", "takeover").needs(QOS2),
    case!(expiry_does_not_end_a_qos_2_delivery, "MQTT-4.3.3-7").needs(QOS2).slow(),
    case!(expiry_does_not_end_a_qos_2_publication, "MQTT-4.3.3-13").needs(QOS2).slow(),
];

const QOS2: &[Need] = &[Need::Qos2];

fn subscriber(scene: &Scene<'_>) -> Checked<Client> {
    let mut client = scene.connect(&scene.client("s").expiry(60))?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 2))?;
    Ok(client)
}

fn back(scene: &Scene<'_>, name: &str) -> Checked<Client> {
    let client = scene.connect(&scene.client(name).resume().expiry(60))?;
    ensure!(client.connack.session_present, "the session is not present");
    Ok(client)
}

fn publish(scene: &Scene<'_>, payload: &str, qos: u8) -> Checked {
    scene.start("p")?.publish(&Publish::new(scene.topic("a"), payload).qos(qos))
}

fn an_unanswered_publish_comes_again_with_dup(scene: &Scene<'_>) -> Checked {
    for qos in [1, 2] {
        let mut client = subscriber(scene)?;
        publish(scene, "x", qos)?;
        let first = client.message()?;
        client.cut();
        let mut client = back(scene, "s")?;
        let again = client.take_payload("x")?;
        ensure!(again.dup, "[MQTT-3.3.1-1] without DUP: {again:?}");
        ensure!(again.packet_id == first.packet_id, "{first:?} came again as {again:?}");
        client.quiet()?;
    }
    Ok(())
}

fn nothing_comes_again_on_the_same_connection(scene: &Scene<'_>) -> Checked {
    let mut client = subscriber(scene)?;
    publish(scene, "1", 1)?;
    publish(scene, "2", 2)?;
    let one = client.message()?;
    let two = client.message()?;
    client.answer(kind::PUBREC, two.packet_id, 0);
    client.ack(kind::PUBREL, two.packet_id)?;
    scene.wait_ms(scene.capabilities.repeat_ms);
    client.quiet()?;
    client.answer(kind::PUBACK, one.packet_id, 0);
    client.answer(kind::PUBCOMP, two.packet_id, 0);
    client.quiet()
}

/// A QoS 2 delivery up to PUBREL, and the connection lost then.
fn up_to_pubrel(scene: &Scene<'_>) -> Checked<u16> {
    let mut client = subscriber(scene)?;
    publish(scene, "x", 2)?;
    let message = client.message()?;
    client.answer(kind::PUBREC, message.packet_id, 0);
    client.ack(kind::PUBREL, message.packet_id)?;
    client.cut();
    Ok(message.packet_id)
}

fn an_unanswered_pubrel_comes_again(scene: &Scene<'_>) -> Checked {
    let packet_id = up_to_pubrel(scene)?;
    for _ in 0..2 {
        let mut client = back(scene, "s")?;
        client.ack(kind::PUBREL, packet_id)?;
        client.cut();
    }
    let mut client = back(scene, "s")?;
    client.ack(kind::PUBREL, packet_id)?;
    client.answer(kind::PUBCOMP, packet_id, 0);
    client.quiet()?;
    client.cut();
    back(scene, "s")?.quiet()
}

fn after_pubrel_the_publish_does_not_come_again(scene: &Scene<'_>) -> Checked {
    let packet_id = up_to_pubrel(scene)?;
    let mut client = back(scene, "s")?;
    // `receive`, not `ack`, which would put a PUBLISH aside.
    let first = client.receive()?;
    ensure!(first.kind() == kind::PUBREL, "PUBREL expected, {first:?} came");
    client.answer(kind::PUBCOMP, packet_id, 0);
    client.quiet()
}

fn unanswered_deliveries_come_again_in_order(scene: &Scene<'_>) -> Checked {
    let mut client = subscriber(scene)?;
    for number in 0..6 {
        publish(scene, &format!("{number}"), 1 + number % 2)?;
        client.message()?;
    }
    client.cut();
    let mut client = back(scene, "s")?;
    let mut orders = [Vec::new(), Vec::new()];
    for _ in 0..6 {
        let message = client.message()?;
        let order = &mut orders[usize::from(message.qos == 2)];
        order.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    ensure!(orders[0] == ["0", "2", "4"] && orders[1] == ["1", "3", "5"], "{orders:?}");
    Ok(())
}

fn a_held_identifier_is_held_across_connections(scene: &Scene<'_>) -> Checked {
    let mut watcher = subscriber(scene)?;
    let once = Publish::new(scene.topic("a"), "once").qos(2).id(9);
    let mut client = scene.connect(&scene.client("q").expiry(60))?;
    client.send_publish(&once);
    client.ack(kind::PUBREC, 9)?;
    client.cut();
    let mut client = back(scene, "q")?;
    client.send_publish(&once.again());
    client.ack(kind::PUBREC, 9)?;
    client.answer(kind::PUBREL, 9, 0);
    client.ack(kind::PUBCOMP, 9)?;
    watcher.take_payload("once")?;
    watcher.quiet()
}

fn a_release_is_understood_on_the_next_connection(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("q").expiry(60))?;
    client.send_publish(&Publish::new(scene.topic("a"), "x").qos(2).id(9));
    client.ack(kind::PUBREC, 9)?;
    client.cut();
    let mut client = back(scene, "q")?;
    client.answer(kind::PUBREL, 9, 0);
    let complete = client.ack(kind::PUBCOMP, 9)?;
    ensure!(complete.reason == 0, "the identifier is known: {complete:?}");
    client.quiet()
}

fn what_was_acknowledged_does_not_come_again(scene: &Scene<'_>) -> Checked {
    let mut client = subscriber(scene)?;
    for qos in [1, 2] {
        publish(scene, "x", qos)?;
        client.take_payload("x")?;
    }
    client.alive()?;
    client.cut();
    back(scene, "s")?.quiet()
}

fn a_clean_start_forgets_held_identifiers(scene: &Scene<'_>) -> Checked {
    let mut watcher = subscriber(scene)?;
    let publish = |payload| Publish::new(scene.topic("a"), payload).qos(2).id(9);
    let mut client = scene.connect(&scene.client("q").expiry(60))?;
    client.send_publish(&publish("old"));
    client.ack(kind::PUBREC, 9)?;
    client.cut();
    let mut client = scene.start("q")?;
    client.publish(&publish("new"))?;
    // Whether the old one was passed on is another question: its identifier is free.
    let mut message = watcher.take()?;
    if message.payload == b"old" {
        message = watcher.take()?;
    }
    ensure!(message.payload == b"new", "{message:?}");
    // And free once more behind PUBCOMP.
    client.publish(&publish("newer"))?;
    watcher.take_payload("newer")?;
    watcher.quiet()
}

fn a_takeover_goes_on_with_what_was_begun(scene: &Scene<'_>) -> Checked {
    let mut old = subscriber(scene)?;
    publish(scene, "1", 1)?;
    publish(scene, "2", 2)?;
    let one = old.message()?;
    let two = old.message()?;
    let mut new = back(scene, "s")?;
    old.refused(&[0x8E])?;
    for first in [one, two] {
        let again = new.take()?;
        ensure!(
            again.packet_id == first.packet_id && again.payload == first.payload && again.dup,
            "{first:?} came again as {again:?}"
        );
    }
    new.quiet()
}

fn expiry_does_not_end_a_qos_2_delivery(scene: &Scene<'_>) -> Checked {
    let key = crate::wire::property::id::MESSAGE_EXPIRY_INTERVAL;
    let mut client = subscriber(scene)?;
    let publish = Publish::new(scene.topic("a"), "short").qos(2);
    let short = publish.with(key, crate::wire::property::Value::Four(1));
    scene.start("p")?.publish(&short)?;
    let message = client.message()?;
    scene.wait_ms(2_200);
    // It was sent, so the exchange goes on to its end.
    client.answer(kind::PUBREC, message.packet_id, 0);
    let release = client.ack(kind::PUBREL, message.packet_id)?;
    ensure!(release.reason == 0, "{release:?}");
    client.cut();
    let mut client = back(scene, "s")?;
    client.ack(kind::PUBREL, message.packet_id)?;
    client.answer(kind::PUBCOMP, message.packet_id, 0);
    client.quiet()
}

fn expiry_does_not_end_a_qos_2_publication(scene: &Scene<'_>) -> Checked {
    let key = crate::wire::property::id::MESSAGE_EXPIRY_INTERVAL;
    let mut client = scene.connect(&scene.client("q").expiry(60))?;
    let publish = Publish::new(scene.topic("a"), "short").qos(2).id(9);
    let short = publish.with(key, crate::wire::property::Value::Four(1));
    client.send_publish(&short);
    client.ack(kind::PUBREC, 9)?;
    scene.wait_ms(2_200);
    client.send_publish(&short.again());
    client.ack(kind::PUBREC, 9)?;
    client.answer(kind::PUBREL, 9, 0);
    let complete = client.ack(kind::PUBCOMP, 9)?;
    ensure!(complete.reason == 0, "{complete:?}");
    client.quiet()
}
