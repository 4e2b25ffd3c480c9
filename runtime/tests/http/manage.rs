//! What an operator sees and does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::{Broker, Client, run, signalhouse};

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_there() {
        assert!(started.elapsed() < crate::support::DEADLINE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn names(client: &Client, path: &str, list: &str, name: &str) -> Vec<String> {
    let answer = client.get(path).with(200);
    let items = answer[list].as_array().expect("a list");
    items.iter().map(|item| item[name].as_str().expect("text").to_owned()).collect()
}

#[test]
fn sessions_are_listed_in_pages_shown_disconnected_and_ended() {
    let broker = Broker::start();
    let client = broker.keyless();
    let admin = broker.admin();
    for number in 0..5 {
        client.get(&format!("/v1/messages?session=s{number}&filter=t/{number}")).with(200);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/sessions?limit=2".to_owned();
    loop {
        let page = admin.get(&path).with(200);
        let sessions = page["sessions"].as_array().expect("a list");
        assert!(sessions.len() <= 2);
        seen.extend(sessions.iter().map(|session| session["client_id"].clone()));
        let Value::Number(next) = &page["next"] else { break };
        path = format!("/v1/sessions?limit=2&next={next}");
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4"]);
    let mut events = client.events("session=s1", None);
    let connected = "/v1/sessions?connected=true";
    assert_eq!(names(&admin, connected, "sessions", "client_id"), ["s1"]);
    for path in ["/v1/sessions/s1/disconnect", "/v1/sessions/none/disconnect"] {
        let expected = if path.contains("none") { 404 } else { 204 };
        assert_eq!(admin.send("POST", path, &[], "").status, expected, "{path}");
    }
    assert_eq!(events.next().expect("an event").name, "closed");
    let shown = admin.get("/v1/sessions/s1").with(200);
    assert_eq!(shown["session"]["connected"], false);
    let last = shown["events"].as_array().and_then(|events| events.last()).expect("an event");
    assert_eq!((&last["event"], &last["code"]), (&json!("disconnected"), &json!("0x98")));
    assert_eq!(admin.delete("/v1/sessions/s1").status, 204);
    wait_for("the session ends", || admin.get("/v1/sessions/s1").status == 404);
    // Why it went is remembered after it has gone.
    let events = admin.get("/v1/sessions/s1/events").with(200);
    assert_eq!(events["has_session"], false);
    let last = events["events"].as_array().and_then(|events| events.last()).expect("an event");
    assert_eq!(last["event"], "session_ended");
    assert_eq!(admin.get("/v1/sessions/nobody/events").status, 404);
}

#[test]
fn subscriptions_and_retained_messages_are_listed_in_pages() {
    let broker = Broker::start();
    let client = broker.keyless();
    let admin = broker.admin();
    client.get("/v1/messages?session=one&filter=a&filter=b/%23&filter=c/%2B").with(200);
    client.get("/v1/messages?session=two&filter=d").with(200);
    let mut seen = Vec::new();
    let mut next = Value::Null;
    for _ in 0..10 {
        let path = match next.as_str() {
            Some(next) => format!(
                "/v1/subscriptions?limit=2&next={}",
                next.replace('#', "%23").replace('+', "%2B")
            ),
            None => "/v1/subscriptions?limit=2".to_owned(),
        };
        let page = admin.get(&path).with(200);
        for item in page["subscriptions"].as_array().expect("a list") {
            seen.push(format!("{} {}", item["client_id"], item["filter"]).replace('"', ""));
        }
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["one a", "one b/#", "one c/+", "two d"]);
    for topic in ["r/1", "r/2", "r/3", "other"] {
        let body = json!({"topic": topic, "payload": topic, "retain": true});
        client.post("/v1/publish", &body).with(200);
    }
    let first = admin.get("/v1/retained?filter=r/%23&limit=2").with(200);
    assert_eq!(first["next"], "r/2");
    assert_eq!(names(&admin, "/v1/retained?filter=r/%23&next=r/2", "retained", "topic"), ["r/3"]);
    assert_eq!(admin.delete("/v1/retained?topic=r/2").status, 204);
    assert_eq!(admin.delete("/v1/retained?topic=r/2").status, 404);
    assert_eq!(admin.delete("/v1/retained?topic=r/%23").status, 400);
    assert_eq!(names(&admin, "/v1/retained?filter=r/%23", "retained", "topic"), ["r/1", "r/3"]);
    for path in ["/v1/sessions?limit=0", "/v1/sessions?limit=9999", "/v1/sessions?next=x"] {
        assert_eq!(admin.get(path).status, 400, "{path}");
    }
    assert_eq!(admin.get("/v1/subscriptions?next=zebra").status, 400);
}

#[test]
fn the_stuck_and_the_refused_are_named() {
    let broker = Broker::start();
    let client = broker.keyless();
    let admin = broker.admin();
    client.get("/v1/messages?session=slow&filter=t").with(200);
    for _ in 0..3 {
        client.post("/v1/publish", &json!({"topic": "t", "payload": "x"})).with(200);
    }
    let stuck = admin.get("/v1/stuck").with(200);
    let slow = &stuck["stuck"][0];
    assert_eq!((&slow["client_id"], &slow["queued"]), (&json!("slow"), &json!(3)));
    assert_eq!(slow["oldest_queued"]["topic"], "t");
    let since = slow["waits_since_ms"].as_u64().expect("a time");
    assert!(since >= slow["since_ms"].as_u64().expect("a time"), "{slow}");
    assert_eq!(names(&admin, "/v1/stuck?queued=4", "stuck", "client_id"), [""; 0]);
    client.get("/v1/messages?session=slow&max=1").with(200);
    let stuck = admin.get("/v1/stuck").with(200);
    assert_eq!(stuck["stuck"][0]["oldest_unacknowledged"]["maybe_sent"], true);
    assert_eq!(stuck["stuck"][0]["waits_since_ms"], since, "nothing has been acknowledged");
    // Whoever acknowledges something is stuck since then, and whoever has nothing is not.
    let polled = client.get("/v1/messages?session=slow").with(200);
    let id = |at: usize| polled["messages"][at]["id"].clone();
    client.post("/v1/ack", &json!({"session": "slow", "id": id(0)})).with(200);
    let later = admin.get("/v1/stuck").with(200)["stuck"][0]["waits_since_ms"].clone();
    assert!(later.as_u64() > Some(since), "{later} after {since}");
    client.post("/v1/ack", &json!({"session": "slow", "id": id(2)})).with(200);
    assert_eq!(admin.get("/v1/stuck").with(200)["stuck"], json!([]));
    assert_eq!(admin.get("/v1/sessions/slow").with(200)["session"]["waits_since_ms"], Value::Null);
    let mut nonsense = TcpStream::connect(("127.0.0.1", broker.mqtt_port)).expect("it listens");
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a living connection");
    wait_for("the refusal", || {
        let refused = admin.get("/v1/refused").with(200);
        refused["refused"].as_array().is_some_and(|refused| !refused.is_empty())
    });
}

/// What waits for any member of a share waits for none of them.
#[test]
fn shares_for_which_something_waits_are_named() {
    let broker = Broker::start();
    let (client, admin) = (broker.keyless(), broker.admin());
    for share in ["$share/g/jobs", "$share/h/jobs", "$share/idle/other"] {
        for member in ["one", "two"] {
            let filter = share.replace('/', "%2F");
            client.get(&format!("/v1/messages?session={member}&filter={filter}")).with(200);
        }
    }
    for payload in ["x", "yy", "zzz"] {
        client.post("/v1/publish", &json!({"topic": "jobs", "payload": payload})).with(200);
    }
    let stuck = admin.get("/v1/stuck").with(200);
    assert_eq!((&stuck["stuck"], &stuck["next_share"]), (&json!([]), &Value::Null));
    let shares = stuck["shares"].as_array().expect("a list");
    assert_eq!(shares.len(), 2, "{stuck}");
    for (share, filter) in shares.iter().zip(["$share/g/jobs", "$share/h/jobs"]) {
        assert_eq!(share["filter"], filter);
        assert_eq!((&share["members"], &share["members_connected"]), (&json!(2), &json!(0)));
        assert_eq!(share["queued"], 3);
        assert_eq!(share["oldest_queued"]["topic"], "jobs");
        let (oldest, all) = (&share["oldest_queued"]["bytes"], &share["queued_bytes"]);
        // Each has the topic's bytes, and what it carries.
        let oldest = oldest.as_u64().expect("a number");
        assert_eq!(all.as_u64().expect("a number"), 3 * oldest + 3, "{share}");
    }
    let first = admin.get("/v1/stuck?limit=1").with(200);
    assert_eq!(first["shares"].as_array().map(Vec::len), Some(1));
    let next = format!("/v1/stuck?limit=1&next_share={}", first["next_share"]);
    assert_eq!(names(&admin, &next, "shares", "filter"), ["$share/h/jobs"]);
    assert_eq!(names(&admin, "/v1/stuck?queued=4", "shares", "filter"), [""; 0]);
    // A member that comes takes what is there.
    let mut taken = client.events("session=one", None);
    (0..6).for_each(|_| drop(taken.payload()));
    assert_eq!(admin.get("/v1/stuck").with(200)["shares"], json!([]));
}

#[test]
fn figures_have_base_units_and_reasons_and_name_nobody() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_LIMITS__QUEUE_MESSAGES", "1")]);
    let client = broker.keyless();
    client.get("/v1/messages?session=somebody-known&filter=private/%23").with(200);
    for _ in 0..3 {
        client.post("/v1/publish", &json!({"topic": "private/1", "payload": "x"}));
    }
    let mut nonsense = TcpStream::connect(("127.0.0.1", broker.mqtt_port)).expect("it listens");
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a living connection");
    let figures = || client.get("/metrics").text;
    let has =
        |name: &str| figures().lines().any(|line| line.starts_with(name) && line.contains('{'));
    wait_for("the refusal and its reason", || has("signalhouse_clients_refused_total"));
    assert!(has("signalhouse_messages_dropped_total"), "{}", figures());
    let text = figures();
    for name in ["somebody-known", "private", "127.0.0.1"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split([' ', '{']).next().expect("a name");
        let has_unit_of_its_own = ["_ms", "_kib", "_mib", "_kb", "_minutes", "_percent"];
        assert!(!has_unit_of_its_own.iter().any(|unit| name.contains(unit)), "{line}");
    }
}

#[test]
fn figures_and_health_are_there_for_programs() {
    let broker = Broker::start();
    let client = broker.keyless();
    client.post("/v1/publish", &json!({"topic": "t", "payload": "12345"})).with(200);
    let figures = client.get("/metrics");
    assert_eq!(figures.status, 200);
    for line in [
        "signalhouse_publish_received_total 1",
        "signalhouse_publish_received_bytes_total 5",
        "signalhouse_http_requests_total{route=\"/v1/publish\",status=\"200\"} 1",
        "# EOF",
    ] {
        assert!(figures.text.lines().any(|other| other == line), "{line}:\n{}", figures.text);
    }
    assert_eq!(client.get("/livez").with(200), json!({"status": "live"}));
    assert_eq!(client.get("/readyz").with(200), json!({"status": "ready"}));
    let url = format!("http://127.0.0.1:{}", broker.http_port);
    let healthy = run(&["health", "--url", &url]);
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let sick = run(&["health", "--url", "http://127.0.0.1:1"]);
    assert_eq!(sick.status.code(), Some(1), "{sick:?}");
}

#[test]
fn health_can_ask_for_life_alone_and_with_a_key() {
    // A server that lives, takes no clients, and says what it was asked with.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a whole head");
                head.extend(byte);
            }
            let head = String::from_utf8(head).expect("text");
            let status = if head.starts_with("GET /livez ") { "200 OK" } else { "503 No" };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsaid");
            stream.write_all(answer.as_bytes()).expect("it reads");
            heads.push(head.to_lowercase());
        }
        heads
    });
    let health = |arguments: &[&str], key: Option<&str>| {
        let mut command = signalhouse();
        command.args(["health", "--url", &url]).args(arguments);
        let output = command.envs(key.map(|key| ("SIGNALHOUSE_KEY", key))).output();
        let output = output.expect("the binary starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let (code, said) = health(&["--live"], None);
    assert_eq!((code, said.trim()), (Some(0), "said"));
    let (code, said) = health(&[], None);
    assert!(code == Some(1) && said.contains("503"), "{said}");
    assert_eq!(health(&["--live", "--key", "shk_given"], Some("shk_around")).0, Some(0));
    assert_eq!(health(&["--live"], Some("shk_around")).0, Some(0));
    let heads = server.join().expect("no panic");
    assert!(
        heads[0].starts_with("get /livez ") && heads[1].starts_with("get /readyz "),
        "{heads:?}"
    );
    assert!(!heads[0].contains("authorization"), "{heads:?}");
    assert!(heads[2].contains("authorization: bearer shk_given\r\n"), "{heads:?}");
    assert!(heads[3].contains("authorization: bearer shk_around\r\n"), "{heads:?}");
    // And by a broker that answers nobody else.
    let environment = [("SIGNALHOUSE_HTTP__HEALTH_WITHOUT_KEY", "false")];
    let broker = Broker::with("0.0.0.0", &environment);
    let key = broker.key("probe", &["--scope", "metrics"]);
    let url = format!("http://127.0.0.1:{}", broker.http_port);
    for what in [&["--live"][..], &[]] {
        let ask = |key: &[&str]| run(&[&["health", "--url", &url], what, key].concat());
        assert_eq!(ask(&["--key", &key]).status.code(), Some(0), "{what:?}");
        let refused = ask(&[]);
        assert_eq!(refused.status.code(), Some(1), "{what:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    }
}
