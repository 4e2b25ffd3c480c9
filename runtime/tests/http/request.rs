//! Requests under rules: who asks may read the reply to its own question, and nobody else for that.

use serde_json::{Value, json};

use crate::support::{Broker, Client, Folder};

/// Nothing here allows anybody but the service to read or write replies; bob may read all he can.
const RULES: &str = "
    deny  everyone     read     responses/#
    allow user service read     questions
    allow user service publish  responses/+
    allow user ann     publish  questions
    allow user bob     read     #
    allow user carl    read     responses/+
";

const BOTH: [&str; 4] = ["--scope", "publish", "--scope", "subscribe"];

fn broker(folder: &Folder) -> Broker {
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path.to_str().expect("a path that is text").to_owned()
    };
    let (rules, secret) = (write("rules.txt", RULES), write("secret", &"s".repeat(32)));
    let environment = [
        ("SIGNALHOUSE_SECURITY__ACL_FILE", rules.as_str()),
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret.as_str()),
    ];
    Broker::with("127.0.0.1", &environment)
}

/// Has the service answer one question of `asker` with `payload`.
fn ask(service: &Client, asker: &Client, payload: &str) -> Value {
    let mut asked = service.events("filter=questions", None);
    std::thread::scope(|scope| {
        let question = json!({"topic": "questions", "timeout_s": 20});
        let reply = scope.spawn(move || asker.post("/v1/request", &question));
        let topic = asked.next().expect("an event").data["response_topic"].clone();
        assert!(topic.as_str().expect("text").starts_with("responses/"), "{topic}");
        let answer = json!({"topic": topic, "payload": payload});
        assert_eq!(service.post("/v1/publish", &answer).with(200)["matched"], 2, "and bob's");
        reply.join().expect("no panic").with(200)
    })
}

#[test]
fn who_asks_reads_its_own_reply_whatever_the_rules_say() {
    let folder = Folder::new();
    let broker = broker(&folder);
    let client = |user: &str, more: &[&str]| {
        let arguments = [BOTH.as_slice(), more].concat();
        broker.client(&broker.key(user, &arguments))
    };
    let (service, bob) = (client("service", &[]), client("bob", &[]));
    let (ann, bound) = (client("ann", &[]), client("ann", &["--topic", "questions"]));
    let maker = broker.client(&broker.key("web", &["--scope", "tokens"]));
    let token = maker.post("/v1/tokens", &json!({"user": "ann", "topics": ["questions"]}));
    let token = broker.client(token.with(200)["token"].as_str().expect("text"));

    // Wide enough to match replies, and not allowed to receive them.
    let mut everything = bob.events("filter=%23", None);
    for (asker, payload) in [(&ann, "one"), (&bound, "two"), (&token, "three")] {
        assert_eq!(ask(&service, asker, payload)["payload"], payload);
        // The question itself is bob's to read.
        assert_eq!(everything.next().expect("an event").data["topic"], "questions");
    }
    for asker in [&ann, &bound, &token, &bob, &client("carl", &[])] {
        for filter in ["responses/%2B", "responses/%23", "responses/x", "$share/g/responses/%2B"] {
            let refused = asker.get(&format!("/v1/messages?session=s&filter={filter}"));
            assert_eq!(refused.with(403)["error"], "forbidden", "{filter}");
        }
    }
    // The question is published under the asker's own rules, and the reply under the replier's.
    let question = json!({"topic": "elsewhere", "timeout_s": 1});
    for asker in [&ann, &bound, &token] {
        assert_eq!(asker.post("/v1/request", &question).with(403)["error"], "forbidden");
        let reply = json!({"topic": "responses/x", "payload": "forged"});
        assert_eq!(asker.post("/v1/publish", &reply).with(403)["error"], "forbidden");
    }
}
