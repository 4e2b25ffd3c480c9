//! MQTT 3.1.1 and 3.1, where they differ from 5.0. The statements are those of 3.1.1, as `MQTT311-…`.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{self, Connect, Subscribe, Will};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode, framed};

pub(super) const CASES: &[Case] = &[
    case!(version_4_is_served_beside_5, "v311-coexistence", "MQTT311-3.2.0-1").needs(V4),
    case!(version_4_cleans_and_resumes, "MQTT311-3.1.2-4", "MQTT311-3.1.2-6", "MQTT311-3.2.2-2")
        .needs(V4),
    case!(version_4_stores_what_comes_while_it_is_away, "MQTT311-3.1.2-5")
        .needs(&[Need::Version4, Need::Qos2]),
    case!(a_session_of_version_4_lasts_as_long_as_its_connection, "MQTT311-4.1.0-2")
        .needs(&[Need::Version4, Need::Qos2])
        .slow(),
    case!(an_empty_identifier_needs_a_clean_session, "MQTT311-3.1.3-7", "MQTT311-3.1.3-8")
        .needs(V4),
    case!(a_rejected_identifier_gets_return_code_2, "MQTT311-3.1.3-9").needs(V4),
    case!(a_password_needs_a_user_name, "MQTT311-3.1.2-22").needs(V4),
    case!(a_reserved_flag_closes_without_a_word, "MQTT311-3.1.2-3", "MQTT311-4.8.0-1").needs(V4),
    case!(a_connect_that_no_return_code_fits_gets_no_connack, "MQTT311-3.2.2-6").needs(V4),
    case!(an_unknown_version_gets_return_code_1, "MQTT311-3.1.2-2").advice(),
    case!(a_takeover_closes_the_older_version, "MQTT311-3.1.4-2").needs(V4),
    case!(a_violation_closes_without_disconnect, "MQTT311-4.8.0-1", "MQTT311-3.8.3-4").needs(V4),
    case!(suback_codes_of_version_4, "MQTT311-3.9.3-2").needs(&[Need::Version4, Need::Qos2]),
    case!(unsuback_has_no_codes_in_version_4, "MQTT311-3.10.4-4").needs(V4),
    case!(retained_messages_in_version_4, "MQTT311-3.3.1-8", "MQTT311-3.3.1-9", "MQTT311-3.8.4-3")
        .needs(&[Need::Version4, Need::Retain]),
    case!(retained_messages_outlive_a_session_of_version_4, "MQTT311-3.1.2-7")
        .needs(&[Need::Version4, Need::Retain]),
    case!(a_retained_message_at_qos_0_discards_the_one_before, "MQTT311-3.3.1-7").needs(&[
        Need::Version4,
        Need::Retain,
        Need::Qos1,
    ]),
    case!(version_4_repeats_with_dup_on_resuming, "MQTT311-4.4.0-1")
        .needs(&[Need::Version4, Need::Qos2]),
    case!(wills_in_version_4, "MQTT311-3.1.2-8", "MQTT311-3.14.4-3").needs(V4),
    case!(a_refused_publication_closes_or_is_acknowledged, "MQTT311-3.3.5-2").needs(&[
        Need::Version4,
        Need::Qos1,
        Need::RefusedTopic,
    ]),
    case!(keep_alive_in_version_4, "MQTT311-3.1.2-24").needs(V4).slow(),
    case!(versions_talk_to_each_other, "v311-coexistence").needs(&[Need::Version4, Need::Qos2]),
    case!(version_3_is_served, "v311-coexistence").needs(&[Need::Version3]),
    case!(version_3_is_refused, "MQTT-3.1.2-1", "MQTT-3.1.2-2").needs(&[Need::NoVersion3]),
];

const V4: &[Need] = &[Need::Version4];

fn v4(scene: &Scene<'_>, name: &str) -> Connect {
    scene.client(name).version(Version::V4)
}

fn present(client: &Client, expected: bool) -> Checked {
    ensure!(client.connack.session_present == expected, "session present {expected} expected");
    Ok(())
}

fn version_4_is_served_beside_5(scene: &Scene<'_>) -> Checked {
    let mut old = scene.connect(&v4(scene, "a"))?;
    let mut new = scene.start("b")?;
    old.quiet()?;
    new.quiet()
}

