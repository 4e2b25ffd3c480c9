//! The whole machine under any list of inputs: it never panics, keeps the driver's contract and the
//! client's limits, and every prefix of its journal makes a broker again.

mod books;

use std::collections::VecDeque;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use signalhouse_core::input::{Command, Gone};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, Connect, Disconnect, Publish, RetainHandling, Subscribe,
    SubscriptionOptions, Unsubscribe, Will,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, Limits, LogPosition, Outbox, Record, Seed, Time,
};

use books::Books;

const SLOTS: u8 = 4;
const CLIENTS: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 5] = ["x", "x/y", "x/y/z", "/", "$other"];
const FILTERS: [&str; 9] =
    ["x", "x/y", "x/#", "+/y", "#", "$share/g/x/#", "$share/g/+", "$share/h/x", "$SYS/#"];
const WORK_MAXIMUM: u32 = 10_000;

#[derive(Arbitrary, Debug)]
enum Step {
    Open { slot: u8, room_bytes: u16 },
    Packet { slot: u8, packet: Packet },
    Gone { slot: u8, failed: bool },
    Writable { slot: u8, room_bytes: u16 },
    Durable { records: u8 },
    Pass { ms: u32 },
    Resume { budget: u8 },
    Crash { kept: u8 },
    Disconnect { client: u8 },
    EndSession { client: u8 },
    ConfirmTime,
    Space { is_short: bool },
}

#[derive(Arbitrary, Debug)]
enum Packet {
    Connect(Hello),
    Publish {
        topic: u8,
        qos: u8,
        id: u8,
        retain: bool,
        dup: bool,
        length: u8,
        expiry_s: Option<u8>,
    },
    PubAck {
        id: u8,
        is_error: bool,
    },
    PubRec {
        id: u8,
        is_error: bool,
    },
    PubRel {
        id: u8,
    },
    PubComp {
        id: u8,
    },
    Subscribe {
        filters: Vec<(u8, u8)>,
        id: u8,
        subscription_id: Option<u8>,
    },
    Unsubscribe {
        filter: u8,
        id: u8,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry_interval_s: Option<u8>,
    },
}

#[derive(Arbitrary, Debug)]
struct Hello {
    client: u8,
    version: u8,
    clean_start: bool,
    expiry_interval_s: u8,
    receive_maximum: u8,
    maximum_packet_size_bytes: Option<u8>,
    keep_alive_s: u8,
    /// Topic, QoS, RETAIN and delay.
    will: Option<(u8, u8, bool, u8)>,
}

/// Lets a broker live through the steps in `data`.
///
/// # Panics
/// If it does what it must not.
pub fn run(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let mut world = World::new();
    while !data.is_empty() {
        let Ok(step) = Step::arbitrary(&mut data) else { return };
        world.take(step);
    }
    world.crash(usize::MAX);
}

