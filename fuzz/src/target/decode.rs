//! Any bytes, cut anywhere: the readers of both sides give the same packets and the same fault
//! however the bytes come; they take no memory for bytes that have not come, ask for no more than a
//! packet may have and for no more than it takes, and never panic.

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
    /// The highest values bound the first packet too.
    version: u8,
    /// Lengths of the pieces that come first; the rest comes as one.
    pieces: Vec<u8>,
    stream: &'a [u8],
}

/// No packet is bounded to less: up to here a reader may look for the version of a CONNECT that is too large.
const BOUND_BYTES: u32 = 16;
/// From this `version` on, the first packet has a bound of its own.
const BOUNDED_FROM: u8 = 192;

/// Reads the stream in a case whole and in pieces.
///
/// # Panics
/// If the pieces make a difference.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let limits = ReaderLimits {
        maximum_packet_size_bytes: u32::from(case.maximum_packet_size_bytes).max(BOUND_BYTES),
        topic_alias_maximum: u16::from(case.topic_alias_maximum),
        connect_maximum_bytes: match case.version.checked_sub(BOUNDED_FROM) {
            Some(more) => BOUND_BYTES + u32::from(more),
            None => u32::MAX,
        },
    };
    let version = [Version::V5, Version::V311, Version::V31][usize::from(case.version % 3)];
    let broker = |pieces: &[u8]| feed(case.stream, pieces, Reader::new(limits), limits);
    assert_eq!(broker(&[]), broker(&case.pieces), "a broker reads otherwise in pieces");
    let client =
        |pieces: &[u8]| feed(case.stream, pieces, ClientReader::new(version, limits), limits);
    assert_eq!(client(&[]), client(&case.pieces), "a client reads otherwise in pieces");
}

/// What the readers of both sides have.
trait Reads {
    type Packet;
    fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Packet>, DecodeError>;
    fn missing_bytes(&self) -> usize;
    /// Bytes of the largest packet that may come next.
    fn bound_bytes(&self, limits: ReaderLimits) -> u32;
}

impl Reads for Reader {
    type Packet = ClientPacket;

    fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<ClientPacket>, DecodeError> {
        Reader::read(self, buffer)
    }

    fn missing_bytes(&self) -> usize {
        Reader::missing_bytes(self)
    }

    fn bound_bytes(&self, limits: ReaderLimits) -> u32 {
        match self.version() {
            Some(_) => limits.maximum_packet_size_bytes,
            None => limits.maximum_packet_size_bytes.min(limits.connect_maximum_bytes),
        }
    }
}

impl Reads for ClientReader {
    type Packet = ServerPacket;

    fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<ServerPacket>, DecodeError> {
        ClientReader::read(self, buffer)
    }

    fn missing_bytes(&self) -> usize {
        ClientReader::missing_bytes(self)
    }

    fn bound_bytes(&self, limits: ReaderLimits) -> u32 {
        limits.maximum_packet_size_bytes
    }
}

/// Feeds `stream` in `pieces` and collects what is read.
fn feed<R: Reads>(
    stream: &[u8],
    pieces: &[u8],
    mut reader: R,
    limits: ReaderLimits,
) -> (Vec<R::Packet>, Option<DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.iter().map(|piece| usize::from(*piece));
    // What the buffer has to hold before the next packet can be whole.
    let mut needed_bytes = 0;
    loop {
        loop {
            let (bound_bytes, room_bytes) = (reader.bound_bytes(limits), buffer.capacity());
            let had_bytes = buffer.len();
            match reader.read(&mut buffer) {
                Ok(Some(packet)) => {
                    assert!(had_bytes >= needed_bytes, "it asked for more than the packet took");
                    needed_bytes = 0;
                    packets.push(packet);
                }
                Ok(None) => {
                    let missing_bytes = reader.missing_bytes();
                    assert!(missing_bytes > 0, "nothing is missing, and no packet is there");
                    needed_bytes = had_bytes + missing_bytes;
                    let most_bytes = usize::try_from(bound_bytes).unwrap_or(usize::MAX);
                    assert!(needed_bytes <= most_bytes, "{needed_bytes} of {most_bytes} bytes");
                    assert_eq!(buffer.len(), had_bytes, "half a packet is taken");
                    assert!(buffer.capacity() <= room_bytes, "memory for what has not come");
                    break;
                }
                Err(fault) => {
                    assert!(fault.reason().is_error(), "{fault} closes the connection");
                    assert!(!fault.to_string().is_empty(), "{fault:?}");
                    assert_eq!(reader.read(&mut buffer).err(), Some(fault), "a fault stays");
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
