//! Requests that are not let in: who looks finds them, and nothing of what they showed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};
use signalhouse_core::wire::packet::Connect;
use signalhouse_core::wire::types::Text;

use crate::connect::connect;
use crate::peer::{DOORS, Door, Peer};
use crate::support::{Broker, Folder, TOKEN_SECRET, run, token_of};

/// A broker that makes tokens, and one with an operator's key there.
fn broker(folder: &Folder) -> Broker {
    let secret = folder.path().join("secret");
    std::fs::write(&secret, TOKEN_SECRET).expect("a writable file");
    let secret = secret.to_str().expect("text");
    let environment = [
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret),
        ("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0"),
    ];
    Broker::with("127.0.0.1", &environment)
}

/// Whoever was refused last: the request was the latest that was.
fn latest(broker: &Broker, ops: &str) -> Value {
    broker.client(ops).get("/v1/refused?limit=1").with(200)["refused"][0].clone()
}

#[test]
fn refused_requests_are_remembered_counted_and_logged_without_what_they_showed() {
    let folder = Folder::new();
    let broker = broker(&folder);
    let ops = broker.key("ops", &["--scope", "admin", "--scope", "metrics", "--scope", "tokens"]);
    let token = broker.client(&ops).post("/v1/tokens", &json!({"user": "ann"})).with(200);
    let token = token["token"].as_str().expect("text");
    let (head, signature) = token.rsplit_once('.').expect("a signature");
    let unsigned = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let (nobody_signed, says_ann) = (unsigned(r#"{"alg":"none"}"#), token.split('.').nth(1));
    let unsigned = format!("{nobody_signed}.{}.", says_ann.expect("claims"));
    let (short, id) = short_key(&broker);
    let wrong = format!("shk_{id}_wrongwrongwrong");
    let expired = format!("the key {id} has expired");
    let ended = token_of(&json!({"sub": "ann", "exp": 1_000}));
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let fits = "no key fits the token, its signature is wrong, or its claims are malformed";
    let cases = [
        (wrong.as_str(), "key_unknown", "the key is not known"),
        ("shk_nobody_secretsecret", "key_unknown", "the key is not known"),
        (&short, "key_expired", &expired),
        (&ended, "token_ended", "the token has ended"),
        (&forged, "token_invalid", fits),
        (&unsigned, "token_invalid", "this is no token"),
        ("no-token-at-all", "token_invalid", "this is no token"),
        ("", "no_key", "send a key: the settings let nobody in without one"),
    ];
    for (shown, word, reason) in cases {
        let before = count(&broker, &ops, word);
        assert_eq!(broker.client(shown).status("GET", "/v1/openapi.json"), 401, "{shown}");
        let refused = latest(&broker, &ops);
        assert_eq!(refused["cause"], reason, "{refused}");
        assert_eq!(refused["door"], "http");
        assert!(refused["peer"].as_str().expect("text").starts_with("127.0.0.1:"), "{refused}");
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let age_ms = now_ms as i64 - refused["at_ms"].as_i64().expect("a number");
        assert!((-1_000..30_000).contains(&age_ms), "{age_ms}");
        assert_eq!(count(&broker, &ops, word), before + 1, "{word}");
    }
    // At the doors of MQTT they are passwords, and let in as little.
    for shown in [&ended, &forged, &unsigned] {
        let password = Some(Bytes::copy_from_slice(shown.as_bytes()));
        for door in DOORS {
            let (user_name, password) = (Some(Text::default()), password.clone());
            let connect = Connect { user_name, password, ..connect("forger") };
            let (_peer, reason) = Peer::connect(&broker, door, connect);
            assert!(reason.is_error(), "{door:?} lets in {shown}");
        }
    }
    // One who is in, and may not do this, was let in.
    let before = latest(&broker, &ops);
    assert_eq!(broker.client(token).get("/v1/sessions").status, 403);
    assert_eq!(latest(&broker, &ops), before);
    let all = broker.client(&ops).get("/v1/refused?limit=1000").text;
    for (shown, word, reason) in cases {
        let log = broker.log_with(&format!("cause=\"{word}\""));
        assert!(log.contains(reason), "{reason}:\n{log}");
        // A signature may have a `_` of its own.
        let before_secret = if shown.starts_with("shk_") { '_' } else { '.' };
        let secret = shown.rsplit(before_secret).next().expect("a last part");
        assert!(secret.is_empty() || !(log.contains(secret) || all.contains(secret)), "{shown}");
    }
}

/// A key that has expired, and its id.
fn short_key(broker: &Broker) -> (String, String) {
    let file = broker.keys_file();
    let line = ["--user", "ann", "--scope", "publish", "--expires", "1s"];
    let made = run(&[&["key", "add", "--file", &file][..], &line].concat());
    let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let id = key.split('_').nth(1).expect("an id").to_owned();
    std::thread::sleep(Duration::from_secs(1));
    // The next one that is taken over shows that the file was read.
    broker.key("bob", &["--scope", "publish"]);
    (key, id)
}

fn count(broker: &Broker, ops: &str, word: &str) -> u64 {
    let metrics = broker.client(ops).get("/metrics").text;
    let start = format!("signalhouse_http_refused_total{{cause=\"{word}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn clients_and_requests_stand_in_one_list_and_neither_drives_the_other_out() {
    let folder = Folder::new();
    let broker = broker(&folder);
    let ops = broker.key("ops", &["--scope", "admin"]);
    let (_peer, reason) = Peer::connect(&broker, Door::Mqtt5, connect("stranger"));
    assert!(reason.is_error());
    let mut wrong = String::new();
    // Many to a connection: it is the requests that are counted.
    for _ in 0..1_100 {
        wrong.push_str("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-API-Key: shk_x_y\r\n\r\n");
    }
    wrong.push_str("GET /livez HTTP/1.0\r\n\r\n");
    let answers = broker.exchange(wrong.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 1_100);
    let refused = |query: &str| {
        let path = format!("/v1/refused?limit=1000{query}");
        broker.client(&ops).get(&path).with(200)["refused"].as_array().expect("a list").clone()
    };
    assert_eq!(refused("&door=http").len(), 1_000);
    broker.log_with("cause=\"key_unknown\"");
    let lines = broker.lines_with("HTTP requests refused");
    assert!((1..100).contains(&lines), "{lines} lines for 1100 requests");
    let clients = refused("&door=mqtt");
    assert_eq!(clients[0]["client_id"], "stranger", "{clients:?}");
    assert_eq!(clients.len(), 1);
    std::thread::sleep(Duration::from_millis(5));
    let (_peer, reason) = Peer::connect(&broker, Door::Mqtt5, connect("another"));
    assert!(reason.is_error());
    // What comes at the same millisecond has no order.
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(broker.client("shk_x_y").status("GET", "/livez"), 401);
    let all = refused("");
    let doors: Vec<_> = all[..3].iter().map(|one| one["door"].as_str().expect("text")).collect();
    assert_eq!((doors, all.len()), (vec!["http", "mqtt", "http"], 1_000));
    let times: Vec<_> = all.iter().map(|one| one["at_ms"].as_u64().expect("a number")).collect();
    assert!(times.is_sorted_by(|one, next| one >= next));
    broker.client(&ops).get("/v1/refused?door=window").with(400);
}
