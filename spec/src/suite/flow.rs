//! Receive Maximum, both ways.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(
        deliveries_stay_within_the_receive_maximum,
        "MQTT-3.3.4-9",
        "MQTT-4.5.0-2",
        "MQTT-4.9.0-1",
        "MQTT-4.9.0-2"
    )
    .needs(QOS2),
    case!(a_full_window_delays_nothing_else, "MQTT-3.3.4-10", "MQTT-4.9.0-3", "quota-qos0")
        .needs(QOS2),
    case!(the_window_opens_with_puback, "quota-return", "MQTT-4.5.0-2").needs(&[Need::Qos1]),
    case!(the_window_opens_with_pubcomp, "quota-return", "MQTT-4.9.0-2").needs(QOS2),
    case!(the_window_opens_with_a_refusing_pubrec, "quota-return").needs(QOS2),
    case!(acknowledgements_too_many_open_no_window, "quota-return").needs(QOS2),
    case!(qos_0_is_not_counted, "receive-maximum-scope", "quota-qos0").needs(QOS2),
    case!(the_window_is_of_one_connection, "receive-maximum-scope").needs(&[Need::Qos1]),
    case!(more_than_the_receive_maximum_is_refused, "MQTT-3.3.4-7", "receive-maximum-excess")
        .needs(&[Need::ReceiveMaximum, Need::Qos2]),
    case!(the_receive_maximum_may_be_used_in_full, "MQTT-3.3.4-7")
        .needs(&[Need::ReceiveMaximum, Need::Qos2]),
];

const QOS2: &[Need] = &[Need::Qos2];

/// A subscriber that takes `maximum` at a time, and a publisher.
fn narrow(scene: &Scene<'_>, maximum: u16) -> Checked<(Client, Client)> {
    let connect = scene.client("s").with(id::RECEIVE_MAXIMUM, Value::Two(maximum));
    let mut client = scene.connect(&connect.expiry(60))?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 2))?;
    Ok((client, scene.start("p")?))
}

fn publish(scene: &Scene<'_>, publisher: &mut Client, count: usize, qos: u8) -> Checked {
    for number in 0..count {
        publisher.publish(&Publish::new(scene.topic("a"), format!("{number}")).qos(qos))?;
    }
    publisher.alive()
}

fn deliveries_stay_within_the_receive_maximum(scene: &Scene<'_>) -> Checked {
    for maximum in [1, 3] {
        for qos in [1, 2] {
            let (mut client, mut publisher) = narrow(scene, maximum)?;
            publish(scene, &mut publisher, 6, qos)?;
            for _ in 0..maximum {
                client.message()?;
            }
            client.quiet()?;
            client.cut();
            scene.start("s")?.disconnect()?;
        }
    }
    Ok(())
}

fn a_full_window_delays_nothing_else(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 3, 2)?;
    let first = client.message()?;
    client.subscribe(&Subscribe::to(scene.topic("b"), 0))?;
    client.unsubscribe(&[scene.topic("b").as_bytes()])?;
    client.publish(&Publish::new(scene.topic("c"), "x").qos(1))?;
    client.publish(&Publish::new(scene.topic("c"), "x").qos(2))?;
    client.answer(kind::PUBREC, first.packet_id, 0);
    client.ack(kind::PUBREL, first.packet_id)?;
    client.quiet()
}

fn the_window_opens_with_puback(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 4, 1)?;
    for number in 0..4 {
        let message = client.message()?;
        ensure!(message.payload == format!("{number}").as_bytes(), "{message:?}");
        client.quiet()?;
        // With an error code too.
        client.answer(kind::PUBACK, message.packet_id, if number == 1 { 0x80 } else { 0 });
    }
    client.quiet()
}

fn the_window_opens_with_pubcomp(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 3, 2)?;
    for _ in 0..3 {
        let message = client.message()?;
        client.answer(kind::PUBREC, message.packet_id, 0);
        client.ack(kind::PUBREL, message.packet_id)?;
        // Not with PUBREC.
        client.quiet()?;
        client.answer(kind::PUBCOMP, message.packet_id, 0);
    }
    client.quiet()
}

fn the_window_opens_with_a_refusing_pubrec(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 3, 2)?;
    for _ in 0..3 {
        let message = client.message()?;
        client.quiet()?;
        client.answer(kind::PUBREC, message.packet_id, 0x80);
    }
    client.quiet()
}

fn acknowledgements_too_many_open_no_window(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 2)?;
    // While nothing else is on its way, so that no identifier is in use again.
    publish(scene, &mut publisher, 1, 1)?;
    let message = client.message()?;
    for _ in 0..3 {
        client.answer(kind::PUBACK, message.packet_id, 0);
    }
    publish(scene, &mut publisher, 1, 2)?;
    let message = client.message()?;
    client.answer(kind::PUBREC, message.packet_id, 0);
    client.ack(kind::PUBREL, message.packet_id)?;
    for _ in 0..3 {
        client.answer(kind::PUBCOMP, message.packet_id, 0);
    }
    client.quiet()?;
    publish(scene, &mut publisher, 6, 1)?;
    for _ in 0..2 {
        client.message()?;
    }
    client.quiet()
}

fn qos_0_is_not_counted(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 5, 0)?;
    for number in 0..5 {
        client.take_payload(&format!("{number}"))?;
    }
    publish(scene, &mut publisher, 1, 1)?;
    client.take()?;
    client.quiet()
}

fn the_window_is_of_one_connection(scene: &Scene<'_>) -> Checked {
    let (mut client, mut publisher) = narrow(scene, 1)?;
    publish(scene, &mut publisher, 4, 1)?;
    client.message()?;
    client.cut();
    let wider = scene.client("s").resume().with(id::RECEIVE_MAXIMUM, Value::Two(3));
    let mut client = scene.connect(&wider)?;
    for _ in 0..3 {
        client.message()?;
    }
    client.quiet()
}

fn announced(client: &Client) -> u16 {
    let limit = client.connack.properties.number(id::RECEIVE_MAXIMUM).unwrap_or(65_535);
    u16::try_from(limit).unwrap_or(u16::MAX)
}

/// A client that has sent one publication more than the target takes at a time.
pub(super) fn over_the_receive_maximum(scene: &Scene<'_>) -> Checked<Client> {
    let mut client = scene.start("a")?;
    let limit = announced(&client);
    // QoS 2 publications without PUBREL stay unfinished, one more than there may be.
    for packet_id in 1..=limit {
        client.send_publish(&Publish::new(scene.topic("a"), "x").qos(2).id(packet_id));
        client.ack(kind::PUBREC, packet_id)?;
    }
    client.send_publish(&Publish::new(scene.topic("a"), "x").qos(2).id(limit + 1));
    Ok(client)
}

fn more_than_the_receive_maximum_is_refused(scene: &Scene<'_>) -> Checked {
    over_the_receive_maximum(scene)?.refused(&[0x93])
}

fn the_receive_maximum_may_be_used_in_full(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let limit = announced(&client);
    for _ in 0..2 {
        for packet_id in 1..=limit {
            client.send_publish(&Publish::new(scene.topic("a"), "x").qos(2).id(packet_id));
            client.ack(kind::PUBREC, packet_id)?;
        }
        for packet_id in 1..=limit {
            client.answer(kind::PUBREL, packet_id, 0);
            match client.receive()? {
                Packet::PubComp(complete) if complete.packet_id == packet_id => {}
                other => return Err(crate::case::Failure(format!("{other:?} came"))),
            }
        }
    }
    client.quiet()
}
