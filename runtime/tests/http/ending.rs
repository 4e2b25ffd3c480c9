//! What requests are told that are there when the broker is told to stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::schema;
use crate::support::{Broker, DEADLINE};

/// Waits until nobody is let in any more.
fn until_shut(broker: &Broker) {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", broker.http_port)).is_ok() {
        assert!(started.elapsed() < DEADLINE, "it goes on accepting");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_route_says_503_to_a_request_that_comes_whole_when_the_broker_stops() {
    let mut broker = Broker::start();
    let key = broker.key("ops", &["--scope", "admin", "--scope", "metrics"]);
    let begun: Vec<_> = schema::operations()
        .map(|(method, path, _)| {
            let (method, filled) = (method.to_uppercase(), path.replace("{client_id}", "c"));
            let mut stream = broker.raw();
            write!(
                stream,
                "{method} {filled} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            )
            .expect("the broker reads");
            (method, filled, stream)
        })
        .collect();
    // Those connections are served, not only accepted by the system.
    let served =
        broker.exchange(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    broker.signal("TERM");
    until_shut(&broker);
    for (method, path, mut stream) in begun {
        stream.write_all(b"Content-Length: 0\r\n\r\n").expect("the connection is kept");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 503 "), "{method} {path}: {answer}");
        assert!(head.contains("retry-after: 1"), "{method} {path}: {head}");
        let body = serde_json::from_str(body).expect("JSON");
        schema::check_answer(&method, &path, 503, &answer, &body);
        assert_eq!(body["error"], "unavailable");
    }
    broker.wait();
}

/// The question has counted by then.
#[test]
fn a_request_that_waits_for_its_reply_is_told_what_is_left_of_its_quota() {
    let quota = ("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "5");
    let mut broker = Broker::with("127.0.0.1", &[quota]);
    let client = broker.keyless();
    let mut asked = client.events("filter=questions", None);
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let question = serde_json::json!({"topic": "questions", "timeout_s": 30});
            broker.keyless().post("/v1/request", &question)
        });
        assert_eq!(asked.next().expect("an event").name, "message");
        broker.signal("TERM");
        waiting.join().expect("no panic")
    });
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.headers["x-quota-remaining-today"], "4");
    assert_eq!(answer.headers["retry-after"], "1");
    broker.wait();
}

#[test]
fn a_request_that_was_let_in_before_is_answered_as_it_stands() {
    let mut broker = Broker::start();
    let mut stream = broker.raw();
    let head =
        "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"topic\"";
    stream.write_all(head.as_bytes()).expect("the broker reads");
    let mut events = broker.keyless().events("filter=t", None);
    broker.signal("TERM");
    assert_eq!(events.next().expect("an event").name, "closed");
    until_shut(&broker);
    stream.write_all(b":\"t\"}").expect("the connection is kept");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    // Whether the machine still takes it is a matter of moments; what it says is what was done.
    let status = if head.starts_with("HTTP/1.1 200 ") { 200 } else { 503 };
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let body = serde_json::from_str(body).expect("JSON");
    schema::check_answer("POST", "/v1/publish", status, &answer, &body);
    broker.wait();
}
