//! Publications, subscriptions and acknowledgements on a connection.

use signalhouse_sim::client::{ClientInput, Clients};
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Packet, Property, Value};
use signalhouse_sim::plan::{ClientSpec, Do};

use crate::stage::{RECEIVE_MAXIMUM, Stage, ack, delivery, publishes, spec};

#[test]
fn publications_wait_for_a_connection_and_for_quota() {
    let mut stage = Stage::new(&[spec()]);
    for qos in [1, 2, 0, 1] {
        stage.publish(0, qos);
    }
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let one = Property { id: RECEIVE_MAXIMUM, value: Value::Number(1) };
    let on = stage.greet(0, false, vec![one]);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(1), false, 0)]);
    stage.ack(0, on, AckKind::PubAck, 1);
    // The identifier is used again at once; what is behind waits for its turn.
    assert_eq!(publishes(&stage.take(on)), [(2, Some(1), false, 1), (0, None, false, 2)]);
    stage.ack(0, on, AckKind::PubRec, 1);
    assert_eq!(stage.take(on), [ack(AckKind::PubRel, 1, 0)]);
    assert!(!stage.clients.is_idle(0));
    stage.ack(0, on, AckKind::PubComp, 1);
    assert_eq!(publishes(&stage.take(on)), [(1, Some(1), false, 3)]);
    stage.ack(0, on, AckKind::PubAck, 1);
    assert!(stage.clients.is_idle(0));
}

#[test]
fn a_refused_publication_gives_its_quota_back() {
    let mut stage = Stage::new(&[spec()]);
    let on = stage.connect(0, false);
    stage.publish(0, 2);
    stage.take(on);
    stage.say(0, on, &ack(AckKind::PubRec, 1, 0x97));
    assert!(stage.take(on).is_empty());
    assert!(stage.clients.is_idle(0));
}

#[test]
fn acknowledgements_can_be_slow_and_withheld() {
    let mut stage = Stage::new(&[ClientSpec { ack_delay_ms: 30, ..spec() }]);
    let on = stage.connect(0, false);
    stage.act(0, &Do::Acknowledging { client: 0, on: false });
    for id in [3, 1, 2] {
        stage.say(0, on, &delivery(1, id));
    }
    stage.pass(1_000);
    assert!(stage.take(on).is_empty());
    assert!(!stage.clients.is_idle(0));
    stage.act(0, &Do::Acknowledging { client: 0, on: true });
    let expected = [3, 1, 2].map(|id| ack(AckKind::PubAck, id, 0));
    assert_eq!(stage.take(on), expected);
    stage.say(0, on, &delivery(1, 4));
    stage.pass(30);
    assert_eq!(stage.take(on), [ack(AckKind::PubAck, 4, 0)]);
    let holding = stage.history.iter().filter_map(|what| {
        let What::Holding { client: 0, serving } = what else { return None };
        Some(*serving)
    });
    assert_eq!(holding.collect::<Vec<bool>>(), [false, true]);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = |seed: u64| {
        let mut stage =
            Stage::new(&[ClientSpec { ack_delay_ms: 500, reorders_acks: true, ..spec() }]);
        stage.clients = Clients::new(seed, &[ClientSpec { ack_delay_ms: 500, ..spec() }]);
        let on = stage.connect(0, false);
        for id in 1..20 {
            stage.say(0, on, &delivery(1 + u8::try_from(id % 2).unwrap(), id));
            stage.pass(10);
        }
        stage.act(0, &Do::Misbehave { client: 0, way: 0 });
        stage.pass(1_000);
        (stage.history, stage.raw)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn what_the_broker_does_not_offer_is_not_asked_for() {
    let mut stage = Stage::new(&[spec()]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let none = |id| Property { id, value: Value::Number(0) };
    let on = stage.greet(0, false, vec![none(0x28), none(0x29), none(0x2A)]);
    for filter in ["a/#", "+", "$share/s/a", "a"] {
        stage.act(
            0,
            &Do::Subscribe {
                client: 0,
                filter: filter.to_owned(),
                qos: 1,
                no_local: true,
                retain_as_published: true,
                retain_handling: 2,
                subscription_id: 5,
                joined: false,
            },
        );
    }
    let filters = vec![("a".to_owned(), 0x2D)];
    assert_eq!(stage.take(on), [Packet::Subscribe { id: 1, filters, properties: Vec::new() }]);
    assert!(!stage.clients.is_idle(0));
    stage.say(0, on, &Packet::SubAck { id: 1, reasons: vec![1], properties: Vec::new() });
    assert!(stage.clients.is_idle(0));
}

#[test]
fn filters_that_are_joined_go_in_one_packet() {
    let mut stage = Stage::new(&[spec()]);
    let on = stage.connect(0, false);
    let subscribe = |filter: &str, qos, joined| Do::Subscribe {
        client: 0,
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        subscription_id: 0,
        joined,
    };
    stage.act(0, &subscribe("a", 1, true));
    stage.act(0, &subscribe("b", 2, true));
    assert_eq!(stage.take(on), []);
    stage.act(0, &subscribe("a", 0, false));
    let filters = [("a", 1), ("b", 2), ("a", 0)].map(|(filter, qos)| (filter.to_owned(), qos));
    let (filters, properties) = (filters.to_vec(), Vec::new());
    assert_eq!(stage.take(on), [Packet::Subscribe { id: 1, filters, properties }]);
    stage.act(0, &Do::Unsubscribe { client: 0, filter: "a".to_owned(), joined: true });
    // What waits for others dies with its connection.
    stage.tell(0, ClientInput::Ended { connection: on });
    let on = stage.connect(0, true);
    stage.act(0, &Do::Unsubscribe { client: 0, filter: "b".to_owned(), joined: false });
    let (filters, properties) = (vec!["b".to_owned()], Vec::new());
    assert_eq!(stage.take(on), [Packet::Unsubscribe { id: 1, filters, properties }]);
}

#[test]
fn topic_aliases_are_used_once_the_broker_takes_them_and_set_on_each_connection() {
    const ALIAS: u8 = 0x23;
    let mut stage = Stage::new(&[ClientSpec { aliases: true, ..spec() }]);
    stage.act(0, &Do::Connect { client: 0, clean_start: false, will: None });
    let on = stage.greet(0, false, vec![Property { id: 0x22, value: Value::Number(9) }]);
    let said = |stage: &mut Stage, on| {
        stage.publish(0, 0);
        let Packet::Publish(publish) = stage.take(on).remove(0) else { panic!("PUBLISH") };
        let has_alias = publish.properties.iter().any(|property| property.id == ALIAS);
        (publish.topic, has_alias)
    };
    assert_eq!(said(&mut stage, on), ("t".to_owned(), true));
    assert_eq!(said(&mut stage, on), (String::new(), true));
    stage.tell(0, ClientInput::Ended { connection: on });
    let on = stage.connect(0, true);
    assert_eq!(said(&mut stage, on), ("t".to_owned(), false));
}
