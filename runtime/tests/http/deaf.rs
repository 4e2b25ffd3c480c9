//! Clients that open an event stream and never read it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Broker, Client, DEADLINE};

const TIMEOUT_MS: u64 = 1_500;
/// Larger than what the operating system keeps for a connection.
const PAYLOAD_BYTES: usize = 32 * 1024;
const SESSION: &str = "/v1/sessions/deaf";

/// A broker that bears a deaf client for so long, and an operator of it.
fn broker(timeout_ms: u64) -> (Broker, Client) {
    let broker = Broker::with(
        "127.0.0.1",
        &[
            ("SIGNALHOUSE_HTTP__WRITE_STALL_TIMEOUT_MS", timeout_ms.to_string().as_str()),
            ("SIGNALHOUSE_LIMITS__QUEUE_BYTES", "2097152"),
        ],
    );
    let admin = broker.admin();
    (broker, admin)
}

/// Opens a stream, reads that it is open, and reads no more.
fn open(broker: &Broker) -> TcpStream {
    let mut stream = broker.raw();
    stream
        .write_all(
            b"GET /v1/subscribe?session=deaf&filter=flood HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .expect("the broker reads");
    let mut opened = Vec::new();
    while !opened.windows(14).any(|part| part == b"event: session") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the stream opens");
        opened.push(byte[0]);
    }
    assert!(opened.starts_with(b"HTTP/1.1 200"));
    stream
}

/// Publishes for the deaf one until that is true of its session, or the time is over.
fn flood(admin: &Client, time: Duration, is_done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    let message = json!({"topic": "flood", "payload": "x".repeat(PAYLOAD_BYTES)});
    loop {
        for _ in 0..20 {
            // Once its queue is full, the publisher is told.
            let status = admin.post("/v1/publish", &message).status;
            assert!(matches!(status, 200 | 503), "{status}");
        }
        let session = admin.get(SESSION).with(200)["session"].clone();
        if is_done(&session) || started.elapsed() > time {
            return session;
        }
    }
}

#[test]
fn a_stream_that_nobody_reads_ends_after_its_time_and_costs_little() {
    let (broker, admin) = broker(TIMEOUT_MS);
    let mut bystander = admin.events("filter=bystander", None);
    // What the allocator keeps for large messages is there after these.
    for _ in 0..100 {
        let message = json!({"topic": "nobody", "payload": "x".repeat(PAYLOAD_BYTES)});
        admin.post("/v1/publish", &message).with(200);
    }
    let before_kib = broker.memory_kib();
    let started = Instant::now();
    let mut deaf = open(&broker);
    let session = flood(&admin, DEADLINE, |session| session["connected"] == false);
    assert_eq!(session["connected"], false, "it is still there: {session}");
    assert!(started.elapsed() >= Duration::from_millis(TIMEOUT_MS), "{:?}", started.elapsed());
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB more");
    // It is closed: behind what the operating system had taken already comes the end.
    let mut left = Vec::new();
    drop(deaf.read_to_end(&mut left));
    assert!(!String::from_utf8_lossy(&left).contains("event: closed"));
    let events = admin.get(&format!("{SESSION}/events")).with(200);
    let events = events["events"].as_array().expect("a list");
    assert!(events.iter().any(|event| event["event"] == "disconnected"), "{events:?}");
    broker.log_with("http.write_stall_timeout_ms");
    // Its session has what was in flight and what waits, and nobody else noticed.
    let polled = broker.keyless().get("/v1/messages?session=deaf&max=1").with(200);
    assert_eq!(polled["messages"][0]["topic"], "flood");
    admin.post("/v1/publish", &json!({"topic": "bystander", "payload": "x"})).with(200);
    assert_eq!(bystander.payload().0, "x");
}

#[test]
fn a_stream_that_nobody_reads_stays_if_the_settings_say_so() {
    let (broker, admin) = broker(0);
    let _deaf = open(&broker);
    let time = Duration::from_millis(2 * TIMEOUT_MS);
    let session = flood(&admin, time, |session| session["connected"] == false);
    assert_eq!(session["connected"], true, "{session}");
    assert!(session["queued"].as_u64() > Some(0), "something waits for it: {session}");
}
