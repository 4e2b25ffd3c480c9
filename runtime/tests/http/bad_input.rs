//! What no client would send: refused with its cause, within bounds, and nobody else notices.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::json;

use crate::schema;
use crate::support::{Broker, DEADLINE, Folder, TOKEN_SECRET};

/// A name, bytes that are not a request for this interface, and how the answer begins.
type Bad = (&'static str, Vec<u8>, &'static str);

fn request(method: &str, path: &str, header: &[u8], body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    [head.as_bytes(), header, b"\r\n", body].concat()
}

fn get(path: &str) -> Vec<u8> {
    request("GET", path, b"", b"")
}

fn post(body: &[u8]) -> Vec<u8> {
    post_to("/v1/publish", body)
}

fn post_to(path: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.len());
    request("POST", path, length.as_bytes(), body)
}

/// JSON that opens and never closes.
fn nested(path: &str, open: &str, depth: usize) -> Vec<u8> {
    post_to(path, format!("{{\"topic\":\"a\",\"payload\":{}", open.repeat(depth)).as_bytes())
}

/// A request for a token, by who may have one, that opens and never closes.
fn for_token(key: &str, begin: &str, open: &str, depth: usize) -> Vec<u8> {
    let body = format!("{begin}{}", open.repeat(depth));
    let length = body.len();
    let header = format!("Authorization: Bearer {key}\r\nContent-Length: {length}\r\n");
    request("POST", "/v1/tokens", header.as_bytes(), body.as_bytes())
}

