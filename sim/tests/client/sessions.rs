//! Sessions that are resumed, lost, forgotten and taken over.

use signalhouse_sim::client::{ClientInput, Way};
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Packet, Property, Value};
use signalhouse_sim::plan::{ClientSpec, Do};

use crate::stage::{RECEIVE_MAXIMUM, Stage, TAKEN_OVER, ack, delivery, publishes, spec};

#[test]
fn a_resumed_session_is_sent_again_in_order() {
    let mut stage = Stage::new(&[ClientSpec { reconnect_after_ms: Some(50), ..spec() }]);
    let on = stage.connect(0, false);
    for qos in [2, 1, 2, 1] {
        stage.publish(0, qos);
    }
    stage.ack(0, on, AckKind::PubRec, 1);
    stage.take(on);
    stage.tell(0, ClientInput::Ended { connection: on });
    assert!(!stage.clients.is_idle(0));
    stage.pass(49);
    assert!(stage.opens.is_empty());
    stage.pass(1);
    // The quota is smaller now: one PUBREL and one PUBLISH fill it.
    let two = Property { id: RECEIVE_MAXIMUM, value: Value::Number(2) };
    let on = stage.greet(0, true, vec![two]);
    let sent = stage.take(on);
    assert_eq!(publishes(&sent[..1]), [(1, Some(2), true, 1)]);
    assert_eq!(sent[1..], [ack(AckKind::PubRel, 1, 0)]);
    stage.ack(0, on, AckKind::PubComp, 1);
    assert_eq!(publishes(&stage.take(on)), [(2, Some(3), true, 2)]);
    stage.ack(0, on, AckKind::PubAck, 2);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(4), true, 3)]);
}

#[test]
fn a_lost_session_is_forgotten_and_what_waits_is_kept() {
    let mut stage = Stage::new(&[spec()]);
    let on = stage.connect(0, false);
    stage.publish(0, 2);
    stage.say(0, on, &delivery(2, 9));
    stage.act(0, &Do::Vanish { client: 0 });
    assert_eq!(stage.closed, [on]);
    stage.publish(0, 1);
    let on = stage.connect(0, false);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(1), false, 1)]);
    stage.ack(0, on, AckKind::PubRel, 9);
    assert_eq!(stage.take(on), [ack(AckKind::PubComp, 9, 0x92)]);
}

#[test]
fn inbound_qos_2_survives_a_connection() {
    let mut stage = Stage::new(&[spec()]);
    let on = stage.connect(0, false);
    stage.say(0, on, &delivery(2, 9));
    assert_eq!(stage.take(on), [ack(AckKind::PubRec, 9, 0)]);
    stage.act(0, &Do::Vanish { client: 0 });
    let on = stage.connect(0, true);
    stage.ack(0, on, AckKind::PubRel, 9);
    assert_eq!(stage.take(on), [ack(AckKind::PubComp, 9, 0)]);
    stage.ack(0, on, AckKind::PubRel, 9);
    assert_eq!(stage.take(on), [ack(AckKind::PubComp, 9, 0x92)]);
}

#[test]
fn who_forgets_leaves_a_session_it_does_not_know_and_begins_anew() {
    for level in [4, 5] {
        let mut stage = Stage::new(&[ClientSpec { forgets: true, level, ..spec() }]);
        let on = stage.connect(0, false);
        stage.tell(0, ClientInput::Ended { connection: on });
        let on = stage.connect(0, true);
        assert_eq!(stage.take(on), [Packet::Disconnect { reason: 0, properties: Vec::new() }]);
        assert_eq!(stage.closed, [on]);
        stage.pass(100);
        let (_, connect) = stage.accept();
        assert!(connect.clean_start, "level {level}");
    }
    // 3.1 does not learn of it, so it must not risk it.
    let mut stage = Stage::new(&[ClientSpec { forgets: true, level: 3, ..spec() }]);
    let on = stage.connect(0, false);
    stage.tell(0, ClientInput::Ended { connection: on });
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    assert!(stage.accept().1.clean_start);
}

