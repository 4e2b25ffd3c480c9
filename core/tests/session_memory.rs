//! What a session's waiting messages and subscriptions cost in memory, counted at the allocator.
//!
//! Two figures: bytes asked of the allocator, and what a common one (glibc's) takes for them, which
//! adds eight bytes to each block and rounds it up to sixteen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use signalhouse_core::input::Gone;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, Publish, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text, Version};
use signalhouse_core::{Action, Broker, Config, ConnectionId, Input, Limits, Outbox, Seed, Time};

struct Counting;

static ASKED_BYTES: AtomicUsize = AtomicUsize::new(0);
static TAKEN_BYTES: AtomicUsize = AtomicUsize::new(0);

fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        TAKEN_BYTES.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ASKED_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        TAKEN_BYTES.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: u32 = 100;
const MESSAGES: u32 = 2_000;
const SUBSCRIPTIONS: u32 = 200;
const NOW: Time = Time::from_ms(1_700_000_000_000);

struct Filled {
    broker: Broker,
    out: Outbox,
}

impl Filled {
    fn new(limits: Limits) -> Self {
        let config = Config { limits, sys_interval_ms: 0, ..Config::default() };
        Filled { broker: Broker::new(config, Seed(7), NOW), out: Outbox::new() }
    }

    /// One input, and the word that its records are durable.
    fn input(&mut self, input: Input) {
        self.broker.handle(NOW, input, &mut self.out);
        loop {
            let last = self.out.drain().filter_map(|action| match action {
                Action::Persist { at, .. } => Some(at),
                Action::Send { .. }
                | Action::Close { .. }
                | Action::Ask { .. }
                | Action::Fetch { .. }
                | Action::Answer(_)
                | Action::Notice(_) => None,
            });
            let Some(through) = last.last() else { return };
            self.broker.handle(NOW, Input::Durable { through }, &mut self.out);
        }
    }

    fn packet(&mut self, index: u32, packet: ClientPacket) {
        self.input(Input::Packet { connection: connection(index), packet });
    }

    fn connect(&mut self, index: u32, name: &str) {
        let (connection, peer) = (connection(index), text("test"));
        self.input(Input::Opened { connection, peer, room_bytes: u32::MAX });
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_s: 0,
            client_id: text(name),
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval_s: u32::MAX,
            receive_maximum: u16::MAX,
            maximum_packet_size_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: Vec::new(),
        };
        self.packet(index, ClientPacket::Connect(Box::new(connect)));
    }

    /// A session with one subscription, whose client is gone.
    fn leave_subscribed(&mut self, index: u32, name: &str, filter: &str) {
        self.connect(index, name);
        self.subscribe(index, filter);
        let cause = Gone::PeerClosed;
        self.input(Input::Closed { connection: connection(index), cause });
    }

    fn subscribe(&mut self, index: u32, filter: &str) {
        let options =
            SubscriptionOptions { maximum_qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let subscribe = Subscribe {
            packet_id: packet_id(1),
            subscription_id: None,
            subscriptions: vec![(TopicFilter::try_from(filter).expect("a filter"), options)],
            user_properties: Vec::new(),
        };
        self.packet(index, ClientPacket::Subscribe(Box::new(subscribe)));
    }

    fn publish(&mut self, index: u32, topic: &str, payload: Bytes, retain: bool) {
        let publish = Publish {
            dup: false,
            retain,
            delivery: Delivery::AtLeastOnce(packet_id(7)),
            topic: Topic::try_from(topic).expect("a topic"),
            payload,
            message_expiry_interval_s: None,
            properties: None,
        };
        self.packet(index, ClientPacket::Publish(publish));
    }
}

/// Bytes for each of the messages that wait in many sessions: asked for, and taken.
fn bytes_each(payload_bytes: usize, queue_memory_bytes: u64) -> (usize, usize) {
    let limits = Limits { queue_memory_bytes, ..Limits::default() };
    let mut filled = Filled::new(limits);
    filled.connect(0, "publisher");
    for session in 1..=SESSIONS {
        filled.leave_subscribed(session, &format!("device-{session}"), &topic(session));
    }
    let payload = Bytes::from(vec![b'x'; payload_bytes]);
    let held = || (ASKED_BYTES.load(Ordering::Relaxed), TAKEN_BYTES.load(Ordering::Relaxed));
    let before = held();
    for _ in 0..MESSAGES {
        for session in 1..=SESSIONS {
            filled.publish(0, &topic(session), payload.clone(), false);
        }
    }
    let after = held();
    let messages = (SESSIONS * MESSAGES) as usize;
    let each = ((after.0 - before.0) / messages, (after.1 - before.1) / messages);
    println!(
        "{payload_bytes} bytes of payload, {} of topic: {} bytes for each message, {} taken",
        topic(1).len(),
        each.0,
        each.1
    );
    each
}

/// Bytes taken for each of many subscriptions of few sessions, where something else is retained.
fn bytes_each_subscription() -> usize {
    let mut filled = Filled::new(Limits::default());
    filled.connect(0, "publisher");
    filled.publish(0, "elsewhere", Bytes::from_static(b"kept"), true);
    for session in 1..=SESSIONS {
        filled.connect(session, &format!("device-{session}"));
    }
    let before = TAKEN_BYTES.load(Ordering::Relaxed);
    for n in 0..SUBSCRIPTIONS {
        for session in 1..=SESSIONS {
            filled.subscribe(session, &format!("devices/{session}/{n}"));
        }
    }
    let count = (SESSIONS * SUBSCRIPTIONS) as usize;
    let each = (TAKEN_BYTES.load(Ordering::Relaxed) - before) / count;
    println!("{each} bytes taken for each subscription");
    each
}

fn topic(session: u32) -> String {
    format!("devices/{session:03}/events")
}

fn connection(index: u32) -> ConnectionId {
    ConnectionId { index, generation: 0 }
}

fn packet_id(id: u16) -> InboundPacketId {
    InboundPacketId(PacketId::new(id).expect("not zero"))
}

fn text(text: &str) -> Text {
    Text::try_from(text).expect("a text")
}

// One test, because the count is the process's.
#[test]
fn messages_and_subscriptions_are_cheap() {
    let (_, small) = bytes_each(64, u64::MAX);
    assert!(small <= 190);
    let (_, usual) = bytes_each(256, u64::MAX);
    assert!(usual <= 256 + 120);
    println!("with the payload in the journal alone:");
    let (_, stored) = bytes_each(256, 0);
    assert!(stored <= 64);
    assert!(bytes_each_subscription() <= 150);
}
