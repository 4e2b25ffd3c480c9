//! Any bytes, cut anywhere: the readers of both sides give the same packets and the same fault
//! however the bytes come, ask for no more than there is, and never panic.

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{ClientReader, DecodeError, Reader, ReaderLimits};

/// A stream of bytes and how it comes.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    maximum_packet_size_bytes: u16,
    topic_alias_maximum: u8,
    version: u8,
    /// Lengths of the pieces that come first; the rest comes as one.
    pieces: Vec<u8>,
    stream: &'a [u8],
}

/// Reads the stream in a case whole and in pieces.
///
/// # Panics
/// If the pieces make a difference.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let limits = ReaderLimits {
        maximum_packet_size_bytes: u32::from(case.maximum_packet_size_bytes).max(16),
        topic_alias_maximum: u16::from(case.topic_alias_maximum),
        connect_maximum_bytes: u32::MAX,
    };
    let version = [Version::V5, Version::V311, Version::V31][usize::from(case.version % 3)];
    let broker = |pieces: &[u8]| -> (Vec<ClientPacket>, Option<DecodeError>) {
        let mut reader = Reader::new(limits);
        feed(case.stream, pieces, |buffer| reader.read(buffer))
    };
    assert_eq!(broker(&[]), broker(&case.pieces), "a broker reads otherwise in pieces");
    let client = |pieces: &[u8]| -> (Vec<ServerPacket>, Option<DecodeError>) {
        let mut reader = ClientReader::new(version, limits);
        feed(case.stream, pieces, |buffer| reader.read(buffer))
    };
    assert_eq!(client(&[]), client(&case.pieces), "a client reads otherwise in pieces");
}

/// Feeds `stream` in `pieces` and collects what is read.
fn feed<P>(
    stream: &[u8],
    pieces: &[u8],
    mut read: impl FnMut(&mut BytesMut) -> Result<Option<P>, DecodeError>,
) -> (Vec<P>, Option<DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.iter().map(|piece| usize::from(*piece));
    loop {
        loop {
            match read(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(fault) => {
                    assert!(fault.reason().is_error(), "{fault} closes the connection");
                    assert!(!fault.to_string().is_empty(), "{fault:?}");
                    assert_eq!(read(&mut buffer).err(), Some(fault), "a fault stays");
                    return (packets, Some(fault));
                }
            }
        }
        if rest.is_empty() {
            return (packets, None);
        }
        let length = pieces.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, behind) = rest.split_at(length);
        buffer.extend_from_slice(piece);
        rest = behind;
    }
}
