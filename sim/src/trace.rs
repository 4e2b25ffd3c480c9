//! The trace of a run: one line for everything observed, the same text wherever and whenever the
//! run is repeated, and a hash of it.

pub mod concern;
pub mod html;
mod properties;

use std::fmt::{self, Write as _};

use crate::history::{KeptSession, Waiting, What};
use crate::packet::{AckKind, Connect, Packet, Property, Publish, Will};
use crate::plan::Denial;
use properties::show_properties;

/// Takes lines; keeps them if told to.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    kept: Option<Vec<String>>,
    line: String,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(keeps_lines: bool) -> Self {
        let kept = keeps_lines.then(Vec::new);
        Trace { hash: 0xCBF2_9CE4_8422_2325, count: 0, kept, line: String::new() }
    }

    /// Adds a line about the moment `at_ms`.
    pub fn line(&mut self, at_ms: u64, text: fmt::Arguments<'_>) {
        self.line.clear();
        let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
        let _ = write!(self.line, "{seconds:>6}.{ms:03} {text}");
        for chunk in self.line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.hash = mixed ^ (mixed >> 32);
        }
        self.count += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(self.line.clone());
        }
    }

    /// A hash of every line so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.kept.unwrap_or_default()
    }
}

/// An observation as a line of the trace shows it.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a What);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            What::Opened { client, connection } => write!(f, "n{connection} opened by {client}"),
            What::Sent { connection, packet } => {
                write!(f, "n{connection} -> ")?;
                show_packet(packet, None, f)
            }
            What::Received { connection, packet, alias_topic, size_bytes } => {
                write!(f, "n{connection} <- ")?;
                show_packet(packet, alias_topic.as_deref(), f)?;
                write!(f, " ({size_bytes} bytes)")
            }
            What::Undecodable { connection, cause, .. } => {
                write!(f, "n{connection} <- undecodable: {cause}")
            }
            What::Ended { connection, by_client: true } => {
                write!(f, "n{connection} ended by client")
            }
            What::Ended { connection, by_client: false } => write!(f, "n{connection} ended"),
            What::Misbehaved { connection, must_end } => {
                let ends = if *must_end { ", and is to be ended" } else { "" };
                write!(f, "n{connection} misbehaved{ends}")
            }
            What::Holding { client, serving: true } => write!(f, "client {client} serves again"),
            What::Holding { client, serving: false } => write!(f, "client {client} holds back"),
            What::Network { client, fault } => write!(f, "network of {client}: {fault:?}"),
            What::Broker(fault) => write!(f, "broker {fault:?}"),
            What::Beside(beside) => write!(f, "beside: {beside:?}"),
            What::Denied(denials) => {
                f.write_str("denied:")?;
                denials.iter().try_for_each(|denial| {
                    let Denial { client_id, filter, publish, read } = denial;
                    write!(f, " {client_id:?} {filter:?} publish={publish} read={read};")
                })
            }
            What::Dropped { receiver, topic, cause } => {
                write!(f, "dropped for {receiver:?} on {topic:?}: {cause}")
            }
            What::Kept(kept) => {
                f.write_str("kept:")?;
                kept.sessions.iter().try_for_each(|session| {
                    let KeptSession { client_id, inbound, waiting, under_way } = session;
                    let Waiting { messages, bytes } = waiting;
                    write!(f, " {client_id:?} {messages} wait, {bytes} bytes, ")?;
                    write!(f, "{under_way} out, {inbound} in;")
                })?;
                let at_shares: usize = kept.shares.iter().map(|share| share.messages).sum();
                write!(f, " {at_shares} at shares, {} retained", kept.retained.len())
            }
            What::WallClock { by_ms } => write!(f, "wall clock set by {by_ms} ms"),
            What::Calm => f.write_str("calm"),
            What::Absent { client } => write!(f, "client {client} is not let in"),
            What::End => f.write_str("end"),
        }
    }
}

