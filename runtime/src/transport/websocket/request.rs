//! The client's side of the handshake.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::client::{Response, generate_key};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::StatusCode;
use tungstenite::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::Role;

use super::{HEAD_MAXIMUM_BYTES, MessageLimits, PROTOCOLS, WebSocket};

/// Largest packet there is, with its header.
const PACKET_MAXIMUM_BYTES: usize = 268_435_455 + 5;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Asks for MQTT at `path` of `host`, and waits for the answer.
    ///
    /// # Errors
    /// When the network fails, or the answer is not that MQTT is spoken here.
    pub async fn connect(mut stream: S, host: &str, path: &str) -> io::Result<Self> {
        let key = generate_key();
        let protocol = PROTOCOLS[0]; // [MQTT-6.0.0-3]
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = BytesMut::with_capacity(1024);
        loop {
            if let Some((bytes, response)) = Response::try_parse(&head).map_err(wrong)? {
                check(&response, &key)?;
                head.advance(bytes);
                let bytes = PACKET_MAXIMUM_BYTES;
                let limits = MessageLimits { strangers_bytes: bytes, clients_bytes: bytes };
                return Ok(WebSocket::new(stream, Role::Client, head.to_vec(), limits));
            }
            if head.len() >= HEAD_MAXIMUM_BYTES {
                return Err(wrong("the head of the answer does not end"));
            }
            head.reserve(1024);
            if stream.read_buf(&mut head).await? == 0 {
                return Err(wrong("the connection was closed before an answer"));
            }
        }
    }
}

fn check(response: &Response, key: &str) -> io::Result<()> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(wrong(format!("the answer is {}", response.status())));
    }
    if header(SEC_WEBSOCKET_ACCEPT) != Some(&derive_accept_key(key.as_bytes())) {
        return Err(wrong("the answer is not to this request"));
    }
    if header(SEC_WEBSOCKET_PROTOCOL) != Some(PROTOCOLS[0]) {
        return Err(wrong("MQTT is not spoken there"));
    }
    Ok(())
}

fn wrong(fault: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("WebSocket: {fault}"))
}
