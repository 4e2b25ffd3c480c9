//! Packet sizes: the client's limit and the server's.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::Version;
use crate::wire::build::Subscribe;
use crate::wire::encode;
use crate::wire::packet::{ConnAck, Packet, Publish, kind};
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(
        nothing_larger_than_the_client_takes_is_sent,
        "MQTT-3.1.2-24",
        "maximum-packet-size-drop"
    ),
    case!(a_message_too_large_counts_as_delivered, "MQTT-3.1.2-25", "maximum-packet-size-drop")
        .needs(&[Need::Qos2]),
    case!(a_message_of_just_the_size_is_sent, "MQTT-3.1.2-24").needs(&[Need::Qos1]),
    case!(a_message_too_large_for_one_reaches_the_others, "MQTT-3.1.2-25"),
    case!(connack_fits_the_clients_limit, "MQTT-3.2.2-19", "MQTT-3.2.2-20", "MQTT-3.1.2-24"),
    case!(no_answer_is_larger_than_the_client_takes, "MQTT-3.1.2-24"),
    case!(an_answer_that_cannot_be_sent_is_not_waited_for, "MQTT-3.1.2-24", "packet-too-large")
        .advice(),
    case!(a_question_larger_than_the_client_takes_is_not_asked, "MQTT-3.1.2-24")
        .needs(&[Need::Enhanced]),
    case!(a_packet_over_the_servers_limit_is_refused, "MQTT-3.2.2-15", "packet-too-large")
        .needs(&[Need::MaximumPacketSize]),
    case!(a_packet_of_the_servers_limit_is_taken, "MQTT-3.2.2-15")
        .needs(&[Need::MaximumPacketSize]),
];

fn small(scene: &Scene<'_>, bytes: u32) -> Checked<Client> {
    let connect = scene.client("s").with(id::MAXIMUM_PACKET_SIZE, Value::Four(bytes));
    let mut client = scene.connect(&connect.expiry(60))?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 2))?;
    Ok(client)
}

fn nothing_larger_than_the_client_takes_is_sent(scene: &Scene<'_>) -> Checked {
    let mut client = small(scene, 200)?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(scene.topic("a"), "x".repeat(200)))?;
    let pair = Value::Pair("n".into(), "v".repeat(200));
    publisher.publish(&Publish::new(scene.topic("a"), "x").with(id::USER_PROPERTY, pair))?;
    publisher.publish(&Publish::new(scene.topic("a"), "small"))?;
    client.take_payload("small")?;
    client.quiet()
}

fn a_message_too_large_counts_as_delivered(scene: &Scene<'_>) -> Checked {
    let connect = scene.client("s").with(id::MAXIMUM_PACKET_SIZE, Value::Four(200));
    let mut client = scene.connect(&connect.with(id::RECEIVE_MAXIMUM, Value::Two(1)).expiry(60))?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 2))?;
    let mut publisher = scene.start("p")?;
    for qos in [1, 2] {
        for _ in 0..2 {
            // No place in the window is taken by it.
            publisher.publish(&Publish::new(scene.topic("a"), "x".repeat(300)).qos(qos))?;
        }
        publisher.publish(&Publish::new(scene.topic("a"), "small").qos(qos))?;
        client.take_payload("small")?;
    }
    client.quiet()?;
    client.cut();
    // Nor does it come to a later connection that could take it.
    let mut client = scene.connect(&scene.client("s").resume())?;
    client.quiet()
}

fn a_message_of_just_the_size_is_sent(scene: &Scene<'_>) -> Checked {
    let mut client = small(scene, 150)?;
    let topic = scene.topic("a");
    let bare = encode::publish(&Publish::new(&topic, "").qos(1).id(1), Version::V5).len();
    // The remaining length is one byte longer from 128 on.
    let payload = 150 - bare - 1;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "x".repeat(payload + 1)).qos(1))?;
    publisher.publish(&Publish::new(&topic, "y".repeat(payload)).qos(1))?;
    client.take_payload(&"y".repeat(payload))?;
    client.quiet()
}

fn a_message_too_large_for_one_reaches_the_others(scene: &Scene<'_>) -> Checked {
    let mut client = small(scene, 100)?;
    let mut other = scene.start("b")?;
    other.subscribe(&Subscribe::to(scene.topic("a"), 0))?;
    let large = "x".repeat(1_000);
    scene.start("p")?.publish(&Publish::new(scene.topic("a"), &large))?;
    other.take_payload(&large)?;
    client.quiet()
}

