//! DISCONNECT, of either side.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::Event;
use crate::scene::Scene;
use crate::wire::Version;
use crate::wire::build::{self, Subscribe, reasoned};
use crate::wire::encode;
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Properties, Value, id};

pub(super) const CASES: &[Case] = &[
    case!(no_disconnect_before_connack, "MQTT-3.14.0-1", "connect-error-answer"),
    case!(disconnect_codes_are_listed, "MQTT-3.14.2-1"),
    case!(a_code_of_the_server_is_refused_from_a_client, "MQTT-3.14.2-1"),
    case!(no_session_expiry_comes_on_disconnect, "MQTT-3.14.2-2"),
    case!(nothing_follows_disconnect, "MQTT-3.14.4-1"),
    case!(after_disconnect_the_connection_is_closed, "MQTT-3.14.4-2", "MQTT-4.13.2-1"),
    case!(what_follows_a_clients_disconnect_is_ignored, "MQTT-3.14.4-1", "disconnect-received"),
    case!(a_disconnect_is_answered_by_a_close, "disconnect-received").advice(),
    case!(a_disconnect_with_properties_is_understood, "short-form-disconnect"),
    case!(whoever_is_disconnected_may_come_again, "MQTT-4.13.2-1").needs(&[Need::Qos1]),
];

fn no_disconnect_before_connack(scene: &Scene<'_>) -> Checked {
    let bad: [Vec<u8>; 4] = [
        vec![0xC0, 0],
        scene.client("a").with_flags(3),
        scene.client("a").with(id::RECEIVE_MAXIMUM, Value::Two(0)).to_bytes(),
        vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    ];
    for bytes in bad {
        let mut client = scene.open("a")?;
        client.send(&bytes);
        client.rejected(&[0x81, 0x82, 0x95])?;
    }
    Ok(())
}

/// What came of a violation.
struct Provoked {
    violation: String,
    packet: Option<Packet>,
    closed: bool,
}

/// Several violations, and what comes of them.
fn provoked(scene: &Scene<'_>) -> Checked<Vec<Provoked>> {
    let wild = encode::publish(&Publish::new("#", "x"), Version::V5);
    let bad =
        [scene.client("a").to_bytes(), wild, build::QOS_3.to_vec(), vec![0x20, 0], vec![0xF0, 0]];
    let mut came = Vec::new();
    for bytes in bad {
        let mut client = scene.start("a")?;
        client.send(&bytes);
        let (packet, closed) = match client.event()? {
            Event::Closed => (None, true),
            Event::Packet(packet) => (Some(packet), client.event()? == Event::Closed),
            Event::Silence => (None, false),
        };
        came.push(Provoked { violation: crate::wire::hex(&bytes), packet, closed });
    }
    Ok(came)
}

fn disconnect_codes_are_listed(scene: &Scene<'_>) -> Checked {
    for Provoked { violation, packet, .. } in provoked(scene)? {
        match packet {
            None => {}
            Some(Packet::Disconnect(disconnect)) => {
                ensure!(disconnect.reason >= 0x80, "after {violation}: {disconnect:?}");
            }
            Some(other) => return Err(Failure(format!("DISCONNECT expected: {other:?}"))),
        }
    }
    Ok(())
}

fn a_code_of_the_server_is_refused_from_a_client(scene: &Scene<'_>) -> Checked {
    // 0x8E and 0x8B are a server's; 0x01 is nobody's. It closes in any case.
    for code in [0x8E, 0x8B, 0x01] {
        let mut client = scene.start("a")?;
        client.send(&reasoned(kind::DISCONNECT, code, &Properties::none()));
        client.refused(&[0x81, 0x82])?;
    }
    Ok(())
}

fn no_session_expiry_comes_on_disconnect(scene: &Scene<'_>) -> Checked {
    // The strict parser would refuse it in the DISCONNECT that a takeover brings.
    let mut old = scene.connect(&scene.client("a").expiry(60))?;
    let _new = scene.start("a")?;
    old.refused(&[0x8E])
}

fn nothing_follows_disconnect(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut publisher = scene.start("p")?;
    let mut old = scene.start("a")?;
    old.subscribe(&Subscribe::to(&topic, 0))?;
    let _new = scene.start("a")?;
    publisher.publish(&Publish::new(&topic, "too late"))?;
    // Behind the DISCONNECT nothing but the end is let pass.
    old.refused(&[0x8E])
}

fn after_disconnect_the_connection_is_closed(scene: &Scene<'_>) -> Checked {
    for Provoked { violation, packet, closed } in provoked(scene)? {
        ensure!(closed, "after {violation} and {packet:?} it stays open");
    }
    Ok(())
}

fn what_follows_a_clients_disconnect_is_ignored(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let mut client = scene.start("a")?;
    let mut bytes = build::DISCONNECT.to_vec();
    bytes.extend(encode::publish(&Publish::new(&topic, "after the end"), Version::V5));
    bytes.extend(build::PINGREQ);
    client.send(&bytes);
    client.ended()?;
    watcher.quiet()
}

fn a_disconnect_is_answered_by_a_close(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&build::DISCONNECT);
    client.ended()
}

fn a_disconnect_with_properties_is_understood(scene: &Scene<'_>) -> Checked {
    let properties = Properties::none()
        .with(id::REASON_STRING, Value::Text("because".into()))
        .with(id::USER_PROPERTY, Value::Pair("name".into(), "value".into()));
    let mut client = scene.start("a")?;
    client.send(&reasoned(kind::DISCONNECT, 0, &properties));
    client.ended()
}

fn whoever_is_disconnected_may_come_again(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.send(&build::QOS_3);
    client.refused(&[0x81])?;
    scene.start("p")?.publish(&Publish::new(&topic, "x").qos(1))?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "an error does not end the session");
    client.take_payload("x")?;
    client.quiet()
}
