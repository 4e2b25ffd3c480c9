//! What connections cost that never become clients, in the memory of the real process.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Broker, DEADLINE};

/// Connections at once, and how often.
const STRANGERS: usize = 200;
const ROUNDS: usize = 8;

#[test]
fn slow_handshakes_leave_nothing_behind() {
    let broker = Broker::with(
        "127.0.0.1",
        &[
            ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0"),
            ("SIGNALHOUSE_NETWORK__HANDSHAKE_TIMEOUT_MS", "200"),
        ],
    );
    let round = || {
        let streams: Vec<_> = (0..STRANGERS)
            .map(|_| {
                // The last listener that the broker names is the one for WebSocket.
                let stream = TcpStream::connect(("127.0.0.1", broker.mqtt_port));
                let mut stream = stream.expect("it listens");
                stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
                stream.write_all(b"GET /mqtt HTTP/1.1\r\nHost: loc").expect("it reads");
                stream
            })
            .collect();
        for mut stream in streams {
            let read = stream.read(&mut [0; 64]);
            assert!(
                matches!(&read, Ok(0))
                    || read.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
            );
        }
    };
    // What the allocator keeps for the next ones is there after these.
    (0..ROUNDS).for_each(|_| round());
    let before_kib = broker.memory_kib();
    (0..ROUNDS).for_each(|_| round());
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    let each = u64::try_from(STRANGERS * ROUNDS).expect("few");
    assert!(
        grown_kib < each,
        "{grown_kib} KiB more after {each} connections, 1 KiB each is too much"
    );
}

/// Asks on a connection that stays, and says whether there was an answer.
fn asks(stream: &mut TcpStream, path: &str) -> bool {
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = [0; 1024];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read(&mut answer).is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200"))
}

#[test]
fn silent_connections_keep_out_nobody_who_was_let_in() {
    const STRANGERS: usize = 5;
    let most = STRANGERS.to_string();
    let environment = [
        ("SIGNALHOUSE_HTTP__CONNECTIONS", "20"),
        ("SIGNALHOUSE_HTTP__STRANGERS_PER_ADDRESS", &most),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    // Whoever was let in is no stranger, however many they are.
    let mut known = Vec::new();
    for _ in 0..2 * STRANGERS {
        let mut stream = broker.raw();
        assert!(asks(&mut stream, "/metrics"));
        known.push(stream);
    }
    let mut silent: Vec<_> = (0..STRANGERS).map(|_| broker.raw()).collect();
    // To ask whether the broker lives needs no key and makes nobody known.
    for stream in &mut silent {
        assert!(asks(stream, "/livez"));
    }
    for _ in 0..STRANGERS {
        assert!(!asks(&mut broker.raw(), "/livez"), "one too many is served");
    }
    for stream in &mut known {
        assert!(asks(stream, "/metrics"));
    }
    drop(silent);
    let started = std::time::Instant::now();
    while !asks(&mut broker.raw(), "/metrics") {
        assert!(started.elapsed() < DEADLINE, "the places of those who left are not free");
    }
}
