//! A client that keeps no order in what it acknowledges and repeats. The order binds clients alone; what a server owes
//! them all the same is to lose nothing, and to deliver nothing twice.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::{Publish, kind};
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(acknowledgements_out_of_order_lose_nothing, "MQTT-4.6.0-2", "MQTT-4.6.0-3").needs(QOS2),
    case!(releases_out_of_order_lose_nothing, "MQTT-4.6.0-4").needs(QOS2),
    case!(repeats_out_of_order_come_once, "MQTT-4.6.0-1").needs(QOS2),
];

const QOS2: &[Need] = &[Need::Qos2];
const PAYLOADS: [&str; 3] = ["1", "2", "3"];

/// A subscriber that takes no more than three at a time, with a session that stays.
fn subscriber(scene: &Scene<'_>) -> Checked<Client> {
    let connect = scene.client("s").expiry(60).with(id::RECEIVE_MAXIMUM, Value::Two(3));
    let mut client = scene.connect(&connect)?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 2))?;
    Ok(client)
}

/// The three messages in their order, not answered; their identifiers, the last first.
fn backwards(client: &mut Client) -> Checked<Vec<u16>> {
    let mut packet_ids = Vec::new();
    for payload in PAYLOADS {
        let message = client.message()?;
        ensure!(message.payload == payload.as_bytes(), "{payload} expected: {message:?}");
        packet_ids.insert(0, message.packet_id);
    }
    Ok(packet_ids)
}

fn acknowledgements_out_of_order_lose_nothing(scene: &Scene<'_>) -> Checked {
    let mut client = subscriber(scene)?;
    let mut publisher = scene.start("p")?;
    for qos in [1, 2, 1] {
        for payload in PAYLOADS {
            publisher.publish(&Publish::new(scene.topic("a"), payload).qos(qos))?;
        }
        // All three come only if each acknowledgement of the round before opened the window.
        let packet_ids = backwards(&mut client)?;
        for packet_id in &packet_ids {
            if qos == 1 {
                client.answer(kind::PUBACK, *packet_id, 0);
                continue;
            }
            client.answer(kind::PUBREC, *packet_id, 0);
            let release = client.ack(kind::PUBREL, *packet_id)?;
            ensure!(release.reason == 0, "{packet_id} is in use: {release:?}");
        }
        if qos == 2 {
            for packet_id in packet_ids.iter().rev() {
                client.answer(kind::PUBCOMP, *packet_id, 0);
            }
        }
        client.quiet()?;
    }
    client.cut();
    let mut client = scene.connect(&scene.client("s").resume())?;
    ensure!(client.connack.session_present, "the session is not present");
    client.quiet()
}

fn releases_out_of_order_lose_nothing(scene: &Scene<'_>) -> Checked {
    let mut watcher = subscriber(scene)?;
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    for (payload, packet_id) in PAYLOADS.into_iter().zip(1..) {
        client.send_publish(&Publish::new(scene.topic("a"), payload).qos(2).id(packet_id));
        client.ack(kind::PUBREC, packet_id)?;
    }
    for packet_id in [3, 1, 2] {
        client.answer(kind::PUBREL, packet_id, 0);
        let complete = client.ack(kind::PUBCOMP, packet_id)?;
        ensure!(complete.reason == 0, "{packet_id} is held: {complete:?}");
    }
    client.quiet()?;
    // A server may pass on at PUBLISH or at PUBREL, and so in either order.
    taken(&mut watcher)
}

fn repeats_out_of_order_come_once(scene: &Scene<'_>) -> Checked {
    let mut watcher = subscriber(scene)?;
    let message = |payload, packet_id| Publish::new(scene.topic("a"), payload).qos(2).id(packet_id);
    let messages = [message("1", 1), message("2", 2), message("3", 3)];
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    for message in &messages {
        client.send_publish(message);
        client.ack(kind::PUBREC, message.packet_id)?;
    }
    client.cut();
    let mut client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "the session is not present");
    for message in messages.iter().rev() {
        client.send_publish(&message.clone().again());
        client.ack(kind::PUBREC, message.packet_id)?;
    }
    for message in &messages {
        client.answer(kind::PUBREL, message.packet_id, 0);
        client.ack(kind::PUBCOMP, message.packet_id)?;
    }
    client.quiet()?;
    taken(&mut watcher)
}

/// Each message comes once, in any order, and nothing else.
fn taken(watcher: &mut Client) -> Checked {
    let mut payloads = Vec::new();
    for _ in PAYLOADS {
        payloads.push(watcher.take()?.payload);
    }
    payloads.sort();
    ensure!(payloads == PAYLOADS.map(|one| one.as_bytes().to_vec()), "each once: {payloads:?}");
    watcher.quiet()
}