fn version_4_cleans_and_resumes(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&v4(scene, "a").resume())?;
    present(&client, false)?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.disconnect()?;
    let mut client = scene.connect(&v4(scene, "a").resume())?;
    present(&client, true)?;
    client.publish(&Publish::new(&topic, "x"))?;
    client.take_payload("x")?;
    client.disconnect()?;
    let mut client = scene.connect(&v4(scene, "a"))?;
    present(&client, false)?;
    client.publish(&Publish::new(&topic, "x"))?;
    client.quiet()?;
    client.disconnect()?;
    let client = scene.connect(&v4(scene, "a").resume())?;
    present(&client, false)?;
    client.disconnect()?;
    // Nothing of this case is to stay.
    scene.connect(&v4(scene, "a"))?.disconnect()
}

fn version_4_stores_what_comes_while_it_is_away(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut publisher = scene.start("p")?;
    let mut client = scene.connect(&v4(scene, "a").resume())?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    client.disconnect()?;
    for round in 0..2 {
        let payloads = [1, 2].map(|qos| (qos, format!("{round} at {qos}")));
        for (qos, payload) in &payloads {
            publisher.publish(&Publish::new(&topic, payload).qos(*qos))?;
        }
        let mut client = scene.connect(&v4(scene, "a").resume())?;
        present(&client, true)?;
        for (qos, payload) in &payloads {
            let message = client.take_payload(payload)?;
            // A connection that was cut may not be known to be gone when the message is sent.
            let is_new = round == 1 || !message.dup;
            ensure!(message.qos == *qos && is_new, "QoS {qos}, once, expected: {message:?}");
        }
        client.quiet()?;
        // The second time it is away without having said so.
        client.cut();
    }
    scene.connect(&v4(scene, "a"))?.disconnect()
}

/// Subscriptions, a delivery that is not acknowledged and an identifier that is held stay while time passes.
fn a_session_of_version_4_lasts_as_long_as_its_connection(scene: &Scene<'_>) -> Checked {
    let (there, back) = (scene.topic("there"), scene.topic("back"));
    let mut other = scene.start("p")?;
    other.subscribe(&Subscribe::to(&back, 0))?;
    let mut client = scene.connect(&v4(scene, "a"))?;
    client.subscribe(&Subscribe::to(&there, 2))?;
    other.publish(&Publish::new(&there, "open").qos(2))?;
    let open = client.message()?;
    let held = Publish::new(&back, "held").qos(2).id(9);
    client.send_publish(&held);
    client.ack(kind::PUBREC, 9)?;
    scene.wait_ms(2_500);
    client.send_publish(&held.clone().again());
    client.ack(kind::PUBREC, 9)?;
    client.answer(kind::PUBREL, 9, 0);
    client.ack(kind::PUBCOMP, 9)?;
    other.take_payload("held")?;
    other.quiet()?;
    client.answer(kind::PUBREC, open.packet_id, 0);
    client.ack(kind::PUBREL, open.packet_id)?;
    client.answer(kind::PUBCOMP, open.packet_id, 0);
    other.publish(&Publish::new(&there, "later").qos(1))?;
    client.take_payload("later")?;
    client.quiet()
}

fn an_empty_identifier_needs_a_clean_session(scene: &Scene<'_>) -> Checked {
    let mut nameless = v4(scene, "");
    nameless.client_id = String::new();
    if scene.capabilities.empty_client_id {
        let mut client = scene.connect(&nameless)?;
        client.quiet()?;
    }
    let mut client = scene.open("a")?;
    client.speak(Version::V4);
    client.send(&nameless.resume().to_bytes());
    client.rejected(&[2])
}

/// An identifier is taken, or refused by just this code and a close; silence is no refusal.
fn a_rejected_identifier_gets_return_code_2(scene: &Scene<'_>) -> Checked {
    let mut nameless = v4(scene, "").resume();
    nameless.client_id = String::new();
    let long = |letter: &str, count| v4(scene, &letter.repeat(count));
    for (connect, refused) in [
        (nameless, true),
        (long("x", 200), false),
        (long("y", 60_000), false),
        (long("z", 65_535 - scene.unique.len()), false),
    ] {
        let length = connect.client_id.len();
        let mut client = scene.open("a")?;
        client.speak(Version::V4);
        client.send(&connect.to_bytes());
        match client.event()? {
            Event::Packet(Packet::ConnAck(connack)) if connack.reason == 2 => client.ended()?,
            Event::Packet(Packet::ConnAck(connack)) if connack.reason == 0 && !refused => {
                client.quiet()?;
                client.disconnect()?;
            }
            other => {
                return Err(Failure(format!(
                    "CONNACK 0x02 to an identifier of {length} bytes expected, {other:?} came"
                )));
            }
        }
    }
    Ok(())
}

