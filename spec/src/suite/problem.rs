//! Reason strings and user properties of acknowledgements: left out where they are not wanted or
//! do not fit.
//!
//! Each case provokes the packet twice, once without a limit and once with one just below its
//! size. A server that never adds anything passes, for there is nothing to leave out; the report says so.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Properties, Value, id};
use crate::wire::{Version, encode};

pub(super) const CASES: &[Case] = &[
    case!(no_problem_information_unless_wanted, "MQTT-3.1.2-29", "reason-string"),
    case!(problem_information_may_stay_where_it_is_allowed, "MQTT-3.1.2-29", "reason-string"),
    case!(a_puback_fits, "MQTT-3.4.2-2", "MQTT-3.4.2-3").needs(&[Need::Qos1, Need::RefusedTopic]),
    case!(a_pubrec_fits, "MQTT-3.5.2-2", "MQTT-3.5.2-3").needs(&[Need::Qos2, Need::RefusedTopic]),
    case!(a_pubrel_fits, "MQTT-3.6.2-2", "MQTT-3.6.2-3").needs(&[Need::Qos2]),
    case!(a_pubcomp_fits, "MQTT-3.7.2-2", "MQTT-3.7.2-3").needs(&[Need::Qos2]),
    case!(a_suback_fits, "MQTT-3.9.2-1", "MQTT-3.9.2-2").needs(&[Need::RefusedFilter]),
    case!(an_unsuback_fits, "MQTT-3.11.2-1", "MQTT-3.11.2-2"),
    case!(a_disconnect_fits, "MQTT-3.14.2-3", "MQTT-3.14.2-4"),
    case!(an_auth_fits, "MQTT-3.15.2-2", "MQTT-3.15.2-3").needs(&[Need::Enhanced]),
];

type Provoke = fn(&Scene<'_>, &mut Client) -> Checked<Packet>;

fn puback(scene: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.send_publish(&Publish::new(scene.refused_topic()?, "x").qos(1).id(7));
    client.expect(kind::PUBACK)
}

fn pubrec(scene: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.send_publish(&Publish::new(scene.refused_topic()?, "x").qos(2).id(7));
    client.expect(kind::PUBREC)
}

fn pubrel(_: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.answer(kind::PUBREC, 0x7777, 0);
    client.expect(kind::PUBREL)
}

fn pubcomp(_: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.answer(kind::PUBREL, 0x7777, 0);
    client.expect(kind::PUBCOMP)
}

fn suback(scene: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.send(&Subscribe::to(scene.refused_filter()?, 0).to_bytes(7, Version::V5));
    client.expect(kind::SUBACK)
}

fn unsuback(scene: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.send(&build::unsubscribe(7, &[scene.topic("never").as_bytes()], Version::V5));
    client.expect(kind::UNSUBACK)
}

fn disconnect(scene: &Scene<'_>, client: &mut Client) -> Checked<Packet> {
    client.send(&scene.client("a").to_bytes());
    client.expect(kind::DISCONNECT)
}

fn properties(packet: &Packet) -> &Properties {
    match packet {
        Packet::ConnAck(connack) => &connack.properties,
        Packet::Publish(publish) => &publish.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            &ack.properties
        }
        Packet::SubAck(codes) | Packet::UnsubAck(codes) => &codes.properties,
        Packet::Disconnect(reasoned) | Packet::Auth(reasoned) => &reasoned.properties,
        // It has none.
        Packet::PingResp => const { &Properties(Vec::new()) },
    }
}

fn limited(scene: &Scene<'_>, name: &str, bytes: usize) -> Checked<Client> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    scene.connect(&scene.client(name).with(id::MAXIMUM_PACKET_SIZE, Value::Four(bytes)))
}

/// Says which statements, about a reason string and user properties, a packet has nothing to show of.
fn judge(scene: &Scene<'_>, packet: &Packet, reason: &'static str, user: &'static str) {
    for (statement, key) in [(reason, id::REASON_STRING), (user, id::USER_PROPERTY)] {
        if properties(packet).get(key).is_none() {
            scene.nothing_to_judge(statement);
        }
    }
}

/// The packet provoked is never larger than the client takes, and comes all the same: without what makes it larger.
fn fits(scene: &Scene<'_>, provoke: Provoke, reason: &'static str, user: &'static str) -> Checked {
    let mut client = scene.start("a")?;
    // CONNACK has to fit too, with properties that cannot be left out.
    let connack = encode::packet(&Packet::ConnAck(client.connack.clone()), Version::V5).len();
    let whole = provoke(scene, &mut client)?;
    judge(scene, &whole, reason, user);
    let length = encode::packet(&whole, Version::V5).len();
    client.cut();
    let bytes = (length - 1).max(connack);
    let mut client = limited(scene, "a", bytes)?;
    let packet = provoke(scene, &mut client)?;
    let length = encode::packet(&packet, Version::V5).len();
    ensure!(length <= bytes, "{length} bytes, {bytes} allowed: {packet:?}");
    Ok(())
}

