//! Clients that cost next to nothing: MQTT 3.1.1 in fixed bytes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::store::PAYLOAD_BYTES;

const TOPIC: &[u8] = b"benches/messages";

/// A PUBLISH at QoS 1: type, length in two bytes, topic, identifier, payload.
const PUBLISH_BYTES: usize = 3 + 2 + TOPIC.len() + 2 + PAYLOAD_BYTES;

/// Publishes one message after the other, each when the one before is acknowledged.
pub(crate) async fn publish(at: SocketAddr, name: String, acknowledged: Rc<Cell<u64>>) {
    let mut stream = connect(at, &name, true).await;
    let mut packet = Vec::with_capacity(PUBLISH_BYTES);
    packet.push(0x32);
    put_length(&mut packet, PUBLISH_BYTES - 3);
    put_text(&mut packet, TOPIC);
    packet.extend([0, 1]);
    packet.resize(PUBLISH_BYTES, 0x5a);
    let mut puback = [0; 4];
    loop {
        if stream.write_all(&packet).await.is_err() || stream.read_exact(&mut puback).await.is_err()
        {
            return;
        }
        acknowledged.set(acknowledged.get() + 1);
    }
}

/// Subscribes with a session that lasts, and acknowledges what comes.
pub(crate) async fn subscribe(at: SocketAddr, name: &str) -> TcpStream {
    let mut stream = connect(at, name, false).await;
    let mut packet = vec![0x82, (2 + 2 + TOPIC.len() + 1) as u8, 0, 1];
    put_text(&mut packet, TOPIC);
    packet.push(1);
    stream.write_all(&packet).await.expect("the broker is there");
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).await.expect("SUBACK");
    assert_eq!(suback[4], 1, "QoS 1 is granted");
    stream
}

/// Acknowledges what comes, for ever.
pub(crate) async fn take(stream: TcpStream, taken: Rc<Cell<u64>>) {
    let (mut reading, mut writing) = stream.into_split();
    let mut bytes = Vec::new();
    let mut pubacks = Vec::new();
    loop {
        if reading.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let mut rest = bytes.as_slice();
        while let Some((packet, behind)) = rest.split_at_checked(PUBLISH_BYTES) {
            let id = 3 + 2 + TOPIC.len();
            pubacks.extend([0x40, 2, packet[id], packet[id + 1]]);
            taken.set(taken.get() + 1);
            rest = behind;
        }
        let read = bytes.len() - rest.len();
        bytes.drain(..read);
        if writing.write_all(&pubacks).await.is_err() {
            return;
        }
        pubacks.clear();
    }
}

async fn connect(at: SocketAddr, name: &str, clean: bool) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.expect("the broker listens");
    stream.set_nodelay(true).expect("a TCP connection");
    let mut packet = vec![0x10, (10 + 2 + name.len()) as u8];
    put_text(&mut packet, b"MQTT");
    packet.extend([4, u8::from(clean) << 1, 0, 0]);
    put_text(&mut packet, name.as_bytes());
    stream.write_all(&packet).await.expect("the broker is there");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.expect("CONNACK");
    assert_eq!(connack[3], 0, "the broker lets everybody in");
    stream
}

fn put_text(packet: &mut Vec<u8>, text: &[u8]) {
    packet.extend([0, text.len() as u8]);
    packet.extend_from_slice(text);
}

/// A length of two bytes.
fn put_length(packet: &mut Vec<u8>, length: usize) {
    packet.extend([(length % 128) as u8 | 0x80, (length / 128) as u8]);
}
