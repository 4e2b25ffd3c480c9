//! Publishing, once and with a reply.

use serde_json::json;

use crate::support::{Broker, Folder};

#[test]
fn the_answer_says_who_wanted_it_and_every_payload_arrives_as_it_was() {
    let broker = Broker::start();
    let client = broker.keyless();
    let alone = client.post("/v1/publish", &json!({"topic": "a/1", "payload": "x"}));
    assert_eq!(alone.with(200), json!({"matched": 0, "repeated": false}));
    let mut events = client.events("filter=a/%23&filter=b/%2B", None);
    for (body, expected) in [
        (json!({"topic": "a/1", "payload": "grüße"}), json!({"payload": "grüße"})),
        (
            json!({"topic": "b/1", "payload_json": {"x": [1, null]}, "qos": 2}),
            json!({"payload": "{\"x\":[1,null]}", "content_type": "application/json"}),
        ),
        (
            json!({"topic": "a", "payload_base64": "/wA=", "qos": 0}),
            json!({"payload_base64": "/wA="}),
        ),
        (
            json!({"topic": "a/p", "content_type": "t", "response_topic": "r",
                "correlation_data_base64": "AQ==", "user_properties": [["k", "v"], ["k", "w"]],
                "message_expiry_interval_s": 60}),
            json!({"payload": "", "content_type": "t", "response_topic": "r",
                "correlation_data_base64": "AQ==", "user_properties": [["k", "v"], ["k", "w"]],
                "message_expiry_interval_s": 60}),
        ),
    ] {
        let answer = client.post("/v1/publish", &body).with(200);
        assert_eq!(answer, json!({"matched": 1, "repeated": false}), "{body}");
        let event = events.next().expect("an event");
        crate::schema::check("Received", &event.data);
        assert_eq!(event.data["topic"], body["topic"]);
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&event.data[name], value, "{name} of {body}");
        }
    }
    // What is passed on as it stands is not looked into, however deep it is.
    let deep = [&b"["[..], b"]"].map(|bracket| bracket.repeat(100_000)).concat();
    let deep = String::from_utf8(deep).expect("ASCII");
    let body = format!(r#"{{"topic":"a/deep","payload_json":{deep}}}"#);
    let json = [("content-type", "application/json")];
    assert_eq!(client.send("POST", "/v1/publish", &json, &body).with(200)["matched"], 1);
    assert_eq!(events.payload().0, deep);
    let raw = client.send("POST", "/v1/publish?topic=a/raw&qos=0", &[], "as it is");
    assert_eq!(raw.with(200)["matched"], 1);
    assert_eq!(events.payload().0, "as it is");
}

/// What is said of it in `spec/http.md`: subscriptions are counted, not those who may receive.
#[test]
fn what_matches_is_counted_before_rules_of_receiving_are_asked() {
    let folder = Folder::new();
    let rules = folder.path().join("rules.txt");
    let text = "deny everyone receive t/quiet\nallow everyone all #\n";
    std::fs::write(&rules, text).expect("a writable file");
    let rules = rules.to_str().expect("text");
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_SECURITY__ACL_FILE", rules)]);
    let client = broker.keyless();
    client.get("/v1/messages?session=away&filter=t/%23").with(200);
    let mut events = client.events("filter=t/%23", None);
    for (topic, matched) in [("t/quiet", 2), ("t/loud", 2), ("other", 0)] {
        let answer = client.post("/v1/publish", &json!({"topic": topic, "payload": topic}));
        assert_eq!(answer.with(200)["matched"], matched, "{topic}");
    }
    assert_eq!(events.payload().0, "t/loud");
    let waiting = client.get("/v1/messages?session=away").with(200);
    assert_eq!(waiting["messages"].as_array().map(Vec::len), Some(1), "{waiting}");
    // Nobody could have replied, but somebody is subscribed.
    let ask = json!({"topic": "t/quiet", "timeout_s": 1});
    assert_eq!(client.post("/v1/request", &ask).with(504)["error"], "no_reply");
}