fn a_puback_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, puback, "MQTT-3.4.2-2", "MQTT-3.4.2-3")
}

fn a_pubrec_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, pubrec, "MQTT-3.5.2-2", "MQTT-3.5.2-3")
}

fn a_pubrel_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, pubrel, "MQTT-3.6.2-2", "MQTT-3.6.2-3")
}

fn a_pubcomp_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, pubcomp, "MQTT-3.7.2-2", "MQTT-3.7.2-3")
}

fn a_suback_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, suback, "MQTT-3.9.2-1", "MQTT-3.9.2-2")
}

fn an_unsuback_fits(scene: &Scene<'_>) -> Checked {
    fits(scene, unsuback, "MQTT-3.11.2-1", "MQTT-3.11.2-2")
}

fn a_disconnect_fits(scene: &Scene<'_>) -> Checked {
    let (reason, user) = ("MQTT-3.14.2-3", "MQTT-3.14.2-4");
    let mut client = scene.start("a")?;
    client.send(&scene.client("a").to_bytes());
    if client.event()? == Event::Closed {
        // A server may close without a word.
        scene.nothing_to_judge(reason);
        scene.nothing_to_judge(user);
        return Ok(());
    }
    fits(scene, disconnect, reason, user)
}

fn an_auth_fits(scene: &Scene<'_>) -> Checked {
    let Some(enhanced) = &scene.capabilities.enhanced else { return Err("no method".into()) };
    let connect = |bytes: u32| {
        let data = Value::Binary(enhanced.begin.clone().into_bytes());
        scene
            .client("a")
            .with(id::MAXIMUM_PACKET_SIZE, Value::Four(bytes))
            .with(id::AUTHENTICATION_METHOD, Value::Text(enhanced.method.clone()))
            .with(id::AUTHENTICATION_DATA, data)
    };
    let mut client = scene.open("a")?;
    client.send(&connect(100_000).to_bytes());
    let whole = client.expect(kind::AUTH)?;
    judge(scene, &whole, "MQTT-3.15.2-2", "MQTT-3.15.2-3");
    let bytes = u32::try_from(encode::packet(&whole, Version::V5).len() - 1).unwrap_or(0);
    let mut client = scene.open("a")?;
    client.send(&connect(bytes).to_bytes());
    let answer = match client.event()? {
        // No other answer may have fitted.
        Event::Closed => return Ok(()),
        Event::Silence => return Err("the CONNECT is not answered".into()),
        Event::Packet(packet) => packet,
    };
    let length = encode::packet(&answer, Version::V5).len();
    ensure!(length <= bytes as usize, "{length} bytes, {bytes} allowed: {answer:?}");
    match answer {
        Packet::Auth(_) => Ok(()),
        Packet::ConnAck(connack) if connack.reason >= 0x80 => client.ended(),
        other => Err(Failure(format!("AUTH or a refusal expected, {other:?} came"))),
    }
}

fn no_problem_information_unless_wanted(scene: &Scene<'_>) -> Checked {
    let mut provocations: Vec<(&str, Provoke)> = vec![("UNSUBACK", unsuback)];
    if scene.capabilities.refused_filter.is_some() {
        provocations.push(("SUBACK", suback));
    }
    if scene.capabilities.maximum_qos == 2 {
        provocations.extend([("PUBREL", pubrel as Provoke), ("PUBCOMP", pubcomp)]);
        if scene.capabilities.refused_topic.is_some() {
            provocations.extend([("PUBACK", puback as Provoke), ("PUBREC", pubrec)]);
        }
    }
    for (name, provoke) in provocations {
        let key = id::REQUEST_PROBLEM_INFORMATION;
        let mut client = scene.connect(&scene.client("a").with(key, Value::Byte(0)))?;
        let packet = provoke(scene, &mut client)?;
        ensure!(properties(&packet).0.is_empty(), "{name} with properties: {packet:?}");
    }
    Ok(())
}

fn problem_information_may_stay_where_it_is_allowed(scene: &Scene<'_>) -> Checked {
    // PUBLISH keeps its user properties whatever the receiver says.
    let key = id::REQUEST_PROBLEM_INFORMATION;
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").with(key, Value::Byte(0)))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let pair = Value::Pair("name".into(), "value".into());
    client.publish(&Publish::new(&topic, "x").with(id::USER_PROPERTY, pair.clone()))?;
    let message = client.take_payload("x")?;
    ensure!(message.properties.get(id::USER_PROPERTY) == Some(&pair), "{message:?}");
    Ok(())
}