fn a_password_needs_a_user_name(scene: &Scene<'_>) -> Checked {
    let mut connect = v4(scene, "a");
    connect.user_name = None;
    connect.password = Some(b"alone".to_vec());
    closed_at(scene, &connect.to_bytes())
}

/// The bytes, in a new connection, are answered by a close.
fn closed_at(scene: &Scene<'_>, bytes: &[u8]) -> Checked {
    let mut client = scene.open("a")?;
    client.speak(Version::V4);
    client.send(bytes);
    client.rejected(&[1, 2, 3, 4, 5])
}

fn a_reserved_flag_closes_without_a_word(scene: &Scene<'_>) -> Checked {
    let connect = v4(scene, "a");
    closed_at(scene, &connect.with_flags(connect.flags() | 1))
}

/// Refused for what is in no list of return codes: CONNECT is not as it should be.
fn a_connect_that_no_return_code_fits_gets_no_connack(scene: &Scene<'_>) -> Checked {
    let connect = v4(scene, "a");
    let flags = connect.flags();
    let will_at_qos_3 = connect.with_flags(flags | 0x1C);
    let will_qos_without_a_will = connect.with_flags(flags | 0x08);
    let will_that_is_missing = connect.with_flags(flags | 0x04);
    let mut left_over = connect.payload();
    left_over.push(0);
    let bad = [
        connect.with_flags(flags | 1),
        will_at_qos_3,
        will_qos_without_a_will,
        will_that_is_missing,
        connect.with_payload(&left_over),
    ];
    for bytes in bad {
        let mut client = scene.open("a")?;
        client.speak(Version::V4);
        client.send(&bytes);
        client.ended()?;
    }
    Ok(())
}

fn an_unknown_version_gets_return_code_1(scene: &Scene<'_>) -> Checked {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 2, 2, 0, 60];
    crate::wire::put_counted(&mut body, scene.client("a").client_id.as_bytes());
    let mut client = scene.open("a")?;
    client.send(&framed(0x10, &body));
    let came = client.frame()?.map(|frame| frame.to_bytes());
    ensure!(came.as_deref() == Some(&[0x20, 2, 0, 1][..]), "CONNACK 0x01 expected: {came:?}");
    client.ended()
}

fn a_takeover_closes_the_older_version(scene: &Scene<'_>) -> Checked {
    let mut old = scene.connect(&v4(scene, "a"))?;
    let mut new = scene.start("a")?;
    // There is no DISCONNECT of a server in this version.
    old.ended()?;
    new.quiet()
}

fn a_violation_closes_without_disconnect(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let bad: [Vec<u8>; 6] = [
        build::QOS_3.to_vec(),
        vec![0xF0, 0],
        Subscribe::to(&topic, 3).to_bytes(1, Version::V4),
        Subscribe::to(&topic, 0x04).to_bytes(1, Version::V4),
        encode::publish(&Publish::new("a/#", "x"), Version::V4),
        framed(0x82, &[0, 1]),
    ];
    for bytes in bad {
        let mut client = scene.connect(&v4(scene, "a"))?;
        client.send(&bytes);
        client.ended()?;
    }
    Ok(())
}

fn suback_codes_of_version_4(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&v4(scene, "a"))?;
    let subscribe = Subscribe::to(scene.topic("1"), 2).and(scene.topic("2"), 0);
    let answer = client.subscribe(&subscribe.and(scene.topic("3"), 1))?;
    ensure!(answer.codes == [2, 0, 1], "{answer:?}");
    if let Some(filter) = &scene.capabilities.refused_filter {
        let answer = client.subscribe_answer(&Subscribe::to(filter, 0))?;
        ensure!(answer.codes == [0x80], "{answer:?}");
    }
    client.quiet()
}

fn unsuback_has_no_codes_in_version_4(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&v4(scene, "a"))?;
    let answer = client.unsubscribe(&[scene.topic("never").as_bytes()])?;
    ensure!(answer.codes.is_empty(), "{answer:?}");
    client.quiet()
}

fn retained_messages_in_version_4(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&v4(scene, "a"))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "kept").retain())?;
    let live = client.take_payload("kept")?;
    ensure!(!live.retain, "a live message with RETAIN: {live:?}");
    for _ in 0..2 {
        client.subscribe(&Subscribe::to(&topic, 0))?;
        let kept = client.take_payload("kept")?;
        ensure!(kept.retain, "a retained message without RETAIN: {kept:?}");
    }
    client.quiet()
}