fn connack_fits_the_clients_limit(scene: &Scene<'_>) -> Checked {
    for bytes in [64, 32, 20, 10, 5] {
        let connect = scene.client("a").with(id::MAXIMUM_PACKET_SIZE, Value::Four(bytes));
        let mut client = scene.open("a")?;
        client.send(&connect.to_bytes());
        match client.event()? {
            Event::Packet(Packet::ConnAck(connack)) => {
                let length = encode::packet(&Packet::ConnAck(connack), Version::V5).len();
                ensure!(length <= bytes as usize, "CONNACK of {length} bytes, {bytes} allowed");
            }
            // What does not fit cannot be sent at all.
            Event::Closed => {}
            other => return Err(crate::case::Failure(format!("CONNACK expected: {other:?}"))),
        }
    }
    // A refusal with a reason has to fit too.
    let method = Value::Text("no such method".into());
    let connect = scene.client("a").with(id::AUTHENTICATION_METHOD, method);
    let mut client = scene.open("a")?;
    client.send(&connect.to_bytes());
    let whole = client.event()?;
    for (statement, key) in
        [("MQTT-3.2.2-19", id::REASON_STRING), ("MQTT-3.2.2-20", id::USER_PROPERTY)]
    {
        let has = |connack: &ConnAck| connack.properties.get(key).is_some();
        if !matches!(&whole, Event::Packet(Packet::ConnAck(connack)) if has(connack)) {
            scene.nothing_to_judge(statement);
        }
    }
    let mut client = scene.open("a")?;
    client.send(&connect.with(id::MAXIMUM_PACKET_SIZE, Value::Four(8)).to_bytes());
    if let Event::Packet(Packet::ConnAck(connack)) = client.event()? {
        let length = encode::packet(&Packet::ConnAck(connack), Version::V5).len();
        ensure!(length <= 8, "[MQTT-3.2.2-19] CONNACK of {length} bytes, 8 allowed");
    }
    Ok(())
}

/// SUBSCRIBE with so many filters, whose SUBACK has as many codes.
fn wide_subscribe(scene: &Scene<'_>, filters: usize) -> Vec<u8> {
    let mut subscribe = Subscribe::to(scene.topic("0"), 0);
    for number in 1..filters {
        subscribe = subscribe.and(scene.topic(&number.to_string()), 0);
    }
    subscribe.to_bytes(1, Version::V5)
}

fn no_answer_is_larger_than_the_client_takes(scene: &Scene<'_>) -> Checked {
    const BYTES: u32 = 40;
    let connect = scene.client("a").with(id::MAXIMUM_PACKET_SIZE, Value::Four(BYTES));
    let mut client = scene.connect(&connect)?;
    client.send(&wide_subscribe(scene, BYTES as usize));
    if let Event::Packet(packet) = client.event()? {
        let length = encode::packet(&packet, Version::V5).len();
        ensure!(length <= BYTES as usize, "[MQTT-3.1.2-24] {length} bytes, {BYTES} allowed");
    }
    Ok(())
}

fn an_answer_that_cannot_be_sent_is_not_waited_for(scene: &Scene<'_>) -> Checked {
    let connect = scene.client("a").with(id::MAXIMUM_PACKET_SIZE, Value::Four(40));
    // The largest SUBACK that fits is sent.
    let mut client = scene.connect(&connect)?;
    client.send(&wide_subscribe(scene, 35));
    client.expect(kind::SUBACK)?;
    client.send(&wide_subscribe(scene, 36));
    client.refused(&[0x95])
}

fn a_question_larger_than_the_client_takes_is_not_asked(scene: &Scene<'_>) -> Checked {
    let Some(enhanced) = &scene.capabilities.enhanced else { return Err("none".into()) };
    const BYTES: u32 = 24;
    let mut client = scene.open("a")?;
    let connect = scene
        .client("a")
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(BYTES))
        .with(id::AUTHENTICATION_METHOD, Value::Text(enhanced.method.clone()))
        .with(id::AUTHENTICATION_DATA, Value::Binary(enhanced.begin.clone().into_bytes()));
    client.send(&connect.to_bytes());
    match client.event()? {
        Event::Packet(packet) => {
            let length = encode::packet(&packet, Version::V5).len();
            ensure!(length <= BYTES as usize, "[MQTT-3.1.2-24] {length} bytes, {BYTES} allowed");
            Ok(())
        }
        Event::Closed => Ok(()),
        Event::Silence => Err("the client is left waiting".into()),
    }
}

fn limit(scene: &Scene<'_>) -> usize {
    scene.capabilities.announces(id::MAXIMUM_PACKET_SIZE).unwrap_or(0) as usize
}

/// A PUBLISH of exactly so many bytes.
fn of_size(scene: &Scene<'_>, bytes: usize) -> Vec<u8> {
    let topic = scene.topic("a");
    let mut payload = bytes.saturating_sub(topic.len() + 12);
    loop {
        let packet = encode::publish(&Publish::new(&topic, "x".repeat(payload)), Version::V5);
        if packet.len() >= bytes {
            return packet;
        }
        payload += 1;
    }
}

/// A client that has sent the head of a packet larger than the target takes.
pub(super) fn over_the_servers_limit(scene: &Scene<'_>) -> Checked<Client> {
    let mut client = scene.start("a")?;
    let bytes = of_size(scene, limit(scene) + 1);
    // The head alone tells the size, so not all of it need be sent.
    client.send(bytes.get(..bytes.len().min(4_096)).unwrap_or_default());
    Ok(client)
}

fn a_packet_over_the_servers_limit_is_refused(scene: &Scene<'_>) -> Checked {
    over_the_servers_limit(scene)?.refused(&[0x95])
}

fn a_packet_of_the_servers_limit_is_taken(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let bytes = of_size(scene, limit(scene));
    ensure!(bytes.len() == limit(scene), "{} bytes", bytes.len());
    client.send(&bytes);
    client.quiet()
}
