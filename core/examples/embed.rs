//! Embeds the broker in a program of one's own: no sockets, no clock, two clients driven by hand.
//!
//! `cargo run -p signalhouse-core --example embed` shows what goes in and what comes out. A real
//! driver reads packets from the network with a `Reader`, writes the records to a disk before it
//! reports them durable, and calls again at `Broker::next_deadline`.

use bytes::Bytes;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, Publish, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text, Version};
use signalhouse_core::{Action, Broker, Config, ConnectionId, Input, Outbox, Seed, Time};

const ALICE: ConnectionId = ConnectionId { index: 0, generation: 0 };
const BOB: ConnectionId = ConnectionId { index: 1, generation: 0 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut driver = Driver::new();

    for (connection, client_id) in [(ALICE, "alice"), (BOB, "bob")] {
        let peer = Text::try_from("by hand")?;
        driver.tell(Input::Opened { connection, peer, room_bytes: 65_536 });
        driver.send(connection, connect(client_id)?);
    }

    let options = SubscriptionOptions { maximum_qos: QoS::AtLeastOnce, ..Default::default() };
    driver.send(
        BOB,
        ClientPacket::Subscribe(Box::new(Subscribe {
            packet_id: InboundPacketId(PacketId::MIN),
            subscription_id: None,
            subscriptions: vec![(TopicFilter::try_from("signals/#")?, options)],
            user_properties: Vec::new(),
        })),
    );

    driver.send(
        ALICE,
        ClientPacket::Publish(Publish {
            dup: false,
            retain: false,
            delivery: Delivery::AtLeastOnce(InboundPacketId(PacketId::MIN)),
            topic: Topic::try_from("signals/12")?,
            payload: Bytes::from_static(b"clear"),
            message_expiry_interval_s: None,
            properties: None,
        }),
    );
    Ok(())
}

/// The least that a driver does: it tells the time, carries actions out, and keeps the journal.
struct Driver {
    broker: Broker,
    out: Outbox,
    now: Time,
}

impl Driver {
    fn new() -> Self {
        let now = Time::from_ms(1_700_000_000_000);
        Driver { broker: Broker::new(Config::default(), Seed(7), now), out: Outbox::new(), now }
    }

    fn send(&mut self, connection: ConnectionId, packet: ClientPacket) {
        self.tell(Input::Packet { connection, packet });
    }

    /// Hands one input over and carries out what comes of it.
    fn tell(&mut self, input: Input) {
        println!("> {input:?}");
        self.now = self.now.plus_ms(1);
        self.broker.handle(self.now, input, &mut self.out);
        // The journal of this example is nothing but the promise to remember.
        while let Some(through) = self.carry_out() {
            self.broker.handle(self.now, Input::Durable { through }, &mut self.out);
        }
    }

    /// Carries the actions out; returns the last record's position if there was one.
    fn carry_out(&mut self) -> Option<signalhouse_core::LogPosition> {
        let mut last = None;
        for action in self.out.drain() {
            match action {
                Action::Send { connection, packet } => println!("    {connection} gets {packet:?}"),
                Action::Close { connection } => println!("    {connection} is closed"),
                Action::Persist { at, record } => {
                    println!("    journal {at} {record:?}");
                    last = Some(at);
                }
                Action::Ask { question, .. } => println!("    who is this? {question:?}"),
                Action::Fetch { message } => println!("    read {message} back"),
                Action::Answer(answer) => println!("    answer {answer:?}"),
                Action::Notice(notice) => println!("    notice {notice:?}"),
            }
        }
        last
    }
}

/// A CONNECT of MQTT 5 whose session outlives its connection, so that the journal has something to
/// remember.
fn connect(client_id: &str) -> Result<ClientPacket, Box<dyn std::error::Error>> {
    Ok(ClientPacket::Connect(Box::new(Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        client_id: Text::try_from(client_id)?,
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s: 300,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    })))
}
