//! CONNECT as it should be: versions, flags, client identifiers, and taking over.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{Connect, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(a_good_connect_is_accepted, "MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.2-2"),
    case!(one_connack_and_no_more, "MQTT-3.2.0-2"),
    case!(client_identifiers_of_23_letters_and_digits_are_accepted, "MQTT-3.1.3-5"),
    case!(long_client_identifiers_are_accepted_or_refused, "client-id-long", "MQTT-3.1.3-8"),
    case!(
        an_empty_client_identifier_gets_one_assigned,
        "MQTT-3.1.3-6",
        "MQTT-3.1.3-7",
        "MQTT-3.2.2-16"
    )
    .needs(&[Need::EmptyClientId]),
    case!(assigned_client_identifiers_are_unique, "MQTT-3.2.2-16").needs(&[Need::EmptyClientId]),
    case!(an_assigned_identifier_names_the_session, "MQTT-3.1.3-7").needs(&[Need::EmptyClientId]),
    case!(no_identifier_is_assigned_to_a_client_with_one, "assigned-client-id-only"),
    case!(clean_start_discards_the_session, "MQTT-3.1.2-4", "MQTT-3.1.4-4", "MQTT-3.2.2-2")
        .needs(&[Need::Qos1]),
    case!(
        without_clean_start_the_session_goes_on,
        "MQTT-3.1.2-5",
        "MQTT-3.1.4-4",
        "MQTT-3.2.2-3",
        "MQTT-3.1.2-23"
    ),
    case!(without_clean_start_a_session_is_created, "MQTT-3.1.2-6", "MQTT-3.2.2-3"),
    case!(sessions_belong_to_client_identifiers, "MQTT-3.1.3-2"),
    case!(a_second_connection_takes_over, "MQTT-3.1.4-3", "takeover"),
    case!(a_takeover_keeps_the_session, "MQTT-3.1.4-3", "MQTT-3.2.2-3", "takeover"),
    case!(a_takeover_with_clean_start_ends_the_session, "MQTT-3.1.4-3", "MQTT-3.1.2-4", "takeover"),
    case!(packets_may_follow_connect_at_once, "pipelined-connect"),
    case!(a_password_without_user_name_is_allowed, "password-alone", "MQTT-3.1.2-19"),
    case!(absent_properties_mean_the_defaults, "connect-defaults").needs(&[Need::Qos1]),
    case!(properties_may_come_in_any_order, "duplicate-property"),
];

fn accepted(scene: &Scene<'_>, connect: &Connect) -> Checked<Client> {
    scene.connect(connect)
}

fn a_good_connect_is_accepted(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    ensure!(!client.connack.session_present, "a session from nowhere");
    client.quiet()
}

fn one_connack_and_no_more(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.quiet()?;
    client.publish(&Publish::new(scene.topic("a"), "x"))?;
    client.quiet()
}

fn client_identifiers_of_23_letters_and_digits_are_accepted(scene: &Scene<'_>) -> Checked {
    for filling in ["0123456789abcdefghijklm", "NOPQRSTUVWXYZnopqrstuvw", "ABCDEFGHIJKLMxyz"] {
        let mut name = scene.unique.clone();
        name.extend(filling.chars().take(23 - name.len()));
        let mut connect = scene.client("");
        connect.client_id = name;
        accepted(scene, &connect)?.quiet()?;
    }
    Ok(())
}

fn long_client_identifiers_are_accepted_or_refused(scene: &Scene<'_>) -> Checked {
    for name in ["-/äöü 漢字/+#$", &"x".repeat(200), &"y".repeat(60_000)] {
        let mut client = scene.open("a")?;
        client.send(&scene.client(name).to_bytes());
        match client.event()? {
            Event::Packet(Packet::ConnAck(connack)) if connack.reason == 0 => client.quiet()?,
            Event::Packet(Packet::ConnAck(connack)) => {
                ensure!(matches!(connack.reason, 0x85 | 0x95), "CONNACK {connack:?}");
                client.ended()?;
            }
            // It may close without a word.
            Event::Closed => {}
            other => return Err(crate::case::Failure(format!("CONNACK expected, {other:?}"))),
        }
    }
    Ok(())
}

fn nameless(scene: &Scene<'_>) -> Checked<(Client, String)> {
    let mut connect = scene.client("");
    connect.client_id = String::new();
    let client = accepted(scene, &connect)?;
    let assigned = client.connack.properties.text(id::ASSIGNED_CLIENT_IDENTIFIER);
    let Some(assigned) = assigned.map(str::to_owned) else {
        return Err("[MQTT-3.1.3-7] no Assigned Client Identifier in CONNACK".into());
    };
    ensure!(!assigned.is_empty(), "the assigned identifier is empty");
    Ok((client, assigned))
}

fn an_empty_client_identifier_gets_one_assigned(scene: &Scene<'_>) -> Checked {
    let (mut client, _) = nameless(scene)?;
    client.quiet()
}

fn assigned_client_identifiers_are_unique(scene: &Scene<'_>) -> Checked {
    let (mut one, first) = nameless(scene)?;
    let (mut two, second) = nameless(scene)?;
    let (mut three, third) = nameless(scene)?;
    ensure!(first != second && second != third && first != third, "{first} was assigned twice");
    one.quiet()?;
    two.quiet()?;
    three.quiet()
}

fn an_assigned_identifier_names_the_session(scene: &Scene<'_>) -> Checked {
    let (mut client, assigned) = nameless(scene)?;
    let mut connect = scene.client("");
    connect.client_id = assigned;
    let mut other = accepted(scene, &connect)?;
    client.refused(&[0x8E])?;
    other.quiet()
}