struct World {
    config: Config,
    broker: Broker,
    now: Time,
    out: Outbox,
    /// Every record of the journal, and how many of them are durable.
    journal: Vec<Record>,
    durable: usize,
    slots: [Option<ConnectionId>; SLOTS as usize],
    generation: u32,
    books: Books,
    /// Bodies that the broker wants back.
    fetches: VecDeque<Input>,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            queue_messages: 8,
            inflight_messages: 4,
            receive_maximum: 4,
            retained_messages: 4,
            queue_memory_bytes: 300,
            sessions: 6,
            subscriptions_per_session: 5,
            ..Limits::default()
        };
        let config = Config { limits, sys_interval_ms: 60_000, ..Config::default() };
        let now = Time::from_ms(1_000_000);
        World {
            broker: Broker::new(config.clone(), Seed(1), now),
            config,
            now,
            out: Outbox::new(),
            journal: Vec::new(),
            durable: 0,
            slots: [None; SLOTS as usize],
            generation: 0,
            books: Books::default(),
            fetches: VecDeque::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let connection = |world: &Self, slot: u8| world.slots[usize::from(slot % SLOTS)];
        match step {
            Step::Open { slot, room_bytes } => self.open(slot % SLOTS, room_bytes),
            Step::Packet { slot, packet } => {
                if let Some(connection) = connection(self, slot) {
                    let packet = client_packet(packet);
                    self.books.sends(connection, &packet);
                    self.tell(Input::Packet { connection, packet });
                }
            }
            Step::Gone { slot, failed } => {
                if let Some(connection) = connection(self, slot) {
                    self.slots[usize::from(slot % SLOTS)] = None;
                    self.books.closed(connection);
                    let cause = if failed { Gone::Failed } else { Gone::PeerClosed };
                    self.tell(Input::Closed { connection, cause });
                }
            }
            Step::Writable { slot, room_bytes } => {
                if let Some(connection) = connection(self, slot) {
                    let room_bytes = u32::from(room_bytes);
                    self.tell(Input::Writable { connection, room_bytes });
                }
            }
            Step::Durable { records } => {
                self.durable = self.journal.len().min(self.durable + usize::from(records));
                self.tell(Input::Durable { through: LogPosition(self.durable as u64) });
            }
            Step::Pass { ms } => {
                self.now = self.now.plus_ms(u64::from(ms));
                self.tell(Input::Deadline);
            }
            Step::Resume { budget } => self.resume(u32::from(budget)),
            Step::Crash { kept } => self.crash(usize::from(kept)),
            Step::Disconnect { client } => self.tell(Input::Command(Command::Disconnect {
                client_id: client_id(client),
                reason: ReasonCode::AdministrativeAction,
            })),
            Step::EndSession { client } => {
                self.tell(Input::Command(Command::EndSession { client_id: client_id(client) }));
            }
            Step::ConfirmTime => self.tell(Input::Command(Command::ConfirmTime)),
            Step::Space { is_short } => self.tell(Input::JournalSpace { is_short }),
        }
    }

    fn open(&mut self, slot: u8, room_bytes: u16) {
        let place = &mut self.slots[usize::from(slot)];
        if place.is_some() {
            return;
        }
        self.generation += 1;
        let connection = ConnectionId { index: u32::from(slot), generation: self.generation };
        *place = Some(connection);
        self.books.opened(connection);
        let peer = text("here");
        self.tell(Input::Opened { connection, peer, room_bytes: u32::from(room_bytes) });
    }

    fn tell(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.broker.handle(self.now, input, &mut out);
        self.carry_out(&mut out);
        while let Some(fetched) = self.fetches.pop_front() {
            self.broker.handle(self.now, fetched, &mut out);
            self.carry_out(&mut out);
        }
        self.out = out;
    }

    fn resume(&mut self, budget: u32) {
        let mut out = std::mem::take(&mut self.out);
        self.broker.resume(self.now, budget, &mut out);
        self.carry_out(&mut out);
        self.out = out;
    }

    fn carry_out(&mut self, out: &mut Outbox) {
        for action in out.drain() {
            match action {
                Action::Send { connection, packet } => self.books.receives(connection, &packet),
                Action::Close { connection } => {
                    self.books.closed(connection);
                    for slot in &mut self.slots {
                        if *slot == Some(connection) {
                            *slot = None;
                        }
                    }
                }
                Action::Persist { at, record } => {
                    assert_eq!(at.0, self.journal.len() as u64 + 1, "positions rise by one");
                    self.journal.push(record);
                }
                Action::Fetch { message } => {
                    let found = self.journal.iter().find_map(|record| {
                        let Record::Published { message: body, .. } = record else { return None };
                        (body.id == message).then(|| body.clone())
                    });
                    let message = found.expect("only what the journal has is fetched");
                    self.fetches.push_back(Input::Fetched { message });
                }
                Action::Ask { .. } => panic!("nobody is to be asked for"),
                Action::Notice(_) | Action::Answer(_) => {}
            }
        }
    }

    /// Ends the process. The journal keeps `kept` records more than are durable.
    fn crash(&mut self, kept: usize) {
        self.journal.truncate(self.durable.saturating_add(kept));
        self.durable = self.journal.len();
        let through = LogPosition(self.durable as u64);
        let recover = |records: Vec<Record>| {
            Broker::recover(self.config.clone(), Seed(1), self.now, through, records)
                .expect("a journal makes a broker")
        };
        let broker = recover(self.journal.clone());
        let snapshot = broker.snapshot();
        // Which messages are in memory may differ.
        let find = |id| self.journal.iter().find_map(|record| record.message(id).cloned());
        let whole = |records: Vec<Record>| -> Vec<Record> {
            records.into_iter().map(|record| record.with_message(find)).collect()
        };
        let again = recover(snapshot.clone()).snapshot();
        assert_eq!(whole(again), whole(snapshot), "a snapshot makes the same");
        self.broker = broker;
        self.slots = [None; SLOTS as usize];
        self.books = Books::default();
        let mut left = WORK_MAXIMUM;
        while self.broker.has_more_work() && left > 0 {
            self.resume(100);
            left -= 1;
        }
        assert!(left > 0, "the work after a crash has no end");
    }
}

