//! A broker without a network, driven as the runtime drives it: bytes in, bytes out, records durable when asked.

use bytes::{Bytes, BytesMut};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, Connect, OutboundPublish, Publish, ServerPacket, Subscribe,
    SubscriptionOptions,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};
use signalhouse_core::wire::{LastPublish, Writer};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, LogPosition, Outbox, Seed, Step, Time,
};

/// Payload of every message.
pub const PAYLOAD_BYTES: usize = 64;

/// A broker with its driver.
#[derive(Debug)]
pub struct Driven {
    broker: Broker,
    outbox: Outbox,
    now: Time,
    /// Where packets go, all connections alike.
    written: BytesMut,
    writer: Writer,
    last: LastPublish,
    /// Deliveries that are to be acknowledged.
    unacknowledged: Vec<(ConnectionId, Delivery<OutboundPacketId>)>,
    appended: LogPosition,
    /// PUBLISH packets sent since the beginning.
    pub sent: u64,
}

impl Driven {
    /// An empty broker with limits that nothing here reaches.
    #[must_use]
    pub fn new() -> Self {
        Driven::with(Config::default())
    }

    /// The same for which nobody keeps records.
    #[must_use]
    pub fn without_records() -> Self {
        Driven::with(Config { keeps_records: false, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let mut config = Config { sys_interval_ms: 0, ..config };
        config.limits.connections = u32::MAX;
        config.limits.sessions = u32::MAX;
        config.limits.subscriptions_per_session = u32::MAX;
        config.limits.retained_messages = u32::MAX;
        config.limits.retained_bytes = u64::MAX;
        let now = Time::from_ms(1_700_000_000_000);
        let mut writer = Writer::new();
        writer.negotiate(&connect("writer", 0), 0);
        Driven {
            broker: Broker::new(config, Seed(7), now),
            outbox: Outbox::new(),
            now,
            written: BytesMut::new(),
            writer,
            last: LastPublish::new(),
            unacknowledged: Vec::new(),
            appended: LogPosition::START,
            sent: 0,
        }
    }

    /// Connects a client in slot `index`, whose session outlives it if `expiry_interval_s` says so.
    pub fn connect(&mut self, index: u32, generation: u32, expiry_interval_s: u32) -> ConnectionId {
        let connection = ConnectionId { index, generation };
        let peer = Text::try_from("10.0.0.1:1883").expect("a text");
        self.handle(Input::Opened { connection, peer, room_bytes: u32::MAX });
        let mut connect = connect(&format!("client-{index}"), expiry_interval_s);
        connect.clean_start = generation == 0;
        self.packet(connection, ClientPacket::Connect(Box::new(connect)));
        self.settle();
        connection
    }

    /// Ends a client's connection.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        self.handle(Input::Closed { connection, cause: signalhouse_core::input::Gone::PeerClosed });
        self.unacknowledged.clear();
        self.settle();
    }

    /// Subscribes a client to filters at QoS 2.
    pub fn subscribe(&mut self, connection: ConnectionId, filters: &[String]) {
        let options = SubscriptionOptions { maximum_qos: QoS::ExactlyOnce, ..Default::default() };
        let parse = |filter: &String| TopicFilter::try_from(filter.as_str()).expect("a filter");
        let subscribe = Subscribe {
            packet_id: InboundPacketId(PacketId::MIN),
            subscription_id: None,
            subscriptions: filters.iter().map(|filter| (parse(filter), options)).collect(),
            user_properties: Vec::new(),
        };
        self.packet(connection, ClientPacket::Subscribe(Box::new(subscribe)));
        self.settle();
    }

    /// Gives the broker a packet.
    pub fn packet(&mut self, connection: ConnectionId, packet: ClientPacket) {
        self.handle(Input::Packet { connection, packet });
    }

    /// Gives the broker an input, and writes what it sends.
    pub fn handle(&mut self, input: Input) {
        self.broker.handle(self.now, input, &mut self.outbox);
        self.carry_out();
    }

    /// Everything appended becomes durable.
    pub fn settle(&mut self) {
        while self.appended > LogPosition::START {
            let through = std::mem::take(&mut self.appended);
            self.broker.handle(self.now, Input::Durable { through }, &mut self.outbox);
            self.carry_out();
        }
        self.written.clear();
    }

    /// Carries long jobs to their end.
    pub fn finish_work(&mut self) {
        while self.broker.has_more_work() {
            self.broker.resume(self.now, 1_024, &mut self.outbox);
            self.carry_out();
            self.settle();
        }
    }

    /// Lets every receiver acknowledge what it got, until nothing is unacknowledged.
    pub fn acknowledge(&mut self) {
        while !self.unacknowledged.is_empty() {
            for (connection, delivery) in std::mem::take(&mut self.unacknowledged) {
                let packet = match delivery {
                    Delivery::AtMostOnce => continue,
                    Delivery::AtLeastOnce(id) => {
                        ClientPacket::PubAck(Ack::new(id, ReasonCode::Success))
                    }
                    Delivery::ExactlyOnce(id) => {
                        self.packet(
                            connection,
                            ClientPacket::PubRec(Ack::new(id, ReasonCode::Success)),
                        );
                        ClientPacket::PubComp(Ack::new(id, ReasonCode::Success))
                    }
                };
                self.packet(connection, packet);
            }
            self.settle();
        }
    }

    fn carry_out(&mut self) {
        for step in self.outbox.drain_steps() {
            let action = match step {
                Step::One(action) => action,
                Step::Alike { connections, publish } => {
                    self.sent += connections.len() as u64;
                    // Encoded once; what a driver does then for each connection is a system call.
                    let _written =
                        self.writer.write_alike(&publish, &mut self.last, &mut self.written);
                    self.written.clear();
                    self.broker.take_back(publish.message);
                    continue;
                }
            };
            match action {
                Action::Send { connection, packet: ServerPacket::Publish(publish) } => {
                    self.sent += 1;
                    let _written =
                        self.writer.write_alike(&publish, &mut self.last, &mut self.written);
                    if publish.delivery != Delivery::AtMostOnce {
                        self.unacknowledged.push((connection, publish.delivery));
                    }
                    // As if each packet had a buffer of its own, which is used again.
                    self.written.clear();
                    self.broker.take_back(publish.message);
                }
                Action::Send { packet, .. } => {
                    let _written = self.writer.write(&packet, &mut self.written);
                    self.written.clear();
                }
                Action::Persist { at, .. } => self.appended = at,
                Action::Close { .. }
                | Action::Ask { .. }
                | Action::Fetch { .. }
                | Action::Answer(_)
                | Action::Notice(_) => {}
            }
        }
    }
}

impl Default for Driven {
    fn default() -> Self {
        Driven::new()
    }
}

/// A PUBLISH as a client sends it, with a payload of [`PAYLOAD_BYTES`].
#[must_use]
pub fn publish(topic: &Topic, delivery: Delivery<InboundPacketId>, retain: bool) -> Publish {
    Publish {
        dup: false,
        retain,
        delivery,
        topic: topic.clone(),
        payload: Bytes::from_static(&[b'.'; PAYLOAD_BYTES]),
        message_expiry_interval_s: None,
        properties: None,
    }
}

/// A PUBLISH as the broker sends it.
#[must_use]
pub fn outbound(topic: &Topic, number: u64) -> OutboundPublish {
    let message = signalhouse_core::message::Message {
        id: signalhouse_core::message::MessageId(number),
        topic: topic.clone(),
        payload: Bytes::from_static(&[b'.'; PAYLOAD_BYTES]),
        qos: QoS::AtMostOnce,
        expires_at: None,
        properties: None,
    };
    OutboundPublish {
        message: message.into(),
        dup: false,
        retain: false,
        delivery: Delivery::AtMostOnce,
        message_expiry_interval_s: None,
        subscription_ids: Default::default(),
    }
}

/// A CONNECT without anything special.
#[must_use]
pub fn connect(client_id: &str, session_expiry_interval_s: u32) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        client_id: Text::try_from(client_id).expect("a text"),
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }
}
