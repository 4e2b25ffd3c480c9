//! The binary with its HTTP door, a client for it, and a reader of event streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use ureq::Agent;

use crate::schema;

/// How long anything may take on a busy machine before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The binary, with none of the environment's settings.
pub(crate) fn signalhouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIGNALHOUSE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    signalhouse().args(arguments).output().expect("the binary starts")
}

/// What tokens are signed with.
pub(crate) const TOKEN_SECRET: &str = "a secret of at least thirty-two bytes";

/// A token with these claims, signed as those of a broker with that secret.
pub(crate) fn token_of(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN_SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A folder of the test's own, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "signalhouse-http-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a writable directory");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A broker in a process of its own, killed at the end.
pub(crate) struct Broker {
    child: Child,
    pub(crate) mqtt_port: u16,
    /// The last of the listeners: that of WebSocket, if there is one.
    pub(crate) websocket_port: u16,
    /// All of them: TCP, TLS, WebSocket, and WebSocket over TLS, as far as they are there.
    pub(crate) ports: Vec<u16>,
    pub(crate) http_port: u16,
    folder: Folder,
    /// What it has logged since it began to serve.
    log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Broker::with("127.0.0.1", &[])
    }

    /// With HTTP at `host`, and settings over the defaults.
    pub(crate) fn with(host: &str, environment: &[(&str, &str)]) -> Self {
        Broker::with_arguments(host, environment, &[])
    }

    pub(crate) fn with_arguments(
        host: &str,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let folder = Folder::new();
        let keys = folder.path().join("keys.toml");
        let keys = keys.to_str().expect("a path that is text");
        let made = run(&["key", "add", "--file", keys, "--user", "nobody", "--scope", "tokens"]);
        assert!(made.status.success(), "{made:?}");
        let mut child = signalhouse()
            .args(["--listen", "127.0.0.1:0", "--http", &format!("{host}:0")])
            .args(arguments)
            .env("SIGNALHOUSE_HTTP__KEYS_FILE", keys)
            .env("SIGNALHOUSE_STORE__DURABILITY", "memory")
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let mut ports_of = |wanted: &str| {
            let mut seen = String::new();
            for line in lines.by_ref() {
                let line = line.expect("text");
                if let Some((_, at)) = line.split_once(wanted) {
                    let at = at.split("listen=\"").nth(1).expect("the line says where");
                    let addresses = at.split('"').next().expect("quoted addresses").split(',');
                    let port = |address: &str| address.rsplit(':').next()?.parse::<u16>().ok();
                    return addresses.map(|address| port(address).expect("a port")).collect();
                }
                seen.push_str(&line);
                seen.push('\n');
            }
            panic!("no line says {wanted}:\n{seen}");
        };
        let ports: Vec<u16> = ports_of("signalhouse serves");
        let (mqtt_port, websocket_port) = (ports[0], ports[ports.len() - 1]);
        let http_port = ports_of("HTTP is served")[0];
        // Whoever writes the log must not wait for its reader.
        let log = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.for_each(|line| kept.lock().expect("no panic").push(line.expect("text")));
        });
        Broker { child, mqtt_port, websocket_port, ports, http_port, folder, log }
    }

    /// The log, once a line of it has this.
    pub(crate) fn log_with(&self, part: &str) -> String {
        for _ in 0..DEADLINE.as_millis() / 10 {
            let log = self.log.lock().expect("no panic").join("\n");
            if log.contains(part) {
                return log;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the log does not say {part}");
    }

    /// Makes a key with these scopes and has the broker take it over.
    pub(crate) fn key(&self, user: &str, arguments: &[&str]) -> String {
        let file = self.keys_file();
        let mut all = vec!["key", "add", "--file", file.as_str(), "--user", user];
        all.extend(arguments);
        let made = run(&all);
        assert!(made.status.success(), "{made:?}");
        let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        self.signal("HUP");
        // Taken over when it opens the door.
        for _ in 0..DEADLINE.as_millis() / 10 {
            if self.client(&key).status("GET", "/v1/openapi.json") == 200 {
                return key;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the broker does not take the key over");
    }

    /// How many lines of the log have this.
    pub(crate) fn lines_with(&self, part: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for so many lines of the log with this.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, part: &str, count: usize) {
        for _ in 0..DEADLINE.as_millis() / 10 {
            if self.lines_with(part) >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the log does not say {count} times: {part}\n{}", self.log_with(""));
    }

    pub(crate) fn wait(&mut self) {
        drop(self.child.wait());
    }

    pub(crate) fn admin(&self) -> Client {
        let scopes = ["publish", "subscribe", "metrics", "admin"].map(|scope| ["--scope", scope]);
        let key = self.key("ops", &scopes.concat());
        self.client(&key)
    }

    pub(crate) fn keys_file(&self) -> String {
        let path = self.folder.path().join("keys.toml");
        path.to_str().expect("a path that is text").to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// A client that sends no key.
    pub(crate) fn keyless(&self) -> Client {
        self.client("")
    }

    pub(crate) fn client(&self, key: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build();
        let base = format!("http://127.0.0.1:{}", self.http_port);
        Client { agent: Agent::new_with_config(config), base, key: key.to_owned() }
    }

    /// A connection that can send anything.
    pub(crate) fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.http_port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        stream
    }

    /// Sends bytes and reads all that comes, until the connection ends.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.raw();
        // A broker that has heard enough may close before it has read all.
        drop(stream.write_all(bytes));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a known format");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One who sends requests.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    key: String,
}

/// An answer that the OpenAPI document allows.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) text: String,
    pub(crate) headers: ureq::http::HeaderMap,
}

impl Answer {
    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("POST", path, &json, &body.to_string())
    }

    pub(crate) fn status(&self, method: &str, path: &str) -> u16 {
        self.send(method, path, &[], "").status
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let says_who = headers.iter().any(|(name, _)| *name == "authorization");
        if !self.key.is_empty() && !says_who {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).expect("a request");
        let mut response = self.agent.run(request).expect("an answer");
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().expect("text");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        schema::check_answer(method, path, status, &text, &json);
        let headers = response.headers().clone();
        for name in ["Retry-After", "X-Quota-Remaining-Today"] {
            if headers.contains_key(name) {
                schema::check_header(method, path, status, name);
            }
        }
        Answer { status, json, text, headers }
    }

    /// Opens an event stream.
    pub(crate) fn events(&self, query: &str, last_event_id: Option<&str>) -> Events {
        let url = format!("{}/v1/subscribe?{query}", self.base);
        let mut request = self.agent.get(&url);
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.call().expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let reader = BufReader::new(response.into_body().into_reader());
        let mut events = Events { reader: Box::new(reader) };
        assert_eq!(events.next().expect("an event").name, "session");
        events
    }
}

/// The events of one stream.
pub(crate) struct Events {
    reader: Box<dyn BufRead>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Events {
    /// The payload of the next message.
    pub(crate) fn payload(&mut self) -> (String, Option<String>) {
        let event = self.next().expect("an event");
        assert_eq!(event.name, "message", "{event:?}");
        schema::check("Received", &event.data);
        (event.data["payload"].as_str().expect("text").to_owned(), event.id)
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            if line.is_empty() {
                if event.name.is_empty() {
                    continue; // after a comment
                }
                return Some(event);
            }
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                Some(("retry", _)) => {}
                _ if line.starts_with(':') => {}
                _ => panic!("{line} is not of an event stream"),
            }
        }
    }
}
