//! Enhanced authentication, and AUTH without it.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{Connect, Subscribe, reasoned};
use crate::wire::packet::{Packet, Publish, Reasoned, kind};
use crate::wire::property::{Properties, Value, id};
use crate::wire::{Version, encode};

pub(super) const CASES: &[Case] = &[
    case!(an_unknown_method_is_refused, "MQTT-4.12.0-1", "MQTT-3.1.4-2", "MQTT-3.2.2-8"),
    case!(auth_without_a_method_is_refused, "MQTT-4.12.0-7", "MQTT-4.13.1-1", "short-form-auth"),
    case!(no_auth_comes_without_a_method, "MQTT-4.12.0-6"),
    case!(an_exchange_lets_in, "MQTT-4.12.0-2", "MQTT-4.12.0-5", "enhanced-auth", "MQTT-3.15.2-1")
        .needs(ENHANCED),
    case!(a_wrong_answer_is_refused, "MQTT-4.12.0-4", "MQTT-3.1.4-6").needs(ENHANCED),
    case!(another_code_in_the_exchange_is_refused, "MQTT-4.12.0-3", "MQTT-3.15.2-1")
        .needs(ENHANCED),
    case!(another_method_in_the_exchange_is_refused, "MQTT-4.12.0-5", "auth-method-missing")
        .needs(ENHANCED),
    case!(other_packets_in_the_exchange_are_refused, "MQTT-3.1.2-30").needs(ENHANCED),
    case!(a_client_may_leave_the_exchange, "MQTT-3.1.2-30").needs(ENHANCED),
    case!(
        re_authentication_succeeds,
        "MQTT-4.12.1-1",
        "MQTT-4.12.0-5",
        "re-authentication",
        "MQTT-3.15.2-1"
    )
    .needs(ENHANCED),
    case!(other_traffic_goes_on_meanwhile, "re-authentication").needs(ENHANCED),
    case!(re_authentication_by_another_method_is_refused, "MQTT-4.12.1-1", "auth-method-missing")
        .needs(ENHANCED),
    case!(re_authentication_that_fails_closes, "MQTT-4.12.1-2", "MQTT-4.13.2-1").needs(ENHANCED),
];

const ENHANCED: &[Need] = &[Need::Enhanced];

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn properties(method: &str, data: &str) -> Properties {
    Properties::none()
        .with(id::AUTHENTICATION_METHOD, text(method))
        .with(id::AUTHENTICATION_DATA, Value::Binary(data.as_bytes().to_vec()))
}

fn auth(reason: u8, method: &str, data: &str) -> Vec<u8> {
    reasoned(kind::AUTH, reason, &properties(method, data))
}

struct Method<'a> {
    name: &'a str,
    begin: &'a str,
    question: &'a str,
    answer: &'a str,
    wrong: &'a str,
}

fn method<'a>(scene: &Scene<'a>) -> Checked<Method<'a>> {
    let Some(enhanced) = &scene.capabilities.enhanced else { return Err("no method".into()) };
    Ok(Method {
        name: &enhanced.method,
        begin: &enhanced.begin,
        question: &enhanced.question,
        answer: &enhanced.answer,
        wrong: &enhanced.wrong,
    })
}

fn connect(scene: &Scene<'_>) -> Checked<Connect> {
    let method = method(scene)?;
    let mut connect = scene.client("a");
    connect.properties = properties(method.name, method.begin);
    Ok(connect)
}

/// The server's question, in the form it must have.
fn asked(client: &mut Client, method: &Method<'_>) -> Checked {
    let Packet::Auth(Reasoned { reason, properties }) = client.expect(kind::AUTH)? else {
        return Err("no AUTH".into());
    };
    ensure!(reason == 0x18, "[MQTT-4.12.0-2] AUTH {reason:#04X}, 0x18 expected");
    let named = properties.text(id::AUTHENTICATION_METHOD);
    ensure!(named == Some(method.name), "[MQTT-4.12.0-5] AUTH with method {named:?}");
    let data = properties.get(id::AUTHENTICATION_DATA);
    let question = Value::Binary(method.question.as_bytes().to_vec());
    ensure!(data == Some(&question), "{question:?} expected, {data:?} came");
    Ok(())
}

/// As far as the server's question.
fn begun<'a>(scene: &Scene<'a>) -> Checked<(Client, Method<'a>)> {
    let method = method(scene)?;
    let mut client = scene.open("a")?;
    client.send(&connect(scene)?.to_bytes());
    asked(&mut client, &method)?;
    Ok((client, method))
}

fn accepted<'a>(scene: &Scene<'a>) -> Checked<(Client, Method<'a>)> {
    let (mut client, method) = begun(scene)?;
    client.send(&auth(0x18, method.name, method.answer));
    let Packet::ConnAck(connack) = client.expect(kind::CONNACK)? else {
        return Err("no CONNACK".into());
    };
    ensure!(connack.reason == 0, "{connack:?}");
    let named = connack.properties.text(id::AUTHENTICATION_METHOD);
    ensure!(named == Some(method.name), "[MQTT-4.12.0-5] CONNACK with method {named:?}");
    Ok((client, method))
}

fn an_unknown_method_is_refused(scene: &Scene<'_>) -> Checked {
    for name in ["no such method", ""] {
        let mut client = scene.open("a")?;
        client.send(&scene.client("a").with(id::AUTHENTICATION_METHOD, text(name)).to_bytes());
        client.rejected(&[0x82, 0x87, 0x8C])?;
    }
    Ok(())
}

