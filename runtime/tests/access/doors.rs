//! TLS and WebSocket with right and wrong peers: certificates, names, revocation, slow handshakes.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{DnType, date_time_ymd};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use signalhouse::client::Client;
use signalhouse::seams::Clock;
use signalhouse::transport::Kind;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Authority;
use crate::support::{DEADLINE, Folder, Peer, Running, connect_as, end, play, publish};

/// A client that speaks packets without waiting for what a library expects.
pub(crate) struct Raw<S> {
    stream: S,
    reader: ClientReader,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn new(stream: S) -> Self {
        let reader = ClientReader::new(Version::V5, ReaderLimits::default());
        Raw { stream, reader, input: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, packet: &ClientPacket) {
        let mut bytes = BytesMut::new();
        let _written = encode_client(packet, Version::V5, &mut bytes);
        self.stream.write_all(&bytes).await.expect("the broker reads");
    }

    pub(crate) async fn receive(&mut self) -> Option<ServerPacket> {
        loop {
            if let Some(packet) = self.reader.read(&mut self.input).expect("well-formed packets") {
                return Some(packet);
            }
            let read = self.stream.read_buf(&mut self.input);
            let read = tokio::time::timeout(DEADLINE, read).await.expect("in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

const SETTINGS: &str = "
    [network]
    listen = []
    listen_tls = [\"127.0.0.1:0\"]
    listen_websocket = [\"127.0.0.1:0\"]
    listen_websocket_tls = [\"127.0.0.1:0\"]
    handshake_timeout_ms = 300
    [tls]
    certificate_file = \"DIR/server.pem\"
    key_file = \"DIR/server.key\"
";

const CLIENTS: &str = "
    client_certificates = \"required\"
    client_ca_file = \"DIR/ca.pem\"
    revoked_file = \"DIR/revoked.pem\"
    [security]
    acl_file = \"DIR/rules\"
";

/// A broker whose certificate this authority vouches for.
fn start(name: &str, authority: &Authority, extra: &str) -> Running {
    let folder = Folder::new(name);
    write_server(&folder, authority);
    folder.write("ca.pem", &authority.pem());
    folder.write("revoked.pem", &authority.revoke(&[666]));
    folder.write("rules", "allow users all {username}/#\n");
    Running::start(folder, &format!("{SETTINGS}{extra}"))
}

pub(crate) fn write_server(folder: &Folder, authority: &Authority) {
    let (certificate, key) = authority.server();
    folder.write("server.pem", &certificate);
    folder.write("server.key", &key);
}

/// A client that believes this authority.
fn trusting(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_root_certificates(roots)
}

pub(crate) async fn secure(
    running: &Running,
    kind: Kind,
    authority: &Authority,
    shown: Option<&(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<TlsStream<TcpStream>> {
    let builder = trusting(authority, versions);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let stream = running.tcp(kind).await;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Whether a client with this certificate is let in, over WebSocket too. In TLS 1.3 the refusal comes after the
/// client's side of the handshake.
async fn is_admitted(
    running: &Running,
    authority: &Authority,
    shown: Option<&(String, String)>,
) -> bool {
    let stream = secure(running, Kind::Tls, authority, shown, rustls::ALL_VERSIONS).await;
    let is_admitted = match stream {
        Ok(stream) => {
            let connect = connect_as("x", None, None);
            Client::connect(stream, running.clock, connect, 30_000).await.is_ok()
        }
        Err(_) => false,
    };
    let kind = Kind::WebSocketTls;
    let by_websocket = match secure(running, kind, authority, shown, rustls::ALL_VERSIONS).await {
        Ok(mut stream) => ask_for_websocket(&mut stream, REQUEST).await.starts_with("HTTP/1.1 101"),
        Err(_) => false,
    };
    assert_eq!(is_admitted, by_websocket, "both doors judge alike");
    is_admitted
}

#[tokio::test]
async fn both_versions_of_tls_carry_mqtt() {
    play(async {
        let authority = Authority::new();
        let running = start("tls", &authority, "");
        for version in rustls::ALL_VERSIONS {
            let stream = secure(&running, Kind::Tls, &authority, None, &[version]).await;
            let stream = stream.expect("a handshake");
            let connect = connect_as("x", None, None);
            let connected = Client::connect(stream, running.clock, connect, 30_000).await;
            let (mut peer, _) = connected.expect("anonymous clients may come in");
            let large = "x".repeat(500_000);
            let reason = publish(&mut peer, "a", &large, false).await;
            assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
        }
        let newer = format!("{SETTINGS}\n    minimum_version = \"1.3\"\n");
        running.reload(&newer);
        let old: [&'static SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        assert!(secure(&running, Kind::Tls, &authority, None, &old).await.is_err());
        assert!(is_admitted(&running, &authority, None).await);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_says_who_its_client_is() {
    play(async {
        let authority = Authority::new();
        for (source, own, other) in
            [("common_name", "ann/x", "bob/x"), ("email", "ann@example.com/x", "ann/x")]
        {
            let extra = format!("    user_name = \"{source}\"\n{CLIENTS}");
            let running = start(&format!("mutual-{source}"), &authority, &extra);
            let ann = authority.client("ann", 1);
            for kind in [Kind::Tls, Kind::WebSocketTls] {
                let versions = rustls::ALL_VERSIONS;
                let stream = secure(&running, kind, &authority, Some(&ann), versions).await;
                let mut stream = stream.expect("a handshake");
                if kind == Kind::WebSocketTls {
                    let answer = ask_for_websocket(&mut stream, REQUEST).await;
                    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
                    continue;
                }
                let connect = connect_as("x", Some("bob"), Some("whatever"));
                let connected = Client::connect(stream, running.clock, connect, 30_000).await;
                let (mut peer, _) = connected.expect("the certificate counts");
                let reason = publish(&mut peer, own, "", false).await;
                assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
                assert_eq!(publish(&mut peer, other, "", false).await, ReasonCode::NotAuthorized);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_certificates_are_refused() {
    play(async {
        let authority = Authority::new();
        let running = start("wrong", &authority, CLIENTS);
        assert!(is_admitted(&running, &authority, Some(&authority.client("ann", 1))).await);
        assert!(!is_admitted(&running, &authority, None).await, "no certificate");
        let revoked = authority.client("eve", 666);
        assert!(!is_admitted(&running, &authority, Some(&revoked)).await, "revoked");
        let stranger = Authority::new().client("ann", 1);
        assert!(!is_admitted(&running, &authority, Some(&stranger)).await, "another authority");
        let expired = authority.vouch(|params| {
            params.distinguished_name.push(DnType::CommonName, "ann");
            params.not_after = date_time_ymd(2020, 1, 1);
        });
        assert!(!is_admitted(&running, &authority, Some(&expired)).await, "expired");
        let nameless = authority.vouch(|params| {
            params.distinguished_name.remove(DnType::CommonName);
        });
        assert!(!is_admitted(&running, &authority, Some(&nameless)).await, "no name");
        // The client refuses us as well, if it knows another authority.
        let other = Authority::new();
        let stream = secure(&running, Kind::Tls, &other, None, rustls::ALL_VERSIONS).await;
        assert!(stream.is_err());
        // A newer list holds for whoever comes next.
        running.folder.write("revoked.pem", &authority.revoke(&[1, 666]));
        running.reload(&format!("{SETTINGS}{CLIENTS}"));
        assert!(!is_admitted(&running, &authority, Some(&authority.client("ann", 1))).await);
    })
    .await;
}

/// A client by certificate over TLS.
async fn client_of(
    running: &Running,
    authority: &Authority,
    shown: &(String, String),
    client_id: &str,
) -> Peer<TlsStream<TcpStream>> {
    let versions = rustls::ALL_VERSIONS;
    let stream = secure(running, Kind::Tls, authority, Some(shown), versions).await;
    let connect = connect_as(client_id, None, None);
    let connected =
        Client::connect(stream.expect("a handshake"), running.clock, connect, 30_000).await;
    connected.expect("the certificate counts").0
}

#[tokio::test]
async fn who_came_by_a_certificate_stays_as_long_as_it_holds() {
    play(async {
        let authority = Authority::new();
        let running = start("revoked-later", &authority, CLIENTS);
        let settings = format!("{SETTINGS}{CLIENTS}");
        let mut ann = client_of(&running, &authority, &authority.client("ann", 1), "a").await;
        let mut bob = client_of(&running, &authority, &authority.client("bob", 2), "b").await;
        running.folder.write("rules", "allow users all #\n");
        running.reload(&settings);
        assert!(
            !publish(&mut ann, "x", "", false).await.is_error(),
            "nothing about it has changed"
        );
        running.folder.write("revoked.pem", &authority.revoke(&[1]));
        running.reload(&settings);
        assert_eq!(end(&mut ann).await, ReasonCode::NotAuthorized);
        assert!(!publish(&mut bob, "x", "", false).await.is_error());
        let other = Authority::new();
        running.folder.write("ca.pem", &other.pem());
        running.folder.write("revoked.pem", &other.revoke(&[]));
        running.reload(&settings);
        assert_eq!(end(&mut bob).await, ReasonCode::NotAuthorized);
        // One that ends ends its connection.
        let short = other.vouch(|params| {
            params.distinguished_name.push(DnType::CommonName, "ann");
            let since_1970 = std::time::Duration::from_millis(running.clock.now().as_ms() + 1_500);
            params.not_after = date_time_ymd(1970, 1, 1) + since_1970;
        });
        // The broker's own certificate is still of the first authority.
        let mut brief = client_of(&running, &authority, &short, "c").await;
        assert_eq!(end(&mut brief).await, ReasonCode::MaximumConnectTime);
    })
    .await;
}

/// Notes whether a certificate was asked for, and has none.
#[derive(Debug, Default)]
struct Asked(std::sync::atomic::AtomicBool);

impl rustls::client::ResolvesClientCert for Asked {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Browsers give up a WebSocket whose server asks for a certificate.
#[tokio::test]
async fn a_certificate_that_is_optional_is_not_asked_for_over_websocket() {
    play(async {
        let authority = Authority::new();
        for (word, over_websocket) in [("optional", false), ("required", true)] {
            let clients = CLIENTS.replace("required", word);
            let running = start(&format!("asked-{word}"), &authority, &clients);
            for (kind, expected) in [(Kind::Tls, true), (Kind::WebSocketTls, over_websocket)] {
                let asked = Arc::new(Asked::default());
                let config = trusting(&authority, rustls::ALL_VERSIONS)
                    .with_client_cert_resolver(Arc::clone(&asked) as _);
                let stream = running.tcp(kind).await;
                let name = ServerName::try_from("localhost").expect("a name");
                let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                drop(handshake.expect("the client's side is done"));
                let asked = asked.0.load(std::sync::atomic::Ordering::Relaxed);
                assert_eq!(asked, expected, "{word}: {kind:?}");
            }
        }
    })
    .await;
}

/// Runs the program beside the broker, which lives on this thread.
async fn tool(arguments: Vec<String>) -> (Option<i32>, String) {
    let run = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_signalhouse"));
        command.args(arguments).stdin(std::process::Stdio::null()).output().expect("it starts")
    });
    let output = run.await.expect("no panic");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn the_tools_reach_every_door() {
    play(async {
        let authority = Authority::new();
        let optional = CLIENTS.replace("required", "optional") + "    allow_anonymous = true\n";
        let running = start("tools", &authority, &optional);
        running.folder.write("rules", "allow users all {username}/#\nallow everyone all open\n");
        running.reload(&format!("{SETTINGS}{optional}"));
        let (certificate, key) = authority.client("ann", 1);
        let file = |name: &str, text: &str| running.folder.write(name, text).display().to_string();
        let (certificate, key) = (file("ann.pem", &certificate), file("ann.key", &key));
        let ca = running.folder.path().join("ca.pem").display().to_string();
        let other = file("other.pem", &Authority::new().pem());
        let port = |kind| running.place(kind).port();
        let (tls, ws, wss) = (port(Kind::Tls), port(Kind::WebSocket), port(Kind::WebSocketTls));
        let mutual = format!("--cert {certificate} --key {key}");
        for (line, code, complaint) in [
            (format!("-p {tls} --cafile {ca} -t open"), 0, ""),
            (format!("-p {tls} --cafile {ca} --tls-version tlsv1.2 -t open"), 0, ""),
            (format!("-L mqtts://localhost:{tls}/open --cafile {ca}"), 0, ""),
            (format!("-L ws://localhost:{ws} -t open"), 0, ""),
            (format!("-L wss://localhost:{wss}/mqtt --cafile {ca} -t open"), 0, ""),
            (format!("-p {tls} --cafile {ca} {mutual} -t ann/x"), 0, ""),
            (format!("-p {tls} --cafile {ca} -t ann/x"), 1, "not authorized"),
            (format!("-p {tls} --cafile {other} -t open"), 1, "invalid peer certificate"),
            (format!("-h 127.0.0.1 -p {tls} --cafile {ca} -t open"), 1, "not valid for name"),
            (format!("-h 127.0.0.1 -p {tls} --cafile {ca} --insecure -t open"), 0, ""),
            (
                format!("-p {tls} --cafile {other} --insecure -t open"),
                1,
                "invalid peer certificate",
            ),
            (format!("-L wss://localhost:{wss}/other --cafile {ca} -t open"), 1, "404"),
            (format!("-p {tls} --cafile {ca} --cert {certificate} -t open"), 2, "--key"),
            (format!("-p {tls} --cafile /nowhere -t open"), 2, "/nowhere"),
            (format!("-p {tls} --cafile {key} -t open"), 2, "no certificate"),
            ("-L mqtt://localhost/open --cafile x".to_owned(), 2, "mqtts://"),
            ("--insecure -t open".to_owned(), 2, "--cafile"),
        ] {
            let mut arguments = vec!["pub", "-q", "1", "-m", "x"];
            arguments.extend(line.split(' '));
            let (got, told) = tool(arguments.into_iter().map(str::to_owned).collect()).await;
            assert_eq!(got, Some(code), "{line}: {told}");
            assert!(told.to_lowercase().contains(&complaint.to_lowercase()), "{line}: {told}");
        }
    })
    .await;
}

/// The CA of clients that there was none of, and not any more.
#[tokio::test]
async fn certificates_of_clients_can_be_asked_for_by_a_reload() {
    play(async {
        let authority = Authority::new();
        let running = start("asked", &authority, "");
        let ann = authority.client("ann", 1);
        let versions = rustls::ALL_VERSIONS;
        let enter = async |pair: Option<&(String, String)>| {
            let stream = secure(&running, Kind::Tls, &authority, pair, versions).await;
            let connect = connect_as("c", None, None);
            Client::connect(stream.map_err(drop)?, running.clock, connect, 30_000)
                .await
                .map_err(drop)
        };
        let (mut early, _) = enter(None).await.expect("nobody is asked");
        running.reload(&format!("{SETTINGS}{CLIENTS}"));
        assert_eq!(end(&mut early).await, ReasonCode::NotAuthorized);
        assert!(enter(None).await.is_err(), "TLS wants a certificate");
        let (mut named, _) = enter(Some(&ann)).await.expect("a certificate");
        running.reload(SETTINGS);
        assert_eq!(end(&mut named).await, ReasonCode::NotAuthorized);
        assert!(enter(None).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_drops_nobody() {
    play(async {
        let authority = Authority::new();
        let running = start("renewed", &authority, "");
        let versions = rustls::ALL_VERSIONS;
        let stream = secure(&running, Kind::Tls, &authority, None, versions).await;
        let connect = connect_as("x", None, None);
        let connected =
            Client::connect(stream.expect("a handshake"), running.clock, connect, 30_000);
        let (mut peer, _) = connected.await.expect("a client");
        let next = Authority::new();
        write_server(&running.folder, &next);
        running.reload(SETTINGS);
        assert!(secure(&running, Kind::Tls, &authority, None, versions).await.is_err());
        assert!(secure(&running, Kind::Tls, &next, None, versions).await.is_ok());
        let reason = publish(&mut peer, "a", "", false).await;
        assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
    })
    .await;
}

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// The head of the answer, and of a refusal the whole.
async fn ask_for_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &str,
) -> String {
    // Whom TLS 1.3 refuses may hear of it only now.
    if stream.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") || answer.starts_with(b"HTTP/1.1 4") {
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(&mut answer)).await;
        if read.expect("in time").unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn a_websocket_carries_packets_and_refuses_foreign_pages() {
    play(async {
        let authority = Authority::new();
        let running = start("websocket", &authority, "");
        let mut stream = running.tcp(Kind::WebSocket).await;
        let answer = ask_for_websocket(&mut stream, REQUEST).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let mut connect = BytesMut::new();
        let packet = ClientPacket::Connect(Box::new(connect_as("x", None, None)));
        let _written = encode_client(&packet, Version::V5, &mut connect);
        // One packet in two frames, the mask all zeros.
        for (first, part) in [(0x02, &connect[..3]), (0x80, &connect[3..])] {
            let length = 0x80 | u8::try_from(part.len()).expect("short");
            let frame = [&[first, length, 0, 0, 0, 0][..], part].concat();
            stream.write_all(&frame).await.expect("the broker reads");
        }
        let mut connack = [0; 3];
        stream.read_exact(&mut connack).await.expect("CONNACK in a frame");
        assert_eq!((connack[0], connack[2]), (0x82, 0x20));

        let foreign = REQUEST.replace("Upgrade: w", "Origin: http://evil.example\r\nUpgrade: w");
        let answer = ask_for_websocket(&mut running.tcp(Kind::WebSocket).await, &foreign).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains("pages of http://evil.example may not connect"), "{answer}");
        running.reload(&format!(
            "{SETTINGS}\n    [websocket]\n    origins = [\"http://evil.example\"]\n"
        ));
        let answer = ask_for_websocket(&mut running.tcp(Kind::WebSocket).await, &foreign).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_slow_or_speaks_something_else_is_closed() {
    play(async {
        let authority = Authority::new();
        let running = start("slow", &authority, "");
        for kind in [Kind::Tls, Kind::WebSocket, Kind::WebSocketTls] {
            // A byte now and then does not buy time.
            let mut slow = running.tcp(kind).await;
            let started = std::time::Instant::now();
            let dripping = async {
                for byte in REQUEST.as_bytes().iter().cycle() {
                    if slow.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    let wait = std::time::Duration::from_millis(20);
                    let read = tokio::time::timeout(wait, slow.read(&mut [0; 512])).await;
                    if matches!(read, Ok(Ok(0) | Err(_))) {
                        break;
                    }
                }
            };
            tokio::time::timeout(DEADLINE, dripping).await.expect("the broker closes");
            assert!(started.elapsed() < DEADLINE);
        }
        let mut wrong = running.tcp(Kind::Tls).await;
        let mut connect = BytesMut::new();
        let packet = ClientPacket::Connect(Box::new(connect_as("x", None, None)));
        let _written = encode_client(&packet, Version::V5, &mut connect);
        wrong.write_all(&connect).await.expect("the broker reads");
        let mut told = Vec::new();
        // An alert of TLS at most, and no CONNACK.
        drop(wrong.read_to_end(&mut told).await);
        assert!(told.is_empty() || told[0] == 0x15, "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn strangers_of_one_address_are_bounded() {
    play(async {
        let folder = Folder::new("strangers");
        let settings = "
            [network]
            listen = [\"127.0.0.1:0\"]
            strangers_per_address = 2
        ";
        let running = Running::start(folder, settings);
        let (first, second) = (running.tcp(Kind::Tcp).await, running.tcp(Kind::Tcp).await);
        let mut third = running.tcp(Kind::Tcp).await;
        let read = tokio::time::timeout(DEADLINE, third.read(&mut [0; 8])).await.expect("in time");
        assert!(matches!(read, Ok(0) | Err(_)));
        // Clients are no strangers.
        drop((first, second));
        let mut clients = Vec::new();
        while clients.len() < 5 {
            let client_id = format!("c{}", clients.len());
            if let Ok(client) = running.try_client(connect_as(&client_id, None, None)).await {
                clients.push(client);
            }
        }
    })
    .await;
}
