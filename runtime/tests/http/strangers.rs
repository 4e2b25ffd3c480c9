//! What connections cost that never become clients, in the memory of the real process.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::authority::Authority;
use crate::support::{Broker, DEADLINE, Folder};

/// Connections to each door at once, and how often.
const STRANGERS: usize = 100;
const ROUNDS: usize = 6;

#[test]
fn slow_handshakes_leave_nothing_behind() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.server();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path.to_str().expect("text").to_owned()
    };
    let (certificate, key) = (write("server.pem", &certificate), write("server.key", &key));
    let broker = Broker::with(
        "127.0.0.1",
        &[
            ("SIGNALHOUSE_NETWORK__LISTEN_TLS", "127.0.0.1:0"),
            ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0"),
            ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET_TLS", "127.0.0.1:0"),
            ("SIGNALHOUSE_TLS__CERTIFICATE_FILE", &certificate),
            ("SIGNALHOUSE_TLS__KEY_FILE", &key),
            ("SIGNALHOUSE_NETWORK__HANDSHAKE_TIMEOUT_MS", "400"),
            ("SIGNALHOUSE_LIMITS__CONNECT_TIMEOUT_MS", "400"),
            ("SIGNALHOUSE_HTTP__HEADER_TIMEOUT_MS", "400"),
            ("SIGNALHOUSE_HTTP__STRANGERS_PER_ADDRESS", "1000"),
        ],
    );
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 150]].concat();
    let head = b"GET /mqtt HTTP/1.1\r\nHost: loc".to_vec();
    let [plain, tls, websocket, websocket_tls] = broker.ports[..] else { panic!("four listeners") };
    let doors = [
        ("MQTT", plain, vec![0x10, 0x7f, 0x00]),
        ("TLS", tls, hello.clone()),
        ("WebSocket", websocket, head.clone()),
        ("WebSocket over TLS", websocket_tls, hello),
        ("HTTP", broker.http_port, head),
    ];
    let round = || {
        let mut streams = Vec::new();
        for _ in 0..STRANGERS {
            for (door, port, half) in &doors {
                let stream = TcpStream::connect(("127.0.0.1", *port));
                let mut stream = stream.expect("it listens");
                stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
                stream.write_all(half).expect("it reads");
                streams.push((door, stream));
            }
        }
        for (door, mut stream) in streams {
            let read = stream.read_to_end(&mut Vec::new());
            assert!(read.is_ok_and(|read| read == 0), "{door}: it is closed without a word");
        }
    };
    // What the allocator keeps for the next ones is there after these.
    (0..ROUNDS).for_each(|_| round());
    let before_kib = broker.memory_kib();
    (0..ROUNDS).for_each(|_| round());
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    let at_each = u64::try_from(STRANGERS * ROUNDS).expect("few");
    // Less than any one of the doors would leave behind with its buffers.
    assert!(
        grown_kib < 2 * at_each,
        "{grown_kib} KiB more after {at_each} connections at each door"
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
fn connections_over_the_most_are_counted_by_that_cause() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__CONNECTIONS", "4")]);
    // Each is known before the next comes: strangers have fewer places.
    let known = || {
        let mut stream = broker.raw();
        assert!(asks(&mut stream, "/metrics"));
        stream
    };
    let mut known: Vec<_> = (0..4).map(|_| known()).collect();
    assert!(!asks(&mut broker.raw(), "/metrics"), "one too many is served");
    // One goes, so that there is room to look.
    drop(known.pop());
    let started = std::time::Instant::now();
    let counted = "signalhouse_http_refused_total{cause=\"connections\"} ";
    let metrics = loop {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let metrics = broker.exchange(request);
        if metrics.contains(counted) {
            break metrics;
        }
        assert!(started.elapsed() < DEADLINE, "{metrics}");
    };
    let line = metrics.lines().find(|line| line.starts_with(counted)).expect("it is there");
    assert!(line[counted.len()..].parse::<u64>().is_ok_and(|count| count >= 1), "{line}");
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

#[test]
fn who_waits_for_an_answer_is_no_stranger() {
    const STRANGERS: usize = 3;
    let most = STRANGERS.to_string();
    let environment = [("SIGNALHOUSE_HTTP__STRANGERS_PER_ADDRESS", most.as_str())];
    let broker = Broker::with("127.0.0.1", &environment);
    let key = broker.key("ann", &["--scope", "publish", "--scope", "subscribe"]);
    let _asked = broker.client(&key).events("filter=asked", None);
    let started = std::time::Instant::now();
    let mut waiting = Vec::new();
    let mut ask = |request: String| {
        let mut stream = broker.raw();
        stream.write_all(request.as_bytes()).expect("it reads");
        waiting.push(stream);
        // Served with nothing before it but those who wait.
        while !asks(&mut broker.raw(), "/metrics") {
            assert!(started.elapsed() < DEADLINE, "those who wait keep others out");
        }
    };
    let head = format!("Host: localhost\r\nAuthorization: Bearer {key}\r\n");
    for session in 0..STRANGERS {
        ask(format!(
            "GET /v1/messages?session=s{session}&filter=none&wait=30 HTTP/1.1\r\n{head}\r\n"
        ));
        let body = "{\"topic\":\"asked\",\"payload\":\"?\",\"timeout_s\":30}";
        let length = body.len();
        ask(format!(
            "POST /v1/request HTTP/1.1\r\n{head}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        ask(format!("POST /v1/publish HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n"));
    }
    for stream in &mut waiting {
        stream.set_nonblocking(true).expect("a socket option");
        let read = stream.read(&mut [0; 64]);
        let waits = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(read.as_ref().is_err_and(waits), "it is answered already: {read:?}");
    }
}

#[test]
fn who_connects_in_a_loop_hides_nobody_and_fills_no_log() {
    const LOOP: u64 = 1_100;
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__STRANGERS_PER_ADDRESS", "2")]);
    let ops = broker.client(&broker.key("ops", &["--scope", "admin", "--scope", "metrics"]));
    assert_eq!(broker.client("shk_x_y").status("GET", "/livez"), 401);
    let refused = || ops.get("/v1/refused?limit=1000").with(200)["refused"].clone();
    let known = refused().as_array().expect("a list").len();
    let silent = [broker.raw(), broker.raw()];
    for _ in 0..LOOP {
        drop(broker.raw().read_to_end(&mut Vec::new()));
    }
    drop(silent);
    let refused = refused();
    let list = refused.as_array().expect("a list");
    assert_eq!(list.len(), known + 1, "{refused}");
    assert!(list[0]["cause"].to_string().contains("(http.strangers_per_address)"), "{refused}");
    assert!(list[0]["count"].as_u64() >= Some(LOOP - 2), "{refused}");
    assert_eq!(list[1]["cause"], "the key is not known");
    broker.log_with("(http.strangers_per_address)");
    let lines = broker.lines_with("HTTP connections closed unserved");
    assert!((1..100).contains(&lines), "{lines} lines for {LOOP} connections");
}

#[test]
fn half_of_all_connections_are_for_those_who_were_let_in() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__CONNECTIONS", "4")]);
    let mut silent = vec![broker.raw(), broker.raw()];
    // Which of them came to be accepted last is the one that is closed.
    silent.push(broker.raw());
    let log = broker.log_with("(half of http.connections)");
    assert!(!log.contains("http.strangers_per_address"), "{log}");
}
