//! The simulated client in conversations with a broker that is played by hand.
#![allow(clippy::unwrap_used)] // a test may panic

use signalhouse_sim::client::{ClientInput, ClientOutput, Clients, Way};
use signalhouse_sim::codec::{decode_client, encode};
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Connect, Packet, Property, Publish, Value};
use signalhouse_sim::plan::{ClientSpec, Do, WillSpec};
use signalhouse_sim::token::Token;

const TAKEN_OVER: u8 = 0x8E;
const RECEIVE_MAXIMUM: u8 = 0x21;

fn spec() -> ClientSpec {
    ClientSpec {
        client_id: "c".to_owned(),
        level: 5,
        session_expiry_interval_s: 60,
        keep_alive_s: 0,
        receive_maximum: 1,
        later_receive_maximum: 0,
        maximum_packet_size_bytes: 1_000,
        topic_alias_maximum: 0,
        ack_delay_ms: 0,
        reorders_acks: false,
        reconnect_after_ms: None,
        forgets: false,
        clock_percent: 100,
        stranger: false,
        pipelines: false,
        aliases: false,
        refuses: false,
    }
}

/// Clients, and a broker's hand: everything that a client wants done is kept until it is asked for.
struct Stage {
    clients: Clients,
    level: u8,
    now_ms: u64,
    connections: u64,
    /// Packets sent, by connection, checked against the history.
    sent: Vec<(u64, Packet)>,
    raw: Vec<(u64, Vec<u8>)>,
    opens: Vec<(usize, u64)>,
    closed: Vec<u64>,
    history: Vec<What>,
}

impl Stage {
    fn new(specs: &[ClientSpec]) -> Self {
        Self {
            clients: Clients::new(1, specs),
            level: specs[0].level,
            now_ms: 0,
            connections: 0,
            sent: Vec::new(),
            raw: Vec::new(),
            opens: Vec::new(),
            closed: Vec::new(),
            history: Vec::new(),
        }
    }

    fn tell(&mut self, client: usize, input: ClientInput<'_>) {
        let mut out = Vec::new();
        self.clients.handle(self.now_ms, client, input, &mut out);
        let mut announced = None;
        for output in out {
            match output {
                ClientOutput::Open { attempt } => self.opens.push((client, attempt)),
                ClientOutput::Close { connection, reset: _ } => self.closed.push(connection),
                ClientOutput::Send { connection, bytes } => match announced.take() {
                    Some(packet) => {
                        let read = decode_client(&bytes, self.level).unwrap();
                        assert_eq!(read, Some((packet, bytes.len())));
                        let (packet, _) = read.unwrap();
                        self.sent.push((connection, packet));
                    }
                    None => self.raw.push((connection, bytes)),
                },
                ClientOutput::Event(what) => {
                    if let What::Sent { connection: _, packet } = &what {
                        announced = Some(packet.clone());
                    }
                    self.history.push(what);
                }
            }
        }
        // Whatever is due has been done: an engine that calls at deadlines never spins.
        let deadline_ms = self.clients.client(client).next_deadline_ms();
        assert!(deadline_ms.is_none_or(|deadline_ms| deadline_ms > self.now_ms));
    }

    fn act(&mut self, client: usize, step: &Do) {
        self.tell(client, ClientInput::Do(step));
    }

    /// Lets time pass, up to and including what is due at its end.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some((deadline_ms, client)) = self.clients.next_deadline_ms() {
            if deadline_ms > end_ms {
                break;
            }
            self.now_ms = deadline_ms;
            self.tell(client, ClientInput::Time);
        }
        self.now_ms = end_ms;
    }

    /// Lets the connection that was asked for come about, and gives its number and CONNECT.
    fn accept(&mut self) -> (u64, Connect) {
        let (client, attempt) = self.opens.pop().expect("a connection was asked for");
        self.connections += 1;
        let connection = self.connections;
        self.tell(client, ClientInput::Opened { attempt, connection });
        let mut sent = self.take(connection);
        let first = sent.remove(0);
        self.sent.extend(sent.into_iter().map(|packet| (connection, packet)));
        let Packet::Connect(connect) = first else { panic!("{first:?}") };
        (connection, connect)
    }

    /// Connects a client and accepts it.
    fn connect(&mut self, client: usize, session_present: bool) -> u64 {
        self.act(client, &Do::Connect { client, clean_start: false, will: None });
        self.greet(client, session_present, Vec::new())
    }

    fn greet(&mut self, client: usize, session_present: bool, properties: Vec<Property>) -> u64 {
        let (connection, _) = self.accept();
        let connack = Packet::ConnAck { session_present, reason: 0, properties };
        self.say(client, connection, &connack);
        connection
    }

    fn say(&mut self, client: usize, connection: u64, packet: &Packet) {
        let bytes = encode(packet, self.level);
        self.tell(client, ClientInput::Bytes { connection, bytes: &bytes });
    }

    fn ack(&mut self, client: usize, connection: u64, kind: AckKind, id: u16) {
        self.say(client, connection, &ack(kind, id, 0));
    }

    fn publish(&mut self, client: usize, qos: u8) {
        self.act(client, &publish(client, qos));
    }

    /// Packets sent on a connection since the last time.
    fn take(&mut self, connection: u64) -> Vec<Packet> {
        let (taken, left) =
            std::mem::take(&mut self.sent).into_iter().partition(|(on, _)| *on == connection);
        self.sent = left;
        let taken: Vec<(u64, Packet)> = taken;
        taken.into_iter().map(|(_, packet)| packet).collect()
    }
}

fn ack(kind: AckKind, id: u16, reason: u8) -> Packet {
    Packet::Ack { kind, id, reason, properties: Vec::new() }
}

fn publish(client: usize, qos: u8) -> Do {
    Do::Publish {
        client,
        topic: "t".to_owned(),
        qos,
        retain: false,
        fill_bytes: 3,
        clears: false,
        expiry_s: 0,
        user_properties: 2,
    }
}

/// QoS, identifier, DUP and the token's sequence number of each PUBLISH.
fn publishes(packets: &[Packet]) -> Vec<(u8, Option<u16>, bool, u64)> {
    let each = packets.iter().map(|packet| {
        let Packet::Publish(Publish { qos, id, dup, payload, .. }) = packet else {
            panic!("{packet:?}")
        };
        (*qos, *id, *dup, Token::parse(payload).unwrap().sequence)
    });
    each.collect()
}

fn delivery(qos: u8, id: u16) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t".to_owned(),
        id: Some(id),
        properties: Vec::new(),
        payload: Vec::new(),
    })
}

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