#[test]
fn a_key_makes_a_retry_safe() {
    let broker = Broker::start();
    let client = broker.keyless();
    let mut events = client.events("filter=once", None);
    let publish = |key: &str, payload: &str| {
        let body = json!({"topic": "once", "payload": payload}).to_string();
        client.send("POST", "/v1/publish", &[("idempotency-key", key)], &body)
    };
    assert_eq!(publish("k1", "1").with(200), json!({"matched": 1, "repeated": false}));
    assert_eq!(publish("k1", "1").with(200), json!({"matched": 1, "repeated": true}));
    assert_eq!(publish("k1", "2").with(422)["error"], "key_reused");
    assert_eq!(publish("k2", "2").with(200)["repeated"], false);
    assert_eq!(publish("", "3").with(400)["error"], "bad_request");
    assert_eq!(publish(&"k".repeat(256), "3").with(400)["error"], "bad_request");
    assert_eq!((events.payload().0, events.payload().0), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn a_request_is_answered_with_the_reply() {
    let broker = Broker::start();
    let client = broker.keyless();
    let ask = json!({"topic": "service", "payload": "ping", "timeout_s": 20});
    assert_eq!(client.post("/v1/request", &ask).with(504)["error"], "no_responders");
    let mut asked = client.events("filter=service", None);
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| broker.keyless().post("/v1/request", &ask));
        let question = asked.next().expect("an event").data;
        let answer = json!({
            "topic": question["response_topic"],
            "correlation_data_base64": question["correlation_data_base64"],
            "payload": format!("{} pong", question["payload"].as_str().expect("text")),
        });
        assert_eq!(client.post("/v1/publish", &answer).with(200)["matched"], 1);
        let reply = reply.join().expect("no panic").with(200);
        assert_eq!(reply["payload"], "ping pong");
    });
    let ask = json!({"topic": "service", "timeout_s": 1});
    assert_eq!(client.post("/v1/request", &ask).with(504)["error"], "no_reply");
    let chosen = json!({"topic": "service", "response_topic": "mine"});
    assert_eq!(client.post("/v1/request", &chosen).with(400)["error"], "bad_request");
}

#[test]
fn what_is_not_taken_is_refused_with_its_cause() {
    let broker = Broker::with(
        "127.0.0.1",
        &[("SIGNALHOUSE_LIMITS__RETAINED_MESSAGES", "1"), ("SIGNALHOUSE_LIMITS__MAXIMUM_QOS", "1")],
    );
    let client = broker.keyless();
    for (body, status, error) in [
        (json!({"topic": ""}), 400, "bad_topic"),
        (json!({"topic": "a/+"}), 400, "bad_topic"),
        (json!({"topic": "$SYS/x"}), 400, "bad_topic"),
        (json!({"topic": "a/".repeat(300)}), 400, "bad_topic"),
        (json!({"topic": "a\u{0}"}), 400, "bad_topic"),
        (json!({"payload": "x"}), 400, "bad_request"),
        (json!({"topic": "a", "qos": 3}), 400, "bad_request"),
        (json!({"topic": "a", "qos": 2}), 400, "qos_not_supported"),
        (json!({"topic": "a", "qos": -1}), 400, "bad_request"),
        (json!({"topic": "a", "unknown": 1}), 400, "bad_request"),
        (json!({"topic": "a", "payload": "x", "payload_json": 1}), 400, "bad_request"),
        (json!({"topic": "a", "payload_base64": "?"}), 400, "bad_request"),
        (json!({"topic": "a", "response_topic": "#"}), 400, "bad_topic"),
        (json!({"topic": "a", "timeout_s": 1}), 400, "bad_request"),
        (json!({"topic": "a", "user_properties": {"k": "v"}}), 400, "bad_request"),
        (json!(["a"]), 400, "bad_request"),
    ] {
        assert_eq!(client.post("/v1/publish", &body).with(status)["error"], error, "{body}");
    }
    for (topic, status) in [("kept", 200), ("kept", 200), ("another", 503)] {
        let body = json!({"topic": topic, "payload": "x", "retain": true});
        assert_eq!(client.post("/v1/publish", &body).status, status, "{topic}");
    }
}

