//! Connections that say nothing, or one byte now and then, at every door: they are closed in time,
//! others come in meanwhile, and they cost little.

use std::time::Duration;

use signalhouse::transport::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::doors::{Authority, write_server};
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

/// The beginning of something that is waited for, at each door.
fn beginnings(running: &Running) -> Vec<(&'static str, std::net::SocketAddr, Vec<u8>)> {
    // A CONNECT that says it has 200 bytes.
    let connect = [&b"\x10\xc8\x01\x00\x04MQTT\x05\x02"[..], &[0; 150]].concat();
    let request =
        b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX: yyyyyyyyyyyyyyyyyy";
    // A record of TLS that says it has 512 bytes.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 150]].concat();
    let body = b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{\"topic\":\"aaaaaaaa";
    let head =
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    vec![
        ("MQTT", running.place(Kind::Tcp), connect),
        ("TLS", running.place(Kind::Tls), hello.clone()),
        ("WebSocket", running.place(Kind::WebSocket), request.to_vec()),
        ("WebSocket over TLS", running.place(Kind::WebSocketTls), hello),
        ("HTTP, head", running.http_at, head.to_vec()),
        ("HTTP, body", running.http_at, body.to_vec()),
    ]
}

/// Sends a byte now and then until the other side closes, and says whether it did.
async fn drip(mut stream: TcpStream, bytes: Vec<u8>) -> bool {
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
                        return matches!(stream.read(&mut [0; 512]).await, Ok(_) | Err(_));
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
