//! The table of permissions once more, by plain HTTP: publish, request, event streams, polls, what was
//! retained and what waited, and what an operator's routes show.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use serde_json::{Value, json};
use signalhouse::http::keys::{KeyEntry, KeyFile, Scope};
use signalhouse_core::wire::types::QoS;

use crate::support::{DEADLINE, Running, play};
use crate::table::{CELLS, END, MOSQUITTOS, OURS, leave_will, start_with_keys};

/// One who asks over HTTP, on threads of its own: the broker lives on the test's.
#[derive(Clone)]
struct Asker {
    base: String,
    key: Option<String>,
}

impl Asker {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (asker, method, path) = (self.clone(), method.to_owned(), path.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(DEADLINE))
                .build()
                .into();
            let uri = format!("{}{path}", asker.base);
            let mut request = ureq::http::Request::builder().method(method.as_str()).uri(uri);
            if let Some(key) = &asker.key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let mut response =
                agent.run(request.body(body).expect("a request")).expect("an answer");
            let status = response.status().as_u16();
            let kind = response.headers().get("content-type");
            if kind.is_some_and(|kind| kind == "text/event-stream") {
                let reader = BufReader::new(response.into_body().into_reader());
                return (status, first_message(reader));
            }
            let text = response.body_mut().read_to_string().expect("text");
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        });
        asked.await.expect("no panic")
    }

    async fn publish(&self, topic: &str, retain: bool, payload: &str) -> u16 {
        let body = json!({"topic": topic, "retain": retain, "payload": payload});
        self.ask("POST", "/v1/publish", Some(body)).await.0
    }
}

/// The first message of an event stream, which then ends.
fn first_message(reader: impl BufRead) -> Value {
    let mut name = String::new();
    for line in reader.lines() {
        let line = line.expect("text");
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ")
            && name == "message"
        {
            return serde_json::from_str(data).expect("JSON");
        }
    }
    panic!("the stream ended without a message")
}

/// A file of keys, and each user's key. The boss is an operator.
fn keys() -> (String, BTreeMap<&'static str, String>) {
    let mut file = KeyFile::default();
    let mut shown = BTreeMap::new();
    for user in ["boss", "ann", "bob"] {
        let mut scopes = vec![Scope::Publish, Scope::Subscribe];
        scopes.extend((user == "boss").then_some(Scope::Admin));
        let key = file.add(KeyEntry {
            id: String::new(),
            user: user.to_owned(),
            sha256: String::new(),
            scopes,
            topics: Vec::new(),
            created_at_s: 0,
            expires_at_s: None,
        });
        shown.insert(user, key.expect("randomness"));
    }
    (toml::to_string(&file).expect("plain values"), shown)
}

/// A filter as it stands in a query.
fn quoted(filter: &str) -> String {
    filter.replace('#', "%23").replace('+', "%2B").replace('$', "%24")
}

/// What the boss does that may reach somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Has something retained, before anybody subscribes.
    Retain,
    /// Says something.
    Say,
    /// Leaves a will, and goes.
    Die,
}

struct Table<'a> {
    running: &'a Running,
    keys: &'a BTreeMap<&'static str, String>,
    name: &'a str,
}

