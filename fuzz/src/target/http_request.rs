//! Plain HTTP: any bytes on a connection get answers of the interface's own or none, never an
//! error of the server's, and leave it alive. However they are cut, they are answered alike, and
//! whoever comes from afar without a key is let into nothing.

use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use signalhouse::http::keys::{KeyFile, Keys};
use signalhouse::http::{Options, Server, Trust, read};
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
/// What tokens are made with.
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
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
const QUERIES: [&str; 21] = [
    "topic",
    "filter",
    "session",
    "wait",
    "qos",
    "retain",
    "max",
    "next",
    "limit",
    "message_expiry_interval_s",
    "session_expiry_s",
    "access_token",
    "last_event_id",
    "user",
    "connected",
    "x",
    "queued",
    "door",
    "content_type",
    "timeout_s",
    "next_share",
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
const IDLE_TURNS: usize = 40;
/// The same for each piece in which the bytes come.
const TURNS_OF_PIECE: usize = 4;

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

/// What comes on one connection. New fields are appended, so that inputs of before are still read.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    pieces: Vec<Piece<'a>>,
    /// Lengths of what comes at once; what is left over comes together.
    cuts: Vec<u8>,
    /// Whether it comes from another machine.
    is_remote: bool,
}

/// Sends what is in `data` on one connection.
///
/// # Panics
/// If an answer is an error of the server's, lets in somebody without a key from afar, or depends
/// on how the bytes were cut; or a task panics.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut stream: Vec<u8> = Vec::new();
    for piece in &input.pieces {
        piece.read();
        piece.write(&mut stream);
    }
    if !input.cuts.is_empty() {
        // The library refuses a wrong head at once if it came whole, and else when it ends.
        stream.extend_from_slice(b"\r\n\r\n");
    }
    let whole = answers(vec![Bytes::copy_from_slice(&stream)], input.is_remote);
    let found = statuses(&whole);
    let text = String::from_utf8_lossy(&whole);
    // 503 is for who comes while it stops, 504 for an answer that did not come in time.
    let is_wrong = |status: &u16| matches!(*status, 500 | 502) || *status > 504;
    assert!(!found.iter().any(is_wrong), "{found:?}: {text}");
    let shows_key = stream.windows(KEY.len()).any(|bytes| bytes == KEY.as_bytes());
    if input.is_remote && !shows_key {
        assert!(!found.iter().any(|status| (200..300).contains(status)), "{found:?}: {text}");
    }
    if !input.cuts.is_empty() {
        let cut = answers(pieces_of(&stream, &input.cuts), input.is_remote);
        let cut_text = String::from_utf8_lossy(&cut);
        let cut = statuses(&cut);
        // Whoever is answered before the body has come is not heard any further. A whole stream comes
        // in pieces too, as large as the server reads.
        let text_of_stream = String::from_utf8_lossy(&stream).to_ascii_lowercase();
        let has_body = |it: &&str| text_of_stream.contains(*it);
        let is_cut_off = ["content-length", "transfer-encoding"].iter().any(has_body)
            && !cut.is_empty()
            && (found.starts_with(&cut) || cut.starts_with(&found));
        assert!(cut == found || is_cut_off, "{found:?}: {text}\ncut: {cut:?}: {cut_text}");
    }
}

fn pieces_of(stream: &[u8], cuts: &[u8]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(stream);
    let mut pieces: Vec<_> =
        cuts.iter().map(|length| rest.split_to(rest.len().min(usize::from(*length)))).collect();
    pieces.push(rest);
    pieces
}

/// Every status in the answers, in their order; 100 only says that a body is waited for. What
/// stands in a body cannot begin a line with it: those are JSON.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("\r\n").filter_map(|line| line.split("HTTP/1.1 ").nth(1));
    let statuses = lines.filter_map(|rest| rest.get(..3)?.parse().ok());
    statuses.filter(|status| *status != 100).collect()
}

