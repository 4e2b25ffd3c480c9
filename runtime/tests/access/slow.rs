//! Connections that say nothing, or one byte now and then, at every door: they are closed in time,
//! others come in meanwhile, and they cost little.

use std::time::Duration;

use signalhouse::transport::Kind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::doors::{secure, write_server};
use crate::support::{DEADLINE, Folder, Running, connect_as, play};

const SETTINGS: &str = "
    [network]
    listen = [\"127.0.0.1:0\"]
    listen_tls = [\"127.0.0.1:0\"]
    listen_websocket = [\"127.0.0.1:0\"]
    listen_websocket_tls = [\"127.0.0.1:0\"]
    handshake_timeout_ms = 400
    [limits]
    connect_timeout_ms = 400
    [http]
    header_timeout_ms = 400
    body_timeout_ms = 400
    [tls]
    certificate_file = \"DIR/server.pem\"
    key_file = \"DIR/server.key\"
";

/// Connections at each door at once.
const EACH: usize = 24;

/// A request for WebSocket that has not ended.
const UPGRADE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX: yyyyyyyyyyyyyyyyyy";

/// A CONNECT that says it has 200 bytes, without its end.
fn connect() -> Vec<u8> {
    [&b"\x10\xc8\x01\x00\x04MQTT\x05\x02"[..], &[0; 150]].concat()
}

/// A request for WebSocket, and behind it a frame that brings a CONNECT without its end.
fn upgraded() -> Vec<u8> {
    let request = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A masked frame of 203 bytes, whose mask changes nothing.
    [&request[..], b"\x82\xfe\x00\xcb\0\0\0\0", &connect()].concat()
}

/// The beginning of something that is waited for, at each door.
fn beginnings(running: &Running) -> Vec<(&'static str, std::net::SocketAddr, Vec<u8>)> {
    // A record of TLS that says it has 512 bytes.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 150]].concat();
    let body = b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{\"topic\":\"aaaaaaaa";
    let head =
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    vec![
        ("MQTT", running.place(Kind::Tcp), connect()),
        ("TLS", running.place(Kind::Tls), hello.clone()),
        ("WebSocket", running.place(Kind::WebSocket), UPGRADE.to_vec()),
        ("WebSocket over TLS", running.place(Kind::WebSocketTls), hello),
        ("HTTP, head", running.http_at, head.to_vec()),
        ("HTTP, body", running.http_at, body.to_vec()),
    ]
}

/// Sends a byte now and then until the other side closes, and says whether it did.
async fn drip<S>(mut stream: S, bytes: Vec<u8>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Nearly all at once, then slowly: a reader that waits for progress alone would wait for ever.
    let (most, rest) = bytes.split_at(bytes.len() - 16);
    if stream.write_all(most).await.is_err() {
        return true;
    }
    let mut heard = [0; 512];
    for byte in rest.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return true;
        }
        let read = tokio::time::timeout(Duration::from_millis(60), stream.read(&mut heard)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn slow_connections_are_closed_at_every_door_while_others_come_in() {
    play(async {
        let folder = Folder::new("slow-doors");
        write_server(&folder, &Authority::new());
        let running = Running::start(folder, SETTINGS);
        for (door, at, bytes) in beginnings(&running) {
            let mut slow = Vec::new();
            for number in 0..EACH {
                let stream = TcpStream::connect(at).await.expect("it listens");
                // Every third says nothing at all.
                let bytes = if number % 3 == 0 { vec![0; 16] } else { bytes.clone() };
                let silent = number % 3 == 0;
                slow.push(tokio::task::spawn_local(async move {
                    if silent {
                        let mut stream = stream;
                        // What it is told, if anything; then the end.
                        while stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {}
                        return true;
                    }
                    drip(stream, bytes).await
                }));
            }
            let among = running.try_client(connect_as(door, None, None)).await;
            assert!(among.is_ok(), "{door}: a client comes in among them");
            for (number, slow) in slow.into_iter().enumerate() {
                let closed = tokio::time::timeout(DEADLINE, slow).await;
                assert!(matches!(closed, Ok(Ok(true))), "{door}, {number}: {closed:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn slow_connections_are_closed_behind_every_handshake() {
    play(async {
        let folder = Folder::new("slow-behind");
        let authority = Authority::new();
        write_server(&folder, &authority);
        let running = Running::start(folder, SETTINGS);
        let mut slow = Vec::new();
        for (door, bytes) in [
            (Kind::Tls, connect()),
            (Kind::WebSocketTls, UPGRADE.to_vec()),
            (Kind::WebSocketTls, upgraded()),
        ] {
            for bytes in [bytes, vec![0; 16]] {
                let stream = secure(&running, door, &authority, None, rustls::ALL_VERSIONS).await;
                let stream = stream.expect("a handshake");
                slow.push(tokio::task::spawn_local(drip(stream, bytes)));
            }
        }
        let stream = running.tcp(Kind::WebSocket).await;
        slow.push(tokio::task::spawn_local(drip(stream, upgraded())));
        let among = running.try_client(connect_as("among", None, None)).await;
        assert!(among.is_ok(), "a client comes in among them");
        for (number, slow) in slow.into_iter().enumerate() {
            let closed = tokio::time::timeout(DEADLINE, slow).await;
            assert!(matches!(closed, Ok(Ok(true))), "{number}: {closed:?}");
        }
    })
    .await;
}
