//! Wills: when they are published, and as what.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe, Will};
use crate::wire::packet::{Publish, kind};
use crate::wire::property::{Properties, Value, id};

pub(super) const CASES: &[Case] = &[
    case!(
        a_will_is_published_when_the_connection_is_lost,
        "MQTT-3.1.2-7",
        "MQTT-3.1.2-8",
        "will-conditions"
    ),
    case!(a_will_is_published_after_a_protocol_error, "MQTT-3.1.2-8", "will-conditions"),
    case!(a_will_is_published_once, "MQTT-3.1.2-10"),
    case!(a_normal_disconnect_deletes_the_will, "MQTT-3.14.4-3", "MQTT-3.1.2-10", "MQTT-3.1.2-8"),
    case!(
        a_disconnect_with_another_code_publishes_the_will,
        "will-disconnect-04",
        "will-conditions"
    ),
    case!(a_will_has_its_qos, "MQTT-3.1.2-7").needs(&[Need::Qos2]),
    case!(a_will_without_retain_is_not_retained, "MQTT-3.1.2-14").needs(&[Need::Retain]),
    case!(a_will_with_retain_is_retained, "MQTT-3.1.2-15").needs(&[Need::Retain]),
    case!(a_will_waits_for_its_delay, "MQTT-3.1.2-8", "will-delay").slow(),
    case!(a_will_does_not_wait_longer_than_the_session, "will-delay", "MQTT-3.1.2-8").slow(),
    case!(a_new_connection_cancels_the_waiting_will, "MQTT-3.1.3-9", "MQTT-3.1.2-8").slow(),
    case!(a_clean_start_publishes_the_waiting_will, "will-delay-clean-start").advice(),
    case!(a_takeover_publishes_a_will_without_delay, "takeover", "will-conditions", "MQTT-3.1.4-3"),
    case!(a_takeover_cancels_a_will_with_delay, "takeover", "MQTT-3.1.3-9"),
    case!(a_will_has_its_properties, "will-properties", "MQTT-3.1.2-7"),
    case!(user_properties_of_a_will_keep_their_order, "MQTT-3.1.3-10"),
    case!(a_will_counts_its_expiry_from_its_publication, "message-expiry-will").slow(),
    case!(a_will_may_be_empty, "will-properties"),
    case!(a_will_of_ill_formed_text_may_be_refused, "will-payload-format"),
    case!(a_new_connect_replaces_the_will, "MQTT-3.1.2-10", "MQTT-3.1.2-7"),
];

fn will(scene: &Scene<'_>, payload: &str) -> Will {
    Will { topic: scene.topic("will"), payload: payload.as_bytes().to_vec(), ..Will::default() }
}

fn delayed(mut will: Will, seconds: u32) -> Will {
    will.properties = will.properties.with(id::WILL_DELAY_INTERVAL, Value::Four(seconds));
    will
}

fn watcher(scene: &Scene<'_>) -> Checked<Client> {
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(scene.topic("will"), 2))?;
    Ok(watcher)
}

fn a_will_is_published_when_the_connection_is_lost(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let mut client = scene.connect(&scene.client("a").will(will(scene, "gone")))?;
    client.quiet()?;
    watcher.quiet()?;
    client.cut();
    let message = watcher.take_payload("gone")?;
    ensure!(message.qos == 0 && !message.retain, "{message:?}");
    ensure!(message.properties.0.is_empty(), "properties that it does not have: {message:?}");
    watcher.quiet()
}

fn a_will_is_published_after_a_protocol_error(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let mut client = scene.connect(&scene.client("a").will(will(scene, "gone")))?;
    client.send(&scene.client("a").to_bytes());
    client.refused(&[0x82])?;
    watcher.take_payload("gone")?;
    watcher.quiet()
}

