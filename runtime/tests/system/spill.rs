//! Queues longer than memory may be: they stay in the store, come back in order, and outlive a kill.

use std::path::PathBuf;

use signalhouse_core::wire::packet::{Ack, ClientPacket, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS};

use crate::support::{Broker, Raw, connect};

const MESSAGES: u32 = 20_000;
const PAYLOAD_BYTES: usize = 2_000;
/// What of that may be in memory; a fortieth.
const MEMORY_BYTES: &str = "1000000";
/// Unacknowledged at a time.
const WINDOW: u32 = 100;
/// What the receiver takes at a time.
const RECEIVE_MAXIMUM: u16 = 1_000;

fn start(data: &str) -> Broker {
    let environment = [("SIGNALHOUSE_LIMITS__QUEUE_MEMORY_BYTES", MEMORY_BYTES)];
    Broker::with(&environment, &["--data", data, "--durability", "strict"])
}

fn payload(number: u32) -> bytes::Bytes {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'.');
    payload.into()
}

fn publish(topic: &str, retain: bool, number: u32) -> ClientPacket {
    let packet_id = PacketId::new((number % WINDOW) as u16 + 1).expect("not zero");
    ClientPacket::Publish(Publish {
        dup: false,
        retain,
        delivery: Delivery::AtLeastOnce(InboundPacketId(packet_id)),
        topic: topic.try_into().expect("a topic"),
        payload: payload(number),
        message_expiry_interval_s: None,
        properties: None,
    })
}

fn publish_all(broker: &Broker) {
    let (mut publisher, _) = Raw::connect(broker, "publisher");
    for number in 0..MESSAGES {
        publisher.send_packet(&publish("spill/x", false, number));
        if (number + 1).is_multiple_of(WINDOW) {
            for _ in 0..WINDOW {
                match publisher.receive() {
                    Some(ServerPacket::PubAck(ack)) => assert_eq!(ack.reason, ReasonCode::Success),
                    other => panic!("expected PUBACK, got {other:?}"),
                }
            }
        }
    }
}

fn resume(broker: &Broker) -> Raw {
    let mut session = connect("durable");
    session.clean_start = false;
    session.session_expiry_interval_s = 3_600;
    session.receive_maximum = RECEIVE_MAXIMUM;
    let mut receiver = Raw::open(broker);
    receiver.send_packet(&ClientPacket::Connect(Box::new(session)));
    assert!(matches!(receiver.receive(), Some(ServerPacket::ConnAck(_))));
    receiver
}

#[test]
fn a_queue_longer_than_memory_is_bounded_comes_in_order_and_outlives_a_kill() {
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("spill");
    drop(std::fs::remove_dir_all(&data));
    let data = data.to_str().expect("a plain path");
    let broker = start(data);
    resume(&broker).subscribe("spill/#", QoS::AtLeastOnce);
    let before_kib = broker.memory_kib();
    publish_all(&broker);
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    let all_kib = u64::from(MESSAGES) * PAYLOAD_BYTES as u64 / 1024;
    println!("{all_kib} KiB of payload, {grown_kib} KiB more in memory");
    // Twice, for the compaction beside it, and what the allocator keeps.
    assert!(grown_kib < all_kib / 2, "{grown_kib} KiB more in memory for {all_kib}");
    drop(broker); // SIGKILL
    let broker = start(data);
    broker.wait_for_line(&["the store is recovered", &format!("queued={MESSAGES}")]);
    let mut receiver = resume(&broker);
    for number in 0..MESSAGES {
        match receiver.receive() {
            Some(ServerPacket::Publish(publish)) => {
                assert_eq!(publish.message.payload, payload(number));
                let Delivery::AtLeastOnce(id) = publish.delivery else { panic!("{publish:?}") };
                receiver.send_packet(&ClientPacket::PubAck(Ack::new(id, ReasonCode::Success)));
            }
            other => panic!("expected message {number}, got {other:?}"),
        }
    }
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < all_kib / 2, "{grown_kib} KiB more in memory for {all_kib}");
    // What is acknowledged behind them is on the disk, and so are their ends, however slow it is.
    receiver.send_packet(&publish("done", true, 0));
    assert!(matches!(receiver.receive(), Some(ServerPacket::PubAck(_))));
    drop(broker);
    let broker = start(data);
    broker.wait_for_line(&["the store is recovered", "queued=0"]);
}
