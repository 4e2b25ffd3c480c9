//! A proxy between suite and broker that breaks one rule, to show that the suite notices.

mod web;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wire::packet::{Packet, kind};
use crate::wire::{Frame, Version, encode, parse};

/// What a proxy does to the packets of each connection.
#[derive(Clone, Copy, Debug)]
pub enum Spoil {
    /// Changes a server's packets of this type.
    Alter(u8, fn(&mut Packet, &mut Memory)),
    /// Changes the bytes of a server's packets of this type.
    Bytes(u8, fn(&mut Frame)),
    /// Sends other packets in place of a server's of this type.
    Instead(u8, fn(Frame, &mut Memory) -> Vec<Frame>),
    /// Changes the bytes of a client's packets of this type.
    Rewrite(u8, fn(&mut Frame)),
    /// Keeps a client's packets of this type from the broker where the function says so, as if
    /// it had not noticed them.
    Swallow(u8, fn(&Frame) -> bool),
    /// As [`Spoil::Swallow`], every packet of this type but a connection's first.
    SwallowSecond(u8),
    /// As [`Spoil::Swallow`], for what no length can be read of.
    SwallowUnframed,
    /// Hides that the server closes behind a packet of this type.
    HoldOpen(u8),
    /// Changes the head with which a server answers a WebSocket's opening request.
    WebHead(fn(&str) -> String),
    /// Changes a server's WebSocket frames, or keeps them back where the function says no.
    WebServer(fn(&mut Vec<u8>) -> bool),
    /// The same with a client's, as if the server had seen others or none.
    WebClient(fn(&mut Vec<u8>) -> bool),
}

impl Spoil {
    /// The types of packets that it touches: those that come low, those that are sent high.
    #[must_use]
    pub fn kinds(&self) -> u32 {
        match self {
            Spoil::Alter(kind, _)
            | Spoil::Bytes(kind, _)
            | Spoil::Instead(kind, _)
            | Spoil::HoldOpen(kind) => 1 << kind,
            Spoil::Rewrite(kind, _) | Spoil::Swallow(kind, _) | Spoil::SwallowSecond(kind) => {
                1 << (16 + kind)
            }
            Spoil::SwallowUnframed
            | Spoil::WebHead(_)
            | Spoil::WebServer(_)
            | Spoil::WebClient(_) => 0,
        }
    }

    /// Whether it is about what is around the packets on a WebSocket.
    #[must_use]
    pub fn is_of_websocket(&self) -> bool {
        matches!(self, Spoil::WebHead(_) | Spoil::WebServer(_) | Spoil::WebClient(_))
    }
}

/// What is remembered of a connection.
#[derive(Debug)]
pub struct Memory {
    /// The version of its CONNECT.
    pub version: Version,
    /// Whether CONNACK said that there is a session.
    pub resumed: bool,
    /// The packets of the touched type so far.
    pub count: usize,
    /// A packet that was kept back.
    pub held: Option<Frame>,
    /// The type of the server's last packet, but that of an accepting CONNACK.
    last: u8,
}

/// A running proxy. It ends when it is dropped, and with it its connections.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub at: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub fn start(target: SocketAddr, spoil: Spoil) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let at = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    // A connection that cannot be made is one that the suite will miss.
                    let _ = serve(client, target, spoil);
                }
            }
        });
        Ok(Proxy { at, ended })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, which then looks.
        let _ = TcpStream::connect_timeout(&self.at, Duration::from_millis(200));
    }
}