fn bad_bodies() -> Vec<Bad> {
    let chunked = b"Transfer-Encoding: chunked\r\n";
    let long_number = [b"{\"qos\":".as_slice(), &[b'9'; 9_999]].concat();
    vec![
        ("nested arrays", nested("/v1/publish", "[", 200_000), "HTTP/1.1 400"),
        ("nested objects", nested("/v1/publish", "{\"a\":", 100_000), "HTTP/1.1 400"),
        ("a nested request", nested("/v1/request", "[", 200_000), "HTTP/1.1 400"),
        ("a nested acknowledgement", nested("/v1/ack", "[", 200_000), "HTTP/1.1 400"),
        ("broken UTF-8", post(b"{\"topic\":\"\xff\xfe\"}"), "HTTP/1.1 400"),
        ("half a surrogate", post(br#"{"topic":"\ud800"}"#), "HTTP/1.1 400"),
        ("a number without end", post(&long_number), "HTTP/1.1 400"),
        ("no JSON", post(b"topic=a"), "HTTP/1.1 400"),
        ("an empty body", post(b""), "HTTP/1.1 400"),
        ("a large body", post(&vec![b' '; 2 * 1024 * 1024]), "HTTP/1.1 413"),
        (
            "two lengths",
            request("POST", "/v1/publish", b"Content-Length: 2\r\nContent-Length: 1\r\n", b"{}"),
            "HTTP/1.1 400",
        ),
        (
            "a length and chunks",
            request(
                "POST",
                "/v1/publish",
                &[b"Content-Length: 2\r\n", &chunked[..]].concat(),
                b"0\r\n\r\n",
            ),
            "HTTP/1.1 400",
        ),
        (
            "a chunk beyond counting",
            request("POST", "/v1/publish", chunked, b"FFFFFFFFFFFFFFFFFF\r\n"),
            "HTTP/1.1 400",
        ),
    ]
}

fn bad_heads() -> Vec<Bad> {
    let mqtt = b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x00\x00\x00\r\n\r\n";
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    let many = "X: y\r\n".repeat(1_000);
    let query = format!("/v1/subscribe?filter={}", "x".repeat(100_000));
    vec![
        ("no HTTP", mqtt.to_vec(), "HTTP/1.1 400"),
        ("another version", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), ""),
        ("a long header", request("GET", "/livez", long.as_bytes(), b""), "HTTP/1.1 431"),
        ("many headers", request("GET", "/livez", many.as_bytes(), b""), "HTTP/1.1 431"),
        ("a giant query", get(&query), "HTTP/1.1 4"),
        ("no method", b"/livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("no version", b"GET /livez\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("a header of bytes", request("GET", "/livez", b"\x01: y\r\n", b""), "HTTP/1.1 400"),
        (
            "no HTTP behind a request",
            b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n{\0\0\r\n\r\n".to_vec(),
            "HTTP/1.1 400",
        ),
        ("a path upwards", get("/../../etc/passwd"), "HTTP/1.1 404"),
        ("an encoded path upwards", get("/%2e%2e/%2e%2e/etc/passwd"), "HTTP/1.1 404"),
        ("a path of slashes", get("//livez"), "HTTP/1.1 404"),
        ("a path with an end", get("/livez/"), "HTTP/1.1 404"),
        ("a path with zero", get("/livez%00"), "HTTP/1.1 404"),
        (
            "broken UTF-8 in a query",
            get("/v1/subscribe?filter=a&session=%ff&qos=9"),
            "HTTP/1.1 400",
        ),
        ("an admin path with tricks", get("/v1/sessions/..%2f..%2flivez"), "HTTP/1.1 401"),
        ("a wrong method", request("PUT", "/v1/publish", b"", b""), "HTTP/1.1 405"),
        ("a strange method", request("BREW", "/livez", b"", b""), "HTTP/1.1 405"),
        (
            "a bad bearer",
            request("GET", "/livez", b"Authorization: Basic eDp5\r\n", b""),
            "HTTP/1.1 401",
        ),
        (
            "a bearer of bytes",
            request("GET", "/livez", b"Authorization: Bearer \xff\xfe\r\n", b""),
            "HTTP/1.1 401",
        ),
    ]
}

/// Heads that say not at all, twice, or in no form whom they call, and the status of the answer.
const HOSTS: [(&str, &str); 12] = [
    ("GET /livez HTTP/1.1\r\n", "400"),
    ("GET /v1/no/such/path HTTP/1.1\r\n", "400"),
    (
        "OPTIONS /v1/publish HTTP/1.1\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: POST\r\n",
        "400",
    ),
    ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", "400"),
    ("GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: example.org\r\n", "400"),
    ("GET /livez HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n", "400"),
    ("GET /livez HTTP/1.1\r\nHost: local host\r\n", "400"),
    ("GET /livez HTTP/1.1\r\nHost: ann@localhost\r\n", "400"),
    ("GET /livez HTTP/1.1\r\nHost: localhost/livez\r\n", "400"),
    ("GET /livez HTTP/1.0\r\n", "200"),
    ("GET /livez HTTP/1.1\r\nHost:\r\n", "200"),
    ("GET /livez HTTP/1.1\r\nHost: localhost:18083\r\n", "200"),
];

#[test]
fn a_request_says_once_whom_it_calls() {
    let origins = [("SIGNALHOUSE_HTTP__CORS_ORIGINS", "https://app.test")];
    let broker = Broker::with("127.0.0.1", &origins);
    for (head, status) in HOSTS {
        let answer = broker.exchange(format!("{head}Connection: close\r\n\r\n").as_bytes());
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
        if status == "400" {
            let body = answer.split("\r\n\r\n").nth(1).expect("a body");
            let fault: serde_json::Value = serde_json::from_str(body).expect("JSON");
            schema::check("Fault", &fault);
            assert!(fault["reason"].to_string().contains("Host"), "{head}: {fault}");
        }
    }
    // Whom the target names counts, whatever the header says.
    let foreign = "POST http://evil.test/v1/publish?topic=t HTTP/1.1\r\nHost: localhost\r\n\
                   Content-Length: 1\r\nConnection: close\r\n\r\nx";
    let answer = broker.exchange(foreign.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    for own in ["localhost", "localhost:18083", "[::1]:1"] {
        let own = foreign.replace("evil.test", own);
        assert!(broker.exchange(own.as_bytes()).starts_with("HTTP/1.1 200"), "{own}");
    }
    // A name before the host is none, whichever of the two looks like this machine.
    for user in ["localhost@evil.test", "localhost:x@evil.test", "[::1]@evil.test", "x@localhost"] {
        let answer = broker.exchange(foreign.replace("evil.test", user).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{user}: {answer}");
    }
}

#[test]
fn bad_requests_are_refused_and_leave_nothing_behind() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, TOKEN_SECRET).expect("a writable file");
    let environment = [
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret.to_str().expect("text")),
        ("SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS", "true"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let client = broker.keyless();
    let mut events = client.events("filter=bystander", None);
    let key = broker.key("web", &["--scope", "tokens"]);
    let bad: Vec<Bad> = bad_bodies()
        .into_iter()
        .chain(bad_heads())
        .chain([
            (
                "nested topics of a token",
                for_token(&key, r#"{"topics":"#, "[", 200_000),
                "HTTP/1.1 400",
            ),
            (
                "a nested user of a token",
                for_token(&key, r#"{"user":"#, "{\"a\":", 100_000),
                "HTTP/1.1 400",
            ),
        ])
        .collect();
    for (name, bytes, expected) in &bad {
        let answer = broker.exchange(bytes);
        assert!(answer.starts_with(expected), "{name}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 2") || expected.is_empty(), "{name}: {answer}");
        // The last, where another request went before.
        let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
        let (head, body) = last.split_once("\r\n\r\n").unwrap_or_default();
        if !answer.is_empty() {
            assert!(head.contains("content-type: application/json"), "{name}: {answer}");
            schema::check("Fault", &serde_json::from_str(body).expect("JSON"));
        }
    }
    let before_kib = broker.memory_kib();
    for _ in 0..10 {
        for (_, bytes, _) in &bad {
            broker.exchange(bytes);
        }
    }
    let grown_kib = broker.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB more");
    client.post("/v1/publish", &json!({"topic": "bystander", "payload": "x"})).with(200);
    assert_eq!(events.payload().0, "x");
}

#[test]
fn slow_requests_are_given_up() {
    let broker = Broker::with(
        "127.0.0.1",
        &[
            ("SIGNALHOUSE_HTTP__HEADER_TIMEOUT_MS", "300"),
            ("SIGNALHOUSE_HTTP__BODY_TIMEOUT_MS", "300"),
        ],
    );
    let started = Instant::now();
    for bytes in ["GET /livez HT", ""] {
        assert_eq!(broker.exchange(bytes.as_bytes()), "", "{bytes}");
    }
    broker.log_with("no whole head came in time (http.header_timeout_ms)");
    // Who is idle behind an answer is closed as well, and that is nothing to speak of.
    let idle = broker.exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    let slow = broker.exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li");
    assert!(slow.starts_with("HTTP/1.1 200"), "{slow}");
    let ops = broker.client(&broker.key("ops", &["--scope", "admin", "--scope", "metrics"]));
    let refused = ops.get("/v1/refused?door=http&limit=1000").with(200)["refused"].clone();
    let mut slow = refused.as_array().expect("a list").iter();
    let slow =
        slow.find(|one| one["cause"] == "no whole head came in time (http.header_timeout_ms)");
    let slow = slow.and_then(|slow| slow["count"].as_u64()).expect("they are remembered");
    assert!((2..=3).contains(&slow), "{refused}");
    let count = format!("signalhouse_http_refused_total{{cause=\"head_timeout\"}} {slow}");
    assert!(ops.get("/metrics").text.contains(&count), "{count}");
    for (bytes, expected) in [
        (
            "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"to",
            "HTTP/1.1 408",
        ),
        (
            "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"t",
            "HTTP/1.1 408",
        ),
    ] {
        let mut stream = broker.raw();
        stream.write_all(bytes.as_bytes()).expect("a living connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the broker closes");
        assert!(answer.starts_with(expected), "{bytes}: {answer}");
    }
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__CONNECTIONS", "4")]);
    let kept: Vec<_> = (0..4).map(|_| broker.raw()).collect();
    // One more is closed without a word as soon as the broker has seen the four.
    let mut answer = String::new();
    let mut beyond = broker.raw();
    drop(beyond.read_to_string(&mut answer));
    assert_eq!(answer, "");
    drop(kept);
    let started = Instant::now();
    while !broker
        .exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .starts_with("HTTP/1.1 200")
    {
        assert!(started.elapsed() < DEADLINE);
    }
}
