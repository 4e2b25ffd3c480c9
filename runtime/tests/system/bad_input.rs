//! What comes from a network is not always MQTT: it is refused or closed with its cause, costs a
//! bounded amount of memory, and nobody else notices.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::QoS;

use crate::support::{Broker, Bystander, DEADLINE, Raw, connect, encoded, publish, subscribe};

#[test]
fn garbage_is_closed_with_its_cause() {
    let broker = Broker::start();
    let mut bystander = Bystander::new(&broker);
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
        &[0x00; 64],
        &[0xff; 64],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x30, 0x03, 0x00, 0x01, b'a'],
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
    ] {
        let mut raw = Raw::open(&broker);
        raw.send(garbage);
        assert_eq!(raw.receive_to_end(), []);
        bystander.check();
    }
    broker.wait_for_line(&["refused", "the first packet is PUBLISH, not CONNECT"]);
    broker.wait_for_line(&["refused", "packet type 0 is forbidden"]);
    broker.wait_for_line(&["refused", "variable byte integer"]);
    broker.wait_for_lines(&["refused", "cause="], 6);
}

#[test]
fn a_connect_beyond_what_strangers_may_send_is_refused_by_its_header() {
    let broker = Broker::with(&[("SIGNALHOUSE_NETWORK__CONNECT_MAXIMUM_BYTES", "1000")], &[]);
    let mut bystander = Bystander::new(&broker);
    let mut large = connect("large");
    large.password = Some(vec![b'x'; 2_000].into());
    let large = encoded(&ClientPacket::Connect(Box::new(large)));
    let mut raw = Raw::open(&broker);
    // The broker does not wait for the rest.
    raw.send(&large[..500]);
    match raw.receive_to_end().as_slice() {
        [ServerPacket::ConnAck(ack)] => assert_eq!(ack.reason, ReasonCode::PacketTooLarge),
        other => panic!("expected a CONNACK and the end, got {other:?}"),
    }
    broker.wait_for_line(&["refused", "0x95", "2023 bytes, more than the 1000 accepted"]);
    bystander.check();
}

#[test]
fn a_version_nobody_speaks_is_told_so() {
    let broker = Broker::start();
    let mut raw = Raw::open(&broker);
    raw.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 60, 0, 0, 0]);
    match raw.receive_to_end().as_slice() {
        [ServerPacket::ConnAck(ack)] => {
            assert_eq!(ack.reason, ReasonCode::UnsupportedProtocolVersion);
        }
        other => panic!("expected a CONNACK and the end, got {other:?}"),
    }
    broker.wait_for_line(&["refused", "0x84"]);
}

#[test]
fn a_truncated_packet_is_a_lost_connection() {
    let broker = Broker::start();
    let mut bystander = Bystander::new(&broker);
    let whole = encoded(&ClientPacket::Connect(Box::new(connect("cut"))));
    for length in 0..whole.len() {
        let mut raw = Raw::open(&broker);
        raw.send(&whole[..length]);
        raw.stream.shutdown(Shutdown::Write).expect("a socket");
        assert_eq!(raw.receive_to_end(), []);
    }
    let (mut raw, _) = Raw::connect(&broker, "cut later");
    let packet = encoded(&publish("a/b", b"payload"));
    raw.send(&packet[..packet.len() - 1]);
    raw.stream.shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(raw.receive_to_end(), []);
    broker.wait_for_line(&["refused", "peer closed"]);
    broker.wait_for_line(&["disconnected", "cut later", "peer closed without DISCONNECT"]);
    bystander.check();
}

#[test]
fn half_a_connect_and_silence_runs_out_of_time() {
    let broker = Broker::with(&[("SIGNALHOUSE_LIMITS__CONNECT_TIMEOUT_MS", "300")], &[]);
    let mut bystander = Bystander::new(&broker);
    let whole = encoded(&ClientPacket::Connect(Box::new(connect("slow"))));
    let mut raw = Raw::open(&broker);
    raw.send(&whole[..whole.len() / 2]);
    assert_eq!(raw.receive_to_end(), []);
    broker.wait_for_line(&["refused", "no CONNECT in time"]);
    bystander.check();
}

#[test]
fn a_thousand_connections_without_connect_cost_little_and_end() {
    let broker = Broker::with(&[("SIGNALHOUSE_LIMITS__CONNECT_TIMEOUT_MS", "3000")], &[]);
    let mut bystander = Bystander::new(&broker);
    let before = broker.memory_kib();
    let mut silent: Vec<Raw> = (0..1_000).map(|_| Raw::open(&broker)).collect();
    for raw in silent.iter_mut().step_by(2) {
        raw.send(&[0x10, 0x7f, 0x00]);
    }
    bystander.check();
    let grown = broker.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "a thousand strangers took {grown} KiB");
    for raw in &mut silent {
        assert_eq!(raw.receive_to_end(), []);
    }
    bystander.check();
    broker.wait_for_lines(&["refused", "no CONNECT in time"], 1_000);
}

