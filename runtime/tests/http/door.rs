//! Who comes in.

use serde_json::json;

use crate::schema;
use crate::support::{Broker, Folder, run, signalhouse};

/// A path of the document with something in its places.
fn filled(path: &str) -> String {
    path.replace("{client_id}", "c")
}

#[test]
fn nothing_answers_beyond_loopback_without_a_key() {
    let broker = Broker::with("0.0.0.0", &[]);
    let stranger = broker.keyless();
    let mut operations = 0;
    for (method, path, _) in schema::operations() {
        let answer = stranger.send(&method.to_uppercase(), &filled(path), &[], "");
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text);
        operations += 1;
    }
    assert!(operations > 15, "{operations}");
    assert_eq!(stranger.status("GET", "/no/such/path"), 401);
    let key = broker.key("ann", &["--scope", "publish"]);
    let ann = broker.client(&key);
    ann.post("/v1/publish", &json!({"topic": "t"})).with(200);
    assert_eq!(ann.get("/livez").status, 200);
    let health = Broker::with("0.0.0.0", &[("SIGNALHOUSE_HTTP__HEALTH_WITHOUT_KEY", "true")]);
    assert_eq!(health.keyless().get("/readyz").status, 200);
    assert_eq!(health.keyless().get("/metrics").status, 401);
}

