//! The proxy on a WebSocket: the head that opens it, then frames (RFC 6455), whatever they carry.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::Spoil;

/// Begins to carry bytes both ways, spoilt.
pub(super) fn serve(client: TcpStream, server: TcpStream, spoil: Spoil) -> std::io::Result<()> {
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        forward(from, &to, &str::to_owned, &|frame| match spoil {
            Spoil::WebClient(change) => change(frame),
            _ => true,
        });
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let head = |head: &str| match spoil {
            Spoil::WebHead(change) => change(head),
            _ => head.to_owned(),
        };
        forward(server, &client, &head, &|frame| match spoil {
            Spoil::WebServer(change) => change(frame),
            _ => true,
        });
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn forward(
    mut from: TcpStream,
    mut to: &TcpStream,
    head: &dyn Fn(&str) -> String,
    frame: &dyn Fn(&mut Vec<u8>) -> bool,
) {
    let (mut buffer, mut piece, mut is_open) = (Vec::new(), [0; 16 * 1024], false);
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        buffer.extend_from_slice(piece.get(..length).unwrap_or_default());
        let mut out = Vec::new();
        if !is_open && let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let of_head: Vec<u8> = buffer.drain(..end + 4).collect();
            out.extend(head(&String::from_utf8_lossy(&of_head)).into_bytes());
            is_open = true;
        }
        while is_open && let Some(length) = frame_length(&buffer) {
            let mut one: Vec<u8> = buffer.drain(..length).collect();
            if frame(&mut one) {
                out.extend(one);
            }
        }
        if to.write_all(&out).is_err() {
            return;
        }
    }
}

/// The bytes of the first frame, if it is whole.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let extended = |count: usize| {
        let length = bytes.get(2..2 + count)?;
        Some((2 + count, length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))))
    };
    let (head, payload) = match second & 0x7f {
        126 => extended(2)?,
        127 => extended(8)?,
        short => (2, usize::from(short)),
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let length = head.checked_add(mask)?.checked_add(payload)?;
    (bytes.len() >= length).then_some(length)
}