fn show_packet(
    packet: &Packet,
    alias_topic: Option<&str>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match packet {
        Packet::Connect(connect) => show_connect(connect, f),
        Packet::ConnAck { session_present, reason, properties } => {
            write!(f, "CONNACK {reason:#04x} present={}", u8::from(*session_present))?;
            show_properties(properties, f)
        }
        Packet::Publish(publish) => show_publish(publish, alias_topic, f),
        Packet::Ack { kind, id, reason, properties } => {
            let name = match kind {
                AckKind::PubAck => "PUBACK",
                AckKind::PubRec => "PUBREC",
                AckKind::PubRel => "PUBREL",
                AckKind::PubComp => "PUBCOMP",
            };
            write!(f, "{name} id={id}")?;
            if *reason != 0 {
                write!(f, " {reason:#04x}")?;
            }
            show_properties(properties, f)
        }
        Packet::Subscribe { id, filters, properties } => {
            write!(f, "SUBSCRIBE id={id}")?;
            for (filter, options) in filters {
                write!(f, " {filter:?}:{options:#04x}")?;
            }
            show_properties(properties, f)
        }
        Packet::SubAck { id, reasons, properties } => {
            show_answer("SUBACK", *id, reasons, properties, f)
        }
        Packet::Unsubscribe { id, filters, properties } => {
            write!(f, "UNSUBSCRIBE id={id} {filters:?}")?;
            show_properties(properties, f)
        }
        Packet::UnsubAck { id, reasons, properties } => {
            show_answer("UNSUBACK", *id, reasons, properties, f)
        }
        Packet::PingReq => f.write_str("PINGREQ"),
        Packet::PingResp => f.write_str("PINGRESP"),
        Packet::Disconnect { reason, properties } => {
            write!(f, "DISCONNECT {reason:#04x}")?;
            show_properties(properties, f)
        }
        Packet::Auth { reason, properties } => {
            write!(f, "AUTH {reason:#04x}")?;
            show_properties(properties, f)
        }
    }
}

fn show_answer(
    name: &str,
    id: u16,
    reasons: &[u8],
    properties: &[Property],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{name} id={id}")?;
    for reason in reasons {
        write!(f, " {reason:#04x}")?;
    }
    show_properties(properties, f)
}

fn show_connect(connect: &Connect, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Connect { level, clean_start, keep_alive_s, client_id, will, properties, .. } = connect;
    let clean = u8::from(*clean_start);
    write!(f, "CONNECT v{level} {client_id:?} clean={clean} keep_alive_s={keep_alive_s}")?;
    if let Some(Will { topic, payload, qos, retain, properties }) = will {
        write!(f, " will=({topic:?} q{qos} retain={} ", u8::from(*retain))?;
        show_payload(payload, f)?;
        show_properties(properties, f)?;
        f.write_char(')')?;
    }
    show_properties(properties, f)
}

fn show_publish(
    publish: &Publish,
    alias_topic: Option<&str>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let Publish { dup, qos, retain, topic, id, properties, payload } = publish;
    write!(f, "PUBLISH q{qos}")?;
    if let Some(id) = id {
        write!(f, " id={id}")?;
    }
    if *dup {
        f.write_str(" dup")?;
    }
    if *retain {
        f.write_str(" retain")?;
    }
    write!(f, " {topic:?} ")?;
    if let Some(alias_topic) = alias_topic {
        write!(f, "(alias of {alias_topic:?}) ")?;
    }
    show_payload(payload, f)?;
    show_properties(properties, f)
}

/// A payload without what fills it up.
fn show_payload(payload: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    /// Longer than the part of a token that tells which publication it is.
    const SHOWN_BYTES: usize = 60;
    let end = payload.iter().position(|byte| *byte == b':').unwrap_or(payload.len());
    let head = &payload[..end.min(SHOWN_BYTES)];
    let head = head.split(|byte| *byte == b't').next().unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    let text = text.trim_end_matches('/');
    if text.is_empty() { f.write_str("-") } else { f.write_str(text) }
}
