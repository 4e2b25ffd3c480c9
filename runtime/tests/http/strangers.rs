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