#[test]
fn connections_over_the_limit_are_closed_with_their_cause() {
    let broker = Broker::with(&[("SIGNALHOUSE_LIMITS__CONNECTIONS", "2")], &[]);
    let mut bystander = Bystander::new(&broker);
    let _second = Raw::connect(&broker, "second");
    let mut third = Raw::open(&broker);
    third.send_packet(&ClientPacket::Connect(Box::new(connect("third"))));
    // Whether it is told depends on whether its CONNECT was read before the broker decided.
    for packet in third.receive_to_end() {
        let ServerPacket::ConnAck(ack) = packet else { panic!("expected CONNACK: {packet:?}") };
        assert_eq!(ack.reason, ReasonCode::ServerBusy);
    }
    broker.wait_for_line(&["refused", "0x89"]);
    bystander.check();
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    let broker = Broker::with(&[("SIGNALHOUSE_LIMITS__MAXIMUM_PACKET_SIZE_BYTES", "1000")], &[]);
    let mut bystander = Bystander::new(&broker);
    let (mut raw, ack) = Raw::connect(&broker, "large");
    assert_eq!(ack.maximum_packet_size_bytes, Some(1_000));
    // A body of 200 million bytes is announced, and none of it sent.
    raw.send(&[0x30, 0x80, 0x84, 0xaf, 0x5f]);
    match raw.receive_to_end().as_slice() {
        [ServerPacket::Disconnect(disconnect)] => {
            assert_eq!(disconnect.reason, ReasonCode::PacketTooLarge);
        }
        other => panic!("expected DISCONNECT and the end, got {other:?}"),
    }
    broker.wait_for_line(&["disconnected", "large", "0x95"]);
    bystander.check();
}

#[test]
fn a_subscriber_that_never_reads_delays_nobody() {
    let broker = Broker::with(
        &[
            ("SIGNALHOUSE_LIMITS__QUEUE_MESSAGES", "100"),
            ("SIGNALHOUSE_NETWORK__OUTGOING_BUFFER_BYTES", "65536"),
        ],
        &[],
    );
    let mut bystander = Bystander::new(&broker);
    let (mut deaf, _) = Raw::connect(&broker, "deaf");
    deaf.subscribe("flood", QoS::AtMostOnce);
    let (mut attentive, _) = Raw::connect(&broker, "attentive");
    attentive.subscribe("flood", QoS::AtMostOnce);
    let (mut publisher, _) = Raw::connect(&broker, "publisher");
    let packet = encoded(&publish("flood", &[b'x'; 10_000]));
    let before = broker.memory_kib();
    for _ in 0..2_000 {
        publisher.send(&packet);
        match attentive.receive() {
            Some(ServerPacket::Publish(publish)) => {
                assert_eq!(publish.message.payload.len(), 10_000);
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }
    bystander.check();
    // 20 MB went by: the buffer and the queue hold about 1 MB of them.
    let grown = broker.memory_kib().saturating_sub(before);
    assert!(grown < 12 * 1024, "one deaf subscriber took {grown} KiB");
    broker.wait_for_line(&["messages dropped", "deaf", "queue full"]);
}

#[test]
fn a_client_that_never_reads_its_answers_is_no_longer_read() {
    let broker = Broker::with(&[("SIGNALHOUSE_NETWORK__OUTGOING_BUFFER_BYTES", "4096")], &[]);
    let mut bystander = Bystander::new(&broker);
    let (mut deaf, _) = Raw::connect(&broker, "deaf");
    let before = broker.memory_kib();
    let pings: Vec<u8> = [0xc0, 0x00].repeat(512 * 1024);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket option");
    let mut sent = 0;
    let blocked = loop {
        match deaf.stream.write(&pings) {
            Ok(bytes) => sent += bytes,
            Err(error) => break error.kind(),
        }
        assert!(sent < 512 * 1024 * 1024, "the broker reads for ever");
    };
    assert!(matches!(blocked, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked:?}");
    bystander.check();
    let grown = broker.memory_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "one deaf client took {grown} KiB");
}

#[test]
fn a_client_that_stays_deaf_is_dropped() {
    let broker = Broker::with(
        &[
            ("SIGNALHOUSE_NETWORK__OUTGOING_BUFFER_BYTES", "4096"),
            ("SIGNALHOUSE_NETWORK__WRITE_STALL_TIMEOUT_MS", "300"),
        ],
        &[],
    );
    let (mut deaf, _) = Raw::connect(&broker, "deaf");
    deaf.stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket option");
    let pings: Vec<u8> = [0xc0, 0x00].repeat(64 * 1024);
    let started = Instant::now();
    while broker.count_lines(&["the peer reads nothing"]) == 0 {
        // Blocks once the broker no longer reads, and fails once it has closed.
        drop(deaf.stream.write(&pings));
        assert!(started.elapsed() < DEADLINE, "a deaf client is kept");
    }
    broker.wait_for_line(&["disconnected", "deaf", "network failed"]);
}

#[test]
fn one_that_talks_without_pause_does_not_starve_the_others() {
    let broker = Broker::start();
    let mut bystander = Bystander::new(&broker);
    let (mut talker, _) = Raw::connect(&broker, "talker");
    let packets = encoded(&publish("nobody/listens", b"x")).repeat(10_000);
    let talking = std::thread::spawn(move || {
        for _ in 0..20 {
            talker.send(&packets);
        }
        talker
    });
    while !talking.is_finished() {
        bystander.check();
    }
    let mut talker = talking.join().expect("it was read to the end");
    talker.send_packet(&subscribe("end", QoS::AtMostOnce));
    assert!(matches!(talker.receive(), Some(ServerPacket::SubAck(_))));
}