#[test]
fn who_is_over_a_quota_is_told_and_when_to_come_again() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_QUOTAS__USER_MESSAGES_PER_DAY", "2")]);
    let ann = broker.client(&broker.key("ann", &["--scope", "publish"]));
    let bob = broker.client(&broker.key("bob", &["--scope", "publish"]));
    let body = json!({"topic": "t", "payload": "x"});
    for left in ["1", "0"] {
        let answer = ann.post("/v1/publish", &body);
        assert_eq!(answer.headers["x-quota-remaining-today"], left);
        answer.with(200);
    }
    let over = ann.post("/v1/publish", &body);
    let seconds: u64 =
        over.headers["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!((1..=24 * 60 * 60).contains(&seconds), "{seconds}");
    assert_eq!(over.with(429)["error"], "quota");
    bob.post("/v1/publish", &body).with(200);
    // Who is nobody has no user's quota.
    broker.keyless().post("/v1/publish", &body).with(200);
}

#[test]
fn a_days_count_survives_a_restart() {
    let folder = crate::support::Folder::new();
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path that is text");
    let environment = [
        ("SIGNALHOUSE_STORE__PATH", data),
        ("SIGNALHOUSE_STORE__DURABILITY", "strict"),
        ("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "3"),
    ];
    for (name, statuses) in [("KILL", [200, 200]), ("TERM", [200, 429])] {
        let mut broker = Broker::with("127.0.0.1", &environment);
        for status in statuses {
            let answer = broker.keyless().post("/v1/publish", &json!({"topic": "t"}));
            assert_eq!(answer.status, status, "{}", answer.text);
        }
        broker.signal(name);
        broker.wait();
    }
    let broker = Broker::with("127.0.0.1", &environment);
    assert_eq!(broker.keyless().post("/v1/publish", &json!({"topic": "t"})).status, 429);
}

#[test]
fn a_key_and_its_publication_survive_a_kill_together() {
    let folder = crate::support::Folder::new();
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path that is text");
    let environment = [
        ("SIGNALHOUSE_STORE__PATH", data),
        ("SIGNALHOUSE_STORE__DURABILITY", "strict"),
        ("SIGNALHOUSE_LIMITS__REQUEST_KEYS", "3"),
    ];
    let publish = |broker: &Broker, key: &str, topic: &str| {
        let body = json!({"topic": topic, "payload": key}).to_string();
        broker.keyless().send("POST", "/v1/publish", &[("idempotency-key", key)], &body)
    };
    let read = "/v1/messages?session=s&filter=kept&wait=0";
    let mut broker = Broker::with("127.0.0.1", &environment);
    broker.keyless().get(read).with(200);
    assert_eq!(publish(&broker, "k1", "kept").with(200), json!({"matched": 1, "repeated": false}));
    assert_eq!(publish(&broker, "k2", "nobody").with(200)["matched"], 0);
    for name in ["KILL", "TERM", "KILL"] {
        broker.signal(name);
        broker.wait();
        broker = Broker::with("127.0.0.1", &environment);
        let again = publish(&broker, "k1", "kept").with(200);
        assert_eq!(again, json!({"matched": 1, "repeated": true}), "after {name}");
        assert_eq!(publish(&broker, "k2", "nobody").with(200)["repeated"], true);
        assert_eq!(publish(&broker, "k1", "other").with(422)["error"], "key_reused");
    }
    let messages = broker.keyless().get(read).with(200);
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1), "{messages}");
    // The oldest of more than there may be is forgotten, by the next process too.
    for key in ["k3", "k4"] {
        publish(&broker, key, "nobody").with(200);
    }
    broker.signal("KILL");
    broker.wait();
    let broker = Broker::with("127.0.0.1", &environment);
    assert_eq!(publish(&broker, "k2", "nobody").with(200)["repeated"], true);
    assert_eq!(publish(&broker, "k1", "kept").with(200)["repeated"], false);
}
