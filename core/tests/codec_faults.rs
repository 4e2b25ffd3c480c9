//! One byte string for each rule that bytes can break, with the answer the standard asks for; and
//! the odd ones that are to be taken.
//!
//! A row is: the statement, if it has a number, and what is wrong; the first byte and the body of
//! the packet (its length is filled in); the reason code; the beginning of the fault's name.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "codec_faults/connect.rs"]
mod connect;
#[path = "codec_faults/framing.rs"]
mod framing;
#[path = "codec_faults/publish.rs"]
mod publish;
#[path = "codec_faults/requests.rs"]
mod requests;
#[path = "codec_faults/server.rs"]
mod server;

use bytes::BytesMut;
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{DecodeError, Reader, ReaderLimits};

pub(crate) type Row = (&'static str, u8, &'static [u8], u8, &'static str);

pub(crate) const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c";
pub(crate) const CONNECT_V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
pub(crate) const CONNECT_V31: &[u8] = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c";

pub(crate) const LIMITS: ReaderLimits = ReaderLimits {
    maximum_packet_size_bytes: 1000,
    topic_alias_maximum: 2,
    connect_maximum_bytes: 300,
};

pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match u8::try_from(body.len()).unwrap() {
        length @ 0..=127 => bytes.push(length),
        length @ 128.. => bytes.extend([length, 1]),
    }
    bytes.extend(body);
    bytes
}

/// A reader that has read a CONNECT.
pub(crate) fn connected(version: Version) -> Reader {
    let mut reader = Reader::new(LIMITS);
    let connect = match version {
        Version::V5 => CONNECT_V5,
        Version::V311 => CONNECT_V311,
        Version::V31 => CONNECT_V31,
    };
    assert!(matches!(reader.read(&mut BytesMut::from(connect)), Ok(Some(_))));
    assert_eq!(reader.version(), Some(version));
    reader
}

/// What is wrong with an outcome, if it is not the expected fault.
pub(crate) fn complaint<P: std::fmt::Debug>(
    rule: &str,
    outcome: &Result<P, DecodeError>,
    code: u8,
    name: &str,
) -> Option<String> {
    let fault = match outcome {
        Ok(taken) => return Some(format!("{rule}: taken as {taken:?}")),
        Err(fault) => fault,
    };
    let right = fault.reason().value() == code && format!("{fault:?}").starts_with(name);
    assert!(!fault.to_string().is_empty());
    (!right).then(|| format!("{rule}: {fault:?}, {}", fault.reason()))
}

pub(crate) fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Each row after a CONNECT, in the given version.
pub(crate) fn refused(version: Version, rows: &[Row]) {
    let complaints: Vec<_> = rows
        .iter()
        .filter_map(|(rule, first_byte, body, code, name)| {
            let mut buffer = BytesMut::from(&packet(*first_byte, body)[..]);
            complaint(rule, &connected(version).read(&mut buffer), *code, name)
        })
        .collect();
    report(&complaints);
}

/// Each row after a CONNECT: it is a packet.
pub(crate) fn taken(version: Version, rows: &[(&str, u8, &[u8])]) {
    for (rule, first_byte, body) in rows {
        let mut buffer = BytesMut::from(&packet(*first_byte, body)[..]);
        let read = connected(version).read(&mut buffer);
        assert!(matches!(read, Ok(Some(_))), "{rule}: {read:?}");
        assert!(buffer.is_empty(), "{rule}");
    }
}
