//! Time goes on while the broker is down.

use bytes::Bytes;
use signalhouse::journal::{self, Level};
use signalhouse::seams::Journal;
use signalhouse_core::input::Gone;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, Publish, Subscribe, SubscriptionOptions, Will,
};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text};
use signalhouse_core::{Action, ConnectionId, Input, Outbox, Record, Time};

use crate::bench::{START, Store, open_later, options, run};
use crate::disk::MemoryDisk;

fn text(text: &str) -> Text {
    Text::try_from(text).expect("a short text")
}

fn at(second: u64) -> Time {
    START.plus_ms(second * 1_000)
}

/// Tells the broker something, and the journal what the broker says.
fn tell(store: &mut Store, now: Time, input: Input) {
    let mut out = Outbox::new();
    store.broker.handle(now, input, &mut out);
    while store.broker.has_more_work() {
        store.broker.resume(now, 1_000, &mut out);
    }
    for action in out.drain() {
        if let Action::Persist { at, record } = action {
            store.appended = at.0;
            store.journal.append(at, record);
        }
    }
    assert_eq!(store.journal.flush(), None);
}

fn packet(store: &mut Store, now: Time, connection: ConnectionId, packet: ClientPacket) {
    tell(store, now, Input::Packet { connection, packet });
}

fn connect(store: &mut Store, now: Time, index: u32, will: Option<Will>) -> ConnectionId {
    let connection = ConnectionId { index, generation: 1 };
    let peer = text("test");
    tell(store, now, Input::Opened { connection, peer, room_bytes: 65_536 });
    let connect = Connect {
        clean_start: false,
        will: will.map(Box::new),
        session_expiry_interval_s: 100,
        ..crate::connect::connect(&format!("client{index}"))
    };
    packet(store, now, connection, ClientPacket::Connect(Box::new(connect)));
    let through = signalhouse_core::LogPosition(store.appended);
    tell(store, now, Input::Durable { through });
    connection
}

fn queued(id: u16, message_expiry_interval_s: Option<u32>) -> Publish {
    Publish {
        dup: false,
        retain: false,
        delivery: Delivery::AtLeastOnce(InboundPacketId(PacketId::new(id).expect("not 0"))),
        topic: Topic::try_from("queue/x").expect("a topic"),
        payload: Bytes::from(vec![b'0' + id as u8]),
        message_expiry_interval_s,
        properties: None,
    }
}

/// One session that ends at second 110, with a will that is due at second 60 and two messages
/// waiting, one of which is worth nothing from second 20 on.
async fn prepared() -> MemoryDisk {
    let disk = MemoryDisk::new(31);
    let mut store = open_later(&disk, 31, START).await.expect("a store");
    let will = Will {
        topic: Topic::try_from("wills/1").expect("a topic"),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_interval_s: 50,
        message_expiry_interval_s: None,
        properties: None,
    };
    let receiver = connect(&mut store, at(0), 1, Some(will));
    let filter = TopicFilter::new(text("queue/#")).expect("a filter");
    let options =
        SubscriptionOptions { maximum_qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let subscribe = Subscribe {
        packet_id: InboundPacketId(PacketId::MIN),
        subscription_id: None,
        subscriptions: vec![(filter, options)],
        user_properties: Vec::new(),
    };
    packet(&mut store, at(0), receiver, ClientPacket::Subscribe(Box::new(subscribe)));
    let publisher = connect(&mut store, at(0), 2, None);
    tell(&mut store, at(10), Input::Closed { connection: receiver, cause: Gone::Failed });
    for (id, expiry) in [(1, Some(10)), (2, None)] {
        packet(&mut store, at(10), publisher, ClientPacket::Publish(queued(id, expiry)));
    }
    tell(&mut store, at(10), Input::Closed { connection: publisher, cause: Gone::PeerClosed });
    store.settle().await.expect("the disk works");
    disk.power_cut()
}

/// Sessions, messages that are still worth something, and whether the will was published, at some
/// second after a restart at another.
async fn found(disk: &MemoryDisk, restart: u64, look: u64) -> (usize, Vec<Bytes>, bool) {
    let mut store = open_later(&disk.killed(), 500 + restart, at(restart)).await.expect("a store");
    tell(&mut store, at(restart), Input::Deadline);
    tell(&mut store, at(look), Input::Deadline);
    let (mut sessions, mut waiting, mut is_published) = (0, Vec::new(), false);
    for record in store.broker.snapshot() {
        if let Record::Connected { client_id, .. } = &record {
            sessions += usize::from(client_id == &text("client1"));
        } else if let Record::Published { message, entries, .. } = &record {
            if !entries.is_empty() && !message.is_expired(at(look)) {
                waiting.push(message.payload.clone());
            }
            is_published |= message.topic.to_string() == "wills/1";
        }
    }
    (sessions, waiting, is_published)
}

#[test]
fn expiries_count_on_across_a_restart() {
    run(async || {
        let disk = prepared().await;
        let (one, two) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        assert_eq!(found(&disk, 12, 15).await, (1, vec![one, two.clone()], false));
        // The message's ten seconds ended while the broker was down, or just after it came back.
        assert_eq!(found(&disk, 40, 40).await, (1, vec![two.clone()], false));
        assert_eq!(found(&disk, 19, 21).await, (1, vec![two.clone()], false));
        // So did the will's delay; the session is there until second 110.
        assert_eq!(found(&disk, 55, 59).await, (1, vec![two.clone()], false));
        assert_eq!(found(&disk, 55, 61).await, (1, vec![two.clone()], true));
        assert_eq!(found(&disk, 70, 70).await, (1, vec![two.clone()], true));
        assert_eq!(found(&disk, 70, 109).await, (1, vec![two], true));
        assert_eq!(found(&disk, 70, 111).await, (0, vec![], true));
        assert_eq!(found(&disk, 500, 500).await, (0, vec![], true));
    });
}

/// Where the time axis begins if the wall clock has gone back to 1970.
async fn beginning(disk: &MemoryDisk) -> Time {
    let options = options(700, Level::Strict);
    let opened = journal::open(disk.killed(), options).await.expect("a store");
    opened.beginning(Time::ZERO)
}

#[test]
fn no_start_takes_time_back_behind_a_message_that_expires() {
    run(async || {
        let disk = prepared().await;
        assert_eq!(beginning(&disk).await, at(10));
        let mut store = open_later(&disk, 601, at(10)).await.expect("a store");
        let publisher = connect(&mut store, at(10), 3, None);
        // No record but the message's own names a later moment.
        packet(&mut store, at(30), publisher, ClientPacket::Publish(queued(1, Some(10))));
        store.settle().await.expect("the disk works");
        assert_eq!(beginning(&disk.power_cut()).await, at(30));
    });
}
