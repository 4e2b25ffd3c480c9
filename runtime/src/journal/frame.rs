//! A frame: the records that were written with one call, their checksum, and what was known durable.
//!
//! Layout, little-endian, followed by the records and zeros to a multiple of eight:
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | length of the records in bytes |
//! | 4..8 | CRC-32C over the file's salt, the header without this field, and the records |
//! | 8..16 | position of the first record; in a frame without records, of the next one |
//! | 16..24 | the highest position that was known durable when the frame was written |
//! | 24..28 | number of records |
//! | 28..32 | zero |

use bytes::{BufMut, Bytes, BytesMut};
use signalhouse_core::message::MessageId;
use signalhouse_core::{LogPosition, Record};

use super::codec::encode;

/// Length of a frame's header.
pub(super) const HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

/// What stands before a frame's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body_bytes: u32,
    checksum: u32,
    pub(super) first: LogPosition,
    pub(super) known_durable: LogPosition,
    pub(super) records: u32,
}

impl Header {
    /// The header at the beginning of `bytes`, if there can be one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let four = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let header = Header {
            body_bytes: four(0),
            checksum: four(4),
            first: LogPosition(eight(8)),
            known_durable: LogPosition(eight(16)),
            records: four(24),
        };
        // A record has two bytes at least, and positions begin at 1.
        let can_be = four(28) == 0
            && header.first.0 > 0
            && u64::from(header.records) * 2 <= u64::from(header.body_bytes)
            && (header.records > 0 || header.body_bytes == 0);
        can_be.then_some(header)
    }

    /// Length of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.body_bytes)).next_multiple_of(ALIGNMENT)
    }

    /// Whether the header and the records that follow it are as they were written.
    pub(super) fn is_intact(&self, salt: u64, frame: &[u8]) -> bool {
        let end = HEADER_BYTES + self.body_bytes as usize;
        frame.get(..end).is_some_and(|frame| checksum(salt, frame) == self.checksum)
    }
}

/// A frame that records are being put in.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    bytes: BytesMut,
    first: LogPosition,
    records: u32,
    first_message: Option<MessageId>,
}

impl FrameBuilder {
    /// A frame without records, of which the first will have the position `first`; about `usual_bytes`
    /// long in the end.
    pub(super) fn new(first: LogPosition, usual_bytes: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(usual_bytes.max(4_096));
        bytes.put_bytes(0, HEADER_BYTES);
        FrameBuilder { bytes, first, records: 0, first_message: None }
    }

    pub(super) fn push(&mut self, record: &Record) {
        encode(record, &mut self.bytes);
        self.records += 1;
        if let Record::Published { message, .. } = record {
            self.first_message.get_or_insert(message.id);
        }
    }

    /// The first message that its records bring.
    pub(super) fn first_message(&self) -> Option<MessageId> {
        self.first_message
    }

    /// Length of the records.
    pub(super) fn body_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// Length of the frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        (self.bytes.len() as u64).next_multiple_of(ALIGNMENT)
    }

    /// The position of the last record.
    pub(super) fn last(&self) -> LogPosition {
        LogPosition(self.first.0 + u64::from(self.records) - 1)
    }

    /// The frame as it is written.
    pub(super) fn seal(mut self, salt: u64, known_durable: LogPosition) -> Bytes {
        // A frame is closed long before its length no longer fits, and a single record is not
        // much longer than the largest packet.
        let body_bytes = u32::try_from(self.body_bytes()).expect("a frame is shorter than 4 GiB");
        self.bytes[0..4].copy_from_slice(&body_bytes.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&known_durable.0.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        let checksum = checksum(salt, &self.bytes);
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        let padding = self.frame_bytes() as usize - self.bytes.len();
        self.bytes.put_bytes(0, padding);
        self.bytes.freeze()
    }
}

fn checksum(salt: u64, frame: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&salt.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &frame[..4]);
    crc32c::crc32c_append(sum, &frame[8..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalhouse_core::record::SessionId;

    #[test]
    fn a_frame_is_intact_under_its_salt_and_with_all_its_bits() {
        let mut builder = FrameBuilder::new(LogPosition(7), 0);
        builder.push(&Record::SessionEnded { session: SessionId(1) });
        assert_eq!(builder.last(), LogPosition(7));
        let frame = builder.seal(5, LogPosition(4));
        let header = Header::read(&frame).expect("a header");
        assert_eq!((header.first, header.known_durable), (LogPosition(7), LogPosition(4)));
        assert_eq!((header.records, header.frame_bytes()), (1, frame.len() as u64));
        assert!(header.is_intact(5, &frame) && !header.is_intact(6, &frame));
        for bit in 0..(HEADER_BYTES + 2) * 8 {
            let mut frame = frame.to_vec();
            frame[bit / 8] ^= 1 << (bit % 8);
            let is_intact = Header::read(&frame).is_some_and(|header| header.is_intact(5, &frame));
            assert!(!is_intact, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Header::read(&[0; 64]), None);
        assert_eq!(Header::read(&[1; HEADER_BYTES - 1]), None);
    }
}