#[test]
fn each_scope_opens_its_own_routes() {
    let broker = Broker::start();
    let keys = ["publish", "subscribe", "tokens", "metrics", "admin"]
        .map(|scope| (scope, broker.key("ann", &["--scope", scope])));
    for (method, path, operation) in schema::operations() {
        let Some(needed) = operation["x-scope"].as_str() else { continue };
        for (scope, key) in &keys {
            if needed == *scope {
                continue; // what it may do is what the other tests are about
            }
            let answer = broker.client(key).send(&method.to_uppercase(), &filled(path), &[], "{}");
            assert_eq!(answer.status, 403, "{scope} at {method} {path}: {}", answer.text);
        }
    }
    for (method, path, operation) in schema::operations() {
        if operation["x-scope"] == "admin" {
            let answer = broker.keyless().send(&method.to_uppercase(), &filled(path), &[], "");
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
}

#[test]
fn a_request_without_a_key_must_be_the_machines_own() {
    let broker = Broker::start();
    let client = broker.keyless();
    for (name, value) in [
        ("origin", "https://example.org"),
        ("origin", "null"),
        ("host", "example.org"),
        ("host", "192.0.2.1:18083"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ] {
        let answer = client.send("POST", "/v1/publish?topic=t", &[(name, value)], "x");
        assert_eq!(answer.status, 401, "{name}: {value}");
    }
    let strict = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__LOOPBACK_WITHOUT_KEY", "false")]);
    assert_eq!(strict.keyless().status("POST", "/v1/publish?topic=t"), 401);
    assert_eq!(strict.keyless().status("GET", "/livez"), 200);
}

#[test]
fn a_keys_topics_bound_what_it_may_do() {
    let broker = Broker::start();
    let scopes = ["--scope", "publish", "--scope", "subscribe", "--topic", "ann/#"];
    let ann = broker.client(&broker.key("ann", &scopes));
    ann.post("/v1/publish", &json!({"topic": "ann/1", "payload": "x"})).with(200);
    let refused = ann.post("/v1/publish", &json!({"topic": "bob/1", "payload": "x"}));
    assert_eq!(refused.with(403)["error"], "forbidden");
    for (filter, status) in [("ann/%23", 200), ("ann/1", 200), ("%23", 403), ("bob/1", 403)] {
        let path = format!("/v1/messages?session=ann&filter={filter}");
        assert_eq!(ann.get(&path).status, status, "{filter}");
    }
    // A session belongs to whom it was made for.
    let bob = broker.client(&broker.key("bob", &["--scope", "subscribe"]));
    let taken = bob.get("/v1/messages?session=ann&filter=bob/1");
    assert_eq!(taken.with(403)["error"], "session_of_another");
    let ack = json!({"session": "ann", "id": "1-1"});
    assert_eq!(bob.post("/v1/ack", &ack).with(403)["error"], "session_of_another");
}

#[test]
fn keys_are_shown_once_removed_and_expire() {
    let broker = Broker::start();
    let key = broker.key("ann", &["--scope", "publish"]);
    let file = broker.keys_file();
    let secret = key.rsplit('_').next().expect("a secret");
    assert!(!std::fs::read_to_string(&file).expect("a file").contains(secret));
    let listed = run(&["key", "list", "--file", &file]);
    let listed = String::from_utf8(listed.stdout).expect("text");
    let line = listed.lines().find(|line| line.contains("ann")).expect("the key");
    assert!(!listed.contains(secret));
    let id = line.split_whitespace().next().expect("an id");
    assert!(run(&["key", "remove", "--file", &file, id]).status.success());
    assert_eq!(run(&["key", "remove", "--file", &file, id]).status.code(), Some(1));
    // The next one that is taken over shows that the file was read.
    broker.key("bob", &["--scope", "publish"]);
    assert_eq!(broker.client(&key).status("GET", "/livez"), 401);
    let short = broker.key("eve", &["--scope", "publish", "--expires", "3s"]);
    let eve = broker.client(&short);
    let started = std::time::Instant::now();
    while eve.status("GET", "/livez") == 200 {
        assert!(started.elapsed() < crate::support::DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let bad = run(&["key", "add", "--file", &file, "--user", "x", "--scope", "everything"]);
    assert_eq!(bad.status.code(), Some(2));
    // An operator sees every topic: what looks like a bound would be none.
    let before = std::fs::read_to_string(&file).expect("a file");
    let bound = ["--scope", "admin", "--topic", "a/#"];
    let bad = run(&[&["key", "add", "--file", &file, "--user", "x"], &bound[..]].concat());
    assert_eq!(bad.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("topics cannot bound it"), "{bad:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), before);
}

#[test]
fn what_is_withdrawn_ends_the_streams_it_opened() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of at least thirty-two bytes\n").expect("a writable file");
    let path = secret.to_str().expect("a path that is text");
    let environment = [
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", path),
        ("SIGNALHOUSE_SECURITY__WATCH_INTERVAL_MS", "50"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let scopes = ["--scope", "subscribe", "--scope", "publish", "--scope", "tokens"];
    let (ann, bob) = (broker.key("ann", &scopes), broker.key("bob", &scopes));
    let token = broker.client(&bob).post("/v1/tokens", &json!({"user": "eve"})).with(200);
    let token = token["token"].as_str().expect("text");
    let mut of_ann = broker.client(&ann).events("filter=t&session=a", None);
    let mut of_bob = broker.client(&bob).events("filter=t&session=b", None);
    let mut of_eve = broker.client(token).events("filter=t&session=e", None);
    let id = ann.split('_').nth(1).expect("an id");
    assert!(run(&["key", "remove", "--file", &broker.keys_file(), id]).status.success());
    // Nobody told the broker: it watches the file.
    assert_eq!(of_ann.next().expect("an event").name, "closed");
    assert_eq!(broker.client(&ann).status("GET", "/livez"), 401);
    std::fs::write(&secret, "another secret of thirty-two bytes\n").expect("a writable file");
    assert_eq!(of_eve.next().expect("an event").name, "closed");
    assert_eq!(broker.client(token).status("GET", "/livez"), 401);
    broker.client(&bob).post("/v1/publish", &json!({"topic": "t", "payload": "x"})).with(200);
    assert_eq!(of_bob.payload().0, "x");
}

#[test]
fn streams_end_with_what_opened_them() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of at least thirty-two bytes\n").expect("a writable file");
    let secret = secret.to_str().expect("a path that is text");
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret)]);
    let maker = broker.client(&broker.key("web", &["--scope", "tokens"]));
    let lasting = broker.key("bob", &["--scope", "subscribe"]);
    let mut of_bob = broker.client(&lasting).events("filter=t&session=b", None);
    let short = broker.key("ann", &["--scope", "subscribe", "--expires", "3s"]);
    let mut of_ann = broker.client(&short).events("filter=t&session=a", None);
    let ask = json!({"user": "eve", "actions": ["subscribe"], "expires_s": 1});
    let token = maker.post("/v1/tokens", &ask).with(200)["token"].clone();
    let mut of_eve =
        broker.client(token.as_str().expect("text")).events("filter=t&session=e", None);
    // Tokens have five seconds of leeway, keys none. The reader gives up long after that.
    for stream in [&mut of_ann, &mut of_eve] {
        let end = stream.next().expect("a last event");
        assert_eq!(end.name, "closed", "{end:?}");
        assert!(stream.next().is_none(), "the connection ends");
    }
    let ops = broker.client(&broker.key("ops", &["--scope", "admin", "--scope", "publish"]));
    for session in ["a", "e"] {
        let told = ops.get(&format!("/v1/sessions/{session}/events")).with(200);
        let events = told["events"].as_array().expect("a list");
        let ended = events.iter().find(|event| event["event"] == "disconnected");
        assert_eq!(ended.expect("it ended")["code"], "0xa0", "{told}");
    }
    ops.post("/v1/publish", &json!({"topic": "t", "payload": "x"})).with(200);
    assert_eq!(of_bob.payload().0, "x");
}

#[test]
fn a_token_made_here_is_good_at_the_door_of_mqtt_within_its_bounds() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of at least thirty-two bytes\n").expect("a writable file");
    let environment = [
        ("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret.to_str().expect("text")),
        ("SIGNALHOUSE_JWT__ISSUER", "us"),
        ("SIGNALHOUSE_JWT__AUDIENCE", "broker"),
        ("SIGNALHOUSE_JWT__USER_NAME_CLAIM", "user"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let maker = broker.client(&broker.key("web", &["--scope", "tokens"]));
    let ask = json!({"user": "ann", "topics": ["chat/#"], "actions": ["publish"]});
    let token = maker.post("/v1/tokens", &ask).with(200)["token"].clone();
    let token = token.as_str().expect("text");
    let port = broker.mqtt_port.to_string();
    let publish = |token: &str, topic: &str| {
        let line = ["pub", "-p", &port, "-q", "1", "-m", "x", "-t", topic, "-u", "", "-P", token];
        run(&line).status.code()
    };
    assert_eq!(publish(token, "chat/1"), Some(0));
    assert_eq!(publish(token, "other"), Some(1));
    assert_eq!(publish(&token.replace('.', ".x"), "chat/1"), Some(1));
    let nobody = run(&["pub", "-p", &port, "-q", "1", "-m", "x", "-t", "chat/1"]);
    assert_eq!(nobody.status.code(), Some(1), "where tokens are made, they are needed");
    let page = broker.client(token);
    assert_eq!(page.post("/v1/publish", &json!({"topic": "chat/1"})).status, 200);
    assert_eq!(page.post("/v1/publish", &json!({"topic": "other"})).status, 403);
    assert_eq!(page.get("/v1/messages?session=x&filter=chat/1").status, 403);
}

#[test]
fn an_open_door_without_keys_does_not_open() {
    let folder = Folder::new();
    let start = |environment: &[(&str, &str)]| {
        let output = signalhouse()
            .args(["--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"])
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .output()
            .expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, line) = start(&[]);
    assert_eq!(code, Some(78), "{line}");
    assert!(line.contains("nobody has a key"), "{line}");
    let (code, line) = start(&[("SIGNALHOUSE_HTTP__KEYS_FILE", "nowhere.toml")]);
    assert_eq!(code, Some(78), "{line}");
    assert!(line.contains("nowhere.toml"), "{line}");
}

#[test]
fn web_pages_of_known_origins_come_in() {
    let origin = "https://app.example.org";
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_HTTP__CORS_ORIGINS", origin)]);
    let client = broker.keyless();
    let preflight = format!(
        "OPTIONS /v1/publish HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
    );
    let answer = broker.exchange(preflight.as_bytes()).to_lowercase();
    assert!(answer.contains(&format!("access-control-allow-origin: {origin}")), "{answer}");
    let list = |name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let mut list: Vec<_> = line.unwrap_or("").split(',').map(str::trim).collect();
        list.sort_unstable();
        list.join(" ")
    };
    assert_eq!(list("access-control-allow-methods"), "delete get post");
    assert_eq!(
        list("access-control-allow-headers"),
        "authorization content-type idempotency-key last-event-id x-api-key"
    );
    let answer = client.send("POST", "/v1/publish?topic=t", &[("origin", origin)], "x");
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    let shown = answer.headers["access-control-expose-headers"].to_str().expect("text");
    let mut shown: Vec<_> = shown.split(',').map(|name| name.trim().to_lowercase()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["retry-after", "x-quota-remaining-today"]);
    assert_eq!(answer.status, 200);
    let other = client.send("POST", "/v1/publish?topic=t", &[("origin", "https://evil.test")], "x");
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    assert_eq!(other.status, 401);
}

#[test]
fn tokens_are_bound_to_their_topics_and_actions_and_end() {
    let folder = Folder::new();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of at least thirty-two bytes\n").expect("a writable file");
    let secret = secret.to_str().expect("a path that is text");
    let broker = Broker::with("0.0.0.0", &[("SIGNALHOUSE_HTTP__TOKEN_SECRET_FILE", secret)]);
    let maker = broker.client(&broker.key("web", &["--scope", "tokens"]));
    let ask = json!({
        "user": "ann", "topics": ["chat/#"], "actions": ["subscribe"], "expires_s": 600,
    });
    let token = maker.post("/v1/tokens", &ask).with(200)["token"].clone();
    let token = token.as_str().expect("text");
    let page = broker.client(token);
    assert_eq!(page.get("/v1/messages?session=ann&filter=chat/1").status, 200);
    assert_eq!(page.get("/v1/messages?session=ann&filter=other").status, 403);
    assert_eq!(page.post("/v1/publish", &json!({"topic": "chat/1"})).status, 403);
    assert_eq!(page.get("/v1/sessions").status, 403);
    // An event source of a browser has no header for it.
    let path = format!("/v1/messages?session=ann&access_token={token}");
    assert_eq!(broker.keyless().get(&path).status, 200);
    let path = format!("/v1/publish?topic=chat/1&access_token={token}");
    assert_eq!(broker.keyless().status("POST", &path), 401);
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(broker.client(&forged).status("GET", "/v1/messages?session=ann"), 401);
    let short = json!({"user": "ann", "expires_s": 1});
    let short = maker.post("/v1/tokens", &short).with(200)["token"].clone();
    let short = broker.client(short.as_str().expect("text"));
    let started = std::time::Instant::now();
    while short.status("GET", "/livez") == 200 {
        assert!(started.elapsed() < crate::support::DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for (body, status) in [
        (json!({"expires_s": 0}), 400),
        (json!({"expires_s": 100_000}), 400),
        (json!({"topics": ["a/#/b"]}), 400),
        (json!({"topics": ["rooms/{id}"]}), 400),
        (json!({"topics": ["a", "${x}/a"]}), 400),
        (json!({"topics": ["$share/g/t"]}), 400),
        (json!({"topics": ["rooms/{username}", "%c/{claim.room}", "{a b}/50%"]}), 200),
        // A token of 16 KiB and more is taken nowhere.
        (json!({"topics": ["t".repeat(7_000), "u"]}), 400),
        (json!({"topics": ["t".repeat(3_000), "u"]}), 200),
        (json!({"actions": ["fly"]}), 400),
        (json!({"user": ""}), 400),
    ] {
        let answer = maker.post("/v1/tokens", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        if status == 200 {
            let token = answer.json["token"].as_str().expect("text");
            let let_in = broker.client(token).get("/livez").status;
            assert_eq!(let_in, 200, "{body}: a token that is given is good for something");
        } else {
            assert!(answer.json["reason"].is_string(), "{body}");
        }
    }
    let bound = ["--scope", "tokens", "--topic", "chat/#"];
    let bound = broker.client(&broker.key("chat", &bound));
    assert_eq!(bound.post("/v1/tokens", &json!({})).status, 403);
    assert_eq!(bound.post("/v1/tokens", &json!({"topics": ["#"]})).status, 403);
    assert_eq!(bound.post("/v1/tokens", &json!({"topics": ["chat/1"]})).status, 200);
    // Without a secret there are none.
    let none = Broker::start();
    let key = none.key("web", &["--scope", "tokens"]);
    assert_eq!(none.client(&key).post("/v1/tokens", &json!({})).status, 404);
}