fn a_will_is_published_once(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let lasting = scene.client("a").expiry(60);
    scene.connect(&lasting.clone().will(will(scene, "gone")))?.cut();
    watcher.take_payload("gone")?;
    // The session goes on without it.
    let client = scene.connect(&lasting.resume())?;
    ensure!(client.connack.session_present, "the session is gone");
    client.cut();
    watcher.quiet()
}

fn a_normal_disconnect_deletes_the_will(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    for connect in [scene.client("a"), scene.client("a").expiry(1)] {
        let client = scene.connect(&connect.will(will(scene, "gone")))?;
        client.disconnect()?;
        watcher.quiet()?;
    }
    Ok(())
}

fn a_disconnect_with_another_code_publishes_the_will(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    for code in [0x04, 0x80, 0x81, 0x83] {
        let payload = format!("{code}");
        let mut client = scene.connect(&scene.client("a").will(will(scene, &payload)))?;
        client.send(&build::reasoned(kind::DISCONNECT, code, &Properties::none()));
        client.ended()?;
        watcher.take_payload(&payload)?;
    }
    watcher.quiet()
}

fn a_will_has_its_qos(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    for qos in 0..3 {
        let will = Will { qos, ..will(scene, "gone") };
        scene.connect(&scene.client("a").will(will))?.cut();
        let message = watcher.take_payload("gone")?;
        ensure!(message.qos == qos && !message.dup, "a will of QoS {qos}: {message:?}");
    }
    watcher.quiet()
}

fn a_will_without_retain_is_not_retained(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    scene.connect(&scene.client("a").will(will(scene, "gone")))?.cut();
    watcher.take_payload("gone")?;
    watcher.subscribe(&Subscribe::to(scene.topic("will"), 0))?;
    watcher.quiet()
}

fn a_will_with_retain_is_retained(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let will = Will { retain: true, ..will(scene, "gone") };
    scene.connect(&scene.client("a").will(will))?.cut();
    let message = watcher.take_payload("gone")?;
    ensure!(!message.retain, "{message:?}");
    watcher.subscribe(&Subscribe::to(scene.topic("will"), 0))?;
    let message = watcher.take_payload("gone")?;
    ensure!(message.retain, "{message:?}");
    watcher.publish(&Publish::new(scene.topic("will"), "").retain())?;
    watcher.alive()
}

fn a_will_waits_for_its_delay(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let will = delayed(will(scene, "late"), 1);
    scene.connect(&scene.client("a").expiry(60).will(will))?.cut();
    let start = std::time::Instant::now();
    scene.wait_ms(700);
    watcher.quiet()?;
    watcher.take_payload("late")?;
    let waited = start.elapsed().as_millis();
    ensure!(waited >= 900, "a delay of 1 s took {waited} ms");
    watcher.quiet()
}

fn a_will_does_not_wait_longer_than_the_session(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let slow = |payload| delayed(will(scene, payload), 60);
    // Without an expiry the session ends with the connection.
    scene.connect(&scene.client("a").will(slow("at once")))?.cut();
    watcher.take_payload("at once")?;
    scene.connect(&scene.client("b").expiry(1).will(slow("at the end")))?.cut();
    watcher.quiet()?;
    watcher.take_payload("at the end").map(|_| ())
}

fn a_new_connection_cancels_the_waiting_will(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let will = delayed(will(scene, "cancelled"), 1);
    scene.connect(&scene.client("a").expiry(60).will(will))?.cut();
    let mut client = scene.connect(&scene.client("a").resume().expiry(60))?;
    scene.wait_ms(1_400);
    watcher.quiet()?;
    client.quiet()?;
    client.cut();
    watcher.quiet()
}

fn a_clean_start_publishes_the_waiting_will(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let will = delayed(will(scene, "the session ended"), 60);
    scene.connect(&scene.client("a").expiry(60).will(will))?.cut();
    let mut client = scene.start("a")?;
    watcher.take_payload("the session ended")?;
    client.quiet()
}

