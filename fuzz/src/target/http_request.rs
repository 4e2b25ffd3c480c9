//! Plain HTTP: any bytes on a connection get answers of the interface's own or none, never an
//! error of the server's, and leave it alive.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use signalhouse::http::keys::{KeyFile, Keys};
use signalhouse::http::{Options, Server, Trust};
use signalhouse::seams::{Anonymous, LocalSpawn, MemoryJournal};
use signalhouse::shard::{self, Shard, Surroundings, Timeouts};
use signalhouse_core::{Config, Seed, Time};
use tokio::runtime::{Builder, LocalOptions, UnhandledPanic};

use crate::surroundings::{OneConnection, Script, Stopped};

/// A key that may do everything; the hash is that of `x`.
const KEY: &str = "shk_a_x";
const KEYS: &str = r#"
    [[key]]
    id = "a"
    user = "ops"
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    scopes = ["publish", "subscribe", "tokens", "metrics", "admin"]
"#;
const PATHS: [&str; 22] = [
    "/v1/publish",
    "/v1/request",
    "/v1/subscribe",
    "/v1/messages",
    "/v1/ack",
    "/v1/sessions",
    "/v1/sessions/s",
    "/v1/sessions/s/events",
    "/v1/sessions/s/disconnect",
    "/v1/subscriptions",
    "/v1/retained",
    "/v1/stuck",
    "/v1/refused",
    "/v1/tokens",
    "/v1/openapi.json",
    "/metrics",
    "/livez",
    "/readyz",
    "/",
    "/v1/sessions/http:x",
    "/v1/sessions/%2f",
    "/v1/",
];
const QUERIES: [&str; 16] = [
    "topic",
    "filter",
    "session",
    "wait",
    "qos",
    "retain",
    "max",
    "after",
    "limit",
    "expiry",
    "session_expiry",
    "access_token",
    "id",
    "client",
    "cursor",
    "x",
];
const HEADERS: [&str; 9] = [
    "Idempotency-Key",
    "Last-Event-ID",
    "Content-Type",
    "Origin",
    "Authorization",
    "Expect",
    "Transfer-Encoding",
    "Accept",
    "Content-Length",
];
/// How often the tasks get their turn after the last byte came out.
const IDLE_TURNS: u32 = 40;

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Raw(&'a [u8]),
    Request {
        method: u8,
        path: u8,
        query: Vec<(u8, &'a str)>,
        headers: Vec<(u8, &'a str)>,
        with_key: bool,
        body: Body<'a>,
    },
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    None,
    Text(&'a str),
    Bytes(&'a [u8]),
    Message { topic: &'a str, payload: &'a str, more: &'a str },
    Ack { id: &'a str },
    Token { publish: &'a str, subscribe: &'a str, more: &'a str },
}

/// Sends what is in `data` on one connection.
///
/// # Panics
/// If the answer is an error of the server's, or a task panics.
pub fn run(data: &[u8]) {
    let Ok(pieces) = <Vec<Piece<'_>>>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut stream: Vec<u8> = Vec::new();
    for piece in &pieces {
        piece.write(&mut stream);
    }
    let answers = answers(&stream);
    let statuses = statuses(&answers);
    // 503 is for who comes while it stops, 504 for an answer that did not come in time.
    let wrong: Vec<u16> = statuses
        .into_iter()
        .filter(|status| *status == 500 || *status == 502 || *status > 504)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}: {}", String::from_utf8_lossy(&answers));
}

/// Every status in the answers. What stands in a body cannot begin a line with it: those are JSON.
fn statuses(answers: &[u8]) -> BTreeSet<u16> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("\r\n").filter_map(|line| line.split("HTTP/1.1 ").nth(1));
    lines.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

fn answers(stream: &[u8]) -> Vec<u8> {
    let script = Script::new([Bytes::copy_from_slice(stream)], false);
    let written = script.written.clone();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .unhandled_panic(UnhandledPanic::ShutdownRuntime)
        .build_local(LocalOptions::default())
        .expect("a runtime needs nothing");
    runtime.block_on(async {
        let clock = Stopped(Time::from_ms(1_800_000_000_000));
        let net = OneConnection::new(script);
        let surroundings = Surroundings {
            net: net.clone(),
            clock,
            journal: MemoryJournal::new(),
            spawn: LocalSpawn,
            authenticate: Anonymous,
        };
        let shard = Shard::new(surroundings, shard_options());
        let keys = KeyFile::parse(KEYS).and_then(|file| Keys::new(&file)).expect("a right file");
        let server =
            Server::new(shard.gateway(), clock, LocalSpawn, options(), Trust::in_keys(keys));
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        server.listen(&net, at, 1).expect("this network has no errors");
        drop(tokio::task::spawn_local(async move { drop(shard.run().await) }));
        let (mut idle, mut length) = (0, 0);
        while idle < IDLE_TURNS {
            tokio::task::yield_now().await;
            let now = written.borrow().len();
            idle = if now == length { idle + 1 } else { 0 };
            length = now;
        }
    });
    drop(runtime);
    written.take()
}

fn shard_options() -> shard::Options {
    shard::Options {
        config: Config::default(),
        seed: Seed(1),
        outgoing_buffer_bytes: 64 * 1024,
        connect_maximum_bytes: 64 * 1024,
        timeouts: Timeouts { close_ms: 5_000, write_stall_ms: 0 },
    }
}

fn options() -> Options {
    Options {
        connections: 10,
        strangers_per_address: 10,
        header_timeout_ms: 60_000,
        body_timeout_ms: 60_000,
        write_stall_timeout_ms: 0,
        header_bytes: 16 * 1024,
        body_bytes: 4 * 1024,
        loopback_without_key: true,
        health_without_key: true,
        cors_origins: vec!["https://app.example.com".to_owned()],
        session_expiry_s: 60,
        response_topics: "answers".to_owned(),
    }
}

impl Piece<'_> {
    fn write(&self, stream: &mut Vec<u8>) {
        let (method, path, query, headers, with_key, body) = match self {
            Piece::Raw(bytes) => return stream.extend_from_slice(bytes),
            Piece::Request { method, path, query, headers, with_key, body } => {
                (method, path, query, headers, with_key, body)
            }
        };
        let method = ["GET", "POST", "DELETE", "OPTIONS", "PUT"][usize::from(method % 5)];
        let path = PATHS[usize::from(*path) % PATHS.len()];
        let mut head = format!("{method} {path}?");
        for (name, value) in query {
            let name = QUERIES[usize::from(*name) % QUERIES.len()];
            head.push_str(&format!("{name}={value}&"));
        }
        head.push_str(" HTTP/1.1\r\nHost: localhost\r\n");
        if *with_key {
            head.push_str(&format!("Authorization: Bearer {KEY}\r\n"));
        }
        for (name, value) in headers {
            let name = HEADERS[usize::from(*name) % HEADERS.len()];
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.extend_from_slice(head.as_bytes());
        let body = body.bytes();
        if !body.is_empty() {
            let head =
                format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
            stream.extend_from_slice(head.as_bytes());
        }
        stream.extend_from_slice(b"\r\n");
        stream.extend_from_slice(&body);
    }
}

impl Body<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Body::None => Vec::new(),
            Body::Text(text) => text.as_bytes().to_vec(),
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Message { topic, payload, more } => {
                format!(r#"{{"topic":{topic:?},"payload":{payload:?}{more}}}"#).into_bytes()
            }
            Body::Ack { id } => format!(r#"{{"session":"s","id":{id:?}}}"#).into_bytes(),
            Body::Token { publish, subscribe, more } => format!(
                r#"{{"user":"u","publish":[{publish:?}],"subscribe":[{subscribe:?}]{more}}}"#
            )
            .into_bytes(),
        }
    }
}
