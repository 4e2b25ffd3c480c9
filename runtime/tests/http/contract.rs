//! The document and the broker, held against each other: every answer that the document allows can
//! be had, and every route that is served is in it. That no other answer comes is checked
//! with each answer of every test here.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use serde_json::json;

use crate::peer::{Door, Peer};
use crate::schema;
use crate::support::{Broker, Client, Folder};

/// Method, path as the document has it, and status.
type Shown = (String, String, u16);

struct Contract(BTreeSet<Shown>);

impl Contract {
    /// Asks, and notes what came; the document has been asked whether it may.
    #[track_caller]
    fn ask(&mut self, client: &Client, line: &str, headers: &[(&str, &str)], status: u16) {
        let (request, body) = line.split_once(" | ").unwrap_or((line, ""));
        let (method, path) = request.split_once(' ').expect("METHOD PATH");
        let answer = client.send(method, path, headers, body);
        assert_eq!(answer.status, status, "{line}: {}", answer.text);
        self.note(method, path, status);
    }

    fn note(&mut self, method: &str, path: &str, status: u16) {
        let template = schema::template_of(path).expect("a path of the document");
        self.0.insert((method.to_lowercase(), template.to_owned(), status));
    }

    /// Sends the head of a request whose body does not come, or not within the bounds.
    fn send_head(&mut self, broker: &Broker, key: &str, method: &str, path: &str, status: u16) {
        let length = if status == 413 { 99_999_999 } else { 100 };
        let mut stream = broker.raw();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{{"
        )
        .expect("the broker reads");
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        let head = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&head), "{method} {path}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        schema::check("Fault", &serde_json::from_str(body).expect("JSON"));
        self.note(method, path, status);
    }
}

