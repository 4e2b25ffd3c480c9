//! CONNACK: what it says, and that it is true.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::packet::Publish;
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(acknowledge_flags_are_zero_but_for_the_session, "MQTT-3.2.2-1"),
    case!(session_present_tells_the_truth, "MQTT-3.2.2-3", "MQTT-3.2.2-2", "session-state"),
    case!(announced_limits_are_sensible, "connack-values", "connack-limits"),
    case!(connack_codes_are_listed, "MQTT-3.2.2-8"),
    case!(no_response_information_unless_asked, "MQTT-3.1.2-28"),
    case!(response_information_for_who_asks, "request-response")
        .needs(&[Need::ResponseInformation]),
    case!(a_session_expiry_out_of_reach_is_replaced, "session-expiry")
        .needs(&[Need::SessionExpiryLimit]),
    case!(a_session_expiry_that_is_granted_is_not_repeated, "session-expiry")
        .needs(&[Need::NoSessionExpiryLimit]),
    case!(the_limits_of_a_server_are_those_it_keeps, "connack-limits").needs(&[Need::Qos1]),
];

fn acknowledge_flags_are_zero_but_for_the_session(scene: &Scene<'_>) -> Checked {
    // The strict parser refuses any other bit.
    scene.connect(&scene.client("a").expiry(60))?.disconnect()?;
    let client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "the session is not present");
    Ok(())
}

fn session_present_tells_the_truth(scene: &Scene<'_>) -> Checked {
    let empty = scene.client("a").expiry(60);
    let client = scene.connect(&empty)?;
    ensure!(!client.connack.session_present, "a session from nowhere");
    client.disconnect()?;
    // A session without anything in it is a session too.
    let client = scene.connect(&empty.clone().resume())?;
    ensure!(client.connack.session_present, "the empty session is not present");
    client.disconnect()?;
    let client = scene.connect(&empty)?;
    ensure!(!client.connack.session_present, "[MQTT-3.2.2-2] session present, clean start");
    client.disconnect()?;
    let client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "the second session is not present");
    client.disconnect()?;
    let client = scene.connect(&scene.client("a").resume())?;
    ensure!(!client.connack.session_present, "a session with an expiry of 0 came back");
    Ok(())
}

fn announced_limits_are_sensible(scene: &Scene<'_>) -> Checked {
    // Values out of range and properties given twice do not pass the strict parser.
    let client = scene.start("a")?;
    let more = client.connack.properties.0.iter().filter(|one| one.id != id::USER_PROPERTY);
    for property in more {
        let times = client.connack.properties.all(property.id).len();
        ensure!(times == 1, "property {:#04X} {times} times", property.id);
    }
    Ok(())
}

fn connack_codes_are_listed(scene: &Scene<'_>) -> Checked {
    // The parser knows the table; here are an acceptance and several kinds of refusal.
    scene.start("a")?.disconnect()?;
    for connect in [
        scene.client("a").with(id::RECEIVE_MAXIMUM, Value::Two(0)),
        scene.client("a").with(id::AUTHENTICATION_METHOD, Value::Text("no such method".into())),
    ] {
        let mut client = scene.open("a")?;
        client.send(&connect.to_bytes());
        client.rejected(&[0x82, 0x87, 0x8C])?;
    }
    Ok(())
}

fn no_response_information_unless_asked(scene: &Scene<'_>) -> Checked {
    let key = id::REQUEST_RESPONSE_INFORMATION;
    for connect in [scene.client("a"), scene.client("a").with(key, Value::Byte(0))] {
        let client = scene.connect(&connect)?;
        let given = client.connack.properties.text(id::RESPONSE_INFORMATION);
        ensure!(given.is_none(), "Response Information {given:?} that was not asked for");
        client.disconnect()?;
    }
    Ok(())
}

fn response_information_for_who_asks(scene: &Scene<'_>) -> Checked {
    let key = id::REQUEST_RESPONSE_INFORMATION;
    let client = scene.connect(&scene.client("a").with(key, Value::Byte(1)))?;
    let given = client.connack.properties.text(id::RESPONSE_INFORMATION);
    ensure!(given.is_some_and(|given| !given.is_empty()), "no Response Information");
    Ok(())
}

fn a_session_expiry_out_of_reach_is_replaced(scene: &Scene<'_>) -> Checked {
    let client = scene.connect(&scene.client("a").expiry(u32::MAX))?;
    let granted = client.connack.properties.number(id::SESSION_EXPIRY_INTERVAL);
    ensure!(granted.is_some_and(|granted| granted < u32::MAX), "granted {granted:?}");
    client.disconnect()?;
    scene.start("a")?.disconnect()
}

fn a_session_expiry_that_is_granted_is_not_repeated(scene: &Scene<'_>) -> Checked {
    let client = scene.connect(&scene.client("a").expiry(7))?;
    let said = client.connack.properties.number(id::SESSION_EXPIRY_INTERVAL);
    ensure!(said.is_none_or(|said| said == 7), "asked for 7, CONNACK says {said:?}");
    client.disconnect()?;
    let client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "the session is gone");
    Ok(())
}

fn the_limits_of_a_server_are_those_it_keeps(scene: &Scene<'_>) -> Checked {
    // As many publications as the announced receive maximum allows, ten at least.
    let mut client = scene.start("a")?;
    let limit = client.connack.properties.number(id::RECEIVE_MAXIMUM).unwrap_or(65_535);
    let mut ids = Vec::new();
    for _ in 0..limit.min(10) {
        ids.push(client.send_publish(&Publish::new(scene.topic("a"), "x").qos(1)));
    }
    for packet_id in ids {
        client.ack(crate::wire::packet::kind::PUBACK, packet_id)?;
    }
    client.quiet()
}
