//! Connections that end before they are anybody's: who looks finds them and their cause among the refused,
//! and in the metrics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::authority::Authority;
use crate::support::{Broker, Client, DEADLINE, Folder};

/// A certificate and its key, in PEM.
type Pair = (String, String);

struct Stage {
    broker: Broker,
    ops: Client,
    authority: Authority,
    _folder: Folder,
}

impl Stage {
    fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a writable folder");
            path.to_str().expect("text").to_owned()
        };
        let (certificate, key) = authority.server();
        let address = || "127.0.0.1:0".to_owned();
        let environment = [
            ("NETWORK__LISTEN_TLS", address()),
            ("NETWORK__LISTEN_WEBSOCKET", address()),
            ("NETWORK__LISTEN_WEBSOCKET_TLS", address()),
            ("NETWORK__HANDSHAKE_TIMEOUT_MS", "1000".to_owned()),
            ("TLS__CERTIFICATE_FILE", write("server.pem", &certificate)),
            ("TLS__KEY_FILE", write("server.key", &key)),
            ("TLS__CLIENT_CERTIFICATES", "required".to_owned()),
            ("TLS__CLIENT_CA_FILE", write("ca.pem", &authority.pem())),
            ("TLS__REVOKED_FILE", write("revoked.pem", &authority.revoke(&[666]))),
        ];
        let environment = environment.map(|(key, value)| (format!("SIGNALHOUSE_{key}"), value));
        let environment: Vec<_> =
            environment.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let broker = Broker::with("127.0.0.1", &environment);
        let ops = broker.admin();
        Stage { broker, ops, authority, _folder: folder }
    }

    /// A connection to the listener of this number.
    fn open(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.broker.ports[listener]));
        let stream = stream.expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream
    }

    /// Says this, and hears the end.
    fn say(&self, listener: usize, bytes: &[u8]) {
        let mut stream = self.open(listener);
        stream.write_all(bytes).expect("the broker reads");
        drop(stream.read_to_end(&mut Vec::new()));
    }

    /// Shows a certificate, says this behind the handshake, and hears the end.
    fn show(&self, listener: usize, pair: Option<&Pair>, bytes: &[u8]) {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes());
        roots.add(root.expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut stream = rustls::StreamOwned::new(session, self.open(listener));
        // The refusal comes with the first that is read.
        drop(stream.write_all(bytes));
        drop(stream.read_to_end(&mut Vec::new()));
    }

    /// How many were refused, by the label of the cause.
    fn count(&self, word: &str) -> u64 {
        let metrics = self.ops.get("/metrics").text;
        let start = format!("signalhouse_clients_refused_total{{cause=\"{word}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Does it, and holds that one more is refused for this cause, in the list, the metrics and the log.
    #[track_caller]
    fn check(&self, word: &str, cause: &str, attempt: impl FnOnce()) {
        let before = self.count(word);
        attempt();
        let started = std::time::Instant::now();
        while self.count(word) == before {
            assert!(started.elapsed() < DEADLINE, "{word} is not counted: {cause}");
        }
        assert_eq!(self.count(word), before + 1, "{word}: {cause}");
        let latest = self.ops.get("/v1/refused?limit=1").with(200)["refused"][0].clone();
        let said = latest["cause"].as_str().expect("text").to_owned();
        assert!(said.contains(cause), "{cause}: {said}");
        assert_eq!((latest["door"].as_str(), latest["client_id"].as_str()), (Some("mqtt"), None));
        let peer = latest["peer"].as_str().expect("text");
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        let log = self.broker.log_with(peer);
        assert!(log.contains(cause), "{cause}:\n{log}");
    }
}

/// A request for a WebSocket at this path, from a page of this origin.
fn upgrade(path: &str, origin: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A certificate for which nobody but itself vouches.
fn unknown() -> Pair {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "ann");
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn certificates_are_refused_with_the_cause() {
    let stage = Stage::new();
    let authority = &stage.authority;
    let expired = authority.vouch(|params| {
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let nameless = authority.vouch(|params| {
        params.distinguished_name.remove(DnType::CommonName);
    });
    for (pair, cause) in [
        (Some(expired), "certificate expired"),
        (Some(authority.client("eve", 666)), "Revoked"),
        (Some(Authority::new().client("ann", 1)), "BadSignature"),
        (Some(unknown()), "UnknownIssuer"),
        (None, "peer sent no certificates"),
        (Some(nameless), "has no name (tls.user_name)"),
    ] {
        for listener in [1, 3] {
            let show = || stage.show(listener, pair.as_ref(), b"x");
            stage.check("certificate", cause, show);
        }
    }
}

#[test]
fn handshakes_are_refused_with_the_cause() {
    let stage = Stage::new();
    let ann = stage.authority.client("ann", 1);
    let show = |bytes: &str| stage.show(3, Some(&ann), bytes.as_bytes());
    let connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    stage.check("tls", "TLS: ", || stage.say(1, connect));
    stage.check("tls", "TLS: ", || stage.say(3, upgrade("/mqtt", "null").as_bytes()));
    let path = upgrade("/elsewhere", "http://localhost");
    let (elsewhere, page) = ("MQTT is not found at this path", "evil.test may not connect");
    stage.check("websocket", elsewhere, || stage.say(2, path.as_bytes()));
    stage.check("websocket", elsewhere, || show(&path));
    let evil = upgrade("/mqtt", "https://evil.test");
    stage.check("websocket", page, || stage.say(2, evil.as_bytes()));
    stage.check("websocket", page, || show(&evil));
    // What is kept of an origin is bounded, however long it is.
    let long = format!("https://{}.test", "e".repeat(10_000));
    stage.check("websocket", "may not connect", || {
        stage.say(2, upgrade("/mqtt", &long).as_bytes());
    });
    let latest = stage.ops.get("/v1/refused?limit=1").with(200);
    assert!(latest.to_string().len() < 1_000, "{latest}");
    stage.check("handshake_gone", "went away during the handshake", || {
        let mut gone = stage.open(2);
        gone.write_all(b"GET /mqtt HT").expect("the broker reads");
    });
}

#[test]
fn slow_handshakes_are_refused_with_the_cause() {
    let stage = Stage::new();
    let ann = stage.authority.client("ann", 1);
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 150]].concat();
    let half = b"GET /mqtt HTTP/1.1\r\nHost: loc";
    let late = |kind: &str| format!("the handshake of {kind} took too long (network.handshake");
    let (tls, websocket) = ("MQTT over TLS", "MQTT over WebSocket");
    let both = "MQTT over WebSocket over TLS";
    stage.check("handshake_timeout", &late(tls), || stage.say(1, &hello));
    stage.check("handshake_timeout", &late(websocket), || stage.say(2, half));
    stage.check("handshake_timeout", &late(both), || stage.say(3, &hello));
    stage.check("handshake_timeout", &late(both), || stage.show(3, Some(&ann), half));
}

#[test]
fn one_stranger_too_many_is_refused_with_the_cause() {
    let broker = Broker::with("127.0.0.1", &[("SIGNALHOUSE_NETWORK__STRANGERS_PER_ADDRESS", "1")]);
    let (ops, authority, _folder) = (broker.admin(), Authority::new(), Folder::new());
    let stage = Stage { broker, ops, authority, _folder };
    let _silent = stage.open(0);
    stage.check("strangers", "(network.strangers_per_address", || stage.say(0, b""));
}

#[test]
fn one_connection_too_many_is_refused_with_the_cause() {
    // So many more are let in to be told that there is no room.
    const POLITELY_REFUSED: usize = 64;
    let environment = [
        ("SIGNALHOUSE_LIMITS__CONNECTIONS", "1"),
        ("SIGNALHOUSE_NETWORK__STRANGERS_PER_ADDRESS", "1000"),
    ];
    let broker = Broker::with("127.0.0.1", &environment);
    let (ops, authority, _folder) = (broker.admin(), Authority::new(), Folder::new());
    let stage = Stage { broker, ops, authority, _folder };
    let _silent: Vec<_> = (0..=POLITELY_REFUSED).map(|_| stage.open(0)).collect();
    stage.check("connections", "(limits.connections)", || stage.say(0, b""));
}
