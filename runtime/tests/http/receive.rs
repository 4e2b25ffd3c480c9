//! Event streams and polls, and sessions that outlive them.

use serde_json::{Value, json};

use signalhouse_core::wire::packet::{ClientPacket, Connect};
use signalhouse_core::wire::reason::ReasonCode;

use crate::connect::connect;
use crate::peer::{Door, Next, Peer};
use crate::support::{Broker, Client, Folder};

fn publish(client: &Client, payload: &str) {
    let body = json!({"topic": "inbox/1", "payload": payload});
    assert_eq!(client.post("/v1/publish", &body).with(200)["matched"], 1);
}

fn payloads(answer: &Value) -> Vec<&str> {
    let messages = answer["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["payload"].as_str().expect("text")).collect()
}

#[test]
fn a_stream_goes_on_where_the_last_one_was_acknowledged() {
    let broker = Broker::start();
    let client = broker.keyless();
    let query = "filter=inbox/%23&session=phone";
    let mut events = client.events(query, None);
    for payload in ["1", "2", "3"] {
        publish(&client, payload);
    }
    let (_, first) = events.payload();
    assert_eq!(events.payload().0, "2");
    drop(events);
    publish(&client, "4");
    let mut events = client.events(query, first.as_deref());
    let got: Vec<_> = (0..3).map(|_| events.payload()).collect();
    assert_eq!(
        got.iter().map(|(payload, _)| payload.as_str()).collect::<Vec<_>>(),
        ["2", "3", "4"]
    );
    // An acknowledgement reaches the stream that is open.
    let ack = |id: &Option<String>| json!({"session": "phone", "id": id.as_ref().expect("an id")});
    assert_eq!(client.post("/v1/ack", &ack(&got[1].1)).with(200)["acknowledged"], 2);
    assert_eq!(client.post("/v1/ack", &ack(&got[1].1)).with(200)["acknowledged"], 0);
    drop(events);
    // And the session that nobody receives for.
    let mut events = client.events(query, None);
    let (payload, last) = events.payload();
    assert_eq!(payload, "4");
    drop(events);
    assert_eq!(client.post("/v1/ack", &ack(&last)).with(200)["acknowledged"], 1);
    publish(&client, "5");
    let mut events = client.events("session=phone", first.as_deref());
    assert_eq!(events.payload().0, "5");
    assert_eq!(client.post("/v1/ack", &json!({"session": "none", "id": "1-1"})).status, 404);
    assert_eq!(client.post("/v1/ack", &json!({"session": "phone", "id": "x"})).status, 400);
}

/// An event source comes back to a broker that was killed, with what it had last.
#[test]
fn a_stream_goes_on_where_it_was_when_the_broker_was_killed() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let environment = [
        ("SIGNALHOUSE_STORE__DURABILITY", "strict"),
        ("SIGNALHOUSE_STORE__PATH", data.to_str().expect("text")),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let query = "filter=inbox/%23&session=phone";
    let mut events = broker.keyless().events(query, None);
    for payload in ["1", "2", "3"] {
        publish(&broker.keyless(), payload);
    }
    let got: Vec<_> = (0..3).map(|_| events.payload()).collect();
    assert_eq!(got.iter().map(|(payload, _)| payload).collect::<Vec<_>>(), ["1", "2", "3"]);
    drop(broker); // which kills it
    let broker = Broker::with("127.0.0.1", &environment);
    let mut events = broker.keyless().events(query, got[0].1.as_deref());
    let again: Vec<_> = (0..2).map(|_| events.payload()).collect();
    assert_eq!(again, got[1..], "under the names that they had");
    publish(&broker.keyless(), "4");
    let (payload, fourth) = events.payload();
    assert_eq!(payload, "4");
    assert!(!got.iter().any(|(_, id)| *id == fourth), "{fourth:?} is new");
    drop((events, broker));
    let broker = Broker::with("127.0.0.1", &environment);
    // What was acknowledged by the name it had before the first end stays so.
    let ack = json!({"session": "phone", "id": fourth});
    assert_eq!(broker.keyless().post("/v1/ack", &ack).with(200)["acknowledged"], 3);
    let left = broker.keyless().get("/v1/messages?session=phone").with(200);
    assert_eq!(left, json!({"session_present": true, "messages": []}));
}

#[test]
fn polls_give_what_waits_until_it_is_acknowledged() {
    let broker = Broker::start();
    let client = broker.keyless();
    let first = client.get("/v1/messages?session=poll&filter=inbox/%23").with(200);
    assert_eq!(first, json!({"session_present": false, "messages": []}));
    for payload in ["1", "2", "3"] {
        publish(&client, payload);
    }
    let two = client.get("/v1/messages?session=poll&max=2").with(200);
    assert_eq!(payloads(&two), ["1", "2"]);
    let again = client.get("/v1/messages?session=poll").with(200);
    assert_eq!(payloads(&again), ["1", "2", "3"]);
    let id = two["messages"][1]["id"].as_str().expect("an id");
    let path = format!("/v1/messages?session=poll&last_event_id={id}");
    assert_eq!(payloads(&client.get(&path).with(200)), ["3"]);
    // A poll that waits is answered when something comes.
    let id = again["messages"][2]["id"].as_str().expect("an id");
    let path = format!("/v1/messages?session=poll&wait=25&last_event_id={id}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| broker.keyless().get(&path).with(200));
        let admin = broker.admin();
        while admin.get("/v1/sessions/poll").with(200)["session"]["connected"] == false {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        publish(&client, "4");
        assert_eq!(payloads(&waiting.join().expect("no panic")), ["4"]);
    });
}

#[test]
fn a_stream_whose_window_is_full_ends_and_goes_on() {
    let broker = Broker::start();
    let client = broker.keyless();
    let query = "filter=inbox/%23&session=source";
    let mut last = None;
    let mut got = Vec::new();
    let mut events = client.events(query, None);
    for number in 0..300 {
        publish(&client, &number.to_string());
    }
    while got.len() < 300 {
        while got.len() < 300
            && let Some(event) = events.next()
        {
            assert_eq!(event.name, "message");
            got.push(event.data["payload"].as_str().expect("text").to_owned());
            last = event.id;
        }
        events = client.events(query, last.as_deref());
    }
    let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(got, expected);
}

#[test]
fn retained_messages_come_first_and_once_for_a_session() {
    let broker = Broker::start();
    let client = broker.keyless();
    let kept = json!({"topic": "inbox/1", "payload": "kept", "retain": true});
    client.post("/v1/publish", &kept).with(200);
    let event = client.events("filter=inbox/1", None).next().expect("an event");
    assert_eq!((&event.data["payload"], &event.data["retain"]), (&json!("kept"), &json!(true)));
    assert!(event.id.is_none(), "nothing is owed to a stream without a session");
    let query = "/v1/messages?session=s&filter=inbox/1";
    let first = client.get(query).with(200);
    assert_eq!(payloads(&first), ["kept"]);
    let id = first["messages"][0]["id"].as_str().expect("an id");
    let again = client.get(&format!("{query}&last_event_id={id}")).with(200);
    assert_eq!(payloads(&again), [""; 0]);
}

#[test]
fn what_cannot_be_received_is_refused_with_its_cause() {
    let broker = Broker::start();
    let client = broker.keyless();
    for (path, status) in [
        ("/v1/subscribe", 400),
        ("/v1/subscribe?filter=", 400),
        ("/v1/subscribe?filter=a/%23/b", 400),
        ("/v1/subscribe?filter=a&qos=2", 400),
        ("/v1/subscribe?filter=a&qos=x", 400),
        ("/v1/subscribe?filter=a&unknown=1", 400),
        ("/v1/subscribe?filter=a&session=", 400),
        ("/v1/subscribe?filter=a&session=a&session=b", 400),
        ("/v1/subscribe?session=new", 400),
        ("/v1/subscribe?filter=a&wait=1", 400),
        ("/v1/subscribe?filter=a&last_event_id=1-1", 400),
        ("/v1/messages?filter=a", 400),
        ("/v1/messages?session=s&filter=a&wait=3600", 400),
        ("/v1/messages?session=s&filter=a&max=0", 400),
        ("/v1/messages?session=s&filter=a&last_event_id=zebra", 400),
    ] {
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
    let many = "filter=a&".repeat(65);
    assert_eq!(client.get(&format!("/v1/subscribe?{many}")).status, 400);
}

#[test]
fn a_request_for_several_filters_gets_all_of_them_or_none() {
    let broker = Broker::start();
    let admin = broker.admin();
    let scopes = ["--scope", "subscribe", "--topic", "a/#"];
    let ann = broker.client(&broker.key("ann", &scopes));
    for way in ["subscribe", "messages"] {
        for filters in ["filter=a/1&filter=b/1", "filter=b/1&filter=a/1", "filter=b/1"] {
            let refused = ann.get(&format!("/v1/{way}?session=s&{filters}")).with(403);
            assert_eq!(refused["error"], "forbidden");
            let reason = refused["reason"].as_str().expect("text");
            assert!(reason.contains("the filter b/1"), "{reason}");
            assert_eq!(admin.get("/v1/sessions/s").status, 404, "it was made for this alone");
        }
    }
    // A session that was there is as it was, and acknowledges nothing.
    ann.get("/v1/messages?session=s&filter=a/1&qos=1").with(200);
    let body = json!({"topic": "a/1", "payload": "x"});
    assert_eq!(admin.post("/v1/publish", &body).with(200)["matched"], 1);
    let got = ann.get("/v1/messages?session=s").with(200);
    let id = got["messages"][0]["id"].as_str().expect("an id");
    let query = format!("session=s&filter=a/1&filter=a/2&filter=b/1&qos=0&last_event_id={id}");
    assert_eq!(ann.get(&format!("/v1/messages?{query}")).status, 403);
    let subscriptions = admin.get("/v1/sessions/s").with(200)["subscriptions"].clone();
    assert_eq!(subscriptions.as_array().expect("a list").len(), 1, "{subscriptions}");
    assert_eq!((&subscriptions[0]["filter"], &subscriptions[0]["qos"]), (&json!("a/1"), &json!(1)));
    assert_eq!(payloads(&ann.get("/v1/messages?session=s").with(200)), ["x"]);
    let refused = admin.get("/v1/sessions/s/events").with(200).to_string();
    assert!(refused.contains("subscribe_refused") && refused.contains("b/1"), "{refused}");
}

#[test]
fn filters_that_have_room_alone_but_not_together_are_refused_together() {
    let limit = ("SIGNALHOUSE_LIMITS__SUBSCRIPTIONS_PER_SESSION", "2");
    let broker = Broker::with("127.0.0.1", &[limit]);
    let client = broker.keyless();
    let get = |query: &str| client.get(&format!("/v1/messages?session=s&{query}")).status;
    assert_eq!(get("filter=a&filter=b&filter=c"), 503);
    assert_eq!(get("filter=a&filter=b&filter=a"), 200);
    assert_eq!(get("filter=a&filter=c"), 503);
    assert_eq!(get("filter=b"), 200);
}

#[test]
fn an_acknowledgement_leaves_the_sessions_connected_client_alone() {
    let websocket = ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0");
    let broker = Broker::with("127.0.0.1", &[websocket]);
    let client = broker.keyless();
    let got = {
        client.get("/v1/messages?session=phone&filter=inbox/%23").with(200);
        publish(&client, "1");
        client.get("/v1/messages?session=phone").with(200)
    };
    let ack = json!({"session": "phone", "id": got["messages"][0]["id"]});
    let returning =
        Connect { clean_start: false, session_expiry_interval_s: 100, ..connect("phone") };
    for door in [Door::Mqtt5, Door::WebSocket] {
        let (mut phone, reason) = Peer::connect(&broker, door, returning.clone());
        assert_eq!(reason, ReasonCode::Success);
        drop(phone.receive()); // the message, which stays unacknowledged
        assert_eq!(client.post("/v1/ack", &ack).with(409)["error"], "session_in_use");
        phone.send(&ClientPacket::PingReq);
        assert_eq!(phone.next(), Next::Pong, "it is still connected");
        drop(phone);
        let admin = broker.admin();
        while admin.get("/v1/sessions/phone").with(200)["session"]["connected"] == true {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(client.post("/v1/ack", &ack).with(200)["acknowledged"], 1);
    let left = client.get("/v1/messages?session=phone").with(200);
    assert_eq!(payloads(&left), [""; 0]);
}

/// One try to read what waits behind a full window; `None` if the stream was given up meanwhile, as
/// it is after two seconds.
fn behind_a_full_window(broker: &Broker, admin: &Client, session: &str) -> Option<String> {
    let client = broker.keyless();
    let query = format!("filter={session}&session={session}");
    drop(client.events(&query, None));
    let path = format!("/v1/sessions/{session}");
    while admin.get(&path).with(200)["session"]["connected"] == true {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for number in 0..257 {
        let qos = if number < 256 { 1 } else { 0 };
        let body = json!({"topic": session, "payload": number.to_string(), "qos": qos});
        client.post("/v1/publish", &body).with(200);
    }
    // All of it comes while the answer to the filter is awaited.
    let mut events = client.events(&query, None);
    let last = (0..256).map(|_| events.payload().1).last().flatten();
    let ack = json!({"session": session, "id": last.expect("an id")});
    client.post("/v1/ack", &ack).with(200);
    let event = events.next()?;
    (event.name == "message").then(|| event.data["payload"].as_str().expect("text").to_owned())
}

#[test]
fn what_came_early_is_not_lost_behind_a_full_window() {
    let offline = ("SIGNALHOUSE_BROKER__QUEUE_QOS0_OFFLINE", "true");
    let broker = Broker::with("127.0.0.1", &[offline]);
    let admin = broker.admin();
    let mut tries = (0..3).map(|number| format!("s{number}"));
    let read = tries.find_map(|session| behind_a_full_window(&broker, &admin, &session));
    assert_eq!(read.as_deref(), Some("256"));
}
