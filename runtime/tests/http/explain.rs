//! `signalhouse acl explain` and the broker, held against each other: what one says, the other does.

use serde_json::{Value, json};

use crate::support::{Broker, Client, Folder, TOKEN_SECRET, run, token_of};

const RULES: &str = "\
    deny  everyone   receive rooms/7/quiet\n\
    allow user ann   all     rooms/{claim.room}/#\n\
    allow user bob   publish rooms/7/#\n\
    allow user ops   all     #\n";

/// The user, what its token says beside the name, and the same for the command.
type Who = (&'static str, Value, &'static [&'static str]);

fn everybody() -> [Who; 6] {
    let publish = json!({"room": 7, "topics": {"publish": ["rooms/7/+"], "subscribe": []}});
    let subscribe = json!({"room": "7", "topics": {"subscribe": ["rooms/{claim.room}/+"]}});
    [
        ("ann", json!({"room": "7"}), &["--claim", "room=7"]),
        ("ann", json!({"room": ["7", "8"]}), &["--claim", "room=7", "--claim", "room=8"]),
        ("ann", publish, &["--claim", "room=7", "--grant-publish", "rooms/7/+"]),
        ("ann", subscribe, &["--claim", "room=7", "--grant-subscribe", "rooms/{claim.room}/+"]),
        ("bob", json!({}), &[]),
        ("eve", json!({}), &[]),
    ]
}

/// What is done, where, and the subscription that would bring it.
const ASKED: [(&str, &str, &str); 8] = [
    ("publish", "rooms/7/a", ""),
    ("publish", "rooms/7/a/b", ""),
    ("publish", "rooms/8/a", ""),
    ("subscribe", "rooms/7/%23", ""),
    ("subscribe", "rooms/7/a", ""),
    ("subscribe", "rooms/8/a", ""),
    ("receive", "rooms/7/a", "rooms/7/%2B"),
    ("receive", "rooms/7/quiet", "rooms/7/%2B"),
];

/// Whether the command says that it may be done.
fn explained(rules: &str, user: &str, options: &[&str], action: &str, topic: &str) -> bool {
    let topic = topic.replace("%23", "#");
    let asked = ["acl", "explain", "--acl", rules, "--user", user, "--client", "http-token"];
    let about = ["--action", action, "--topic", &topic];
    let output = run(&[&asked[..], options, &about].concat());
    match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        _ => panic!("{output:?}"),
    }
}

/// Whether the broker lets it be done.
fn done(client: &Client, ops: &Client, session: &str, asked: (&str, &str, &str)) -> bool {
    let (action, topic, filter) = asked;
    let status = match action {
        "publish" => client.post("/v1/publish", &json!({"topic": topic})).status,
        "subscribe" => client.get(&format!("/v1/messages?session={session}&filter={topic}")).status,
        _ => {
            let path = format!("/v1/messages?session={session}&filter={filter}");
            let opened = client.get(&path).status;
            if opened == 200 {
                ops.post("/v1/publish", &json!({"topic": topic})).with(200);
                let got = client.get(&format!("/v1/messages?session={session}")).with(200);
                let got = got["messages"].as_array().expect("a list");
                return got.iter().any(|message| message["topic"] == topic);
            }
            opened
        }
    };
    assert!(matches!(status, 200 | 403), "{asked:?}: {status}");
    status == 200
}

#[test]
fn what_is_explained_is_what_the_broker_does() {
    let folder = Folder::new();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a writable file");
        path.to_str().expect("text").to_owned()
    };
    let (rules, secret) = (path("rules.txt", RULES), path("secret", TOKEN_SECRET));
    let environment = [
        ("SIGNALHOUSE_SECURITY__ACL_FILE", rules.as_str()),
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", &secret),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let ops = broker.client(&token_of(&json!({"sub": "ops", "exp": 99_999_999_999_u64})));
    let (mut allowed, mut denied) = (0, 0);
    for (place, (user, mut claims, options)) in everybody().into_iter().enumerate() {
        claims["sub"] = json!(user);
        claims["exp"] = json!(99_999_999_999_u64);
        let client = broker.client(&token_of(&claims));
        for (number, asked) in ASKED.into_iter().enumerate() {
            let (action, topic, _) = asked;
            let is_done = done(&client, &ops, &format!("{place}-{number}"), asked);
            let is_explained = explained(&rules, user, options, action, topic);
            assert_eq!(is_done, is_explained, "{user} {claims} {asked:?}");
            *(if is_done { &mut allowed } else { &mut denied }) += 1;
        }
    }
    assert!(allowed >= 10 && denied >= 12, "{allowed} allowed, {denied} denied");
    // A key is bound by its --topic.
    let bound = ["--scope", "publish", "--scope", "subscribe", "--topic", "rooms/7/a"];
    let key = broker.client(&broker.key("ops", &bound));
    for (number, asked) in ASKED.into_iter().enumerate() {
        let (action, topic, _) = asked;
        let is_explained = explained(&rules, "ops", &["--grant", "rooms/7/a"], action, topic);
        let is_done = done(&key, &ops, &format!("key-{number}"), (action, topic, topic));
        assert_eq!(is_done, is_explained, "{asked:?}");
    }
}