fn serve(client: TcpStream, target: SocketAddr, spoil: Spoil) -> std::io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    if spoil.is_of_websocket() {
        return web::serve(client, server, spoil);
    }
    let memory = Memory { version: Version::V5, resumed: false, count: 0, held: None, last: 0 };
    let memory = Arc::new(Mutex::new(memory));
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let shared = Arc::clone(&memory);
    std::thread::spawn(move || {
        forward(from, &to, &mut |frame| inbound(frame, spoil, &shared));
        // The server is to notice that the client is gone.
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        forward(server, &client, &mut |frame| outbound(frame, spoil, &memory));
        let last = memory.lock().map_or(0, |memory| memory.last);
        if !matches!(spoil, Spoil::HoldOpen(kind) if kind == last) {
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        // Longer than any patience of a run with mutations.
        std::thread::sleep(Duration::from_secs(8));
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// What a piece of a stream is.
enum Piece {
    Frame(Frame),
    /// From here on no packets can be told apart.
    Unframed(Vec<u8>),
}

fn forward(mut from: TcpStream, mut to: &TcpStream, pass: &mut dyn FnMut(Piece) -> Vec<u8>) {
    let (mut buffer, mut piece, mut framed) = (Vec::new(), [0; 16 * 1024], true);
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        buffer.extend_from_slice(piece.get(..length).unwrap_or_default());
        let mut out = Vec::new();
        while framed {
            match Frame::take(&mut buffer) {
                Ok(Some(frame)) => out.extend(pass(Piece::Frame(frame))),
                Ok(None) => break,
                Err(_) => framed = false,
            }
        }
        // A packet whose end may never come: the broker judges it by its head.
        if !framed || Frame::declared(&buffer).is_some_and(|length| length > 1_000_000) {
            framed = false;
            out.extend(pass(Piece::Unframed(std::mem::take(&mut buffer))));
        }
        if to.write_all(&out).is_err() {
            return;
        }
    }
}

fn inbound(piece: Piece, spoil: Spoil, memory: &Mutex<Memory>) -> Vec<u8> {
    let mut frame = match piece {
        Piece::Unframed(_) if matches!(spoil, Spoil::SwallowUnframed) => return Vec::new(),
        Piece::Unframed(bytes) => return bytes,
        Piece::Frame(frame) => frame,
    };
    let Ok(mut memory) = memory.lock() else { return Vec::new() };
    if matches!(spoil, Spoil::SwallowSecond(kind) if kind == frame.kind()) {
        memory.count += 1;
        if memory.count > 1 {
            return Vec::new();
        }
    }
    if frame.kind() == kind::CONNECT {
        memory.version = match frame.body.as_slice() {
            [0, 6, ..] => Version::V3,
            [0, 4, _, _, _, _, 4, ..] => Version::V4,
            _ => Version::V5,
        };
    }
    match spoil {
        Spoil::Rewrite(kind, change) if frame.kind() == kind => change(&mut frame),
        Spoil::Swallow(kind, unseen) if frame.kind() == kind && unseen(&frame) => {
            return Vec::new();
        }
        _ => {}
    }
    frame.to_bytes()
}

fn outbound(piece: Piece, spoil: Spoil, memory: &Mutex<Memory>) -> Vec<u8> {
    let mut frame = match piece {
        Piece::Unframed(bytes) => return bytes,
        Piece::Frame(frame) => frame,
    };
    let Ok(mut memory) = memory.lock() else { return Vec::new() };
    let accepts = frame.kind() == kind::CONNACK && frame.body.get(1) == Some(&0);
    memory.last = if accepts { 0 } else { frame.kind() };
    if frame.kind() == kind::CONNACK {
        memory.resumed = frame.body.first() == Some(&1);
    }
    if spoil.kinds() & 1 << frame.kind() != 0 {
        memory.count += 1;
    }
    match spoil {
        Spoil::Alter(kind, change) if frame.kind() == kind => {
            if let Ok(mut packet) = parse::packet(&frame, memory.version) {
                change(&mut packet, &mut memory);
                frame = encode::frame(&packet, memory.version);
            }
        }
        Spoil::Bytes(kind, change) if frame.kind() == kind => change(&mut frame),
        Spoil::Instead(kind, others) if frame.kind() == kind => {
            let frames = others(frame, &mut memory);
            return frames.iter().flat_map(Frame::to_bytes).collect();
        }
        _ => {}
    }
    frame.to_bytes()
}