#[test]
fn a_clean_start_without_an_answer_is_repeated() {
    let mut stage = Stage::new(&[spec()]);
    stage.act(0, &Do::Connect { client: 0, clean_start: true, will: None });
    let (on, _) = stage.accept();
    stage.tell(0, ClientInput::Ended { connection: on });
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    assert!(stage.accept().1.clean_start);
}

#[test]
fn a_3_1_client_takes_its_session_for_granted() {
    let mut stage = Stage::new(&[ClientSpec { level: 3, ..spec() }]);
    let on = stage.connect(0, false);
    stage.publish(0, 1);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(1), false, 0)]);
    stage.tell(0, ClientInput::Ended { connection: on });
    let on = stage.connect(0, false);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(1), true, 0)]);
}

#[test]
fn the_newest_connection_of_an_identifier_owns_the_session() {
    let twin = ClientSpec { reconnect_after_ms: Some(5), ..spec() };
    let mut stage = Stage::new(&[twin.clone(), twin]);
    let old = stage.connect(0, false);
    stage.publish(0, 1);
    stage.take(old);
    let new = stage.connect(1, true);
    assert_eq!(publishes(&stage.take(new)), [(1, Some(1), true, 0)]);
    let before = stage.history.len();
    // What the old connection still reads must not count, or ids of the new one would be freed.
    stage.ack(0, old, AckKind::PubAck, 1);
    stage.say(0, old, &delivery(2, 4));
    stage.publish(0, 1);
    assert!(stage.take(old).is_empty());
    assert_eq!(stage.history.len(), before);
    let taken_over = Packet::Disconnect { reason: TAKEN_OVER, properties: Vec::new() };
    stage.say(0, old, &taken_over);
    assert_eq!(stage.closed, [old]);
    assert_eq!(stage.history.last(), Some(&What::Ended { connection: old, by_client: false }));
    stage.pass(60_000);
    assert!(stage.opens.is_empty(), "two places would take over from each other for ever");
    stage.ack(1, new, AckKind::PubAck, 1);
    assert!(stage.clients.is_idle(1));
    // Back again, it sends what waited.
    let back = stage.connect(0, true);
    assert_eq!(publishes(&stage.take(back)), [(1, Some(1), false, 1)]);
}

#[test]
fn a_client_takes_over_from_itself() {
    let mut stage = Stage::new(&[spec()]);
    let old = stage.connect(0, false);
    let new = stage.connect(0, true);
    assert_eq!(stage.clients.client(0).connection(), Some(new));
    assert!(!stage.clients.is_idle(0));
    stage.pass(5_000);
    assert_eq!(stage.closed, [old]);
    assert!(stage.clients.is_idle(0));
}

#[test]
fn disconnect_says_its_reason_and_stays_away() {
    let mut stage = Stage::new(&[ClientSpec { reconnect_after_ms: Some(5), ..spec() }]);
    let on = stage.connect(0, false);
    let step = Do::Disconnect { client: 0, reason: 4, session_expiry_interval_s: Some(9) };
    stage.act(0, &step);
    let properties = vec![Property { id: 0x11, value: Value::Number(9) }];
    assert_eq!(stage.take(on), [Packet::Disconnect { reason: 4, properties }]);
    assert_eq!(stage.closed, [on]);
    stage.pass(60_000);
    assert!(stage.opens.is_empty());
    assert!(stage.clients.is_idle(0));
}

#[test]
fn too_many_publications_are_still_the_sessions() {
    let mut stage = Stage::new(&[spec()]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let two = Property { id: RECEIVE_MAXIMUM, value: Value::Number(2) };
    let on = stage.greet(0, false, vec![two.clone()]);
    let way = Way::ALL.iter().position(|way| *way == Way::OverReceiveMaximum).unwrap();
    stage.act(0, &Do::Misbehave { client: 0, way: u8::try_from(way).unwrap() });
    assert_eq!(publishes(&stage.take(on)).len(), 5);
    stage.tell(0, ClientInput::Ended { connection: on });
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let on = stage.greet(0, true, vec![two]);
    let again = publishes(&stage.take(on));
    assert_eq!(again, [(2, Some(1), true, 0), (2, Some(2), true, 1)]);
}