fn a_takeover_publishes_a_will_without_delay(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let lasting = scene.client("a").expiry(60);
    let mut old = scene.connect(&lasting.clone().will(will(scene, "taken over")))?;
    let mut new = scene.connect(&lasting.resume())?;
    old.refused(&[0x8E])?;
    watcher.take_payload("taken over")?;
    new.quiet()
}

fn a_takeover_cancels_a_will_with_delay(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let lasting = scene.client("a").expiry(60);
    let will = delayed(will(scene, "cancelled"), 1);
    let mut old = scene.connect(&lasting.clone().will(will))?;
    let mut new = scene.connect(&lasting.resume())?;
    old.refused(&[0x8E])?;
    scene.wait_ms(1_300);
    watcher.quiet()?;
    new.quiet()
}

fn properties(scene: &Scene<'_>, properties: &Properties) -> Checked {
    let mut watcher = watcher(scene)?;
    let will = Will { properties: properties.clone(), ..will(scene, "gone") };
    scene.connect(&scene.client("a").will(will))?.cut();
    let message = watcher.take_payload("gone")?;
    for property in &properties.0 {
        let (asked, came) = (properties.all(property.id), message.properties.all(property.id));
        ensure!(asked == came, "{asked:?} in the will, {came:?} published");
    }
    let more = message.properties.0.len() - properties.0.len();
    ensure!(more == 0, "properties that the will does not have: {message:?}");
    Ok(())
}

fn a_will_has_its_properties(scene: &Scene<'_>) -> Checked {
    let text = |text: &str| Value::Text(text.to_owned());
    let full = Properties::none()
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(600))
        .with(id::CONTENT_TYPE, text("kind"))
        .with(id::RESPONSE_TOPIC, text("answers"))
        .with(id::CORRELATION_DATA, Value::Binary(vec![0, 255]))
        .with(id::USER_PROPERTY, Value::Pair("name".into(), "value".into()));
    properties(scene, &full)
}

fn user_properties_of_a_will_keep_their_order(scene: &Scene<'_>) -> Checked {
    let mut pairs = Properties::none();
    for (index, name) in ["z", "a", "m", "a", "z"].iter().enumerate() {
        let pair = Value::Pair((*name).to_owned(), format!("{index}"));
        pairs = pairs.with(id::USER_PROPERTY, pair);
    }
    properties(scene, &pairs)
}

fn a_will_counts_its_expiry_from_its_publication(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let mut will = delayed(will(scene, "fresh"), 1);
    will.properties = will.properties.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(1));
    scene.connect(&scene.client("a").expiry(60).will(will))?.cut();
    let message = watcher.take_payload("fresh")?;
    let left = message.properties.number(id::MESSAGE_EXPIRY_INTERVAL);
    ensure!(left == Some(1), "an expiry of 1 s, {left:?} came");
    Ok(())
}

fn a_will_may_be_empty(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    scene.connect(&scene.client("a").will(will(scene, "")))?.cut();
    watcher.take_payload("").map(|_| ())
}

fn a_will_of_ill_formed_text_may_be_refused(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let mut will = Will { payload: vec![0xFF, 0xFE], ..will(scene, "") };
    will.properties = will.properties.with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1));
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").will(will).to_bytes());
    match client.event()? {
        crate::client::Event::Closed => Ok(()),
        crate::client::Event::Packet(crate::wire::packet::Packet::ConnAck(connack)) => {
            ensure!(matches!(connack.reason, 0 | 0x99), "{connack:?}");
            if connack.reason == 0 {
                client.cut();
                watcher.take()?;
            }
            Ok(())
        }
        other => Err(crate::case::Failure(format!("{other:?} came"))),
    }
}

fn a_new_connect_replaces_the_will(scene: &Scene<'_>) -> Checked {
    let mut watcher = watcher(scene)?;
    let lasting = scene.client("a").expiry(60);
    scene.connect(&lasting.clone().will(will(scene, "old")))?.disconnect()?;
    scene.connect(&lasting.resume().will(will(scene, "new")))?.cut();
    watcher.take_payload("new")?;
    watcher.quiet()
}
