//! Pieces of work. Each does the same at every call, and a fixed number of times what it is named after.

use bytes::BytesMut;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::routing::tree::SubscriptionTree;
use signalhouse_core::wire::packet::{Ack, ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, Version};
use signalhouse_core::wire::{Reader, ReaderLimits, Writer, encode_client};
use signalhouse_core::{ConnectionId, Seed, hash::KeyedState};

use crate::broker::{Driven, connect, outbound, publish};

/// A piece of work.
pub struct Scene {
    /// Its name, `group/what`.
    pub name: &'static str,
    /// What one call does so many times.
    pub units: u64,
    make: fn() -> Box<dyn FnMut()>,
}

impl Scene {
    /// Sets the scene, and returns the work.
    #[must_use]
    pub fn set(&self) -> Box<dyn FnMut()> {
        (self.make)()
    }
}

/// All scenes.
pub const SCENES: &[Scene] = &[
    Scene { name: "codec/decode", units: 16, make: decode },
    Scene { name: "codec/encode", units: 16, make: encode },
    Scene { name: "matching/one-of-10000", units: 16, make: matching },
    Scene { name: "routing/pair-qos0", units: 16, make: || pair(0) },
    Scene { name: "routing/pair-qos1", units: 16, make: || pair(1) },
    Scene { name: "routing/pair-qos2", units: 16, make: || pair(2) },
    Scene { name: "routing/changing-topics", units: 16, make: changing_topics },
    Scene { name: "fan-out/100", units: 100, make: fan_out },
    Scene { name: "queue/fill-and-drain", units: 64, make: || queue(Driven::new()) },
    Scene { name: "queue/in-memory", units: 64, make: || queue(Driven::without_records()) },
    Scene { name: "gate/acknowledge", units: 16, make: gate },
];

/// How many of a thing one call handles, where it is no matter of principle.
const BATCH: usize = 16;

fn topic(name: &str) -> Topic {
    Topic::try_from(name).expect("a topic")
}

/// Delivery of a publication at a QoS, under an identifier that a batch uses once.
fn delivery(qos: u8, number: usize) -> Delivery<InboundPacketId> {
    let id = InboundPacketId(PacketId::new(number as u16 + 1).expect("not zero"));
    match qos {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce(id),
        _ => Delivery::ExactlyOnce(id),
    }
}

fn decode() -> Box<dyn FnMut()> {
    let mut bytes = BytesMut::new();
    let packet = ClientPacket::Publish(publish(&topic("bench/pair/17"), delivery(0, 0), false));
    for _ in 0..BATCH {
        let _written = encode_client(&packet, Version::V5, &mut bytes);
    }
    let mut hello = BytesMut::new();
    let connect = ClientPacket::Connect(Box::new(connect("reader", 0)));
    let _written = encode_client(&connect, Version::V5, &mut hello);
    let mut reader = Reader::new(ReaderLimits::default());
    reader.read(&mut hello).expect("a CONNECT");
    Box::new(move || {
        let mut stream = BytesMut::from(&bytes[..]);
        let mut count = 0;
        while let Ok(Some(packet)) = reader.read(&mut stream) {
            std::hint::black_box(&packet);
            count += 1;
        }
        assert_eq!(count, BATCH);
    })
}

fn encode() -> Box<dyn FnMut()> {
    let mut writer = Writer::new();
    writer.negotiate(&connect("writer", 0), 0);
    let packet = ServerPacket::Publish(outbound(&topic("bench/pair/17"), 1));
    let mut out = BytesMut::new();
    Box::new(move || {
        out.clear();
        for _ in 0..BATCH {
            let _written = writer.write(std::hint::black_box(&packet), &mut out);
        }
        std::hint::black_box(&out);
    })
}

fn matching() -> Box<dyn FnMut()> {
    const FILTERS: u32 = 10_000;
    let mut tree = SubscriptionTree::new(KeyedState::new(Seed(7)));
    for number in 0..FILTERS {
        let rest = if number.is_multiple_of(2) { "" } else { "/+" };
        let filter = format!("bench/match/{}/{number}{rest}", number % 97);
        tree.insert(&TopicFilter::try_from(filter.as_str()).expect("a filter"), number, number);
    }
    let topics: Vec<Topic> = (0..FILTERS)
        .step_by(FILTERS as usize / BATCH + 1)
        .map(|number| {
            let rest = if number.is_multiple_of(2) { "" } else { "/x" };
            topic(&format!("bench/match/{}/{number}{rest}", number % 97))
        })
        .collect();
    Box::new(move || {
        let mut found = 0;
        for topic in &topics {
            tree.for_each_match(topic, |key, _| {
                found += std::hint::black_box(u64::from(key > 0)) + 1;
            });
        }
        assert!(found >= topics.len() as u64);
    })
}

fn pair(qos: u8) -> Box<dyn FnMut()> {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let subscriber = driven.connect(1, 0, 0);
    let topic = topic("bench/pair/17");
    driven.subscribe(subscriber, &[topic.as_str().to_owned()]);
    Box::new(move || send(&mut driven, publisher, &topic, qos, BATCH))
}

/// Publishes a batch and carries every exchange to its end.
fn send(driven: &mut Driven, publisher: ConnectionId, topic: &Topic, qos: u8, messages: usize) {
    for number in 0..messages {
        driven
            .packet(publisher, ClientPacket::Publish(publish(topic, delivery(qos, number), false)));
    }
    driven.settle();
    for number in 0..messages {
        if let Delivery::ExactlyOnce(id) = delivery(qos, number) {
            driven.packet(publisher, ClientPacket::PubRel(Ack::new(id, ReasonCode::Success)));
        }
    }
    driven.acknowledge();
}

fn changing_topics() -> Box<dyn FnMut()> {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let subscriber = driven.connect(1, 0, 0);
    driven.subscribe(subscriber, &["bench/in/+".to_owned()]);
    let topics: Vec<Topic> =
        (0..BATCH).map(|number| topic(&format!("bench/in/{number}"))).collect();
    Box::new(move || {
        for topic in &topics {
            send(&mut driven, publisher, topic, 0, 1);
        }
    })
}

fn fan_out() -> Box<dyn FnMut()> {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    for index in 1..=100 {
        let subscriber = driven.connect(index, 0, 0);
        driven.subscribe(subscriber, &["bench/out/0".to_owned()]);
    }
    let topic = topic("bench/out/0");
    Box::new(move || send(&mut driven, publisher, &topic, 0, 1))
}

fn queue(mut driven: Driven) -> Box<dyn FnMut()> {
    const MESSAGES: usize = 64;
    let publisher = driven.connect(0, 0, 0);
    let receiver = driven.connect(1, 0, u32::MAX);
    let topic = topic("bench/off/1");
    driven.subscribe(receiver, &[topic.as_str().to_owned()]);
    driven.disconnect(receiver);
    let mut generation = 0;
    Box::new(move || {
        send(&mut driven, publisher, &topic, 1, MESSAGES);
        generation += 1;
        let before = driven.sent;
        let receiver = driven.connect(1, generation, u32::MAX);
        driven.finish_work();
        driven.acknowledge();
        assert_eq!(driven.sent - before, MESSAGES as u64);
        driven.disconnect(receiver);
    })
}

fn gate() -> Box<dyn FnMut()> {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let receiver = driven.connect(1, 0, u32::MAX);
    let topic = topic("bench/gate/1");
    driven.subscribe(receiver, &[topic.as_str().to_owned()]);
    Box::new(move || send(&mut driven, publisher, &topic, 1, BATCH))
}