fn answers(stream: Vec<Bytes>, is_remote: bool) -> Vec<u8> {
    // Each piece takes some turns before anything can be said to it.
    let turns = IDLE_TURNS + TURNS_OF_PIECE * stream.len();
    let script = Script::new(stream, false);
    let written = script.written.clone();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .unhandled_panic(UnhandledPanic::ShutdownRuntime)
        .build_local(LocalOptions::default())
        .expect("a runtime needs nothing");
    runtime.block_on(async {
        let clock = Stopped(Time::from_ms(1_800_000_000_000));
        let net =
            if is_remote { OneConnection::from_afar(script) } else { OneConnection::new(script) };
        let surroundings = Surroundings {
            net: net.clone(),
            clock,
            journal: MemoryJournal::new(),
            spawn: LocalSpawn,
            authenticate: Anonymous,
        };
        let shard = Shard::new(surroundings, shard_options());
        let keys = KeyFile::parse(KEYS).and_then(|file| Keys::new(&file)).expect("a right file");
        let trust = Trust::in_keys_and_tokens(keys, SECRET).expect("a long secret");
        let server = Server::new(shard.gateway(), clock, LocalSpawn, options(is_remote), trust);
        // Where that is, the network knows.
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        server.listen(&net, at, 1).expect("this network has no errors");
        drop(tokio::task::spawn_local(async move { drop(shard.run().await) }));
        let (mut idle, mut length) = (0, 0);
        while idle < turns {
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

/// From afar nothing is open to somebody without a key.
fn options(is_remote: bool) -> Options {
    Options {
        connections: 10,
        strangers_per_address: 10,
        header_timeout_ms: 60_000,
        body_timeout_ms: 60_000,
        write_stall_timeout_ms: 0,
        header_bytes: 16 * 1024,
        body_bytes: 4 * 1024,
        loopback_without_key: true,
        health_without_key: !is_remote,
        cors_origins: if is_remote {
            Vec::new()
        } else {
            vec!["https://app.example.com".to_owned()]
        },
        session_expiry_s: 60,
        response_topics: "answers".to_owned(),
    }
}

impl Piece<'_> {
    /// Has what it says read without a broker.
    fn read(&self) {
        let (query, body) = match self {
            Piece::Raw(bytes) => (String::from_utf8_lossy(bytes).into_owned(), bytes.to_vec()),
            Piece::Request { query, body, .. } => (query_of(query), body.bytes()),
        };
        let is_alone = !query.contains('#') && query.split('&').any(|it| it.starts_with("topic="));
        if let Ok(message) = read::publication(&query, &body)
            && is_alone
        {
            assert_eq!(message.payload, body, "the body alone is the payload");
        }
        if let Ok(filters) = read::receiving(&query) {
            assert!(filters <= query.split('&').count(), "{filters} of {query}");
        }
        if let Ok((session, id)) = read::acknowledgement(&body) {
            let said = format!(r#"{{"session":{session:?},"id":{id:?}}}"#);
            // What JSON writes otherwise than Rust is left out.
            let again = read::acknowledgement(said.as_bytes());
            assert!(again.is_err() || again == Ok((session, id)), "{again:?}");
        }
        drop(read::token_request(&body));
    }

    fn write(&self, stream: &mut Vec<u8>) {
        let (method, path, query, headers, with_key, body) = match self {
            Piece::Raw(bytes) => return stream.extend_from_slice(bytes),
            Piece::Request { method, path, query, headers, with_key, body } => {
                (method, path, query, headers, with_key, body)
            }
        };
        let method = ["GET", "POST", "DELETE", "OPTIONS", "PUT"][usize::from(method % 5)];
        let path = PATHS[usize::from(*path) % PATHS.len()];
        let query = query_of(query);
        let mut head = format!("{method} {path}?{query}");
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

fn query_of(query: &[(u8, &str)]) -> String {
    let pairs = query.iter().map(|(name, value)| {
        let name = QUERIES[usize::from(*name) % QUERIES.len()];
        format!("{name}={value}&")
    });
    pairs.collect()
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
            Body::Token { publish, subscribe, more } => {
                format!(r#"{{"user":"u","topics":[{publish:?},{subscribe:?}]{more}}}"#).into_bytes()
            }
        }
    }
}