impl Table<'_> {
    fn asker(&self, user: Option<&str>) -> Asker {
        let base = format!("http://{}", self.running.http_at);
        Asker { base, key: user.map(|user| self.keys[user].clone()) }
    }

    async fn check_cell(&self, user: Option<&str>, client: &str, topic: &str, may: (bool, bool)) {
        let (publishes, reads) = may;
        let cell = format!("{}: {user:?} at {client} on {topic}", self.name);
        let asker = self.asker(user);
        let status = if publishes { 200 } else { 403 };
        for qos in 0..=2 {
            let message = json!({"topic": topic, "payload": "x", "qos": qos});
            let (answered, _) = asker.ask("POST", "/v1/publish", Some(message)).await;
            assert_eq!(answered, status, "{cell}: publish at QoS {qos}");
        }
        // No rule is about replies: they come to whoever may ask.
        let request = json!({"topic": topic, "timeout_s": 1});
        let (status, answer) = asker.ask("POST", "/v1/request", Some(request)).await;
        let expected = if publishes { (504, "no_responders") } else { (403, "forbidden") };
        let error = answer["error"].as_str().expect("a word");
        assert_eq!((status, error), expected, "{cell}: request: {answer}");
        let shared = format!("$share/g/{topic}");
        for (way, filter, deed) in [
            ("stream", topic, Deed::Say),
            ("stream, by a wide subscription", "#", Deed::Say),
            ("stream, shared", shared.as_str(), Deed::Say),
            ("stream, retained", topic, Deed::Retain),
            ("stream, retained, by a wide subscription", "#", Deed::Retain),
            ("stream, a will", topic, Deed::Die),
        ] {
            let reached = self.streams(&asker, client, topic, filter, deed).await;
            // In our own lines a subscription to everything is refused to all but the boss.
            let refused = filter == "#" && self.name == "ours" && user != Some("boss");
            assert_eq!(reached, reads && !refused, "{cell}: {way}");
        }
        for (way, deed) in
            [("retained", Deed::Retain), ("queued", Deed::Say), ("a will", Deed::Die)]
        {
            let reached = self.polls(&asker, client, topic, deed).await;
            assert_eq!(reached, reads, "{cell}: poll, {way}");
        }
    }

    /// Whether what comes of the boss's deed there is the stream's first event.
    async fn streams(
        &self,
        asker: &Asker,
        client: &str,
        topic: &str,
        filter: &str,
        deed: Deed,
    ) -> bool {
        let boss = self.asker(Some("boss"));
        let retained = deed == Deed::Retain;
        if retained {
            assert_eq!(boss.publish(topic, true, "kept").await, 200);
        }
        let path = format!("/v1/subscribe?session={client}&filter={END}&filter={}", quoted(filter));
        let stream = {
            let (asker, path) = (asker.clone(), path.clone());
            tokio::task::spawn_local(async move { asker.ask("GET", &path, None).await })
        };
        // Whoever is refused is so at once; the others hear the end, until they have heard something.
        let subscribed = format!("/v1/sessions/{client}");
        loop {
            if stream.is_finished() {
                break;
            }
            let (_, shown) = boss.ask("GET", &subscribed, None).await;
            let is_there = shown["session"]["connected"] == true
                && shown["subscriptions"].as_array().is_some_and(|list| list.len() >= 2);
            if is_there {
                self.act(&boss, deed, topic).await;
                boss.publish(END, false, "end").await;
                break;
            }
        }
        let (status, first) = stream.await.expect("no panic");
        boss.ask("DELETE", &subscribed, None).await;
        if retained {
            boss.publish(topic, true, "").await;
        }
        assert!(matches!(status, 200 | 403), "{path}: {status} {first}");
        let reached = status == 200 && first["topic"] == topic;
        assert!(!reached || first["retain"] == retained, "{path}: {first}");
        reached
    }

    /// What the boss does once somebody has subscribed.
    async fn act(&self, boss: &Asker, deed: Deed, topic: &str) {
        match deed {
            Deed::Retain => {}
            Deed::Say => drop(boss.publish(topic, false, "live").await),
            Deed::Die => drop(leave_will(self.running, topic, QoS::AtLeastOnce).await),
        }
    }

    /// Whether what was retained, or came while nobody polled, comes by a poll.
    async fn polls(&self, asker: &Asker, client: &str, topic: &str, deed: Deed) -> bool {
        let boss = self.asker(Some("boss"));
        let retained = deed == Deed::Retain;
        if retained {
            assert_eq!(boss.publish(topic, true, "kept").await, 200);
        }
        let path = format!("/v1/messages?session={client}&filter={}", quoted(topic));
        let (status, mut answer) = asker.ask("GET", &path, None).await;
        if retained {
            boss.publish(topic, true, "").await;
        } else if status == 200 {
            self.act(&boss, deed, topic).await;
            answer = asker.ask("GET", &format!("{path}&wait=1&max=1"), None).await.1;
        }
        boss.ask("DELETE", &format!("/v1/sessions/{client}"), None).await;
        assert!(matches!(status, 200 | 403), "{path}: {status} {answer}");
        status == 200 && answer["messages"][0]["topic"] == topic
    }

    /// What operators see is theirs alone.
    async fn check_operator(&self) {
        for path in ["/v1/sessions", "/v1/sessions/x/events", "/v1/subscriptions", "/v1/retained"] {
            for (user, allowed) in [(Some("boss"), true), (Some("ann"), false), (None, false)] {
                let (status, answer) = self.asker(user).ask("GET", path, None).await;
                let expected: &[u16] = match (allowed, user) {
                    (true, _) => &[200, 404],
                    (false, Some(_)) => &[403],
                    (false, None) => &[401],
                };
                assert!(expected.contains(&status), "{user:?} at {path}: {status} {answer}");
            }
        }
    }
}

#[tokio::test]
async fn every_cell_holds_over_http() {
    play(check_cells("ours", OURS)).await;
}

#[tokio::test]
async fn every_cell_holds_over_http_under_mosquittos_rules() {
    play(check_cells("mosquittos", MOSQUITTOS)).await;
}

async fn check_cells(name: &str, rules: &str) {
    let (file, keys) = keys();
    let running = start_with_keys(&format!("http-{name}"), rules, &file);
    let table = Table { running: &running, keys: &keys, name };
    for (user, client, topic, publishes, reads) in CELLS {
        table.check_cell(*user, client, topic, (*publishes, *reads)).await;
    }
    table.check_operator().await;
}
