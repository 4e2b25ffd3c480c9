//! Connections: how they come about, are waited for and end.

use signalhouse_sim::client::ClientInput;
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Packet, Property, Value};
use signalhouse_sim::plan::{ClientSpec, Do, WillSpec};
use signalhouse_sim::token::Token;

use crate::stage::{Stage, ack, delivery, publishes, spec};

#[test]
fn connect_says_what_the_spec_says() {
    let mut stage = Stage::new(&[ClientSpec { keep_alive_s: 7, ..spec() }]);
    let will = WillSpec { topic: "w".to_owned(), qos: 1, retain: true, delay_s: 3, expiry_s: 4 };
    stage.act(0, &Do::Connect { client: 0, clean_start: true, will: Some(will) });
    let (_, connect) = stage.accept();
    assert!(connect.clean_start);
    assert_eq!((connect.keep_alive_s, connect.client_id.as_str()), (7, "c"));
    let numbers = |properties: &[Property]| -> Vec<(u8, Value)> {
        properties.iter().map(|property| (property.id, property.value.clone())).collect()
    };
    let number = |id, number| (id, Value::Number(number));
    let expected = [number(0x11, 60), number(0x21, 1), number(0x27, 1_000)];
    assert_eq!(numbers(&connect.properties), expected);
    let will = connect.will.unwrap();
    assert_eq!(numbers(&will.properties), [number(0x18, 3), number(0x02, 4)]);
    assert!(Token::parse(&will.payload).unwrap().is_for("w"));
}

#[test]
fn who_does_not_read_notices_nothing() {
    let mut stage = Stage::new(&[ClientSpec { keep_alive_s: 2, ..spec() }]);
    let on = stage.connect(0, false);
    stage.act(0, &Do::Reading { client: 0, on: false });
    assert!(!stage.clients.client(0).is_reading());
    stage.say(0, on, &delivery(1, 1));
    stage.pass(20_000);
    // It pings, and does not miss the answers.
    assert_eq!(stage.take(on), vec![Packet::PingReq; 10]);
    assert!(stage.closed.is_empty());
    stage.act(0, &Do::Reading { client: 0, on: true });
    assert_eq!(stage.take(on), [ack(AckKind::PubAck, 1, 0)]);
}

#[test]
fn an_unanswered_ping_ends_the_connection() {
    let mut stage =
        Stage::new(&[ClientSpec { keep_alive_s: 2, reconnect_after_ms: Some(0), ..spec() }]);
    let on = stage.connect(0, false);
    stage.pass(1_999);
    assert!(stage.take(on).is_empty());
    stage.pass(1);
    assert_eq!(stage.take(on), [Packet::PingReq]);
    stage.say(0, on, &Packet::PingResp);
    stage.pass(2_000 + 4_999);
    assert!(stage.closed.is_empty());
    stage.pass(1);
    assert_eq!(stage.closed, [on]);
    assert_eq!(stage.history.last(), Some(&What::Ended { connection: on, by_client: true }));
    stage.pass(1);
    assert_eq!(stage.opens.len(), 1);
}

#[test]
fn a_connection_that_never_comes_is_tried_again() {
    let mut stage = Stage::new(&[ClientSpec { reconnect_after_ms: Some(5), ..spec() }]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let (_, late) = stage.opens.remove(0);
    stage.pass(10_005);
    let (_, attempt) = stage.opens.remove(0);
    stage.tell(0, ClientInput::Opened { attempt: late, connection: 7 });
    assert_eq!(stage.closed, [7]);
    assert!(stage.history.is_empty());
    stage.tell(0, ClientInput::Failed { attempt });
    stage.pass(5);
    stage.connect(0, false);
    assert!(stage.clients.client(0).is_connected());
}

#[test]
fn silence_lasts_until_the_broker_or_patience_ends_it() {
    let mut stage = Stage::new(&[ClientSpec { keep_alive_s: 10, ..spec() }]);
    let on = stage.connect(0, false);
    stage.act(0, &Do::Misbehave { client: 0, way: 1 });
    stage.publish(0, 1);
    stage.say(0, on, &delivery(1, 1));
    stage.pass(29_999);
    assert!(stage.take(on).is_empty());
    assert!(stage.closed.is_empty());
    stage.pass(1);
    assert_eq!(stage.closed, [on]);
}

#[test]
fn what_comes_behind_connect_waits_for_nothing_and_belongs_to_the_session_that_begins() {
    let mut stage = Stage::new(&[ClientSpec { pipelines: true, ..spec() }]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    stage.act(0, &Do::Unsubscribe { client: 0, filter: "a".to_owned(), joined: false });
    stage.publish(0, 1);
    stage.publish(0, 1);
    let (on, _) = stage.accept();
    let mut ahead = stage.take(on);
    let filters = vec!["a".to_owned()];
    assert_eq!(ahead.remove(0), Packet::Unsubscribe { id: 1, filters, properties: Vec::new() });
    // One message: the broker's receive maximum is not known.
    assert_eq!(publishes(&ahead), [(1, Some(2), false, 0)]);
    let properties = Vec::new();
    stage.say(0, on, &Packet::ConnAck { session_present: false, reason: 0, properties });
    assert_eq!(publishes(&stage.take(on)), [(1, Some(3), false, 1)]);
    // With something to be sent again, nothing new goes ahead of it.
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    stage.publish(0, 1);
    let (on, _) = stage.accept();
    assert_eq!(stage.take(on), []);
    let properties = Vec::new();
    stage.say(0, on, &Packet::ConnAck { session_present: true, reason: 0, properties });
    let sent = publishes(&stage.take(on));
    assert_eq!(sent[..2], [(1, Some(2), true, 0), (1, Some(3), true, 1)]);
    assert_eq!(sent[2..], [(1, Some(1), false, 2)]);
}

#[test]
fn a_refused_will_is_left_out_the_next_time() {
    let mut stage = Stage::new(&[ClientSpec { reconnect_after_ms: Some(1), ..spec() }]);
    let will = WillSpec { topic: "w".to_owned(), qos: 2, retain: false, delay_s: 0, expiry_s: 0 };
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: Some(will) });
    for (reason, has_will) in [(0x88, true), (0x9B, true), (0x88, false)] {
        let (on, connect) = stage.accept();
        assert_eq!(connect.will.is_some(), has_will);
        let properties = Vec::new();
        stage.say(0, on, &Packet::ConnAck { session_present: false, reason, properties });
        assert_eq!(stage.history.last(), Some(&What::Ended { connection: on, by_client: false }));
        stage.pass(4);
    }
}

#[test]
fn a_client_that_is_refused_again_and_again_becomes_patient() {
    let mut stage = Stage::new(&[ClientSpec { reconnect_after_ms: Some(10), ..spec() }]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    for pause_ms in [10, 20, 40, 80] {
        let (on, _) = stage.accept();
        let properties = Vec::new();
        stage.say(0, on, &Packet::ConnAck { session_present: false, reason: 0x88, properties });
        stage.pass(pause_ms - 1);
        assert_eq!(
            stage.clients.next_deadline_ms().map(|(at_ms, _)| at_ms),
            Some(stage.now_ms + 1)
        );
        stage.pass(1);
    }
}
