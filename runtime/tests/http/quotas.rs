//! What each door answers to whoever is over each kind of quota: one row a quota, one column a door.

use serde_json::json;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::QoS;

use crate::connect::connect;
use crate::peer::{DOORS, Door, Next, Peer};
use crate::support::{Answer, Broker, Client, Folder, run};

fn broker(quotas: &[(&str, &str)]) -> Broker {
    let mut environment = vec![("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0")];
    environment.extend(quotas);
    Broker::with("127.0.0.1", &environment)
}

/// What a publication at QoS 1 that is over a quota is answered.
fn refusal(door: Door) -> Next {
    match door {
        Door::Mqtt311 => Next::Closed,
        Door::Mqtt5 | Door::WebSocket => Next::Acknowledged(ReasonCode::QuotaExceeded),
    }
}

const TAKEN: Next = Next::Acknowledged(ReasonCode::NoMatchingSubscribers);
const TAKEN_311: Next = Next::Acknowledged(ReasonCode::Success);

fn taken(door: Door) -> Next {
    if door == Door::Mqtt311 { TAKEN_311 } else { TAKEN }
}

/// Publications that were over a quota, as the metrics have it.
fn over_quota(client: &Client) -> u64 {
    let metrics = client.get("/metrics").text;
    let start = "signalhouse_publish_refused_total{reason=\"quota exceeded\",code=\"0x97\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(start));
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn messages_over_a_days_quota() {
    for door in DOORS {
        let broker = broker(&[("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "2")]);
        let mut peer = Peer::enter(&broker, door, "c");
        assert_eq!(peer.publish(QoS::AtLeastOnce, ""), taken(door), "{door:?}");
        let client = broker.keyless();
        let body = json!({"topic": "t"});
        let answer = client.post("/v1/publish", &body);
        assert_eq!(answer.headers["x-quota-remaining-today"], "0");
        answer.with(200);
        let over = client.post("/v1/publish", &body);
        let seconds = over.headers["retry-after"].to_str().expect("text").parse::<u64>();
        assert!((1..=86_400).contains(&seconds.expect("a number")));
        assert_eq!(over.headers["x-quota-remaining-today"], "0");
        assert_eq!(over.with(429)["error"], "quota");
        let over = client.post("/v1/request", &body);
        assert_eq!(over.headers["x-quota-remaining-today"], "0");
        assert_eq!(over.with(429)["error"], "quota");
        // At QoS 0 it is dropped and counted; who asks over HTTP is told.
        let before = over_quota(&client);
        assert_eq!(peer.publish(QoS::AtMostOnce, ""), Next::Pong, "{door:?}");
        assert_eq!(over_quota(&client), before + 1, "{door:?}");
        let qos0 = json!({"topic": "t", "qos": 0});
        assert_eq!(client.post("/v1/publish", &qos0).with(429)["error"], "quota");
        assert_eq!(peer.publish(QoS::AtLeastOnce, ""), refusal(door), "{door:?}");
    }
}

#[test]
fn what_is_left_of_the_day_is_on_refusals_too() {
    let broker = broker(&[("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "9")]);
    let client = broker.keyless();
    let once = [("content-type", "application/json"), ("idempotency-key", "k")];
    let left = |answer: &Answer| {
        answer.headers["x-quota-remaining-today"].to_str().expect("text").to_owned()
    };
    let taken = client.send("POST", "/v1/publish", &once, r#"{"topic": "t"}"#);
    assert_eq!((left(&taken).as_str(), taken.status), ("8", 200));
    let other = client.send("POST", "/v1/publish", &once, r#"{"topic": "other"}"#);
    assert_eq!((left(&other).as_str(), other.status), ("8", 422));
    let nobody = client.post("/v1/request", &json!({"topic": "t"}));
    assert_eq!(left(&nobody), "7");
    assert_eq!(nobody.with(504)["error"], "no_responders");
    client.get("/v1/messages?session=mute&filter=t&wait=0").with(200);
    let silence = client.post("/v1/request", &json!({"topic": "t", "timeout_s": 1}));
    assert_eq!(left(&silence), "6");
    assert_eq!(silence.with(504)["error"], "no_reply");
    // Without a quota of the day nothing is said of one.
    let free = Broker::start();
    let nobody = free.keyless().post("/v1/request", &json!({"topic": "t"}));
    assert!(!nobody.headers.contains_key("x-quota-remaining-today"));
    nobody.with(504);
}

#[test]
fn messages_over_a_seconds_quota() {
    for door in DOORS {
        let broker = broker(&[
            // A second's quota is full again after a second; on a slow machine that is before the
            // last message. So it is one, and of the many that are sent at once some are over it.
            ("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_SECOND", "1"),
            ("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "1000"),
            ("SIGNALHOUSE_QUOTAS__QOS0", "close"),
        ]);
        let mut peer = Peer::enter(&broker, door, "c");
        let answers = (0..50).map(|_| peer.publish(QoS::AtLeastOnce, ""));
        assert!(
            answers.take_while(|next| *next != Next::Closed).count() < 50 || door != Door::Mqtt311
        );
        let mut peer = Peer::enter(&broker, door, "c");
        let next =
            (0..50).map(|_| peer.publish(QoS::AtMostOnce, "")).find(|next| *next != Next::Pong);
        let closed = match door {
            Door::Mqtt311 => Next::Closed,
            Door::Mqtt5 | Door::WebSocket => Next::Dismissed(ReasonCode::MessageRateTooHigh),
        };
        assert_eq!(next, Some(closed), "{door:?}");
        let client = broker.keyless();
        let body = json!({"topic": "t", "qos": 0});
        let over = (0..50).map(|_| client.post("/v1/publish", &body)).find(|one| one.status != 200);
        let over = over.expect("a second's quota is used up");
        assert_eq!(over.headers["retry-after"], "1");
        let left = over.headers["x-quota-remaining-today"].to_str().expect("text");
        assert!((800..1000).contains(&left.parse::<u64>().expect("a number")), "{left}");
        assert_eq!(over.with(429)["error"], "quota");
    }
}

#[test]
fn connections_over_their_quota() {
    for door in DOORS {
        let broker = broker(&[("SIGNALHOUSE_QUOTAS__ADDRESS_CONNECTIONS", "1")]);
        let mut first = Peer::enter(&broker, door, "one");
        let (_second, reason) = Peer::connect(&broker, door, connect("two"));
        let expected = match door {
            // 3.1.1 has no code for it: the server is unavailable.
            Door::Mqtt311 => ReasonCode::ServerUnavailable,
            Door::Mqtt5 | Door::WebSocket => ReasonCode::QuotaExceeded,
        };
        assert_eq!(reason, expected, "{door:?}");
        let refused = broker.keyless().get("/v1/messages?session=third&filter=t&wait=0");
        assert_eq!(refused.with(429)["error"], "quota");
        first.send(&ClientPacket::PingReq);
        assert_eq!(first.next(), Next::Pong, "{door:?}");
    }
}

#[test]
fn stored_bytes_over_their_quota() {
    for closes in [false, true] {
        for door in DOORS {
            let broker = broker(&[
                ("SIGNALHOUSE_QUOTAS__ADDRESS_STORED_BYTES", "6"),
                ("SIGNALHOUSE_QUOTAS__QOS0", if closes { "close" } else { "drop" }),
            ]);
            let mut peer = Peer::enter(&broker, door, "c");
            assert_eq!(peer.publish(QoS::AtLeastOnce, "12345"), taken(door), "{door:?}");
            let client = broker.keyless();
            let body = json!({"topic": "another", "payload": "1", "retain": true});
            let over = client.post("/v1/publish", &body);
            assert!(!over.headers.contains_key("retry-after"), "nobody knows when");
            assert_eq!(over.with(429)["error"], "quota");
            let qos0 = peer.publish(QoS::AtMostOnce, "123456");
            let expected = match (closes, door) {
                (false, _) => Next::Pong,
                (true, Door::Mqtt311) => Next::Closed,
                (true, Door::Mqtt5 | Door::WebSocket) => Next::Dismissed(ReasonCode::QuotaExceeded),
            };
            assert_eq!(qos0, expected, "{door:?}");
            if closes {
                peer = Peer::enter(&broker, door, "c");
            }
            assert_eq!(peer.publish(QoS::AtLeastOnce, "123456"), refusal(door), "{door:?}");
            // What is deleted makes room.
            let clear = json!({"topic": "t", "payload": "", "retain": true});
            client.post("/v1/publish", &clear).with(200);
            let small = json!({"topic": "t", "payload": "12345", "retain": true});
            client.post("/v1/publish", &small).with(200);
        }
    }
}

/// A broker where one of two keys of the same user is bound.
struct Keyed {
    broker: Broker,
    bound: Client,
    free: Client,
    /// What stood for the bound key where a client identifier would.
    client_id: String,
    /// The files that the broker watches.
    _folder: Folder,
}

fn keyed(bounds: &str) -> Keyed {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (keys, quotas) = (path("keys.toml"), path("quotas.toml"));
    let key = || {
        let scopes = ["--scope", "publish", "--scope", "subscribe"];
        let made = run(&[&["key", "add", "--file", &keys, "--user", "ann"][..], &scopes].concat());
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    };
    let (bound, free) = (key(), key());
    let id = bound.split('_').nth(1).expect("shk_ID_SECRET");
    let quota = format!("[[quota]]\nkey = \"{id}\"\n{bounds}\n");
    std::fs::write(&quotas, quota).expect("a writable directory");
    let broker = broker(&[
        ("SIGNALHOUSE_HTTP__KEYS_FILE", keys.as_str()),
        ("SIGNALHOUSE_QUOTAS__FILE", quotas.as_str()),
    ]);
    let (client_id, bound, free) =
        (format!("http-{id}"), broker.client(&bound), broker.client(&free));
    Keyed { broker, bound, free, client_id, _folder: folder }
}

#[test]
fn messages_over_a_keys_quota_of_a_day() {
    let keyed = keyed("messages_per_day = 3");
    let Keyed { bound, free, .. } = &keyed;
    let once = || {
        let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
        bound.send("POST", "/v1/publish", &headers, &json!({"topic": "t"}).to_string())
    };
    let mut asked = free.events("filter=questions", None);
    for (repeated, left) in [(false, "2"), (true, "2")] {
        let answer = once();
        assert_eq!(answer.headers["x-quota-remaining-today"], left);
        assert_eq!(answer.with(200)["repeated"], repeated);
    }
    let question = json!({"topic": "questions", "timeout_s": 20});
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| bound.post("/v1/request", &question));
        let topic = asked.next().expect("an event").data["response_topic"].clone();
        free.post("/v1/publish", &json!({"topic": topic})).with(200);
        let reply = reply.join().expect("no panic");
        assert_eq!(reply.headers["x-quota-remaining-today"], "1");
        reply.with(200);
    });
    let body = json!({"topic": "t"});
    assert_eq!(bound.post("/v1/publish", &body).headers["x-quota-remaining-today"], "0");
    assert_eq!(once().headers["x-quota-remaining-today"], "0");
    assert_eq!(bound.post("/v1/publish", &body).with(429)["error"], "quota");
    assert_eq!(bound.post("/v1/request", &body).with(429)["error"], "quota");
    let unbounded = free.post("/v1/publish", &body);
    assert!(!unbounded.headers.contains_key("x-quota-remaining-today"));
    unbounded.with(200);
}

#[test]
fn messages_over_a_keys_quota_of_a_second() {
    let keyed = keyed("messages_per_second = 1");
    let Keyed { bound, free, .. } = &keyed;
    let body = json!({"topic": "t", "qos": 0});
    let over = (0..50).map(|_| bound.post("/v1/publish", &body)).find(|one| one.status != 200);
    let over = over.expect("a second's quota is used up");
    assert_eq!(over.headers["retry-after"], "1");
    assert_eq!(over.with(429)["error"], "quota");
    for _ in 0..20 {
        free.post("/v1/publish", &body).with(200);
    }
}

#[test]
fn connections_over_a_keys_quota() {
    let keyed = keyed("connections = 1");
    let Keyed { bound, free, .. } = &keyed;
    let stream = bound.events("filter=t", None);
    for path in ["/v1/subscribe?filter=t", "/v1/messages?session=two&filter=t&wait=0"] {
        assert_eq!(bound.get(path).with(429)["error"], "quota", "{path}");
        let free = free.events("filter=t", None);
        drop(free);
    }
    let request = json!({"topic": "t", "timeout_s": 1});
    assert_eq!(bound.post("/v1/request", &request).with(429)["error"], "quota");
    drop(stream);
    // The broker hears of the stream's end when it next writes to it.
    let poll = || {
        free.post("/v1/publish", &json!({"topic": "t"})).with(200);
        bound.get("/v1/messages?session=two&filter=t&wait=0").status
    };
    assert!((0..1_000).any(|_| poll() == 200), "a connection that ended makes room");
}

#[test]
fn stored_bytes_over_a_keys_quota() {
    let keyed = keyed("stored_bytes = 20");
    let Keyed { bound, free, .. } = &keyed;
    bound.get("/v1/messages?session=s&filter=t/%2B&wait=0").with(200);
    let publish = |client: &Client, topic: &str, retain: bool, payload: &str| {
        client
            .post("/v1/publish", &json!({"topic": topic, "payload": payload, "retain": retain}))
            .status
    };
    assert_eq!(publish(free, "t/1", false, "1234567"), 200);
    assert_eq!(publish(bound, "kept", true, "12345"), 200);
    assert_eq!(publish(bound, "more", true, "1"), 429);
    assert_eq!(publish(free, "more", true, "1"), 200, "its own bytes are not the key's");
    // What waits counts against whose session it waits for, whoever published it.
    assert_eq!(publish(free, "t/2", false, "1"), 503);
    assert_eq!(publish(bound, "kept", true, ""), 200);
    assert_eq!(publish(free, "t/2", false, "1"), 200);
}

#[test]
fn a_client_called_as_a_key_is_not_the_key() {
    let keyed = keyed("messages_per_day = 1\nconnections = 1");
    let Keyed { broker, bound, client_id, .. } = &keyed;
    for door in DOORS {
        let mut peer = Peer::enter(broker, door, client_id);
        for _ in 0..3 {
            assert_eq!(peer.publish(QoS::AtLeastOnce, ""), taken(door), "{door:?}");
        }
    }
    let _peer = Peer::enter(broker, Door::Mqtt5, client_id);
    let _stream = bound.events("filter=other", None);
    let left = bound.post("/v1/publish", &json!({"topic": "t"}));
    assert_eq!(left.headers["x-quota-remaining-today"], "0");
    left.with(200);
}