/// Requests that go well or not, by one who has every scope.
const LINES: [(&str, u16); 57] = [
    ("GET /livez", 200),
    ("GET /readyz", 200),
    ("GET /metrics", 200),
    ("GET /v1/openapi.json", 200),
    ("GET /v1/messages?session=c&filter=t", 200),
    ("GET /v1/messages?session=m&filter=t", 200),
    ("GET /v1/messages", 400),
    ("GET /v1/subscribe", 400),
    (r#"POST /v1/publish | {"topic":"r","payload":"x","retain":true}"#, 200),
    ("POST /v1/publish | {", 400),
    (r#"POST /v1/request | {"topic":"nobody"}"#, 504),
    ("POST /v1/request | {", 400),
    (r#"POST /v1/ack | {"session":"m","id":"1-1"}"#, 200),
    (r#"POST /v1/ack | {"session":"m","id":"x"}"#, 400),
    (r#"POST /v1/ack | {"session":"none","id":"1-1"}"#, 404),
    ("POST /v1/tokens | {}", 200),
    (r#"POST /v1/tokens | {"expires_s":0}"#, 400),
    ("GET /v1/sessions", 200),
    ("GET /v1/sessions?limit=0", 400),
    ("GET /v1/sessions?limit=x", 400),
    ("GET /v1/sessions?lim=1", 400),
    ("GET /v1/sessions/c", 200),
    ("GET /v1/sessions/%00", 400),
    ("GET /v1/sessions/%ff", 400),
    ("GET /v1/sessions/none", 404),
    ("GET /v1/sessions/..%2f..%2flivez", 404),
    ("GET /v1/sessions/c/events", 200),
    ("GET /v1/sessions/%00/events", 400),
    ("GET /v1/sessions/none/events", 404),
    ("POST /v1/sessions/c/disconnect", 204),
    ("POST /v1/sessions/%00/disconnect", 400),
    ("POST /v1/sessions/none/disconnect", 404),
    ("GET /v1/subscriptions", 200),
    ("GET /v1/subscriptions?limit=0", 400),
    ("GET /v1/subscriptions?next=99999999999", 400),
    ("GET /v1/subscriptions?next=0:a/%23/b", 400),
    ("GET /v1/retained", 200),
    ("GET /v1/retained?limit=0", 400),
    ("GET /v1/retained?filter=%23/a", 400),
    ("GET /v1/retained?next=%23", 400),
    ("DELETE /v1/retained?topic=r", 204),
    ("DELETE /v1/retained?topic=r", 404),
    ("DELETE /v1/retained?topic=%23", 400),
    ("DELETE /v1/retained", 400),
    ("GET /v1/stuck", 200),
    ("GET /v1/stuck?limit=0", 400),
    ("GET /v1/stuck?queued=-1", 400),
    ("GET /v1/stuck?queued=99999999999999999999999999", 400),
    ("GET /v1/refused", 200),
    ("GET /v1/refused?limit=0", 400),
    ("GET /v1/refused?limit=1001", 400),
    ("DELETE /v1/sessions/c", 204),
    ("DELETE /v1/sessions/%00", 400),
    ("DELETE /v1/sessions/c", 404),
    ("POST /v1/publish?topic=t&qos=9 | x", 400),
    ("POST /v1/publish?topic=t&unknown=9 | x", 400),
    (r#"POST /v1/publish?qos=2 | {"topic":"t"}"#, 400),
];

const EVERY_SCOPE: [&str; 10] = [
    "--scope",
    "publish",
    "--scope",
    "subscribe",
    "--scope",
    "tokens",
    "--scope",
    "metrics",
    "--scope",
    "admin",
];

#[test]
fn every_answer_of_the_document_can_be_had() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of at least thirty-two bytes\n").expect("a writable file");
    let environment = [
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret.to_str().expect("text")),
        ("SIGNALHOUSE_HTTP__BODY_TIMEOUT_MS", "200"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let key = broker.key("ops", &EVERY_SCOPE);
    let ops = broker.client(&key);
    let mut contract = Contract(BTreeSet::new());
    for (line, status) in LINES {
        contract.ask(&ops, line, &[], status);
    }
    let once = [("idempotency-key", "k")];
    contract.ask(&ops, r#"POST /v1/publish | {"topic":"a"}"#, &once, 200);
    contract.ask(&ops, r#"POST /v1/publish | {"topic":"b"}"#, &once, 422);
    drop(ops.events("filter=t", None));
    contract.note("GET", "/v1/subscribe", 200);
    ask_who_replies(&mut contract, &broker, &key);
    let (metrics, publish) = (
        broker.client(&broker.key("a", &["--scope", "metrics"])),
        broker.client(&broker.key("a", &["--scope", "publish"])),
    );
    for (method, path, operation) in schema::operations() {
        let (method, filled) = (method.to_uppercase(), path.replace("{client_id}", "c"));
        let line = format!("{method} {filled}");
        contract.ask(
            &ops,
            &line,
            &[("x-api-key", "shk_no_key"), ("authorization", "Bearer x")],
            401,
        );
        if let Some(scope) = operation["x-scope"].as_str() {
            let without = if scope == "metrics" { &publish } else { &metrics };
            contract.ask(without, &line, &[], 403);
        }
        for status in [408, 413] {
            if !operation["responses"][status.to_string()].is_null() {
                contract.send_head(&broker, &key, &method, &filled, status);
            }
        }
        if !operation["responses"]["415"].is_null() {
            contract.ask(&ops, &line, &[("content-type", "multipart/form-data; boundary=x")], 415);
        }
    }
    ask_the_bounded(&mut contract);
    ask_those_who_are_in(&mut contract);
    ask_about_one_who_is_connected(&mut contract);
    // What is told while the broker ends has a test of its own.
    for (method, path, operation) in schema::operations() {
        assert!(!operation["responses"]["503"].is_null(), "{path} ends with the broker too");
        contract.0.insert((method.to_owned(), path.to_owned(), 503));
    }
    let documented: BTreeSet<Shown> = schema::operations()
        .flat_map(|(method, path, operation)| {
            let statuses = operation["responses"].as_object().expect("answers").keys();
            let statuses = statuses.map(|status| status.parse().expect("a number"));
            statuses.map(move |status: u16| (method.to_owned(), path.to_owned(), status))
        })
        .collect();
    let missing: Vec<_> = documented.difference(&contract.0).collect();
    assert!(missing.is_empty(), "no request was answered like this: {missing:?}");
    let beyond: Vec<_> = contract.0.difference(&documented).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
}

/// A request that somebody replies to.
fn ask_who_replies(contract: &mut Contract, broker: &Broker, key: &str) {
    let ops = broker.client(key);
    let mut asked = ops.events("filter=service", None);
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| {
            let ask = json!({"topic": "service", "timeout_s": 20});
            broker.client(key).post("/v1/request", &ask).status
        });
        let topic = asked.next().expect("an event").data["response_topic"].clone();
        ops.post("/v1/publish", &json!({"topic": topic})).with(200);
        assert_eq!(reply.join().expect("no panic"), 200);
    });
    contract.note("POST", "/v1/request", 200);
}

/// What brokers say that have no more room, no quota left, or no secret.
fn ask_the_bounded(contract: &mut Contract) {
    let environment = [
        ("SIGNALHOUSE_QUOTAS__USER_MESSAGES_PER_DAY", "1"),
        ("SIGNALHOUSE_LIMITS__CONNECTIONS", "1"),
        ("SIGNALHOUSE_LIMITS__RETAINED_MESSAGES", "0"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let ops = broker.client(&broker.key("ops", &EVERY_SCOPE));
    contract.ask(&ops, "POST /v1/tokens | {}", &[], 404);
    ops.get("/v1/messages?session=m&filter=t").with(200);
    contract.ask(&ops, r#"POST /v1/publish | {"topic":"t"}"#, &[], 200);
    contract.ask(&ops, r#"POST /v1/publish | {"topic":"t"}"#, &[], 429);
    contract.ask(&ops, r#"POST /v1/request | {"topic":"t"}"#, &[], 429);
    let retained = r#"POST /v1/publish | {"topic":"t","retain":true,"payload":"x"}"#;
    contract.ask(&broker.keyless(), retained, &[], 503);
    let mut only = ops.events("filter=t", None);
    for line in [
        "GET /v1/subscribe?filter=t",
        "GET /v1/messages?session=m&filter=t",
        r#"POST /v1/ack | {"session":"m","id":"1-1"}"#,
        r#"POST /v1/request | {"topic":"t"}"#,
    ] {
        contract.ask(&ops, line, &[], 503);
    }
    broker.keyless().post("/v1/publish", &json!({"topic": "t", "payload": "x"})).with(200);
    assert_eq!(only.payload().0, "x");
}

/// What a broker says to those who have as many connections as their quota allows.
fn ask_those_who_are_in(contract: &mut Contract) {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_QUOTAS__USER_CONNECTIONS", "1")]);
    let ops = broker.client(&broker.key("ops", &EVERY_SCOPE));
    let _only = ops.events("filter=t", None);
    contract.ask(&ops, "GET /v1/subscribe?filter=t", &[], 429);
    contract.ask(&ops, "GET /v1/messages?session=m&filter=t", &[], 429);
}

/// What an acknowledgement meets where the session's client is there itself.
fn ask_about_one_who_is_connected(contract: &mut Contract) {
    let broker = Broker::start();
    let ops = broker.keyless();
    let _connected = Peer::enter(&broker, Door::Mqtt5, "c");
    contract.ask(&ops, r#"POST /v1/ack | {"session":"c","id":"1-1"}"#, &[], 409);
}

/// What the query of each route may name is what the document says, no more and no less.
#[test]
fn every_name_in_a_query_is_in_the_document() {
    let broker = Broker::start();
    let ops = broker.client(&broker.key("ops", &EVERY_SCOPE));
    let mut seen = 0;
    for (method, path, operation) in schema::operations() {
        let mut documented: BTreeSet<_> =
            schema::query_names(operation).into_iter().map(str::to_owned).collect();
        // What probes and browsers add to these is theirs.
        if ["/livez", "/readyz", "/metrics", "/v1/openapi.json"].contains(&path) {
            continue;
        }
        let filled = path.replace("{client_id}", "c");
        let line = format!("{filled}?no_such_name=1");
        let body = if path == "/v1/ack" { r#"{"session":"s","id":"1-1"}"# } else { "{}" };
        let answer = ops.send(&method.to_uppercase(), &line, &[], body);
        assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text);
        let reason = answer.json["reason"].as_str().expect("text");
        let (_, known) = reason.split_once("unknown field `no_such_name`").expect(reason);
        let known: BTreeSet<_> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        // Read, and refused in this one.
        let others: &[&str] = match path {
            "/v1/publish" => &["timeout_s"],
            "/v1/subscribe" => &["wait", "max"],
            _ => &[],
        };
        for name in others {
            let line = format!("{filled}?topic=t&filter=t&{name}=1");
            let line = if path == "/v1/publish" {
                line.replace("filter=t&", "")
            } else {
                line.replace("topic=t&", "")
            };
            assert_eq!(ops.send(&method.to_uppercase(), &line, &[], "").status, 400, "{line}");
            assert!(documented.insert((*name).to_owned()), "{path} {name}");
        }
        assert_eq!(known, documented, "{method} {path}: {reason}");
        seen += documented.len();
    }
    assert!(seen > 30, "{seen} names");
    // Every one of them, of a message: what is known alone is not yet taken.
    for (path, more, status) in [("/v1/publish", "", 200), ("/v1/request", "&timeout_s=1", 504)] {
        let line = format!(
            "{path}?topic=t&qos=0&retain=false&message_expiry_interval_s=9&content_type=a/b{more}"
        );
        let bytes = [("content-type", "application/octet-stream")];
        assert_eq!(ops.send("POST", &line, &bytes, "{not json").status, status, "{line}");
    }
}

/// Whoever cannot send Authorization has another header.
#[test]
fn a_key_may_come_in_a_header_of_its_own() {
    let broker = Broker::with("0.0.0.0", &[]);
    let key = broker.key("ops", &["--scope", "publish"]);
    let by = |name: &str| {
        let header = [(name, key.as_str())];
        broker.keyless().send("POST", "/v1/publish?topic=t", &header, "x").status
    };
    assert_eq!([by("x-api-key"), by("x-other-key")], [200, 401]);
    for (method, path, operation) in schema::operations() {
        let security = &operation["security"];
        let ways = json!([{"key": []}, {"api_key": []}]);
        assert!(security.is_null() || *security == ways, "{method} {path}: {security}");
    }
    assert_eq!(schema::security_scheme("api_key")["name"], "X-API-Key");
}

/// The routes, as the router's source has them.
#[test]
fn every_route_is_in_the_document() {
    let source = include_str!("../../src/http.rs");
    let mut served = BTreeSet::new();
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').expect("a path");
        let rest = rest.split(".route(").next().and_then(|rest| rest.split(".method_").next());
        for method in ["get", "post", "delete", "put", "patch"] {
            if rest.expect("handlers").contains(&format!("{method}(")) {
                served.insert((method, path.to_owned()));
            }
        }
    }
    let documented: BTreeSet<_> =
        schema::operations().map(|(method, path, _)| (method, path.to_owned())).collect();
    assert_eq!(served, documented);
    assert!(served.len() > 15, "{served:?}");
}