fn retained_messages_outlive_a_session_of_version_4(scene: &Scene<'_>) -> Checked {
    let topics = ["clean", "stored"].map(|name| scene.topic(name));
    for (topic, connect) in topics.iter().zip([v4(scene, "a"), v4(scene, "b").resume()]) {
        let mut client = scene.connect(&connect)?;
        client.publish(&Publish::new(topic, "kept").retain())?;
        client.alive()?;
        client.disconnect()?;
    }
    // This ends the session that outlived its connection.
    let mut client = scene.connect(&v4(scene, "b"))?;
    present(&client, false)?;
    for topic in &topics {
        client.subscribe(&Subscribe::to(topic, 0))?;
        client.take_payload("kept")?;
    }
    client.quiet()
}

/// What takes its place may be discarded at any time, so that it may come or not.
fn a_retained_message_at_qos_0_discards_the_one_before(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&v4(scene, "a"))?;
    client.publish(&Publish::new(&topic, "before").qos(1).retain())?;
    client.publish(&Publish::new(&topic, "behind").retain())?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    scene.wait_ms(50);
    client.send(&build::PINGREQ);
    match client.receive()? {
        Packet::PingResp => Ok(()),
        Packet::Publish(message) if message.payload == b"behind" => client.alive(),
        other => Err(Failure(format!(
            "[MQTT311-3.3.1-7] \"behind\" or nothing expected, {other:?} came"
        ))),
    }
}

fn version_4_repeats_with_dup_on_resuming(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&v4(scene, "a").resume())?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "1").qos(1))?;
    publisher.publish(&Publish::new(&topic, "2").qos(2))?;
    let one = client.message()?;
    let two = client.message()?;
    client.answer(kind::PUBREC, two.packet_id, 0);
    client.ack(kind::PUBREL, two.packet_id)?;
    client.cut();
    let mut client = scene.connect(&v4(scene, "a").resume())?;
    client.ack(kind::PUBREL, two.packet_id)?;
    client.answer(kind::PUBCOMP, two.packet_id, 0);
    let again = client.take()?;
    ensure!(again.dup && again.packet_id == one.packet_id, "{again:?}");
    client.quiet()?;
    client.disconnect()?;
    scene.connect(&v4(scene, "a"))?.disconnect()
}

fn wills_in_version_4(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("will");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let will = |payload: &str| {
        let payload = payload.as_bytes().to_vec();
        v4(scene, "a").will(Will { topic: topic.clone(), payload, ..Will::default() })
    };
    scene.connect(&will("lost"))?.cut();
    watcher.take_payload("lost")?;
    scene.connect(&will("left"))?.disconnect()?;
    watcher.quiet()
}

fn a_refused_publication_closes_or_is_acknowledged(scene: &Scene<'_>) -> Checked {
    let refused_topic = scene.refused_topic()?;
    let mut client = scene.connect(&v4(scene, "a"))?;
    let packet_id = client.send_publish(&Publish::new(refused_topic, "x").qos(1));
    match client.event()? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::PubAck(ack)) if ack.packet_id == packet_id => client.quiet(),
        other => Err(Failure(format!("PUBACK or a close expected, {other:?} came"))),
    }
}

fn keep_alive_in_version_4(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&v4(scene, "a").keep_alive(1))?;
    ensure!(
        client.event_within(std::time::Duration::from_millis(3_500))? == Event::Closed,
        "a silent client is still connected"
    );
    Ok(())
}

fn versions_talk_to_each_other(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut old = scene.connect(&v4(scene, "a"))?;
    let mut new = scene.start("b")?;
    old.subscribe(&Subscribe::to(&topic, 2))?;
    new.subscribe(&Subscribe::to(&topic, 2))?;
    let pair = Value::Pair("name".into(), "value".into());
    new.publish(&Publish::new(&topic, "new").qos(2).with(id::USER_PROPERTY, pair))?;
    old.take_payload("new")?;
    new.take_payload("new")?;
    old.publish(&Publish::new(&topic, "old").qos(1))?;
    old.take_payload("old")?;
    let message = new.take_payload("old")?;
    ensure!(message.properties.0.is_empty(), "{message:?}");
    Ok(())
}

fn version_3_is_served(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start_in(Version::V3, "a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "x"))?;
    client.take_payload("x")?;
    client.send(&build::PINGREQ);
    client.expect(kind::PINGRESP)?;
    client.disconnect()
}

fn version_3_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.open("a")?;
    client.speak(Version::V3);
    client.send(&scene.client("a").version(Version::V3).to_bytes());
    client.rejected(&[1])
}