fn client_packet(packet: Packet) -> ClientPacket {
    match packet {
        Packet::Connect(hello) => connect(&hello),
        Packet::Publish { topic, qos, id, retain, dup, length, expiry_s } => {
            let id = InboundPacketId(packet_id(id));
            ClientPacket::Publish(Publish {
                dup,
                retain,
                delivery: match qos_of(qos) {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
                    QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
                },
                topic: topic_of(topic),
                payload: Bytes::from(vec![b'.'; usize::from(length)]),
                message_expiry_interval_s: expiry_s.map(u32::from),
                properties: None,
            })
        }
        Packet::PubAck { id, is_error } => ClientPacket::PubAck(outbound_ack(id, is_error)),
        Packet::PubRec { id, is_error } => ClientPacket::PubRec(outbound_ack(id, is_error)),
        Packet::PubComp { id } => ClientPacket::PubComp(outbound_ack(id, false)),
        Packet::PubRel { id } => {
            ClientPacket::PubRel(Ack::new(InboundPacketId(packet_id(id)), ReasonCode::Success))
        }
        Packet::Subscribe { filters, id, subscription_id } => {
            subscribe(&filters, id, subscription_id)
        }
        Packet::Unsubscribe { filter, id } => ClientPacket::Unsubscribe(Box::new(Unsubscribe {
            packet_id: InboundPacketId(packet_id(id)),
            filters: vec![filter_of(filter)],
            user_properties: Vec::new(),
        })),
        Packet::Ping => ClientPacket::PingReq,
        Packet::Disconnect { with_will, expiry_interval_s } => {
            ClientPacket::Disconnect(Box::new(Disconnect {
                reason: if with_will {
                    ReasonCode::DisconnectWithWillMessage
                } else {
                    ReasonCode::Success
                },
                session_expiry_interval_s: expiry_interval_s.map(u32::from),
                ..Disconnect::default()
            }))
        }
    }
}

fn connect(hello: &Hello) -> ClientPacket {
    let will = hello.will.map(|(topic, qos, retain, delay)| {
        Box::new(Will {
            topic: topic_of(topic),
            payload: Bytes::from_static(b"will"),
            qos: qos_of(qos),
            retain,
            delay_interval_s: u32::from(delay),
            message_expiry_interval_s: None,
            properties: None,
        })
    });
    let maximum_packet_size_bytes = hello.maximum_packet_size_bytes;
    ClientPacket::Connect(Box::new(Connect {
        version: [Version::V5, Version::V311, Version::V31][usize::from(hello.version % 3)],
        clean_start: hello.clean_start,
        keep_alive_s: u16::from(hello.keep_alive_s),
        client_id: client_id(hello.client),
        will,
        user_name: None,
        password: None,
        session_expiry_interval_s: u32::from(hello.expiry_interval_s),
        receive_maximum: u16::from(hello.receive_maximum).max(1),
        maximum_packet_size_bytes: maximum_packet_size_bytes.map(|size| u32::from(size).max(1)),
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }))
}

fn subscribe(filters: &[(u8, u8)], id: u8, subscription_id: Option<u8>) -> ClientPacket {
    let mut subscriptions: Vec<(TopicFilter, SubscriptionOptions)> = filters
        .iter()
        .map(|(filter, options)| {
            let filter = filter_of(*filter);
            let options = SubscriptionOptions {
                maximum_qos: qos_of(options & 3),
                // A share with No Local is refused by the decoder.
                no_local: options & 4 != 0 && !filter.is_shared(),
                retain_as_published: options & 8 != 0,
                retain_handling: [
                    RetainHandling::Always,
                    RetainHandling::IfNew,
                    RetainHandling::Never,
                ][usize::from(options >> 4) % 3],
            };
            (filter, options)
        })
        .collect();
    if subscriptions.is_empty() {
        subscriptions.push((filter_of(0), SubscriptionOptions::default()));
    }
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: InboundPacketId(packet_id(id)),
        subscription_id: subscription_id.map(|id| u32::from(id).max(1)),
        subscriptions,
        user_properties: Vec::new(),
    }))
}

fn outbound_ack(id: u8, is_error: bool) -> Ack<OutboundPacketId> {
    let reason = if is_error { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
    Ack::new(OutboundPacketId(packet_id(id)), reason)
}

fn packet_id(id: u8) -> PacketId {
    PacketId::new(u16::from(id % 8)).unwrap_or(PacketId::MIN)
}

fn qos_of(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos % 3)]
}

fn client_id(client: u8) -> Text {
    text(CLIENTS[usize::from(client) % CLIENTS.len()])
}

fn text(text: &str) -> Text {
    Text::try_from(text).expect("the texts here are well-formed")
}

fn topic_of(topic: u8) -> Topic {
    Topic::try_from(TOPICS[usize::from(topic) % TOPICS.len()]).expect("the topics here are valid")
}

fn filter_of(filter: u8) -> TopicFilter {
    let filter = FILTERS[usize::from(filter) % FILTERS.len()];
    TopicFilter::try_from(filter).expect("the filters here are valid")
}
