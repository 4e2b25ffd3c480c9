//! Requests that are granted and refused, and frames that break the rules.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost:8083\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, mqtt\r\n\r\n";
const LIMITS: MessageLimits = MessageLimits { strangers_bytes: 1_000, clients_bytes: 100_000 };

fn judged(request: &str) -> Result<Head, RequestFault> {
    judge(request.as_bytes(), &Origins::default())
}

fn answer(request: &str) -> String {
    match judged(request) {
        Ok(Head::Granted { answer, bytes }) => {
            assert_eq!(bytes, request.len());
            String::from_utf8(answer).expect("text")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_right_request_is_granted_at_both_paths_and_with_both_names() {
    // The key and its answer are those of RFC 6455.
    let granted = answer(REQUEST).to_ascii_lowercase();
    assert!(granted.starts_with("http/1.1 101 switching protocols\r\n"), "{granted}");
    assert!(granted.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
    assert!(granted.contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{granted}");
    assert!(!answer(&REQUEST.replace("/mqtt ", "/?x=1 ")).is_empty());
    let old = answer(&REQUEST.replace("other, mqtt", "mqttv3.1"));
    assert!(old.contains("mqttv3.1"));
    let of_page = REQUEST.replace("Upgrade: w", "Origin: http://localhost:1\r\nUpgrade: w");
    assert!(!answer(&of_page).is_empty());
}

#[test]
fn wrong_requests_are_refused_with_the_reason() {
    for (from, to, expected) in [
        ("/mqtt ", "/other ", "404"),
        ("/mqtt ", "/../mqtt ", "404"),
        ("GET", "POST", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("other, mqtt", "other", "400"),
        ("Sec-WebSocket-Protocol", "X", "400"),
        ("Version: 13", "Version: 8", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("Upgrade: websocket\r\n", "", "400"),
        ("Host: localhost:8083\r\n", "", "400"),
        ("Host: localhost:8083\r\n", "Host: localhost\r\nHost: localhost\r\n", "400"),
        ("Upgrade: w", "Origin: http://evil.example\r\nUpgrade: w", "403"),
        ("Upgrade: w", "Origin: \u{e9}\r\nUpgrade: w", "403"),
        ("GET /mqtt", "\u{16}\u{3}\u{1}", "400"),
    ] {
        let request = REQUEST.replacen(from, to, 1);
        let fault = judged(&request).expect_err(&request);
        assert!(fault.status().starts_with(expected), "{from}: {fault}");
        assert!(
            String::from_utf8(fault.answer()).expect("text").contains("\r\nConnection: close\r\n")
        );
    }
    let endless = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(HEAD_MAXIMUM_BYTES));
    assert_eq!(judged(&endless), Err(RequestFault::TooLarge));
    let many = format!("GET /mqtt HTTP/1.1\r\n{}", "X: y\r\n".repeat(500));
    assert!(judged(&many).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_request_panic(
        cut in 0..REQUEST.len(),
        junk in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = REQUEST.as_bytes()[..cut].to_vec();
        prop_assert_eq!(judge(&bytes, &Origins::default()), Ok(Head::Partial));
        bytes.extend(junk);
        let _ = judge(&bytes, &Origins::default());
    }
}

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    let mut bytes = vec![first];
    if length < 126 {
        bytes.push(0x80 | length.to_be_bytes()[1]);
    } else {
        bytes.push(0x80 | 126);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A stream behind its handshake, and the client's side of it.
async fn open() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (theirs, mut ours) = duplex(64 * 1024);
    ours.write_all(REQUEST.as_bytes()).await.expect("room");
    let origins = Origins::default();
    let stream = WebSocket::accept(theirs, &origins, LIMITS).await.expect("a right request");
    let mut answer = vec![0; 512];
    let bytes = ours.read(&mut answer).await.expect("an answer");
    assert!(answer[..bytes].ends_with(b"\r\n\r\n"));
    (stream, ours)
}

#[tokio::test]
async fn packets_may_be_cut_in_any_way() {
    let (mut stream, mut client) = open().await;
    for bytes in [
        frame(0x82, b"one"),
        frame(0x02, b"tw"),
        frame(0x89, b"are you there"),
        frame(0x00, b"o t"),
        frame(0x80, b"hree"),
        frame(0x82, b""),
    ] {
        client.write_all(&bytes).await.expect("room");
    }
    let mut read = [0; 11];
    stream.read_exact(&mut read).await.expect("the bytes of all frames");
    assert_eq!(&read, b"onetwo thre");
    stream.write_all(&[7; 40_000]).await.expect("room");
    stream.flush().await.expect("room");
    let mut frames = vec![0; 40_000 + 15 + 3 * 4];
    client.read_exact(&mut frames).await.expect("a pong and three frames");
    assert_eq!(&frames[..15], b"\x8a\x0dare you there");
    assert_eq!(&frames[15..19], [0x82, 126, 0x40, 0]);
    drop(client);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("an end");
    assert_eq!(rest, b"e");
}

#[tokio::test]
async fn what_breaks_the_rules_is_told_so_and_closed() {
    let unmasked = vec![0x82, 0x01, b'x'];
    for (bytes, code, cause) in [
        (frame(0x81, b"text"), 1003_u16, "a text frame, where MQTT has binary ones"),
        (frame(0x82, &[0; 1_001]), 1009, "a message is larger than a packet may be"),
        (unmasked, 1002, "what came breaks the rules of WebSocket"),
        (frame(0xF2, b"x"), 1002, "what came breaks the rules of WebSocket"),
        (frame(0x80, b"x"), 1002, "what came breaks the rules of WebSocket"),
        (frame(0x81, b"\xff"), 1002, "what came breaks the rules of WebSocket"),
    ] {
        let (mut stream, mut client) = open().await;
        client.write_all(&bytes).await.expect("room");
        let error = stream.read_u8().await.expect_err("it is refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::InvalidData, cause));
        drop(stream);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("an end");
        assert_eq!(
            told.get(..4),
            Some(&[[0x88, told[1]], code.to_be_bytes()].concat()[..]),
            "{cause}"
        );
    }
}

#[tokio::test]
async fn fragments_of_one_message_are_bounded_together() {
    let (mut stream, mut client) = open().await;
    client.write_all(&frame(0x02, &[0; 600])).await.expect("room");
    client.write_all(&frame(0x00, &[0; 600])).await.expect("room");
    assert!(stream.read_u8().await.is_err());
    let (mut stream, mut client) = open().await;
    stream.welcome();
    client.write_all(&frame(0x02, &[0; 600])).await.expect("room");
    client.write_all(&frame(0x80, &[0; 600])).await.expect("room");
    let mut read = [1; 1_200];
    stream.read_exact(&mut read).await.expect("a client's message may be larger");
}

#[tokio::test]
async fn closing_says_so_once() {
    let (mut stream, mut client) = open().await;
    stream.shutdown().await.expect("room");
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.expect("an end");
    assert_eq!(told, [0x88, 0x02, 0x03, 0xE8]);
    let (mut stream, mut client) = open().await;
    client.write_all(&frame(0x88, &[0x03, 0xE8])).await.expect("room");
    assert_eq!(stream.read(&mut [0; 8]).await.expect("an orderly end"), 0);
    stream.shutdown().await.expect("nothing more to say");
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.expect("an end");
    assert_eq!(told, [0x88, 0x02, 0x03, 0xE8]);
}