fn no_identifier_is_assigned_to_a_client_with_one(scene: &Scene<'_>) -> Checked {
    let client = scene.start("a")?;
    let assigned = client.connack.properties.text(id::ASSIGNED_CLIENT_IDENTIFIER);
    ensure!(assigned.is_none(), "{assigned:?} was assigned to a client with an identifier");
    Ok(())
}

fn clean_start_discards_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = accepted(scene, &scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.disconnect()?;
    let mut other = scene.start("b")?;
    other.publish(&Publish::new(&topic, "for the old session").qos(1))?;
    let mut client = scene.start("a")?;
    ensure!(!client.connack.session_present, "[MQTT-3.2.2-2] session present after a clean start");
    other.publish(&Publish::new(&topic, "for nobody").qos(1))?;
    client.quiet()?;
    client.disconnect()?;
    let client = accepted(scene, &scene.client("a").resume())?;
    ensure!(!client.connack.session_present, "the old session came back");
    Ok(())
}

fn without_clean_start_the_session_goes_on(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = accepted(scene, &scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.disconnect()?;
    let mut client = accepted(scene, &scene.client("a").resume())?;
    ensure!(client.connack.session_present, "[MQTT-3.2.2-3] the session is not present");
    client.publish(&Publish::new(&topic, "still subscribed"))?;
    client.take_payload("still subscribed").map(|_| ())
}

fn without_clean_start_a_session_is_created(scene: &Scene<'_>) -> Checked {
    let mut client = accepted(scene, &scene.client("a").resume())?;
    ensure!(!client.connack.session_present, "[MQTT-3.2.2-3] a session from nowhere");
    client.quiet()
}

fn sessions_belong_to_client_identifiers(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = accepted(scene, &scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.disconnect()?;
    for other in ["A", "aa"] {
        let mut client = accepted(scene, &scene.client(other).resume())?;
        ensure!(!client.connack.session_present, "{other} has the session of a");
        client.publish(&Publish::new(&topic, "x"))?;
        client.quiet()?;
    }
    let client = accepted(scene, &scene.client("a").resume())?;
    ensure!(client.connack.session_present, "a has lost its session");
    Ok(())
}

fn a_second_connection_takes_over(scene: &Scene<'_>) -> Checked {
    let mut one = scene.start("a")?;
    let mut two = scene.start("a")?;
    one.told(&[0x8E])?;
    two.quiet()
}

fn a_takeover_keeps_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut one = accepted(scene, &scene.client("a").expiry(60))?;
    one.subscribe(&Subscribe::to(&topic, 0))?;
    let mut two = accepted(scene, &scene.client("a").resume().expiry(60))?;
    ensure!(two.connack.session_present, "the session is not present");
    one.refused(&[0x8E])?;
    two.publish(&Publish::new(&topic, "here"))?;
    two.take_payload("here").map(|_| ())
}

fn a_takeover_with_clean_start_ends_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut one = accepted(scene, &scene.client("a").expiry(60))?;
    one.subscribe(&Subscribe::to(&topic, 0))?;
    let mut two = scene.start("a")?;
    ensure!(!two.connack.session_present, "session present after a clean start");
    one.refused(&[0x8E])?;
    two.publish(&Publish::new(&topic, "for nobody"))?;
    two.quiet()
}

fn packets_may_follow_connect_at_once(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.open("a")?;
    let mut bytes = scene.client("a").to_bytes();
    bytes.extend(Subscribe::to(&topic, 0).to_bytes(1, crate::wire::Version::V5));
    bytes.extend(crate::wire::build::PINGREQ);
    client.send(&bytes);
    client.expect(kind::CONNACK)?;
    client.expect(kind::SUBACK)?;
    client.expect(kind::PINGRESP).map(|_| ())
}

fn a_password_without_user_name_is_allowed(scene: &Scene<'_>) -> Checked {
    let mut connect = scene.client("a");
    connect.user_name = None;
    connect.password = Some(b"alone".to_vec());
    let mut client = scene.open("a")?;
    client.send(&connect.to_bytes());
    match client.receive()? {
        // Whether it is the right password is another question.
        Packet::ConnAck(connack) => {
            ensure!(matches!(connack.reason, 0 | 0x86 | 0x87), "CONNACK {connack:?}");
            Ok(())
        }
        other => Err(crate::case::Failure(format!("CONNACK expected, {other:?} came"))),
    }
}

fn absent_properties_mean_the_defaults(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    let large = "x".repeat(20_000);
    let mut other = scene.start("b")?;
    for _ in 0..5 {
        other.publish(&Publish::new(&topic, &large).qos(1))?;
    }
    // No small receive maximum, no packet size limit, no topic alias.
    for _ in 0..5 {
        let message = client.message()?;
        ensure!(message.topic == topic.as_bytes(), "an alias that was not allowed: {message:?}");
    }
    ensure!(
        client.connack.properties.text(id::RESPONSE_INFORMATION).is_none(),
        "Response Information that was not asked for"
    );
    client.cut();
    let client = accepted(scene, &scene.client("a").resume())?;
    ensure!(!client.connack.session_present, "the session outlived its expiry of 0");
    Ok(())
}

fn properties_may_come_in_any_order(scene: &Scene<'_>) -> Checked {
    let pair = Value::Pair("name".into(), "value".into());
    let connect = scene
        .client("a")
        .with(id::USER_PROPERTY, pair.clone())
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(1_000_000))
        .with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(1))
        .with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(3))
        .with(id::USER_PROPERTY, pair)
        .with(id::RECEIVE_MAXIMUM, Value::Two(3))
        .expiry(0)
        .with(id::REQUEST_RESPONSE_INFORMATION, Value::Byte(0));
    accepted(scene, &connect)?.quiet()
}
