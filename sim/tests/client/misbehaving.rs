//! Clients that break the protocol, and limits that those who do not keep.

use signalhouse_sim::client::{ClientInput, Way};
use signalhouse_sim::codec::decode_client;
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Packet, Property, Publish, Value};
use signalhouse_sim::plan::{ClientSpec, Do};

use crate::stage::{Stage, ack, delivery, publish, publishes, spec};

#[test]
fn what_breaks_the_protocol_is_told_and_ends_the_connection() {
    let mut stage = Stage::new(&[spec()]);
    let on = stage.connect(0, false);
    stage.tell(0, ClientInput::Bytes { connection: on, bytes: &[0xD1] });
    let cause = "no packet of this side begins with 0xd1".to_owned();
    let undecodable = What::Undecodable { connection: on, guarantee: "PR", cause };
    let ended = What::Ended { connection: on, by_client: true };
    assert_eq!(stage.history[stage.history.len() - 2..], [undecodable, ended]);
    assert_eq!(stage.closed, [on]);
}

#[test]
fn limits_of_the_broker_are_kept() {
    let mut stage = Stage::new(&[spec()]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let number = |id, number| Property { id, value: Value::Number(number) };
    let limits = vec![number(0x24, 1), number(0x25, 0), number(0x27, 100)];
    let on = stage.greet(0, false, limits);
    let mut step = publish(0, 2);
    let Do::Publish { retain, .. } = &mut step else { unreachable!() };
    *retain = true;
    stage.act(0, &step);
    let sent = stage.take(on);
    assert_eq!(publishes(&sent), [(1, Some(1), false, 0)]);
    assert!(matches!(&sent[0], Packet::Publish(Publish { retain: false, .. })));
    let Do::Publish { fill_bytes, .. } = &mut step else { unreachable!() };
    *fill_bytes = 100;
    stage.act(0, &step);
    assert!(stage.take(on).is_empty());
    stage.ack(0, on, AckKind::PubAck, 1);
    assert!(stage.clients.is_idle(0));
}

/// Ways whose packets are well formed: at every level, then at level 5 only.
const STATEFUL: [Way; 7] = [
    Way::SecondConnect,
    Way::UnknownPubRel,
    Way::UnknownAcks,
    Way::BadFilter,
    Way::AliasOverMaximum,
    Way::AliasUnknown,
    Way::Auth,
];

#[test]
fn every_way_of_misbehaving_is_told_and_nearly_all_are_illegal() {
    for level in [3, 4, 5] {
        for (number, way) in (0..).zip(Way::ALL) {
            let mut stage = Stage::new(&[ClientSpec { level, ..spec() }]);
            let on = stage.connect(0, false);
            stage.act(0, &Do::Misbehave { client: 0, way: number });
            let told = What::Misbehaved { connection: on, must_end: way.must_end(level) };
            assert_eq!(stage.history.last(), Some(&told), "{way:?}");
            let bytes = &stage.raw[0].1;
            let read = decode_client(bytes, level);
            // Well formed at this level, and wrong only in the connection's state.
            let is_stateful = match level {
                5 => STATEFUL.contains(&way),
                _ => STATEFUL[..4].contains(&way),
            };
            if way.falls_silent() {
                assert_eq!(read, Ok(None), "{way:?}");
            } else {
                let is_whole = read.as_ref().is_ok_and(Option::is_some);
                assert_eq!(is_whole, is_stateful, "{way:?} at level {level}: {read:?}");
                assert_eq!(read.is_err(), !is_stateful, "{way:?} at level {level}: {read:?}");
            }
        }
    }
}

#[test]
fn misbehaving_without_a_connection_begins_with_no_connect() {
    let mut stage = Stage::new(&[ClientSpec { keep_alive_s: 10, ..spec() }]);
    for (number, way) in (0..).zip(Way::ALL) {
        stage.act(0, &Do::Misbehave { client: 0, way: number });
        let (_, attempt) = stage.opens.pop().unwrap();
        let connection = 100 + u64::from(number);
        stage.tell(0, ClientInput::Opened { attempt, connection });
        let told = stage.history.last();
        assert!(matches!(told, Some(What::Misbehaved { connection: on, .. }) if *on == connection));
        let (_, bytes) = stage.raw.pop().unwrap();
        assert_ne!(bytes[0], 0x10, "{way:?}");
        stage.pass(30_000);
        assert_eq!(stage.closed.last(), Some(&connection));
        assert!(stage.opens.is_empty() && stage.clients.is_idle(0));
    }
    // No session was touched by it.
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    assert!(!stage.accept().1.clean_start);
}

#[test]
fn a_client_that_refuses_does_so_with_some_and_never_with_what_it_has_taken() {
    let mut stage = Stage::new(&[ClientSpec { refuses: true, ..spec() }]);
    let on = stage.connect(0, false);
    let mut reasons = Vec::new();
    for id in 1..=40 {
        stage.say(0, on, &delivery(2, id));
        let [Packet::Ack { kind: AckKind::PubRec, reason, .. }] = stage.take(on)[..] else {
            panic!("one answer to each message")
        };
        reasons.push((id, reason));
    }
    let refused = reasons.iter().filter(|(_, reason)| *reason >= 0x80).count();
    assert!((1..40).contains(&refused), "{refused}");
    for (id, reason) in reasons {
        if reason == 0 {
            stage.say(0, on, &delivery(2, id));
            assert_eq!(stage.take(on), [ack(AckKind::PubRec, id, 0)]);
        } else {
            stage.ack(0, on, AckKind::PubRel, id);
            assert_eq!(stage.take(on), [ack(AckKind::PubComp, id, 0x92)]);
        }
    }
}