fn auth_without_a_method_is_refused(scene: &Scene<'_>) -> Checked {
    for packet in [auth(0x19, "method", ""), auth(0x18, "method", ""), vec![0xF0, 0]] {
        let mut client = scene.start("a")?;
        client.send(&packet);
        client.refused(&[0x81, 0x82])?;
    }
    Ok(())
}

fn no_auth_comes_without_a_method(scene: &Scene<'_>) -> Checked {
    let mut client = scene.open("a")?;
    client.send(&scene.client("a").to_bytes());
    match client.receive()? {
        Packet::ConnAck(connack) => {
            let named = connack.properties.text(id::AUTHENTICATION_METHOD);
            ensure!(named.is_none(), "CONNACK with method {named:?}");
        }
        other => return Err(Failure(format!("CONNACK expected, {other:?} came"))),
    }
    client.quiet()
}

fn an_exchange_lets_in(scene: &Scene<'_>) -> Checked {
    let (mut client, _) = accepted(scene)?;
    client.publish(&Publish::new(scene.topic("a"), "x"))?;
    client.quiet()
}

fn a_wrong_answer_is_refused(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let (mut client, method) = begun(scene)?;
    client.send(&auth(0x18, method.name, method.wrong));
    client.rejected(&[0x86, 0x87])?;
    // Something behind it: a server still at its judgement may also call that a protocol error.
    let (mut client, method) = begun(scene)?;
    let behind = encode::publish(&Publish::new(&topic, "refused"), Version::V5);
    client.send(&[auth(0x18, method.name, method.wrong), behind].concat());
    client.rejected(&[0x82, 0x86, 0x87])?;
    watcher.quiet()
}

fn another_code_in_the_exchange_is_refused(scene: &Scene<'_>) -> Checked {
    for code in [0x00, 0x19, 0x7F] {
        let (mut client, method) = begun(scene)?;
        client.send(&auth(code, method.name, method.answer));
        client.rejected(&[0x81, 0x82])?;
    }
    Ok(())
}

fn another_method_in_the_exchange_is_refused(scene: &Scene<'_>) -> Checked {
    let (mut client, method) = begun(scene)?;
    client.send(&auth(0x18, "another", method.answer));
    client.rejected(&[0x81, 0x82, 0x8C])?;
    let (mut client, _) = begun(scene)?;
    client.send(&reasoned(kind::AUTH, 0x18, &Properties::none()));
    client.rejected(&[0x81, 0x82])
}

fn other_packets_in_the_exchange_are_refused(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let publish = encode::publish(&Publish::new(&topic, "early"), Version::V5);
    let subscribe = Subscribe::to(&topic, 0).to_bytes(1, Version::V5);
    for packet in [publish, subscribe, vec![0xC0, 0]] {
        let (mut client, _) = begun(scene)?;
        client.send(&packet);
        client.rejected(&[0x81, 0x82])?;
    }
    watcher.quiet()
}

fn a_client_may_leave_the_exchange(scene: &Scene<'_>) -> Checked {
    let (client, _) = begun(scene)?;
    client.disconnect()
}

fn re_authentication_succeeds(scene: &Scene<'_>) -> Checked {
    let (mut client, method) = accepted(scene)?;
    for _ in 0..2 {
        client.send(&auth(0x19, method.name, method.begin));
        asked(&mut client, &method)?;
        client.send(&auth(0x18, method.name, method.answer));
        let Packet::Auth(done) = client.expect(kind::AUTH)? else { return Err("no AUTH".into()) };
        ensure!(done.reason == 0, "AUTH 0x00 expected: {done:?}");
        let named = done.properties.text(id::AUTHENTICATION_METHOD);
        ensure!(named == Some(method.name), "[MQTT-4.12.0-5] AUTH with method {named:?}");
    }
    client.quiet()
}

fn other_traffic_goes_on_meanwhile(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let (mut client, method) = accepted(scene)?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.send(&auth(0x19, method.name, method.begin));
    asked(&mut client, &method)?;
    client.publish(&Publish::new(&topic, "meanwhile"))?;
    client.take_payload("meanwhile")?;
    client.quiet()?;
    client.send(&auth(0x18, method.name, method.answer));
    client.expect(kind::AUTH)?;
    client.quiet()
}

fn re_authentication_by_another_method_is_refused(scene: &Scene<'_>) -> Checked {
    let (mut client, method) = accepted(scene)?;
    client.send(&auth(0x19, "another", method.begin));
    client.refused(&[0x82, 0x8C])?;
    let (mut client, _) = accepted(scene)?;
    client.send(&reasoned(kind::AUTH, 0x19, &Properties::none()));
    client.refused(&[0x81, 0x82])
}

fn re_authentication_that_fails_closes(scene: &Scene<'_>) -> Checked {
    let (mut client, method) = accepted(scene)?;
    client.send(&auth(0x19, method.name, method.begin));
    asked(&mut client, &method)?;
    client.send(&auth(0x18, method.name, method.wrong));
    match client.event()? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::Disconnect(disconnect)) => {
            ensure!(matches!(disconnect.reason, 0x80 | 0x83 | 0x87), "{disconnect:?}");
            client.ended()
        }
        other => Err(Failure(format!("a close expected: {other:?}"))),
    }
}
