//! Frames at the WebSocket door of the real broker that bring no MQTT: closed with the code that RFC 6455
//! has for it and with the cause in the log, and they cost little.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use signalhouse_core::wire::encode_client;
use signalhouse_core::wire::packet::{ClientPacket, Connect};
use signalhouse_core::wire::types::Version;

use crate::connect::connect;
use crate::peer::{Door, Next, Peer};
use crate::support::{Broker, DEADLINE};

const HEAD: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n";
/// What a stranger may send: a CONNECT of this size.
const STRANGERS_BYTES: usize = 4_096;

fn broker() -> Broker {
    Broker::with(
        "127.0.0.1",
        &[
            ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0"),
            ("SIGNALHOUSE_NETWORK__CONNECT_MAXIMUM_BYTES", &STRANGERS_BYTES.to_string()),
            ("SIGNALHOUSE_LIMITS__CONNECT_TIMEOUT_MS", "2000"),
            ("SIGNALHOUSE_LOG__LEVEL", "debug"),
        ],
    )
}

/// Sends a request and reads the head of the answer.
fn ask(broker: &Broker, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.websocket_port)).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    // A broker that has heard enough may have closed.
    drop(stream.write_all(request.as_bytes()));
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).expect("text"))
}

fn open(broker: &Broker) -> TcpStream {
    let (stream, answer) = ask(broker, &format!("GET /mqtt HTTP/1.1\r\n{HEAD}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream
}

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let short = payload.len() < 126;
    let head =
        if short { vec![first, 0x80 | length[1]] } else { vec![first, 0xFE, length[0], length[1]] };
    [&head[..], &[0; 4], payload].concat()
}

fn connect_packet() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let packet: Connect = connect("framed");
    let _written = encode_client(&ClientPacket::Connect(Box::new(packet)), Version::V5, &mut bytes);
    bytes.to_vec()
}

/// What comes back until the connection ends.
fn told(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    drop(stream.write_all(bytes));
    let mut told = Vec::new();
    drop(stream.read_to_end(&mut told));
    told
}

#[test]
fn frames_that_bring_no_mqtt_are_closed_with_code_and_cause() {
    let broker = broker();
    let connect = connect_packet();
    let (start, rest) = connect.split_at(5);
    let text_parts = [frame(0x01, start), frame(0x80, rest)].concat();
    let endless: Vec<u8> =
        (0..8).flat_map(|number| frame(u8::from(number == 0) * 2, &[0; 1_000])).collect();
    let crumbs = frame(0x00, b"x").repeat(2 * STRANGERS_BYTES);
    let crumbs = [frame(0x02, b"x"), crumbs].concat();
    let text = "a text frame, where MQTT has binary ones";
    let large = "a message is larger than a packet may be";
    let rules = "what came breaks the rules of WebSocket";
    let announced = [&[0x82, 0xFF][..], &(1_u64 << 62).to_be_bytes(), &[0; 4], b"x"].concat();
    for (name, bytes, code, cause) in [
        ("a CONNECT as text", frame(0x81, &connect), 1003_u16, text),
        ("text in fragments", text_parts, 1003, text),
        ("fragments without end", endless, 1009, large),
        ("crumbs without end", crumbs, 1009, large),
        ("a length beyond counting", announced, 1009, large),
        ("no mask", [&[0x82, 1][..], b"x"].concat(), 1002, rules),
        ("a reserved bit", frame(0xC2, &connect), 1002, rules),
        ("a reserved opcode", frame(0x83, &connect), 1002, rules),
        ("an end without a beginning", frame(0x80, &connect), 1002, rules),
        ("a second beginning", [frame(0x02, start), frame(0x82, rest)].concat(), 1002, rules),
        ("a ping in fragments", frame(0x09, b"x"), 1002, rules),
        ("a large ping", frame(0x89, &[0; 126]), 1002, rules),
    ] {
        let seen = broker.lines_with(cause);
        let told = told(open(&broker), &bytes);
        assert_eq!(told.first(), Some(&0x88), "{name}: {told:?}");
        assert_eq!(told.get(2..4), Some(&code.to_be_bytes()[..]), "{name}: {told:?}");
        broker.wait_for_lines(cause, seen + 1);
    }
    // A client is no stranger any more, and still no friend of text.
    let mut stream = open(&broker);
    stream.write_all(&frame(0x82, &connect)).expect("the broker reads");
    let mut connack = [0; 3];
    stream.read_exact(&mut connack).expect("CONNACK in a frame");
    assert_eq!((connack[0], connack[2]), (0x82, 0x20));
    let told = told(stream, &frame(0x81, b"\xC0\x00"));
    assert!(told.windows(4).any(|part| part[0] == 0x88 && part[2..4] == 1002_u16.to_be_bytes()));
    let mut bystander = Peer::enter(&broker, Door::WebSocket, "bystander");
    bystander.send(&ClientPacket::PingReq);
    assert_eq!(bystander.next(), Next::Pong);
}

#[test]
fn wrong_requests_are_answered_and_cost_little() {
    let broker = broker();
    let long = "x".repeat(100_000);
    let round = || {
        for (request, status) in [
            (format!("GET /mqtt HTTP/1.1\r\nX: {long}\r\n{HEAD}\r\n"), "431"),
            (format!("GET /mqtt?{long} HTTP/1.1\r\n{HEAD}\r\n"), "431"),
            (format!("GET /mqtt HTTP/1.1\r\n{}{HEAD}\r\n", "X: y\r\n".repeat(1_000)), "4"),
            (format!("GET /../mqtt HTTP/1.1\r\n{HEAD}\r\n"), "404"),
            (format!("GET /%6dqtt HTTP/1.1\r\n{HEAD}\r\n"), "404"),
            (format!("GET //mqtt HTTP/1.1\r\n{HEAD}\r\n"), "404"),
            (format!("GET /mqtt/ HTTP/1.1\r\n{HEAD}\r\n"), "404"),
            (format!("POST /mqtt HTTP/1.1\r\n{HEAD}\r\n"), "400"),
            ("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "400"),
        ] {
            let (_, answer) = ask(&broker, &request);
            let start = format!("HTTP/1.1 {status}");
            // One who is still sending when the broker closes may lose the answer.
            let is_lost = answer.is_empty() && request.len() > 10_000;
            assert!(is_lost || answer.starts_with(&start), "{}: {answer}", &request[..40]);
        }
        // Messages that never end, each as large as a stranger's may be.
        let most = frame(0x02, &[0; STRANGERS_BYTES - 1]);
        let mut waiting: Vec<_> = (0..100).map(|_| open(&broker)).collect();
        for stream in &mut waiting {
            stream.write_all(&most).expect("the broker reads");
        }
        waiting
    };
    drop(round());
    let before_kib = broker.memory_kib();
    let waiting = round();
    let mut bystander = Peer::enter(&broker, Door::WebSocket, "bystander");
    bystander.send(&ClientPacket::PingReq);
    assert_eq!(bystander.next(), Next::Pong);
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < 8 * 1024, "{grown_kib} KiB more");
    // Whoever sends empty fragments for ever brings nothing, and its time runs out.
    for mut stream in waiting {
        let mut heard = [0; 64];
        drop(stream.write_all(&frame(0x00, b"")));
        while stream.read(&mut heard).unwrap_or(0) > 0 {}
    }
}
